// Dense products: oneDNN alone, and our own for a few rows of X beside it.
#include "bench/harness.h"
#include "kernels/sparse/plain/plain.h"

namespace prune::bench {
namespace {

// int8 weights, which oneDNN multiplies with integer inputs only; its peer multiplies bf16.
void add_gemv(int64_t n) {
  const Case c{"dense/gemv", WeightType::kI8, kLargeShape, n, 0};
  add(c, [c](benchmark::State& state) {
    measure(state, c, [&] {
      const auto values = random_values(c.shape.rows * c.shape.cols, c.type, 41);
      kernels::DenseWeights view;
      view.rows = c.shape.rows;
      view.cols = c.shape.cols;
      view.type = c.type;
      view.values = values.data();
      return prepare_copies(c, [&](kernels::Use use) { return kernels::prepare(view, {.use = use}); });
    });
  });
}

// Wider weights, multiplied where they lie.
void add_plain(WeightType type, int64_t n) {
  const Case c{"dense/plain", type, kLargeShape, n, 0};
  add(c, [c](benchmark::State& state) {
    const auto values = random_values(c.shape.rows * c.shape.cols, c.type, 43);
    const kernels::Plan plan =
        kernels::prepare_plain({c.shape.rows, c.shape.cols, c.type, values.data(), nullptr});
    measure_peer(state, c, static_cast<double>(plan.bytes()), [&](const kernels::Batch& b) { plan.run(b); });
    state.SetLabel(plan.kernel_name(c.n));
  });
}

}  // namespace

void add_dense() {
  for (const int64_t n : kFewBatches) {
    add_gemv(n);
    for (const WeightType type : {WeightType::kF32, WeightType::kBf16}) add_plain(type, n);
  }
  for (const WeightType type : {WeightType::kF32, WeightType::kBf16}) {
    const auto add_case = [&](const Shape& shape, int64_t n) {
      const Case c{"dense/onednn", type, shape, n, 0};
      add(c, [c](benchmark::State& state) {
        std::vector<DenseLinear>& layers = dense_peers(c);
        size_t next = 0;
        measure_peer(state, c, dense_weight_bytes(c), [&](const kernels::Batch& b) {
          layers[next++ % layers.size()].run(b.x, b.ldx, b.y, b.ldy, b.n);
        });
        state.SetLabel(layers[0].implementation(c.n));
      });
    };
    for (const Shape& shape : kShapes) {
      for (const int64_t n : kBatches) add_case(shape, n);
    }
    for (const int64_t n : kFewBatches) add_case(kLargeShape, n);
  }
}

}  // namespace prune::bench
