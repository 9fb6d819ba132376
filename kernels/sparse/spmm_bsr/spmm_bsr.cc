#include "kernels/sparse/spmm_bsr/spmm_bsr.h"

#include <algorithm>
#include <cstring>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/row_source.h"
#include "kernels/sparse/spmm_bsr/kernel.h"

namespace prune::kernels {
namespace {

// Rows of a chunk of work for many rows of X: enough to transpose whole vectors into Y.
constexpr int64_t kLeastChunkRows = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Blocks cut into strips: strip s of block row i holds rows s * strip_rows ... of its blocks, block after
// block, input after input, the strip's rows side by side.
class Strips {
 public:
  Strips(const BsrWeights& w, int64_t strip_rows, WeightType stored, bool pairs)
      : strip_rows_(strip_rows),
        strips_per_block_(w.block_rows / strip_rows),
        block_cols_(w.block_cols),
        stored_(stored),
        indptr_(w.indptr, w.indptr + w.rows / w.block_rows + 1),
        columns_(w.indices, w.indices + indptr_.back()),
        values_(indptr_.back() * w.block_rows * w.block_cols * weight_bytes(stored)) {
#pragma omp parallel for
    for (int64_t i = 0; i < w.rows / w.block_rows; ++i) {
      int64_t first = indptr_[static_cast<size_t>(i)] * w.block_rows * w.block_cols;
      for (int64_t s = 0; s < strips_per_block_; ++s) {
        for (int64_t b = indptr_[i]; b < indptr_[i + 1]; ++b) {
          for (int64_t j = 0; j < w.block_cols; ++j) {
            for (int64_t r = 0; r < strip_rows; ++r) {
              const int64_t from = (b * w.block_rows + s * strip_rows + r) * w.block_cols + j;
              const int64_t to = pairs ? (j / 2 * strip_rows + r) * 2 + j % 2 : j * strip_rows + r;
              store_weight(values_.as<void>(), stored, first + to, load_weight(w.values, w.type, from));
            }
          }
          first += strip_rows * w.block_cols;
        }
      }
    }
  }

  int64_t count() const { return (static_cast<int64_t>(indptr_.size()) - 1) * strips_per_block_; }
  int64_t blocks(int64_t strip) const { return indptr_[block_row(strip) + 1] - indptr_[block_row(strip)]; }
  const int32_t* columns(int64_t strip) const { return columns_.data() + indptr_[block_row(strip)]; }
  const void* values(int64_t strip) const {
    const int64_t i = block_row(strip), s = strip % strips_per_block_;
    const int64_t block = indptr_[i] * strips_per_block_ + s * blocks(strip);
    return values_.as<char>() + block * strip_rows_ * block_cols_ * weight_bytes(stored_);
  }
  size_t bytes() const {
    return values_.size() + columns_.size() * sizeof(int32_t) + indptr_.size() * sizeof(int64_t);
  }
  // Running total of blocks before each strip, for equal shares of work.
  std::vector<int64_t> costs() const {
    std::vector<int64_t> costs(static_cast<size_t>(count()) + 1);
    for (int64_t s = 0; s < count(); ++s) costs[s + 1] = costs[s] + blocks(s) + 1;
    return costs;
  }

 private:
  int64_t block_row(int64_t strip) const { return strip / strips_per_block_; }

  int64_t strip_rows_;
  int64_t strips_per_block_;
  int64_t block_cols_;
  WeightType stored_;
  std::vector<int64_t> indptr_;
  std::vector<int32_t> columns_;
  Buffer values_;
};

std::vector<float> copy_scales(const Weights& w) {
  return w.scales == nullptr ? std::vector<float>{} : std::vector<float>(w.scales, w.scales + w.rows);
}

class BsrFew final : public FewRows {
 public:
  BsrFew(const BsrWeights& w, const BsrFewKernel& kernel)
      : BsrFew(w, kernel, Strips(w, kernel.strip_rows, w.type, /*pairs=*/false)) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return strips_.bytes() + frame_bytes(); }

