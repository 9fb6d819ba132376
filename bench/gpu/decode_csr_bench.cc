// CSR decode against dense cuBLASLt and against cuSPARSE: weights absent at random; weights rotated past the
// L2, graph replays, medians.
//   decode_csr_bench [--json FILE] [--shape OUTxIN]...
#include "bench/gpu/cusparse.h"
#include "bench/gpu/random_rows.h"
#include "kernels/sparse/spmm_csr/decode_csr.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr int kReplays = 9;
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {1, 8};
constexpr int kSparsities[] = {90, 95};

// The matrix in its neutral format and in the device's own, both rotated.
class Weights {
 public:
  Weights(const RandomRows& rows, cudaStream_t stream)
      : shape_(rows.shape()),
        count_(rows.count()),
        neutral_values_(size_t(count_) * 2, kRotated / 3),
        neutral_columns_(size_t(count_) * 4, 2 * kRotated / 3),
        starts_((size_t(shape_.m) + 1) * 4, kRotated / 64),
        values_(csr_vector_bytes(shape_.m, count_), kRotated / 2),
        columns_(csr_vector_bytes(shape_.m, count_), kRotated / 2) {
    rows.fill_values(neutral_values_[0], stream);
    rows.list_columns(reinterpret_cast<int32_t*>(neutral_columns_[0]), stream);
    must(pack_csr({neutral_values_[0], reinterpret_cast<const int32_t*>(neutral_columns_[0]), rows.offsets()},
                  (*this)[0], stream));
    for (const Rotation* r : {&neutral_values_, &neutral_columns_, &starts_, &values_, &columns_})
      r->spread(stream);
    cuda(cudaStreamSynchronize(stream));
  }
  int count() const { return values_.count(); }
  double bytes() const { return double(count_) * 4 + shape_.m * 4.0; }
  MatrixCsr operator[](int i) const {
    return {shape_.m, shape_.k, reinterpret_cast<const uint32_t*>(starts_[i]), values_[i], columns_[i]};
  }
  double cusparse_time(const CusparseProduct& product, const RandomRows& rows, int tokens,
                       const DensePeer& peer, cudaStream_t stream) const {
    return product.best_time(shape_.m, tokens, shape_.k, count_, rows.offsets_32(), neutral_columns_,
                             neutral_values_, peer.x(), peer.y(), kReplays, stream);
  }

 private:
  Shape shape_;
  int64_t count_;
  Rotation neutral_values_, neutral_columns_;
  Rotation starts_, values_, columns_;
};

void report(const Shape& s, int sparsity, const Weights& weights, int tokens, double dense_us,
            double cusparse_us, const DensePeer& peer, JsonFile& json, cudaStream_t stream) {
  std::printf("csr %d%%  %5d x %5d n %2d  dense %7.2f us  cuSPARSE %8.2f us  ", sparsity, s.m, s.k, tokens,
              dense_us, cusparse_us);
  for (const bool overlap : {false, true}) {
    const ProductCall call{Element::kBf16, tokens, peer.x(), s.k, peer.y(), s.m, overlap, stream};
    const double us = time_graph(stream, std::max(16, 2 * weights.count()), kReplays,
                                 [&](int i) { must(decode_csr(weights[i], call)); });
    char name[160];
    std::snprintf(name, sizeof name, "spmm_csr/bf16/isa:sm80/m:%d/k:%d/n:%d/sparsity:%d/kernel:decode_csr%s",
                  s.m, s.k, tokens, sparsity, overlap ? "/overlap:1" : "");
    json.add({name,
              us,
              {{"speedup", dense_us / us},
               {"to_cusparse", cusparse_us / us},
               {"GB/s", weights.bytes() / us / 1e3},
               {"GFLOP/s", 2e-3 * s.m * s.k * tokens / us}}});
    std::printf("%s %7.2f us %5.2f TB/s %5.2fx %5.2fx", overlap ? "   overlapped" : "", us,
                weights.bytes() / us / 1e6, dense_us / us, cusparse_us / us);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void run(const std::string& json_path, const std::vector<Shape>& shapes) {
  JsonFile json(json_path, gpu_context());
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  const CusparseProduct cusparse;
  if (!cusparse.found()) std::printf("cuSPARSE was not found: PRUNE_CUSPARSE_LIBRARY can name it\n");
  for (const Shape& s : shapes) {
    const DensePeer peer(s, 16, kRotated, stream);
    double dense_us[std::size(kTokens)];
    for (size_t i = 0; i < std::size(kTokens); ++i) dense_us[i] = peer.time(kTokens[i], stream);
    for (const int sparsity : kSparsities) {
      const RandomRows rows(s, 1 - sparsity / 100.0, stream);
      const Weights weights(rows, stream);
      for (size_t i = 0; i < std::size(kTokens); ++i) {
        const double peer_us =
            cusparse.found() ? weights.cusparse_time(cusparse, rows, kTokens[i], peer, stream) : NAN;
        report(s, sparsity, weights, kTokens[i], dense_us[i], peer_us, peer, json, stream);
      }
    }
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  return prune::bench::run_bench("decode_csr_bench", [&] {
    prune::bench::run(prune::bench::json_argument(argc, argv),
                      prune::bench::shapes_of(argc, argv, prune::bench::kShapes));
  });
}
