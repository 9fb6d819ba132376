// Passes over dense weights in GPU memory, beside a copy of them: magnitude 2:4 selection with packing, and
// transposable masks. Bytes are those read and written once.
//   passes_bench [--json FILE]
#include "bench/gpu/random_rows.h"
#include "kernels/sparse/cuda/pack24.h"
#include "kernels/sparse/cuda/transposable.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr int kReplays = 9;
constexpr Shape kShapes[] = {{4096, 4096}, {8192, 8192}, {28672, 8192}};

void report(const Shape& s, const char* pass, double us, double bytes, double copy_rate, JsonFile& json) {
  char name[160];
  std::snprintf(name, sizeof name, "%s/bf16/isa:sm80/m:%d/k:%d", pass, s.m, s.k);
  const double rate = bytes / us;
  json.add({name, us, {{"GB/s", rate / 1e3}, {"of_copy", rate / copy_rate}}});
  std::printf("%-22s %5d x %5d  %8.2f us  %5.2f TB/s  %4.2f of a copy's\n", pass, s.m, s.k, us, rate / 1e6,
              rate / copy_rate);
  std::fflush(stdout);
}

void run(const std::string& json_path) {
  JsonFile json(json_path, gpu_context());
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : kShapes) {
    const size_t weights = size_t(s.m) * s.k;
    const Rotation dense(weights * 2, kRotated), to(weights * 2 + weights / 4, kRotated);
    const DeviceMemory refused(8);
    fill_bf16(dense[0], weights, 0.05f, 1, stream);
    dense.spread(stream);
    const int calls = std::max(8, dense.count());
    const auto time = [&](const auto& pass) { return time_graph(stream, calls, kReplays, pass); };
    const double copy_us = time([&](int i) {
      cuda(cudaMemcpyAsync(to[i], dense[i], weights * 2, cudaMemcpyDeviceToDevice, stream));
    });
    const double copy_rate = double(weights) * 4 / copy_us;
    report(s, "copy", copy_us, double(weights) * 4, copy_rate, json);
    const double pack_us = time([&](int i) {
      must(pack24_dense(Choose24::kMagnitude, s.m, s.k, dense[i], s.k, to[i],
                        reinterpret_cast<uint64_t*>(refused.get()), stream));
    });
    report(s, "pack24_magnitude", pack_us, double(weights) * (2 + 1.125), copy_rate, json);
    const double mask_us = time([&](int i) {
      must(transposable_mask(Element::kBf16, s.m, s.k, dense[i], s.k, to[i], nullptr, stream));
    });
    report(s, "transposable_mask", mask_us, double(weights) * (2 + 0.125), copy_rate, json);
    const double prune_us = time([&](int i) {
      must(transposable_mask(Element::kBf16, s.m, s.k, dense[i], s.k, to[i] + weights * 2, to[i], stream));
    });
    report(s, "transposable_prune", prune_us, double(weights) * (4 + 0.125), copy_rate, json);
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  return prune::bench::run_bench("passes_bench",
                                 [&] { prune::bench::run(prune::bench::json_argument(argc, argv)); });
}
