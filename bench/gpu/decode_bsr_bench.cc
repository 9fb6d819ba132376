// Block-sparse decode against dense cuBLASLt: half of the blocks, at random over the whole matrix; weights
// rotated past the L2, graph replays, medians.
//   decode_bsr_bench [--json FILE] [--shape OUTxIN]...
#include "bench/gpu/cublaslt.h"
#include "bench/gpu/random_blocks.h"
#include "bench/gpu/weights24.h"
#include "kernels/sparse/spmm_bsr/decode_bsr.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr int kReplays = 9;
constexpr double kDensity = 0.5;
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}};
constexpr int kTokens[] = {1, 8, 16};
constexpr int kBlocks[] = {16, 32, 64, 128};

// Random blocks in GPU memory.
class Blocks {
 public:
  Blocks(const Shape& s, int block, cudaStream_t stream)
      : Blocks(s, block, BlockStructure(s, block, kDensity), stream) {}
  int count() const { return fragments_.count(); }
  double bytes() const { return bytes_; }
  MatrixBsr operator[](int i) const {
    return {shape_.m,
            shape_.k,
            block_,
            block_,
            reinterpret_cast<const int32_t*>(indices_.get()),
            reinterpret_cast<const int64_t*>(indptr_.get()),
            fragments_[i]};
  }

 private:
  Blocks(const Shape& s, int block, const BlockStructure& structure, cudaStream_t stream)
      : shape_(s),
        block_(block),
        bytes_(double(structure.indices.size()) * block * block * 2 + double(structure.indices.size()) * 4),
        indices_(structure.indices.size() * 4),
        indptr_(structure.indptr.size() * 8),
        fragments_(structure.indices.size() * size_t(block) * block * 2, kRotated) {
    cuda(cudaMemcpy(indices_.get(), structure.indices.data(), structure.indices.size() * 4,
                    cudaMemcpyHostToDevice));
    cuda(cudaMemcpy(indptr_.get(), structure.indptr.data(), structure.indptr.size() * 8,
                    cudaMemcpyHostToDevice));
    fill_bf16(fragments_[0], structure.indices.size() * size_t(block) * block, 0.05f, 1, stream);
    fragments_.spread(stream);
    cuda(cudaStreamSynchronize(stream));
  }

  Shape shape_;
  int block_;
  double bytes_;
  DeviceMemory indices_;
  DeviceMemory indptr_;
  Rotation fragments_;
};

void report(const Shape& s, int block, const Blocks& blocks, int tokens, double dense_us, const void* x,
            void* y, JsonFile& json, cudaStream_t stream) {
  std::printf("blocks %3d  %5d x %5d n %2d  dense %7.2f us  ", block, s.m, s.k, tokens, dense_us);
  for (const bool overlap : {false, true}) {
    const ProductCall call{Element::kBf16, tokens, x, s.k, y, s.m, overlap, stream};
    const double us = time_graph(stream, std::max(16, 2 * blocks.count()), kReplays,
                                 [&](int i) { must(decode_bsr(blocks[i], call)); });
    char name[160];
    std::snprintf(name, sizeof name,
                  "spmm_bsr/bf16/isa:sm80/m:%d/k:%d/n:%d/sparsity:50/block:%dx%d/kernel:decode_bsr%s", s.m,
                  s.k, tokens, block, block, overlap ? "/overlap:1" : "");
    json.add({name,
              us,
              {{"speedup", dense_us / us},
               {"GB/s", blocks.bytes() / us / 1e3},
               {"GFLOP/s", 2e-3 * s.m * s.k * tokens / us}}});
    std::printf("%s %7.2f us %5.2f TB/s %5.2fx", overlap ? "   overlapped" : "", us,
                blocks.bytes() / us / 1e6, dense_us / us);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void run(const std::string& json_path, const std::vector<Shape>& shapes) {
  JsonFile json(json_path, gpu_context());
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const Shape& s : shapes) {
    const Rotation dense(size_t(s.m) * s.k * 2, kRotated);
    fill_bf16(dense[0], size_t(s.m) * s.k, 0.05f, 1, stream);
    dense.spread(stream);
    const DeviceMemory x(size_t(16) * s.k * 2), y(size_t(16) * s.m * 2);
    fill_bf16(x.get(), size_t(16) * s.k, 1, 9, stream);
    double dense_us[std::size(kTokens)];
    for (size_t i = 0; i < std::size(kTokens); ++i) {
      const DenseProduct product(s.m, kTokens[i], s.k);
      dense_us[i] =
          product.best_time(dense, x.get(), y.get(), std::max(16, 2 * dense.count()), kReplays, stream);
    }
    for (const int block : kBlocks) {
      const Blocks blocks(s, block, stream);
      for (size_t i = 0; i < std::size(kTokens); ++i)
        report(s, block, blocks, kTokens[i], dense_us[i], x.get(), y.get(), json, stream);
    }
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  return prune::bench::run_bench("decode_bsr_bench", [&] {
    prune::bench::run(prune::bench::json_argument(argc, argv),
                      prune::bench::shapes_of(argc, argv, prune::bench::kShapes));
  });
}
