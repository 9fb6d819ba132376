// 2:4 products of 16 tokens and more on warp-group tensor cores, against dense cuBLASLt, cuSPARSELt and, up
// to 64 tokens, decode24; weights rotated past the L2, graph replays, medians.
//   gemm24_bench [--json FILE] [--sweep FILE] [--shape OUTxIN]... [--most TOKENS] [--least TOKENS]
// --sweep measures every plan and writes one line each: what the planner is fitted to.
// PRUNE_CUSPARSELT_LIBRARY names libcusparseLt where the loader does not find it.
#include <cstdlib>
#include <cstring>

#include "bench/gpu/cublaslt.h"
#include "bench/gpu/cusparselt.h"
#include "bench/gpu/dense_mma.h"
#include "bench/gpu/weights24.h"
#include "kernels/sparse/spmm_nm/gemm24.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 200u << 20;
constexpr int kReplays = 7;

constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {16, 32, 64, 128, 256, 1024, 4096, 8192};
constexpr int kMostTokens = 8192;
constexpr int kMostQuantized = 256;  // above, sums bind and not weights: int8 and int4 are as bfloat16

struct Options {
  std::string json;
  std::string sweep;
  std::vector<Shape> shapes{std::begin(kShapes), std::end(kShapes)};
  int least = 0;
  int most = kMostTokens;
};

struct Peers {
  double dense_us;
  double cusparselt_us;  // 0: not there
};

// What one shape needs: dense weights, the same with zeros in place, x and y.
struct Operands {
  Rotation dense;
  DeviceMemory zeros_in_place;
  DeviceMemory x;
  DeviceMemory y;

  Operands(const Shape& s, int most_tokens, cudaStream_t stream)
      : dense(size_t(s.m) * s.k * 2, kRotated),
        zeros_in_place(size_t(s.m) * s.k * 2),
        x(size_t(most_tokens) * s.k * 2),
        y(size_t(most_tokens) * s.m * 2) {
    const size_t count = size_t(s.m) * s.k;
    const DeviceMemory packed(stream_bytes24(Weight24::k16, s.m, s.k)), refused(8);
    fill_bf16(dense[0], count, 0.05f, 1, stream);
    dense.spread(stream);
    fill_bf16(x.get(), size_t(most_tokens) * s.k, 1, 9, stream);
    must(pack24_dense(Choose24::kMagnitude, s.m, s.k, dense[0], s.k, packed.get(),
                      reinterpret_cast<uint64_t*>(refused.get()), stream));
    must(unpack24_dense(s.m, s.k, packed.get(), zeros_in_place.get(), s.k, stream));
    cuda(cudaStreamSynchronize(stream));
  }
};

Peers measure_peers(const Shape& s, int tokens, const Operands& o, cudaStream_t stream) {
  Peers peers{};
  const DenseProduct product(s.m, tokens, s.k);
  peers.dense_us =
      product.best_time(o.dense, o.x.get(), o.y.get(), std::max(4, o.dense.count()), kReplays, stream);
#ifdef PRUNE_CUSPARSELT
  const char* path = std::getenv("PRUNE_CUSPARSELT_LIBRARY");
  static const CusparseLtProduct library(path ? path : "");
  if (library.found()) {
    peers.cusparselt_us = library.time(s.m, tokens, s.k, CUDA_R_16BF, CUDA_R_16BF, o.zeros_in_place.get(),
                                       o.x.get(), o.y.get(), kRotated, kReplays, stream);
  }
#endif
  return peers;
}

struct Case {
  Weight24 weight;
  Shape shape;
  int tokens;
  Peers peers;
};

double measure(const Case& c, const Weights24& weights, const GemmPlan& plan, bool overlap, const Operands& o,
               int replays, cudaStream_t stream) {
  const ProductCall call{Element::kBf16, c.tokens,  o.x.get(), c.shape.k,
                         o.y.get(),      c.shape.m, overlap,   stream};
  return time_graph(stream, std::max(4, weights.count()), replays,  // as many as its peers'
                    [&](int i) { must(gemm24(weights[i], plan, call)); });
}

double measure_decode(const Case& c, const Weights24& weights, bool overlap, const Operands& o,
                      cudaStream_t stream) {
  DeviceLimits limits;
  must(decode_limits(&limits));
  const DecodePlan plan = plan_decode24({c.weight, c.shape.m, c.shape.k, c.tokens}, limits);
  const ProductCall call{Element::kBf16, c.tokens,  o.x.get(), c.shape.k,
                         o.y.get(),      c.shape.m, overlap,   stream};
  return time_graph(stream, std::max(8, weights.count()), kReplays,
                    [&](int i) { must(decode24(weights[i], plan, call)); });
}

// The kernel for older devices, and a dense one of its kind.
void report_mma(const Case& c, const Weights24& weights, const Operands& o, JsonFile& json,
                cudaStream_t stream) {
  const ProductCall call{Element::kBf16, c.tokens, o.x.get(), c.shape.k, o.y.get(), c.shape.m, false, stream};
  const double us = time_graph(stream, std::max(4, weights.count()), kReplays,
                               [&](int i) { must(gemm24_mma(weights[i], 128, call)); });
  const double dense_us = time_graph(stream, std::max(4, o.dense.count()), kReplays, [&](int i) {
    dense_mma(c.shape.m, c.tokens, c.shape.k, o.dense[i], o.x.get(), o.y.get(), stream);
  });
  char name[160];
  std::snprintf(name, sizeof name, "spmm_nm/bf16/isa:sm80/m:%d/k:%d/n:%d/sparsity:50/kernel:gemm24_mma",
                c.shape.m, c.shape.k, c.tokens);
  const double gflop = 2e-9 * c.shape.m * c.shape.k * c.tokens;
  json.add({name,
            us,
            {{"speedup", c.peers.dense_us / us},
             {"speedup_dense_mma", dense_us / us},
             {"GFLOP/s", gflop / us * 1e6}}});
  std::printf(
      "mma.sp %5d x %5d n %4d  dense mma.sync %8.2f us  2:4 %8.2f us %5.0f TFLOP/s  %.2fx  cuBLASLt %.2fx\n",
      c.shape.m, c.shape.k, c.tokens, dense_us, us, gflop / us * 1e3, dense_us / us, c.peers.dense_us / us);
  std::fflush(stdout);
}

