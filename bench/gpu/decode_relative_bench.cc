// Decode with relative indices against dense cuBLASLt: weights absent at random; weights rotated past the L2,
// graph replays, medians.
//   decode_relative_bench [--json FILE] [--shape OUTxIN]...
//   decode_relative_bench --sweep [--shape OUTxIN]...
//                                         1 and 8 lists and 8, 16 and 32 lanes a row, and what the planner
//                                         chooses
#include <memory>

#include "bench/gpu/random_rows.h"
#include "kernels/sparse/spmm_relative/decode_relative.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr int kReplays = 9;
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {1, 2, 4, 8};
constexpr int kSparsities[] = {50, 60, 70, 80, 90};

class Weights {
 public:
  Weights(const RandomRows& rows, int lists, cudaStream_t stream)
      : shape_(rows.shape()),
        lists_(lists),
        starts_((size_t(shape_.m) + 1) * 4, kRotated / 64),
        lengths_(size_t(shape_.m) * size_t(lists) * 2, kRotated / 64) {
    const DeviceMemory neutral(size_t(rows.count()) * 2), columns(size_t(rows.count()) * 4);
    rows.fill_values(neutral.get(), stream);
    auto* indices = reinterpret_cast<int32_t*>(columns.get());
    rows.list_columns(indices, stream);
    const NeutralCsr<const void, const int32_t> from{neutral.get(), indices, rows.offsets()};
    must(count_relative(from, {shape_.m, shape_.k, lists_, starts(), lengths()}, stream));
    uint32_t vectors;
    std::vector<uint16_t> lengths(size_t(shape_.m) * size_t(lists_));
    cuda(cudaMemcpyAsync(&vectors, starts() + shape_.m, 4, cudaMemcpyDeviceToHost, stream));
    cuda(cudaMemcpyAsync(lengths.data(), lengths_[0], lengths.size() * 2, cudaMemcpyDeviceToHost, stream));
    cuda(cudaStreamSynchronize(stream));
    for (const uint16_t length : lengths) read_ += length;
    values_ = std::make_unique<Rotation>(size_t(vectors) * 16, kRotated);
    codes_ = std::make_unique<Rotation>(size_t(vectors) * 4, kRotated / 4);
    must(pack_relative(from, (*this)[0], stream));
    starts_.spread(stream), lengths_.spread(stream), values_->spread(stream), codes_->spread(stream);
    cuda(cudaStreamSynchronize(stream));
  }
  int count() const { return values_->count(); }
  double bytes() const { return double(read_) * 20 + shape_.m * (4.0 + lists_ * 2.0); }
  MatrixRelative operator[](int i) const {
    return {shape_.m,
            shape_.k,
            lists_,
            starts(i),
            lengths(i),
            (*values_)[i],
            reinterpret_cast<const uint32_t*>((*codes_)[i])};
  }

 private:
  const uint32_t* starts(int i = 0) const { return reinterpret_cast<const uint32_t*>(starts_[i]); }

  const uint16_t* lengths(int i = 0) const { return reinterpret_cast<const uint16_t*>(lengths_[i]); }

  Shape shape_;
  int lists_;
  int64_t read_ = 0;  // vectors, without those that fill up lines
  Rotation starts_, lengths_;
  std::unique_ptr<Rotation> values_, codes_;
};

double time_lanes(const Weights& weights, int lanes, const ProductCall& call) {
  return time_graph(call.stream, std::max(16, 2 * weights.count()), kReplays,
                    [&](int i) { must(decode_relative(weights[i], lanes, call)); });
}

void sweep(const Shape& s, int sparsity, const Weights& weights, int tokens, const DensePeer& peer,
           cudaStream_t stream) {
  const ProductCall call{Element::kBf16, tokens, peer.x(), s.k, peer.y(), s.m, false, stream};
  std::printf("sweep %d%% %5d x %5d n %d  lists %d  chosen %2d;", sparsity, s.m, s.k, tokens,
              weights[0].lists, plan_decode_relative(weights[0], multiprocessors()));
  for (const int lanes : {8, 16, 32}) std::printf("  %2d %.2f us", lanes, time_lanes(weights, lanes, call));
  std::printf("\n");
  std::fflush(stdout);
}

void report(const Shape& s, int sparsity, const Weights& weights, int tokens, double dense_us,
            const DensePeer& peer, JsonFile& json, cudaStream_t stream) {
  std::printf("relative %d%%  %5d x %5d n %2d  dense %7.2f us  ", sparsity, s.m, s.k, tokens, dense_us);
  for (const bool overlap : {false, true}) {
    const ProductCall call{Element::kBf16, tokens, peer.x(), s.k, peer.y(), s.m, overlap, stream};
    const double us = time_lanes(weights, plan_decode_relative(weights[0], multiprocessors()), call);
    record({"spmm_bitmask", "decode_relative", s, tokens, sparsity, overlap, us, weights.bytes(), dense_us},
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
    const DensePeer peer(s, 8, kRotated, stream);
    double dense_us[std::size(kTokens)] = {};
    for (size_t i = 0; !sweeping && i < std::size(kTokens); ++i) dense_us[i] = peer.time(kTokens[i], stream);
    for (const int sparsity : kSparsities) {
      const RandomRows rows(s, 1 - sparsity / 100.0, stream);
      const Weights one(rows, 1, stream), eight(rows, 8, stream);
      for (size_t i = 0; i < std::size(kTokens); ++i) {
        if (sweeping) {
          for (const Weights* weights : {&one, &eight})
            sweep(s, sparsity, *weights, kTokens[i], peer, stream);
        } else {
          const Weights& weights = relative_lists_for(kTokens[i]) == 1 ? one : eight;
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
  return prune::bench::run_bench("decode_relative_bench", [&] {
    prune::bench::run(prune::bench::json_argument(argc, argv), argc >= 2 && std::string(argv[1]) == "--sweep",
                      prune::bench::shapes_of(argc, argv, prune::bench::kShapes));
  });
}
