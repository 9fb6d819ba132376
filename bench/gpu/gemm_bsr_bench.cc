// Block-sparse products of many tokens against dense cuBLASLt: half of the blocks, at random over the whole
// matrix; graph replays, medians.
//   gemm_bsr_bench [--json FILE] [--shape OUTxIN]...
#include <memory>

#include "bench/gpu/random_blocks.h"
#include "bench/gpu/random_rows.h"
#include "kernels/sparse/spmm_bsr/gemm_bsr.h"

namespace prune::bench {
namespace {

using namespace kernels::cuda;

constexpr size_t kRotated = 300u << 20;
constexpr double kDensity = 0.5;
constexpr int kReplays = 5;
constexpr Shape kShapes[] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}};
constexpr int kTokens[] = {256, 1024, 4096};
constexpr int kBlocks[] = {16, 32, 64, 128};

class Slabs {
 public:
  Slabs(const Shape& s, int block, cudaStream_t stream)
      : shape_(s),
        cluster_(slab_cluster(block)),
        step_starts_(groups() * 4 + 4),
        slab_starts_(blocks() * 4 + 4) {
    const BlockStructure structure(s, block, kDensity);
    const size_t count = structure.indices.size(), weights = count * size_t(block) * size_t(block);
    const DeviceMemory indices(count * 4), indptr(structure.indptr.size() * 8), values(weights * 2);
    cuda(cudaMemcpy(indices.get(), structure.indices.data(), count * 4, cudaMemcpyHostToDevice));
    cuda(cudaMemcpy(indptr.get(), structure.indptr.data(), structure.indptr.size() * 8,
                    cudaMemcpyHostToDevice));
    fill_bf16(values.get(), weights, 0.05f, 1, stream);
    const MatrixBsr matrix{s.m,
                           s.k,
                           block,
                           block,
                           reinterpret_cast<const int32_t*>(indices.get()),
                           reinterpret_cast<const int64_t*>(indptr.get()),
                           nullptr};
    must(count_slabs(matrix, (*this)[0], stream));
    steps_ = std::make_unique<DeviceMemory>(size_t(total(step_starts_, groups(), stream)) * 4);
    slab_count_ = total(slab_starts_, blocks(), stream);
    slabs_ = std::make_unique<Rotation>(size_t(slab_count_) * kSlabBytes, kRotated);
    must(pack_slabs(matrix, values.get(), (*this)[0], stream));
    slabs_->spread(stream);
    cuda(cudaStreamSynchronize(stream));
  }
  int count() const { return slabs_->count(); }
  // Of all slabs of the matrix.
  double share() const { return double(slab_count_) * kSlabRows * kSlabCols / (double(shape_.m) * shape_.k); }
  SlabsBsr operator[](int i) const {
    return {shape_.m,
            shape_.k,
            cluster_,
            reinterpret_cast<const uint32_t*>(step_starts_.get()),
            reinterpret_cast<const uint32_t*>(slab_starts_.get()),
            steps_ ? reinterpret_cast<const uint32_t*>(steps_->get()) : nullptr,
            slabs_ ? (*slabs_)[i] : nullptr};
  }

 private:
  size_t groups() const { return size_t(slab_groups(shape_.m, cluster_)); }
  size_t blocks() const { return groups() * size_t(cluster_); }
  static uint32_t total(const DeviceMemory& starts, size_t at, cudaStream_t stream) {
    uint32_t last = 0;
    cuda(cudaMemcpyAsync(&last, starts.get() + at * 4, 4, cudaMemcpyDeviceToHost, stream));
    cuda(cudaStreamSynchronize(stream));
    return last;
  }

  Shape shape_;
  int cluster_;
  DeviceMemory step_starts_, slab_starts_;
  uint32_t slab_count_ = 0;
  std::unique_ptr<DeviceMemory> steps_;
  std::unique_ptr<Rotation> slabs_;
};

void report(const Shape& s, int block, const Slabs& slabs, int tokens, double dense_us, const DensePeer& peer,
            int multiprocessors, JsonFile& json, cudaStream_t stream) {
  const int tile = tile_for_gemm_bsr(slabs[0], tokens, multiprocessors);
  const ProductCall call{Element::kBf16, tokens, peer.x(), s.k, peer.y(), s.m, false, stream};
  const double us = time_graph(stream, std::max(4, slabs.count()), kReplays,
                               [&](int i) { must(gemm_bsr(slabs[i], tile, call)); });
  char name[160];
  std::snprintf(name, sizeof name,
                "spmm_bsr/bf16/isa:sm90a/m:%d/k:%d/n:%d/sparsity:50/block:%dx%d/kernel:gemm_bsr", s.m, s.k,
                tokens, block, block);
  json.add({name,
            us,
            {{"speedup", dense_us / us},
             {"of_dense_rate", dense_us * kDensity / us},
             {"GFLOP/s", 2e-3 * s.m * s.k * tokens / us}}});
  std::printf(
      "blocks %3d  %5d x %5d n %4d  dense %8.2f us  ours %8.2f us (tile %3d, slabs %2.0f%%)  %5.2fx dense  "
      "%5.2f of dense time x density\n",
      block, s.m, s.k, tokens, dense_us, us, tile, 100 * slabs.share(), dense_us / us,
      dense_us * kDensity / us);
  std::fflush(stdout);
}

void run(const std::string& json_path, const std::vector<Shape>& shapes) {
  JsonFile json(json_path, gpu_context());
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  int device = 0, multiprocessors = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  for (const Shape& s : shapes) {
    const DensePeer peer(s, kTokens[std::size(kTokens) - 1], kRotated, stream);
    double dense_us[std::size(kTokens)];
    for (size_t i = 0; i < std::size(kTokens); ++i) dense_us[i] = peer.time(kTokens[i], stream);
    for (const int block : kBlocks) {
      const Slabs slabs(s, block, stream);
      for (size_t i = 0; i < std::size(kTokens); ++i)
        report(s, block, slabs, kTokens[i], dense_us[i], peer, multiprocessors, json, stream);
    }
  }
  cuda(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) {
  return prune::bench::run_bench("gemm_bsr_bench", [&] {
    prune::bench::run(prune::bench::json_argument(argc, argv),
                      prune::bench::shapes_of(argc, argv, prune::bench::kShapes));
  });
}
