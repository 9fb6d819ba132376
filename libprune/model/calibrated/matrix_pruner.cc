#include "libprune/model/calibrated/matrix_pruner.h"

#include <chrono>
#include <cstring>
#include <string>
#include <type_traits>

#include <prune/layer_error.h>

#include "libprune/model/elapsed.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

// Rounds `values` into the file's type and orientation, and widens them again in place.
template <class T>
void store(View<float>& values, const StoredTensor& stored, TensorReport& report) {
  const bool turned = stored.orientation == Orientation::kInOut;
  const Index stride = turned ? values.rows() : values.cols();
  report.zeros_before = report.zeros_after = 0;
  for (Index i = 0; i < values.rows(); ++i) {
    for (Index j = 0; j < values.cols(); ++j) {
      const size_t at = size_t(turned ? j * stride + i : i * stride + j) * sizeof(T);
      T before;
      std::memcpy(static_cast<void*>(&before), stored.before.data() + at, sizeof(T));
      float& value = values(i, j);
      T after = value == static_cast<float>(before) ? before : static_cast<T>(value);
      if (is_zero(after)) after = T(0);  // not -0
      std::memcpy(stored.after.data() + at, static_cast<const void*>(&after), sizeof(T));
      value = static_cast<float>(after);
      report.zeros_before += is_zero(before);
      report.zeros_after += is_zero(after);
    }
  }
}

}  // namespace

void store_matrix(const StoredTensor& stored, View<float> weights, TensorReport& report) {
  visit_dtype(stored.dtype, [&]<class T>() {
    if constexpr (std::is_constructible_v<T, float>) {
      store<T>(weights, stored, report);
    } else {
      throw_input("type " + std::string(name(stored.dtype)) + " can't hold calibrated weights");
    }
  });
}

ScaleGrid prune_matrix(const LayerMethod& method, const LayerTask& task, const StoredTensor& stored,
                       View<float> weights, TensorReport& report) {
  const auto start = std::chrono::steady_clock::now();
  LayerResult result = method.run(task);
  report.seconds = seconds_since(start);
  report.damping = result.damping;
  report.damping_retries = result.retries;
  Matrix<float> masked(task.dense.rows(), task.dense.cols());
  apply(result.mask, task.dense, masked);
  report.error_before = layer_error(view(masked), task.dense, task.gram);
  weights = result.weights;
  store_matrix(stored, weights, report);
  report.error_after = layer_error(detail::as_const(weights), task.dense, task.gram);
  return std::move(result.scales);
}

}  // namespace prune
