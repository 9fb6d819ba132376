// 2:4 products whose operands both have eight bits, int8 and e4m3, against dense cuBLASLt and cuSPARSELt of
// the same type; weights rotated past the L2, graph replays, medians.
//   gemm24_8bit_bench [--json FILE] [--shape OUTxIN]... [--tokens N]... [--sweep yes | --epilogues yes]
// --sweep measures every plan, --epilogues what parts of an epilogue cost; both print one line each.
// PRUNE_CUSPARSELT_LIBRARY names libcusparseLt where the loader does not find it.
//
// y is bfloat16 but for dense int8, where cuBLASLt has none: the faster of int32 and int8 counts. Of dense
// e4m3 both kinds of sums are measured: the tensor cores' own to the end ("fast") and cuBLASLt's default.
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
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {8192, 8192}};
constexpr int kTokens[] = {64, 1024, 4096};

struct Options {
  std::string json;
  bool sweep = false;
  bool epilogues = false;
  std::vector<Shape> shapes;
  std::vector<int> tokens{std::begin(kTokens), std::end(kTokens)};
};

void fill(Weight24 weight, void* to, size_t count, uint64_t seed, cudaStream_t stream) {
  if (weight == Weight24::kFp8x8) {
    fill_e4m3(to, count, 1, seed, stream);
  } else {
    fill_int8(to, count, 32, seed, stream);
  }
}

// What one shape needs: dense weights, the same with zeros in place, x, y, and what epilogues read.
struct Operands {
  Rotation dense;
  DeviceMemory zeros_in_place;
  DeviceMemory x;
  DeviceMemory y;
  DeviceMemory residual;
  DeviceMemory floats;

  Operands(Weight24 weight, const Shape& s, int most_tokens, cudaStream_t stream)
      : dense(size_t(s.m) * s.k, kRotated),
        zeros_in_place(size_t(s.m) * s.k),
        x(size_t(most_tokens) * s.k),
        y(size_t(most_tokens) * s.m * 4),
        residual(size_t(most_tokens) * s.m * 2),
        floats(size_t(std::max(most_tokens, s.m)) * 4) {
    const size_t count = size_t(s.m) * s.k;
    fill(weight, dense[0], count, 1, stream);
    dense.spread(stream);
    cuda(cudaMemcpyAsync(zeros_in_place.get(), dense[0], count, cudaMemcpyDeviceToDevice, stream));
    zero_two_of_four(zeros_in_place.get(), count, 5, stream);
    fill(weight, x.get(), size_t(most_tokens) * s.k, 9, stream);
    fill_bf16(residual.get(), size_t(most_tokens) * s.m, 1, 7, stream);
    fill_float(reinterpret_cast<float*>(floats.get()), size_t(std::max(most_tokens, s.m)), 0.5f, 1.5f, 8,
               stream);
    cuda(cudaStreamSynchronize(stream));
  }
};

struct Case {
  Weight24 weight;
  Shape shape;
  int tokens;
};

struct Peers {
  double dense_us = 0;          // the fastest
  double dense_default_us = 0;  // e4m3: of cuBLASLt's default sums
  double cusparselt_us = 0;     // 0: not there
};

double dense_time(const Case& c, const Operands& o, cudaDataType out, bool fast, cudaStream_t stream) {
  const bool integer = c.weight == Weight24::kInt8x8;
  const DenseProduct product(c.shape.m, c.tokens, c.shape.k, integer ? CUDA_R_8I : CUDA_R_8F_E4M3, out,
                             integer ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
                             out == CUDA_R_32I ? CUDA_R_32I : CUDA_R_32F, fast);
  return product.best_time(o.dense, o.x.get(), o.y.get(), std::max(4, o.dense.count()), kReplays, stream);
}

Peers measure_peers(const Case& c, const Operands& o, cudaStream_t stream) {
  Peers peers;
  if (c.weight == Weight24::kInt8x8) {
    peers.dense_default_us = peers.dense_us =
        std::min(dense_time(c, o, CUDA_R_32I, false, stream), dense_time(c, o, CUDA_R_8I, false, stream));
  } else {
    peers.dense_default_us = dense_time(c, o, CUDA_R_16BF, false, stream);
    peers.dense_us = std::min(peers.dense_default_us, dense_time(c, o, CUDA_R_16BF, true, stream));
  }
#ifdef PRUNE_CUSPARSELT
  const char* path = std::getenv("PRUNE_CUSPARSELT_LIBRARY");
  static const CusparseLtProduct library(path ? path : "");
  if (library.found()) {
    peers.cusparselt_us = library.time(
        c.shape.m, c.tokens, c.shape.k, c.weight == Weight24::kInt8x8 ? CUDA_R_8I : CUDA_R_8F_E4M3,
        CUDA_R_16BF, o.zeros_in_place.get(), o.x.get(), o.y.get(), kRotated, kReplays, stream);
  }
#endif
  return peers;
}

