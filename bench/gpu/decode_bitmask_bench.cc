// Bitmask decode against dense cuBLASLt: weights absent at random; weights rotated past the L2, graph
// replays, medians.
//   decode_bitmask_bench [--json FILE] [--shape OUTxIN]...
//   decode_bitmask_bench --sweep          all plans, the best first, and where the planner's choice stands
#include "bench/gpu/random_rows.h"
#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr int kReplays = 9;
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {1, 2, 4, 8, 16};
constexpr int kSparsities[] = {50, 60, 70, 80};

class Weights {
 public:
  Weights(const RandomRows& rows, cudaStream_t stream)
      : shape_(rows.shape()),
        bytes_(double(rows.count()) * 2 + double(bitmask_panels(shape_.m, shape_.k)) * 260),
        masks_(size_t(bitmask_panels(shape_.m, shape_.k)) * 256, kRotated),
        starts_((size_t(bitmask_panels(shape_.m, shape_.k)) + 1) * 4, kRotated / 64),
        values_(bitmask_value_bytes(shape_.m, shape_.k, rows.count()), kRotated) {
    const DeviceMemory neutral(size_t(rows.count()) * 2), most(4);
    rows.fill_values(neutral.get(), stream);
    must(pack_bitmask({neutral.get(), rows.bits(), rows.offsets()}, (*this)[0],
                      reinterpret_cast<int*>(most.get()), stream));
    masks_.spread(stream), starts_.spread(stream), values_.spread(stream);
    cuda(cudaMemcpyAsync(&most_, most.get(), 4, cudaMemcpyDeviceToHost, stream));
    cuda(cudaStreamSynchronize(stream));
  }
  int count() const { return values_.count(); }
  double bytes() const { return bytes_; }
  MatrixBitmask operator[](int i) const {
    return {shape_.m, shape_.k, most_, masks_[i], reinterpret_cast<const uint32_t*>(starts_[i]), values_[i]};
  }

 private:
  Shape shape_;
  double bytes_;
  int most_ = 0;
  Rotation masks_;
  Rotation starts_;
  Rotation values_;
};

double time_plan(const Weights& weights, const DecodeBitmaskPlan& plan, const ProductCall& call) {
  return time_graph(call.stream, std::max(16, 2 * weights.count()), kReplays,
                    [&](int i) { must(decode_bitmask(weights[i], plan, call)); });
}

void sweep(const Shape& s, int sparsity, const Weights& weights, int tokens, const DensePeer& peer,
           cudaStream_t stream) {
  const ProductCall call{Element::kBf16, tokens, peer.x(), s.k, peer.y(), s.m, false, stream};
  std::vector<std::pair<double, DecodeBitmaskPlan>> timed;
  for (const DecodeBitmaskPlan& plan : decode_bitmask_candidates())
    timed.emplace_back(time_plan(weights, plan, call), plan);
  std::sort(timed.begin(), timed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const DecodeBitmaskPlan chosen = plan_decode_bitmask(weights[0], tokens, multiprocessors());
  std::printf("sweep %d%% %5d x %5d n %2d  chosen %d,%d %.2f us;", sparsity, s.m, s.k, tokens, chosen.strips,
              chosen.column_warps, time_plan(weights, chosen, call));
  for (size_t i = 0; i < 7; ++i)
    std::printf(" %d,%d %.2f", timed[i].second.strips, timed[i].second.column_warps, timed[i].first);
  std::printf("\n");
  std::fflush(stdout);
}

void report(const Shape& s, int sparsity, const Weights& weights, int tokens, double dense_us,
            const DensePeer& peer, JsonFile& json, cudaStream_t stream) {
  std::printf("bitmask %d%%  %5d x %5d n %2d  dense %7.2f us  ", sparsity, s.m, s.k, tokens, dense_us);
  for (const bool overlap : {false, true}) {
    const ProductCall call{Element::kBf16, tokens, peer.x(), s.k, peer.y(), s.m, overlap, stream};
    const double us = time_plan(weights, plan_decode_bitmask(weights[0], tokens, multiprocessors()), call);
    record({"spmm_bitmask", "decode_bitmask", s, tokens, sparsity, overlap, us, weights.bytes(), dense_us},
           json);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void run(const std::string& json_path, bool sweeping, const std::vector<Shape>& shapes) {
  JsonFile json(json_path, gpu_context());
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : shapes) {
    const DensePeer peer(s, 16, kRotated, stream);
    double dense_us[std::size(kTokens)] = {};
    for (size_t i = 0; !sweeping && i < std::size(kTokens); ++i) dense_us[i] = peer.time(kTokens[i], stream);
    for (const int sparsity : kSparsities) {
      const RandomRows rows(s, 1 - sparsity / 100.0, stream);
      const Weights weights(rows, stream);
      for (size_t i = 0; i < std::size(kTokens); ++i) {
        if (sweeping) {
          if (sparsity != 60) sweep(s, sparsity, weights, kTokens[i], peer, stream);
        } else {
          report(s, sparsity, weights, kTokens[i], dense_us[i], peer, json, stream);
        }
      }
    }
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  return prune::bench::run_bench("decode_bitmask_bench", [&] {
    prune::bench::run(prune::bench::json_argument(argc, argv), argc == 2 && std::string(argv[1]) == "--sweep",
                      prune::bench::shapes_of(argc, argv, prune::bench::kShapes));
  });
}
