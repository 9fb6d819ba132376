// 2:4 decode against dense cuBLASLt, weights rotated past the L2, graph replays, medians.
//   decode24_bench [--json FILE] [--shape OUTxIN]... [--sweep FILE [--plans COUNT]] [--weight NAME] [--once
//   "WEIGHT M K N"]
// --sweep measures the first plans, 72 of them or COUNT, and writes one line each, with its times alone and
// overlapped: what the planner's cost model is fitted to. --weight measures bf16, int8 or int4 alone. --once
// launches one case three times (WEIGHT 0: bf16, 1: int8, 2: int4), for a profiler.
#include <cuda_bf16.h>

#include <charconv>
#include <cstring>

#include "bench/gpu/cublaslt.h"
#include "bench/gpu/weights24.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr int kReplays = 9;

constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {1, 8, 16, 32, 64};

struct Case {
  Weight24 weight;
  Shape shape;
  int tokens;
  double dense_us;
};

double measure(const Case& c, const Weights24& weights, const DecodePlan& plan, bool overlap, const void* x,
               void* y, int replays, cudaStream_t stream) {
  const int calls = std::max(16, 2 * weights.count());
  const ProductCall call{Element::kBf16, c.tokens, x, c.shape.k, y, c.shape.m, overlap, stream};
  return time_graph(stream, calls, replays, [&](int i) { must(decode24(weights[i], plan, call)); });
}

void sweep(const Case& c, const Weights24& weights, const DeviceLimits& limits, const void* x, void* y,
           std::FILE* out, int plans, cudaStream_t stream) {
  int measured = 0;
  for (const DecodePlan& p : decode_candidates({c.weight, c.shape.m, c.shape.k, c.tokens}, limits)) {
    if (measured++ == plans) break;
    const double alone = measure(c, weights, p, false, x, y, 3, stream),
                 overlapped = measure(c, weights, p, true, x, y, 3, stream);
    std::fprintf(out, "%s,%d,%d,%d,%.3f,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%.3f,%.3f\n", name_of(c.weight),
                 c.shape.m, c.shape.k, c.tokens, c.dense_us, p.clusters, p.split, p.share, p.row_warps,
                 p.col_warps, p.depth, p.panel_tiles, p.panels, p.prefetch, p.copy, alone, overlapped);
  }
  std::fflush(out);
}

void report(const Case& c, const Weights24& weights, const DeviceLimits& limits, const void* x, void* y,
            JsonFile& json, cudaStream_t stream) {
  const DecodePlan plan = plan_decode24({c.weight, c.shape.m, c.shape.k, c.tokens}, limits);
  const double bytes = double(stream_bytes24(c.weight, c.shape.m, c.shape.k));
  for (const bool overlap : {false, true}) {
    const double us = measure(c, weights, plan, overlap, x, y, kReplays, stream);
    char name[160];
    std::snprintf(name, sizeof name, "spmm_nm/%s/isa:sm90a/m:%d/k:%d/n:%d/sparsity:50/kernel:decode24%s",
                  name_of(c.weight), c.shape.m, c.shape.k, c.tokens, overlap ? "/overlap:1" : "");
    json.add({name,
              us,
              {{"speedup", c.dense_us / us},
               {"GB/s", bytes / us / 1e3},
               {"GFLOP/s", 2e-3 * c.shape.m * c.shape.k * c.tokens / us}}});
    std::printf("%s%8.2f us %5.2f TB/s %5.2fx", overlap ? "   overlapped" : "", us, bytes / us / 1e6,
                c.dense_us / us);
  }
  std::printf("   clusters %d x %d x %d, warps %d x %d, depth %d x %d, panels %d of %d, prefetch %d\n",
              plan.clusters, plan.split, plan.share, plan.row_warps, plan.col_warps, plan.depth, plan.copy,
              plan.panels, plan.panel_tiles, plan.prefetch);
  std::fflush(stdout);
}