 private:
  BsrFew(const BsrWeights& w, const BsrFewKernel& kernel, Strips strips)
      : FewRows(w.rows, kernel.strip_rows, copy_scales(w), strips.costs()),
        kernel_(kernel),
        cols_(w.cols),
        block_cols_(w.block_cols),
        strips_(std::move(strips)) {}

  // A line more than a row takes: rows a power of two apart would meet in the same sets of the cache.
  int64_t x_stride() const {
    constexpr int64_t kLine = Buffer::kAlignment / sizeof(float);
    return round_up(cols_, kLine) + kLine;
  }
  size_t packed_x_bytes() const override { return x_stride() * sizeof(float); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    std::memcpy(packed + i * packed_x_bytes(), x, cols_ * sizeof(float));
  }

  void multiply(int64_t strip, const void* x, int64_t n, float* sums) const override {
    kernel_.multiply(strips_.values(strip), strips_.columns(strip), strips_.blocks(strip), block_cols_,
                     static_cast<const float*>(x), x_stride(), n, sums);
  }

  const BsrFewKernel& kernel_;
  int64_t cols_;
  int64_t block_cols_;
  Strips strips_;
};

class BsrTiles final : public ManyRows {
 public:
  BsrTiles(const BsrWeights& w, const BsrTileKernel& kernel)
      : ManyRows(w.rows, w.cols, round_up(kLeastChunkRows, w.block_rows), kernel.panel, copy_scales(w)),
        kernel_(kernel),
        block_cols_(w.block_cols),
        chunk_strips_(round_up(kLeastChunkRows, w.block_rows) / kernel.strip_rows),
        strips_(w, kernel.strip_rows, kernel.bf16 ? WeightType::kBf16 : WeightType::kF32, kernel.bf16) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return strips_.bytes() + frame_bytes(); }

 private:
  void multiply(int64_t chunk, const void* panel, int64_t columns, float* tile, void*) const override {
    const int64_t first = chunk * chunk_strips_, end = std::min(first + chunk_strips_, strips_.count());
    for (int64_t s = first; s < end; ++s, tile += kernel_.strip_rows * kernel_.panel.panel_columns) {
      kernel_.multiply(strips_.values(s), strips_.columns(s), strips_.blocks(s), block_cols_, panel, columns,
                       tile);
    }
  }

  const BsrTileKernel& kernel_;
  int64_t block_cols_;
  int64_t chunk_strips_;
  Strips strips_;
};

}  // namespace

std::unique_ptr<const Layout> make_bsr_few(const BsrWeights& weights, const PrepareOptions& options) {
  static const struct {
    const BsrFewKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_BSR_TILE_KERNEL(name, needs)
#define PRUNE_BSR_FEW_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/spmm_bsr/kernels.inc"
#undef PRUNE_BSR_TILE_KERNEL
#undef PRUNE_BSR_FEW_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || entry.kernel->type != weights.type) continue;
    if (weights.block_rows % entry.kernel->strip_rows != 0) continue;
    if (!options.kernel.empty() && options.kernel != entry.kernel->name) continue;
    return std::make_unique<BsrFew>(weights, *entry.kernel);
  }
  return nullptr;
}

std::unique_ptr<const Layout> make_bsr_tiles(const BsrWeights& weights, const PrepareOptions& options) {
  static const struct {
    const BsrTileKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_BSR_TILE_KERNEL(name, needs) {&name, needs},
#define PRUNE_BSR_FEW_KERNEL(name, needs)
#include "kernels/sparse/spmm_bsr/kernels.inc"
#undef PRUNE_BSR_TILE_KERNEL
#undef PRUNE_BSR_FEW_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || weights.block_rows % entry.kernel->strip_rows != 0)
      continue;
    // A bf16 kernel would round float weights; bf16 and int8 weights it holds exactly.
    if (entry.kernel->bf16 && (weights.type == WeightType::kF32 || weights.block_cols % 2 != 0)) continue;
    if (!options.kernel.empty() && options.kernel != entry.kernel->name) continue;
    return std::make_unique<BsrTiles>(weights, *entry.kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