ProductCall call_of(const Case& c, const Operands& o, bool overlap, cudaStream_t stream) {
  return {Element::kBf16, c.tokens, o.x.get(), c.shape.k, o.y.get(), c.shape.m, overlap, stream};
}

double measure(const Case& c, const Weights24& weights, const GemmPlan& plan, const Epilogue& epilogue,
               bool overlap, const Operands& o, cudaStream_t stream) {
  const ProductCall call = call_of(c, o, overlap, stream);
  return time_graph(stream, std::max(4, weights.count()), kReplays,  // as many as its peers'
                    [&](int i) { must(gemm24(weights[i], plan, call, epilogue)); });
}

// Scales of tokens, a bias, silu and a residual.
Epilogue whole_epilogue(const Case& c, const Operands& o) {
  const float* floats = reinterpret_cast<const float*>(o.floats.get());
  return {floats, floats, Activation::kSilu, o.residual.get(), c.shape.m, false};
}

// "int8x8", "fp8x8", or "fp8x8-fast" where sums stay in the tensor cores to the end.
std::string case_name(const Case& c, bool fast_sums, const char* isa, const char* kernel) {
  char name[160];
  std::snprintf(name, sizeof name, "spmm_nm/%s%s/isa:%s/m:%d/k:%d/n:%d/sparsity:50/kernel:%s",
                name_of(c.weight), fast_sums ? "-fast" : "", isa, c.shape.m, c.shape.k, c.tokens, kernel);
  return name;
}

void add(JsonFile& json, const std::string& name, const Case& c, const Peers& peers, double us) {
  json.add({name,
            us,
            {{"speedup", peers.dense_us / us},  // to dense of the same type
             {"speedup_cusparselt", peers.cusparselt_us / us},
             {"GFLOP/s", 2e-3 * c.shape.m * c.shape.k * c.tokens / us}}});
}

// The kernel as the planner would have it, with the tensor cores' own sums or not; alone, with a whole
// epilogue, and overlapped.
void report_plan(const Case& c, const Peers& peers, const GemmPlan& plan, const Weights24& weights,
                 const Operands& o, JsonFile& json, cudaStream_t stream) {
  const double us = measure(c, weights, plan, {}, false, o, stream),
               epilogue_us = measure(c, weights, plan, whole_epilogue(c, o), false, o, stream),
               overlapped_us = measure(c, weights, plan, {}, true, o, stream);
  const std::string name = case_name(c, plan.fast_sums, "sm90a", "gemm24");
  add(json, name, c, peers, us);
  add(json, name + "/epilogue:1", c, peers, epilogue_us);
  add(json, name + "/overlap:1", c, peers, overlapped_us);
  std::printf(
      "%s%s %5d x %5d n %4d  dense %8.2f us (default sums %8.2f)  cuSPARSELt %8.2f us  2:4 %8.2f us "
      "%5.0f TFLOP/s %5.2fx %5.2fx  overlapped %8.2f  epilogue %8.2f  tile %d share %d split %d\n",
      name_of(c.weight), plan.fast_sums ? " fast" : "", c.shape.m, c.shape.k, c.tokens, peers.dense_us,
      peers.dense_default_us, peers.cusparselt_us, us, 2e-6 * c.shape.m * c.shape.k * c.tokens / us,
      peers.dense_us / us, peers.cusparselt_us / us, overlapped_us, epilogue_us, plan.tile_tokens, plan.share,
      plan.split);
  std::fflush(stdout);
}

// The kernel for older devices, and a dense one of its kind.
void report_mma(const Case& c, const Peers& peers, const Weights24& weights, const Operands& o,
                JsonFile& json, cudaStream_t stream) {
  const ProductCall call = call_of(c, o, false, stream);
  const double us = time_graph(stream, std::max(4, weights.count()), kReplays,
                               [&](int i) { must(gemm24_mma(weights[i], 128, call)); });
  const double dense_us = time_graph(stream, std::max(4, o.dense.count()), kReplays, [&](int i) {
    dense_mma_int8(c.shape.m, c.tokens, c.shape.k, o.dense[i], o.x.get(), o.y.get(), stream);
  });
  const double gflop = 2e-3 * c.shape.m * c.shape.k * c.tokens;
  json.add(
      {case_name(c, false, "sm80", "gemm24_mma"),
       us,
       {{"speedup", peers.dense_us / us}, {"speedup_dense_mma", dense_us / us}, {"GFLOP/s", gflop / us}}});
  std::printf(
      "mma.sp %s %5d x %5d n %4d  dense mma.sync %8.2f us  2:4 %8.2f us %5.0f TFLOP/s  %.2fx  cuBLASLt "
      "%.2fx\n",
      name_of(c.weight), c.shape.m, c.shape.k, c.tokens, dense_us, us, gflop / us * 1e-3, dense_us / us,
      peers.dense_us / us);
  std::fflush(stdout);
}