void run(const std::string& json_path, const std::string& sweep_path, int plans, const std::string& only,
         const std::vector<Shape>& shapes) {
  JsonFile json(json_path, gpu_context());
  std::FILE* sweep_file = sweep_path.empty() ? nullptr : std::fopen(sweep_path.c_str(), "w");
  DeviceLimits limits;
  must(decode_limits(&limits));
  std::printf("clusters of 1, 2, 4, 8 that run at once: %d %d %d %d; shared memory %d\n", limits.clusters[0],
              limits.clusters[1], limits.clusters[2], limits.clusters[3], limits.shared_bytes);
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : shapes) {
    const size_t dense_bytes = size_t(s.m) * s.k * 2;
    const Rotation dense(dense_bytes, kRotated);
    fill_bf16(dense[0], size_t(s.m) * s.k, 0.05f, 1, stream);
    dense.spread(stream);
    const DeviceMemory x(size_t(64) * s.k * 2), y(size_t(64) * s.m * 2);
    fill_bf16(x.get(), size_t(64) * s.k, 1, 9, stream);
    double dense_us[std::size(kTokens)];
    for (size_t i = 0; i < std::size(kTokens); ++i) {
      const DenseProduct product(s.m, kTokens[i], s.k);
      dense_us[i] =
          product.best_time(dense, x.get(), y.get(), std::max(16, 2 * dense.count()), kReplays, stream);
      char name[128];
      std::snprintf(name, sizeof name, "dense/cublaslt/bf16/m:%d/k:%d/n:%d", s.m, s.k, kTokens[i]);
      json.add({name, dense_us[i], {{"GB/s", double(dense_bytes) / dense_us[i] / 1e3}}});
    }
    for (const Weight24 weight : {Weight24::k16, Weight24::kInt8, Weight24::kInt4}) {
      if (!only.empty() && only != name_of(weight)) continue;
      const Weights24 weights(weight, s, kRotated, stream);
      for (size_t i = 0; i < std::size(kTokens); ++i) {
        const Case c{weight, s, kTokens[i], dense_us[i]};
        std::printf("%-4s %5d x %5d n %2d  dense %7.2f us   2:4 ", name_of(weight), s.m, s.k, c.tokens,
                    c.dense_us);
        report(c, weights, limits, x.get(), y.get(), json, stream);
        if (sweep_file && c.tokens <= (weight == Weight24::k16 ? 32 : 16)) {
          sweep(c, weights, limits, x.get(), y.get(), sweep_file, plans, stream);
        }
      }
    }
  }
  cuda(cudaStreamDestroy(stream));
  if (sweep_file) std::fclose(sweep_file);
}

void once(const std::string& text) {
  int weight = 0;
  Case c{Weight24::k16, {}, 0, 1};
  if (std::sscanf(text.c_str(), "%d %d %d %d", &weight, &c.shape.m, &c.shape.k, &c.tokens) != 4)
    throw std::runtime_error("--once WEIGHT M K N");
  c.weight = Weight24(weight);
  DeviceLimits limits;
  must(decode_limits(&limits));
  const Weights24 weights(c.weight, c.shape, kRotated, nullptr);
  const DeviceMemory x(size_t(64) * c.shape.k * 2), y(size_t(64) * c.shape.m * 2);
  fill_bf16(x.get(), size_t(64) * c.shape.k, 1, 9, nullptr);
  const DecodePlan plan = plan_decode24({c.weight, c.shape.m, c.shape.k, c.tokens}, limits);
  const ProductCall call{Element::kBf16, c.tokens, x.get(), c.shape.k, y.get(), c.shape.m, false, nullptr};
  for (int i = 0; i < 3; ++i) must(decode24(weights[i], plan, call));
  cuda(cudaDeviceSynchronize());
}

bool is_weight(const std::string& name) {
  return name == name_of(Weight24::k16) || name == name_of(Weight24::kInt8) ||
         name == name_of(Weight24::kInt4);
}

// A whole number of 1 and more, or 0.
int count_of(const std::string& text) {
  int count = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), count);
  return fault == std::errc() && end == text.data() + text.size() && count > 0 ? count : 0;
}

int refuse(const char* option, const std::string& value, const char* expected) {
  std::fprintf(stderr, "decode24_bench: %s %s: expected %s\n", option, value.c_str(), expected);
  return 2;
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  using namespace prune::bench;
  std::string json, sweep, once_text, weight, plans = "72";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--json")) json = argv[i + 1];
    if (!std::strcmp(argv[i], "--sweep")) sweep = argv[i + 1];
    if (!std::strcmp(argv[i], "--weight")) weight = argv[i + 1];
    if (!std::strcmp(argv[i], "--plans")) plans = argv[i + 1];
    if (!std::strcmp(argv[i], "--once")) once_text = argv[i + 1];
  }
  if (!weight.empty() && !is_weight(weight)) return refuse("--weight", weight, "bf16, int8 or int4");
  if (count_of(plans) == 0) return refuse("--plans", plans, "a number of plans, 1 or more");
  return run_bench("decode24_bench", [&] {
    if (!once_text.empty()) {
      once(once_text);
    } else {
      run(json, sweep, count_of(plans), weight, shapes_of(argc, argv, kShapes));
    }
  });
}
