// The dense peer: cuBLASLt, the best of its heuristics.
#pragma once

#include <algorithm>

#include "bench/gpu/harness.h"
#include "libprune/model/cuda/cublaslt.h"

namespace prune::bench {

using gpu::CublasLt;

class DenseProduct : public gpu::DenseProduct {
 public:
  using gpu::DenseProduct::DenseProduct;

  // Of each algorithm, the microseconds.
  std::vector<double> times(const Rotation& w, const void* x, void* y, int calls, int replays,
                            cudaStream_t stream) const {
    std::vector<double> times;
    times.reserve(size_t(algorithms()));
    for (int a = 0; a < algorithms(); ++a) {
      times.push_back(time_graph(stream, calls, replays, [&](int i) { run(a, w[i], x, y, stream); }));
    }
    return times;
  }
  // Microseconds of its fastest algorithm.
  double best_time(const Rotation& w, const void* x, void* y, int calls, int replays,
                   cudaStream_t stream) const {
    double best = 1e30;
    for (const double us : times(w, x, y, calls, replays, stream)) best = std::min(best, us);
    return best;
  }
};

}  // namespace prune::bench
