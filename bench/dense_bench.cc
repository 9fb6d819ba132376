// The dense product on oneDNN, alone.
#include "bench/harness.h"

namespace prune::bench {

void add_dense() {
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
    add_case(kLargeShape, 1);
  }
}

}  // namespace prune::bench
