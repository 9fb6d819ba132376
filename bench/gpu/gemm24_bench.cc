// 2:4 products of many tokens against dense cuBLASLt and cuSPARSELt, weights rotated past the L2, graph
// replays, medians.
//   gemm24_bench [--json FILE] [--plans 1] [--shapes N]
// --plans 1 measures every plan instead of the planner's, --shapes N only the first N shapes.
// PRUNE_CUSPARSELT_LIBRARY names libcusparseLt where the loader does not find it.
#include <cstdlib>
#include <cstring>

#include "bench/gpu/cublaslt.h"
#include "bench/gpu/cusparselt.h"
#include "bench/gpu/fill.h"
#include "kernels/sparse/cuda/pack24.h"
#include "kernels/sparse/spmm_nm/gemm24.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 200u << 20;
constexpr int kReplays = 7;

struct Shape {
  int m, k;
};
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {128, 256, 1024, 4096, 8192};

void must(const Status& status) {
  if (!status.ok()) throw std::runtime_error(describe(status));
}

struct Peers {
  double dense_us;
  double cusparselt_us;  // 0: not there
};

Peers measure_peers(const Shape& s, int tokens, const Rotation& dense, const void* sparse_as_dense,
                    const void* x, void* y, cudaStream_t stream) {
  Peers peers{};
  const DenseProduct product(s.m, tokens, s.k);
  peers.dense_us = product.best_time(dense, x, y, std::max(4, dense.count()), kReplays, stream);
#ifdef PRUNE_CUSPARSELT
  const char* path = std::getenv("PRUNE_CUSPARSELT_LIBRARY");
  static const CusparseLtProduct library(path ? path : "");
  if (library.found()) {
    peers.cusparselt_us =
        library.time(s.m, tokens, s.k, CUDA_R_16BF, sparse_as_dense, x, y, kRotated, kReplays, stream);
  }
#else
  (void)sparse_as_dense;
#endif
  return peers;
}

void report(const Shape& s, int tokens, const GemmPlan& plan, double us, const Peers& peers, JsonFile& json) {
  const double gflop = 2e-9 * s.m * s.k * tokens;
  char name[128];
  std::snprintf(name, sizeof name, "spmm_nm/bf16/isa:sm90a/m:%d/k:%d/n:%d/sparsity:50/tile:%d/cluster:%d",
                s.m, s.k, tokens, plan.tile_tokens, plan.cluster);
  json.add({name,
            us,
            {{"speedup", peers.dense_us / us},
             {"speedup_cusparselt", peers.cusparselt_us / us},
             {"GFLOP/s", gflop / us * 1e6}}});
  std::printf(
      "bf16 %5d x %5d n %4d  dense %8.2f us  cuSPARSELt %8.2f us  2:4 %8.2f us %5.0f TFLOP/s  %.2fx dense  "
      "%.2fx cuSPARSELt  tile %d cluster %d\n",
      s.m, s.k, tokens, peers.dense_us, peers.cusparselt_us, us, gflop / us * 1e3, peers.dense_us / us,
      peers.cusparselt_us / us, plan.tile_tokens, plan.cluster);
  std::fflush(stdout);
}

void run(const std::string& json_path, bool all_plans, int shapes) {
  JsonFile json(json_path, gpu_context());
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : kShapes) {
    if (shapes-- == 0) break;
    const size_t count = size_t(s.m) * s.k;
    const Rotation dense(count * 2, kRotated), streams(stream_bytes24(Weight24::k16, s.m, s.k), kRotated);
    const DeviceMemory zeros_in_place(count * 2), refused(8), x(size_t(8192) * s.k * 2),
        y(size_t(8192) * s.m * 2);
    fill_bf16(dense[0], count, 0.05f, 1, stream);
    dense.spread(stream);
    fill_bf16(x.get(), size_t(8192) * s.k, 1, 9, stream);
    must(pack24_dense(Choose24::kMagnitude, s.m, s.k, dense[0], s.k, streams[0],
                      reinterpret_cast<uint64_t*>(refused.get()), stream));
    must(unpack24_dense(s.m, s.k, streams[0], zeros_in_place.get(), s.k, stream));
    streams.spread(stream);
    for (const int tokens : kTokens) {
      const Peers peers = measure_peers(s, tokens, dense, zeros_in_place.get(), x.get(), y.get(), stream);
      for (const int tile : {128, 256}) {
        for (const int cluster : {1, 2, 4}) {
          const GemmPlan plan{tile, cluster}, chosen = plan_gemm24(s.m, tokens);
          if (!all_plans && (tile != chosen.tile_tokens || cluster != chosen.cluster)) continue;
          const GemmCall call{Element::kBf16, tokens, x.get(), s.k, y.get(), s.m, stream};
          const double us = time_graph(stream, std::max(4, streams.count()), kReplays, [&](int i) {
            must(gemm24({Weight24::k16, s.m, s.k, streams[i], nullptr}, plan, call));
          });
          report(s, tokens, plan, us, peers, json);
        }
      }
    }
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  std::string json;
  bool all_plans = false;
  int shapes = int(std::size(prune::bench::kShapes));
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--json")) json = argv[i + 1];
    if (!std::strcmp(argv[i], "--shapes")) shapes = std::atoi(argv[i + 1]);
    if (!std::strcmp(argv[i], "--plans")) all_plans = std::atoi(argv[i + 1]) != 0;
  }
  try {
    prune::bench::run(json, all_plans, shapes);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gemm24_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