void sweep(const Case& c, const Weights24& weights, const Operands& o, std::FILE* out, cudaStream_t stream) {
  for (const GemmPlan& p : gemm_candidates({c.weight, c.shape.m, c.shape.k, c.tokens})) {
    if (p.split > 4) continue;  // needs more than 32 clusters of 5 and more, which do not fit here
    const double us = measure(c, weights, p, false, o, 3, stream);
    std::fprintf(out, "%s,%d,%d,%d,%.3f,%.3f,%d,%d,%d,%.3f\n", name_of(c.weight), c.shape.m, c.shape.k,
                 c.tokens, c.peers.dense_us, c.peers.cusparselt_us, p.tile_tokens, p.share, p.split, us);
  }
  if (c.tokens <= kMaxDecodeTokens) {
    std::fprintf(out, "%s,%d,%d,%d,%.3f,%.3f,0,0,0,%.3f\n", name_of(c.weight), c.shape.m, c.shape.k, c.tokens,
                 c.peers.dense_us, c.peers.cusparselt_us, measure_decode(c, weights, false, o, stream));
  }
  std::fflush(out);
}

void report(const Case& c, const Weights24& weights, const Operands& o, const DeviceLimits& limits,
            JsonFile& json, cudaStream_t stream) {
  const GemmPlan plan = plan_gemm24({c.weight, c.shape.m, c.shape.k, c.tokens}, limits);
  const double gflop = 2e-9 * c.shape.m * c.shape.k * c.tokens;
  std::printf("%s %5d x %5d n %4d  dense %8.2f us  cuSPARSELt %8.2f us ", name_of(c.weight), c.shape.m,
              c.shape.k, c.tokens, c.peers.dense_us, c.peers.cusparselt_us);
  for (const bool overlap : {false, true}) {
    const double us = measure(c, weights, plan, overlap, o, kReplays, stream);
    char name[160];
    std::snprintf(name, sizeof name, "spmm_nm/%s/isa:sm90a/m:%d/k:%d/n:%d/sparsity:50/kernel:gemm24%s",
                  name_of(c.weight), c.shape.m, c.shape.k, c.tokens, overlap ? "/overlap:1" : "");
    json.add({name,
              us,
              {{"speedup", c.peers.dense_us / us},
               {"speedup_cusparselt", c.peers.cusparselt_us / us},
               {"GFLOP/s", gflop / us * 1e6},
               {"GB/s", double(stream_bytes24(c.weight, c.shape.m, c.shape.k)) / us / 1e3}}});
    std::printf("%s %8.2f us %5.2fx %5.2fx", overlap ? " overlapped" : " 2:4", us, c.peers.dense_us / us,
                c.peers.cusparselt_us / us);
  }
  if (c.tokens <= kMaxDecodeTokens) {
    std::printf("  decode24 %7.2f us, overlapped %7.2f us", measure_decode(c, weights, false, o, stream),
                measure_decode(c, weights, true, o, stream));
  }
  std::printf("  tile %d share %d split %d\n", plan.tile_tokens, plan.share, plan.split);
  std::fflush(stdout);
}

void run(const Options& options) {
  JsonFile json(options.json, gpu_context());
  std::FILE* sweep_file = options.sweep.empty() ? nullptr : std::fopen(options.sweep.c_str(), "w");
  DeviceLimits limits;
  must(decode_limits(&limits));
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : options.shapes) {
    const Operands operands(s, options.most, stream);
    std::vector<Peers> peers;
    for (const int tokens : kTokens) {
      const bool wanted = tokens >= options.least && tokens <= options.most;
      peers.push_back(wanted ? measure_peers(s, tokens, operands, stream) : Peers{});
    }
    for (const Weight24 weight : {Weight24::k16, Weight24::kInt8, Weight24::kInt4}) {
      const Weights24 weights(weight, s, kRotated, stream);
      for (size_t t = 0; t < std::size(kTokens); ++t) {
        if (kTokens[t] < options.least || kTokens[t] > options.most) continue;
        if (weight != Weight24::k16 && kTokens[t] > kMostQuantized) continue;
        const Case c{weight, s, kTokens[t], peers[t]};
        if (sweep_file) {
          sweep(c, weights, operands, sweep_file, stream);
        } else {
          report(c, weights, operands, limits, json, stream);
        }
        if (c.weight == Weight24::k16 && c.tokens >= 1024) report_mma(c, weights, operands, json, stream);
      }
    }
  }
  cuda(cudaStreamDestroy(stream));
  if (sweep_file) std::fclose(sweep_file);
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  prune::bench::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--json")) options.json = argv[i + 1];
    if (!std::strcmp(argv[i], "--sweep")) options.sweep = argv[i + 1];
    if (!std::strcmp(argv[i], "--least")) options.least = std::atoi(argv[i + 1]);
    if (!std::strcmp(argv[i], "--most")) options.most = std::atoi(argv[i + 1]);
  }
  return prune::bench::run_bench("gemm24_bench", [&] {
    options.shapes = prune::bench::shapes_of(argc, argv, prune::bench::kShapes);
    prune::bench::run(options);
  });
}