void report(const Case& c, const Weights24& weights, const Operands& o, const DeviceLimits& limits,
            JsonFile& json, cudaStream_t stream) {
  const Peers peers = measure_peers(c, o, stream);
  GemmPlan plan = plan_gemm24({c.weight, c.shape.m, c.shape.k, c.tokens}, limits);
  report_plan(c, peers, plan, weights, o, json, stream);
  if (c.weight == Weight24::kFp8x8) {
    plan.fast_sums = true;
    report_plan(c, peers, plan, weights, o, json, stream);
  } else if (c.tokens >= 1024 && c.tokens % 128 == 0) {
    report_mma(c, peers, weights, o, json, stream);
  }
}

void sweep(const Case& c, const Weights24& weights, const Operands& o, cudaStream_t stream) {
  for (const GemmPlan& p : gemm_candidates({c.weight, c.shape.m, c.shape.k, c.tokens})) {
    if (p.split > 4) continue;
    std::printf("sweep,%s,%d,%d,%d,%d,%d,%d,%.3f\n", name_of(c.weight), c.shape.m, c.shape.k, c.tokens,
                p.tile_tokens, p.share, p.split, measure(c, weights, p, {}, false, o, stream));
  }
  std::fflush(stdout);
}

void report_epilogues(const Case& c, const Weights24& weights, const Operands& o, const DeviceLimits& limits,
                      cudaStream_t stream) {
  const GemmPlan plan = plan_gemm24({c.weight, c.shape.m, c.shape.k, c.tokens}, limits);
  const Epilogue all = whole_epilogue(c, o);
  Epilogue bias, tokens, silu, gelu, residual;
  bias.bias = all.bias, tokens.token_scales = all.token_scales;
  silu.activation = Activation::kSilu, gelu.activation = Activation::kGelu;
  residual.residual = all.residual, residual.residual_stride = all.residual_stride;
  const std::pair<const char*, const Epilogue*> parts[] = {
      {"bias", &bias}, {"scales of tokens", &tokens}, {"silu", &silu},
      {"gelu", &gelu}, {"residual", &residual},       {"scales, bias, silu, residual", &all}};
  const double plain = measure(c, weights, plan, {}, false, o, stream);
  std::printf("%s %5d x %5d n %4d  no epilogue %8.2f us\n", name_of(c.weight), c.shape.m, c.shape.k, c.tokens,
              plain);
  for (const auto& [name, epilogue] : parts) {
    const double us = measure(c, weights, plan, *epilogue, false, o, stream);
    std::printf("  %-30s %8.2f us %5.2f\n", name, us, us / plain);
  }
  std::fflush(stdout);
}

void run(const Options& options) {
  JsonFile json(options.json, gpu_context());
  DeviceLimits limits;
  must(decode_limits(&limits));
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : options.shapes) {
    for (const Weight24 weight : {Weight24::kInt8x8, Weight24::kFp8x8}) {
      const Operands operands(weight, s, *std::max_element(options.tokens.begin(), options.tokens.end()),
                              stream);
      const Weights24 weights(weight, s, kRotated, stream);
      for (const int tokens : options.tokens) {
        if (options.sweep) {
          sweep({weight, s, tokens}, weights, operands, stream);
        } else if (options.epilogues) {
          report_epilogues({weight, s, tokens}, weights, operands, limits, stream);
        } else {
          report({weight, s, tokens}, weights, operands, limits, json, stream);
        }
      }
    }
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  using namespace prune::bench;
  return run_bench("gemm24_8bit_bench", [&] {
    Options options;
    options.shapes = shapes_of(argc, argv, kShapes);
    std::vector<int> tokens;
    for (int i = 1; i + 1 < argc; i += 2) {
      if (!std::strcmp(argv[i], "--json")) options.json = argv[i + 1];
      if (!std::strcmp(argv[i], "--sweep")) options.sweep = !std::strcmp(argv[i + 1], "yes");
      if (!std::strcmp(argv[i], "--epilogues")) options.epilogues = !std::strcmp(argv[i + 1], "yes");
      if (!std::strcmp(argv[i], "--tokens")) tokens.push_back(std::max(1, std::atoi(argv[i + 1])));
    }
    if (!tokens.empty()) options.tokens = tokens;
    run(options);
  });
}
