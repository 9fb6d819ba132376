#include "libprune/model/format_speed.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <type_traits>

#include "kernels/sparse/plain/plain.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/pack_dense.h"
#include "libprune/model/packed_arrays.h"
#include "libprune/model/quantized_values.h"
#include "libprune/model/tuning.h"

namespace prune {
namespace {

constexpr int kTrials = 15;
constexpr size_t kBeyondCaches = size_t{96} << 20;
// A form that takes more bytes must be faster by as much: nearly always the bytes decide, and times have
// noise.
constexpr double kClearly = 0.9;
// Forms of more bytes than this many times the smallest are not tried.
constexpr double kMostBytes = 1.5;

std::string shape_of(const PackedWeight& w) {
  return " " + std::string(name(w.dtype)) + " " + std::to_string(w.out) + "x" + std::to_string(w.in);
}

template <class P>
PackedArrays arrays_of(const PackedWeight& weight, const P& packed, const ScaleGrid& scales) {
  if (weight.values == StoredValues::kInt8) return PackedArrays(quantize(packed, scales), scales);
  if (weight.values == StoredValues::kBf16) return PackedArrays(convert<bf16>(packed));
  if constexpr (std::is_same_v<P, NmPacked<typename decltype(packed.values)::value_type>>) {
    if (weight.stored_dtype() == DType::kF16) return PackedArrays(convert<f16>(packed));
  }
  return PackedArrays(packed);  // of other formats the kernels make floats of f16 themselves
}

template <class T>
PackedArrays pack_as(const PackedWeight& weight, ConstView<T> dense) {
  const ScaleGrid scales =
      weight.values == StoredValues::kInt8 ? find_scales(dense, weight.scale_group) : ScaleGrid();
  return pack_dense(weight, dense, [&](const auto& packed) { return arrays_of(weight, packed, scales); });
}

}  // namespace

std::string row_time_key(const FormatChoice& form) {
  const PackedWeight& w = form.weight;
  const int64_t tenths = 10 * stored_weights(w, form.stored) / std::max<int64_t>(1, int64_t{w.out} * w.in);
  return kRowTimes + format_in_words(w) + shape_of(w) + " stored " + std::to_string(tenths) + "/10";
}

std::string dense_row_time_key(const PackedWeight& weight) { return kRowTimes + "dense" + shape_of(weight); }

namespace {

// What is timed: the arrays and the plan that reads them.
struct Timed {
  std::string key;
  std::optional<PackedArrays> arrays;  // nothing: dense
  kernels::Plan plan;
  double seconds = std::numeric_limits<double>::infinity();
};

template <class T>
std::vector<Timed> prepare_all(const std::vector<FormatChoice>& forms, const Matrix<T>& weights) {
  const auto type = std::is_same_v<T, bf16> ? kernels::WeightType::kBf16 : kernels::WeightType::kF32;
  std::vector<Timed> list;
  list.push_back({dense_row_time_key(forms.front().weight), std::nullopt,
                  kernels::prepare_plain({weights.rows(), weights.cols(), type, weights.data(), nullptr})});
  for (const FormatChoice& form : forms) {
    PackedArrays arrays = pack_as<T>(form.weight, view(weights));
    kernels::Plan plan = arrays.prepare({.use = kernels::Use::kFewRows, .in_place = true});
    list.push_back({row_time_key(form), std::move(arrays), std::move(plan)});
  }
  return list;
}

// One row of X in turns, so that other load hits all; weights that no cache holds, as in a model.
void time_all(std::vector<Timed>& list) {
  const int64_t in = list.front().plan.cols(), out = list.front().plan.rows();
  std::vector<float> x(static_cast<size_t>(in), 1.0F), y(static_cast<size_t>(out));
  std::vector<char> others(kBeyondCaches);
  for (int trial = 0; trial < kTrials; ++trial) {
    for (Timed& timed : list) {
      for (size_t i = 0; i < others.size(); i += 64) ++others[i];
      const auto start = std::chrono::steady_clock::now();
      timed.plan.run({x.data(), in, y.data(), out, 1});
      timed.seconds = std::min(timed.seconds, seconds_since(start));
    }
  }
}

}  // namespace

template <class T>
std::map<std::string, int64_t> measure_row_times(const std::vector<FormatChoice>& forms,
                                                 const Matrix<T>& weights) {
  std::vector<Timed> list = prepare_all<T>(forms, weights);
  time_all(list);
  std::map<std::string, int64_t> times;
  for (const Timed& timed : list) times[timed.key] = std::max<int64_t>(1, int64_t(timed.seconds * 1e9));
  return times;
}

namespace {

// What the table has, or, where one time is missing, all measured anew: only times of one run compare.
std::map<std::string, int64_t> times_of(const std::vector<FormatChoice>& forms, TuningTable& table,
                                        const std::function<std::map<std::string, int64_t>()>& measure) {
  std::vector<std::string> keys = {dense_row_time_key(forms.front().weight)};
  for (const FormatChoice& form : forms) keys.push_back(row_time_key(form));
  for (;;) {
    std::map<std::string, int64_t> times, measured;
    std::string missing;
    for (const std::string& key : keys) {
      if (const auto time = table.find(key))
        times[key] = *time;
      else
        missing = key;
    }
    if (missing.empty()) return times;
    // The table lets one thread measure at a time; another may have, in the meantime.
    table.get(missing, [&] {
      measured = measure();
      return measured.at(missing);
    });
    if (!measured.empty()) table.put(measured);
  }
}

}  // namespace

template <class T>
FastestForm choose_fastest(std::vector<FormatChoice> forms, const std::function<Matrix<T>()>& weights,
                           TuningTable& table) {
  std::ranges::stable_sort(forms, {}, &FormatChoice::bytes);
  const double most = kMostBytes * double(forms.front().bytes());
  std::erase_if(forms, [&](const FormatChoice& form) { return double(form.bytes()) > most; });
  const std::map<std::string, int64_t> times =
      times_of(forms, table, [&] { return measure_row_times<T>(forms, weights()); });
  const auto time_of = [&](const std::string& key) { return times.at(key); };
  FastestForm best;
  best.dense_nanoseconds = time_of(dense_row_time_key(forms.front().weight));
  for (const FormatChoice& form : forms) {
    const int64_t time = time_of(row_time_key(form));
    if (best.form && double(time) >= kClearly * double(best.nanoseconds)) continue;
    best.form = form;
    best.nanoseconds = time;
  }
  if (best.nanoseconds >= best.dense_nanoseconds) best.form.reset();
  return best;
}

template FastestForm choose_fastest(std::vector<FormatChoice>, const std::function<Matrix<float>()>&,
                                    TuningTable&);
template FastestForm choose_fastest(std::vector<FormatChoice>, const std::function<Matrix<bf16>()>&,
                                    TuningTable&);
template std::map<std::string, int64_t> measure_row_times(const std::vector<FormatChoice>&,
                                                          const Matrix<float>&);
template std::map<std::string, int64_t> measure_row_times(const std::vector<FormatChoice>&,
                                                          const Matrix<bf16>&);

}  // namespace prune
