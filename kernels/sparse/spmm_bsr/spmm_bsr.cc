#include "kernels/sparse/spmm_bsr/spmm_bsr.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/row_source.h"
#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_bsr/kernel.h"

namespace prune::kernels {
namespace {

// Rows of a chunk of work for many rows of X: enough to transpose whole vectors into Y.
constexpr int64_t kLeastChunkRows = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

struct Int8AsBf16 {
  uint16_t bits[256];
  constexpr Int8AsBf16() : bits() {
    for (int v = -128; v < 128; ++v)
      bits[static_cast<uint8_t>(v)] =
          static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(v)) >> 16);
  }
};
constexpr Int8AsBf16 kInt8AsBf16;

// How a kernel wants its strips: BsrFewKernel as values only, BsrTileKernel says.
struct StripForm {
  int64_t rows;
  WeightType stored;
  int32_t inputs_together = 1;
  int64_t head_bytes = 0;
  decltype(BsrTileKernel::begin) begin = nullptr;
};

// Blocks cut into strips: strip s of block row i holds rows s * strip_rows ... of its blocks, block after
// block, input after input, the strip's rows side by side.
class Strips {
 public:
  // Cuts nothing yet: cut() does, wherever the caller wants it. The arrays of `w` must outlive this.
  Strips(const BsrWeights& w, const StripForm& form)
      : weights_(w), form_(form), strips_per_block_(w.block_rows / form.rows) {}

  // Cuts everything and needs the arrays no more.
  void own() {
    indptr_.assign(weights_.indptr, weights_.indptr + block_rows() + 1);
    columns_.assign(weights_.indices, weights_.indices + indptr_.back());
    strips_ = Buffer(static_cast<size_t>(strip_bytes(0, block_rows())));
#pragma omp parallel for
    for (int64_t i = 0; i < block_rows(); ++i) cut(i, strips_.as<char>() + strip_bytes(0, i));
    weights_.indptr = indptr_.data();
    weights_.indices = columns_.data();
    weights_.values = nullptr;
  }

  int64_t count() const { return block_rows() * strips_per_block_; }
  int64_t block_rows() const { return weights_.rows / weights_.block_rows; }
  int64_t blocks(int64_t strip) const {
    return weights_.indptr[block_row(strip) + 1] - weights_.indptr[block_row(strip)];
  }
  const int32_t* columns(int64_t strip) const { return weights_.indices + weights_.indptr[block_row(strip)]; }
  // Bytes of the strips of block rows [first, end).
  int64_t strip_bytes(int64_t first, int64_t end) const {
    return (weights_.indptr[end] - weights_.indptr[first]) * strips_per_block_ * block_bytes() +
           (end - first) * strips_per_block_ * form_.head_bytes;
  }
  // From the beginning of all strips to the strip's.
  int64_t offset(int64_t strip) const {
    return strip_bytes(0, block_row(strip)) +
           strip % strips_per_block_ * (form_.head_bytes + blocks(strip) * block_bytes());
  }
  const char* data(int64_t strip) const { return strips_.as<char>() + offset(strip); }
  size_t bytes() const {
    return strips_.size() + columns_.size() * sizeof(int32_t) + indptr_.size() * sizeof(int64_t);
  }
  // Running total of blocks before each strip, for equal shares of work.
  std::vector<int64_t> costs() const {
    std::vector<int64_t> costs(static_cast<size_t>(count()) + 1);
    for (int64_t s = 0; s < count(); ++s) costs[s + 1] = costs[s] + blocks(s) + 1;
    return costs;
  }

  // The strips of block row i.
  void cut(int64_t i, char* to) const {
    for (int64_t s = 0; s < strips_per_block_; ++s) {
      char* strip = to;
      to += form_.head_bytes;
      for (int64_t b = weights_.indptr[i]; b < weights_.indptr[i + 1]; ++b, to += block_bytes())
        cut_block((b * weights_.block_rows + s * form_.rows) * weights_.block_cols, to);
      if (form_.begin != nullptr)
        form_.begin(strip, weights_.indptr[i + 1] - weights_.indptr[i], weights_.block_cols);
    }
  }

 private:
  // Of a strip.
  int64_t block_bytes() const { return form_.rows * weights_.block_cols * weight_bytes(form_.stored); }
  int64_t block_row(int64_t strip) const { return strip / strips_per_block_; }

  // A block's rows of one strip, whose weights begin at `first`.
  void cut_block(int64_t first, char* to) const {
    switch (weights_.type) {
      case WeightType::kF32:
        return cut_values(static_cast<const float*>(weights_.values) + first, to);
      case WeightType::kBf16:
        return cut_values(static_cast<const uint16_t*>(weights_.values) + first, to);
      case WeightType::kI8:
        return cut_values(static_cast<const int8_t*>(weights_.values) + first, to);
      case WeightType::kF16:
        return cut_values(static_cast<const Half*>(weights_.values) + first, to);
    }
  }
  template <class T>
  void cut_values(const T* from, char* to) const {
    const auto as_it_is = [](T w) { return w; };
    if constexpr (std::is_same_v<T, int8_t>) {
      if (form_.inputs_together == 4) return cut_as<4>(from, as_it_is, to);
      const auto as_bf16 = [](int8_t w) { return kInt8AsBf16.bits[static_cast<uint8_t>(w)]; };
      if (form_.inputs_together == 2) return cut_as<2>(from, as_bf16, to);
    }
    if constexpr (std::is_same_v<T, uint16_t>) {
      if (form_.inputs_together == 2) return cut_as<2>(from, as_it_is, to);
    }
    if (form_.stored == weights_.type) return cut_as<1>(from, as_it_is, to);
    cut_as<1>(
        from, [](T w) { return widen(w); }, to);
  }
  // As many inputs of a row beside each other. Strips are a multiple of four rows high.
  template <int Inputs, class T, class Convert>
  void cut_as(const T* from, Convert convert, char* to) const {
    constexpr int kRows = 4;
    const int64_t cols = weights_.block_cols;
    for (int64_t r = 0; r < form_.rows; r += kRows, from += kRows * cols) {
      auto* out = reinterpret_cast<decltype(convert(*from))*>(to) + r * Inputs;
      for (int64_t j = 0; j < cols; j += Inputs, out += form_.rows * Inputs) {
        for (int64_t q = 0; q < kRows; ++q) {
          for (int i = 0; i < Inputs; ++i) out[q * Inputs + i] = convert(from[q * cols + j + i]);
        }
      }
    }
  }

  BsrWeights weights_;
  StripForm form_;
  int64_t strips_per_block_;
  std::vector<int64_t> indptr_;  // these three are empty before own()
  std::vector<int32_t> columns_;
  Buffer strips_;
};

Strips cut_strips(const BsrWeights& w, const StripForm& form) {
  Strips strips(w, form);
  strips.own();
  return strips;
}

class BsrFew final : public FewRows {
 public:
  BsrFew(const BsrWeights& w, const BsrFewKernel& kernel)
      : BsrFew(w, kernel, cut_strips(w, {.rows = kernel.strip_rows, .stored = w.type})) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return strips_.bytes() + frame_bytes(); }

 private:
  BsrFew(const BsrWeights& w, const BsrFewKernel& kernel, Strips strips)
      : FewRows(w.rows, kernel.strip_rows, copy_row_scales(w), strips.costs()),
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
    kernel_.multiply(strips_.data(strip), strips_.columns(strip), strips_.blocks(strip), block_cols_,
                     static_cast<const float*>(x), x_stride(), n, sums);
  }

  const BsrFewKernel& kernel_;
  int64_t cols_;
  int64_t block_cols_;
  Strips strips_;
};

WeightType stored_type(const BsrTileKernel& kernel) {
  return kernel.inputs_together == 4   ? WeightType::kI8
         : kernel.inputs_together == 2 ? WeightType::kBf16
                                       : WeightType::kF32;
}

StripForm form_of(const BsrTileKernel& kernel) {
  return {kernel.strip_rows, stored_type(kernel), kernel.inputs_together, kernel.head_bytes, kernel.begin};
}

// A bf16 kernel would round float weights; bf16 and int8 weights it holds exactly. One in bytes rounds X,
// which the caller must want.
bool takes(const BsrTileKernel& kernel, const BsrWeights& w, const PrepareOptions& options) {
  if (w.block_rows % kernel.strip_rows != 0 || w.block_cols % kernel.inputs_together != 0) return false;
  if (w.block_cols % kernel.strip_inputs != 0) return false;
  if (options.kernel.empty() ? kernel.in_halves && !isa::works_in_halves() : options.kernel != kernel.name)
    return false;
  if (kernel.inputs_together == 4) {
    return w.type == WeightType::kI8 && w.cols <= kMostByteInputs &&
           (options.int8_inputs || !options.kernel.empty());
  }
  return kernel.inputs_together == 1 || fits_bf16(w.type);
}

// In place, a thread cuts a chunk for every batch; else all are cut once.
class BsrTiles final : public ManyRows {
 public:
  BsrTiles(const BsrWeights& w, const BsrTileKernel& kernel, bool in_place)
      : BsrTiles(w, kernel, Strips(w, form_of(kernel)), in_place) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return (in_place_ ? stored_bytes_ : strips_.bytes()) + frame_bytes(); }
  size_t own_bytes() const override { return strips_.bytes() + frame_bytes(); }
  bool is_in_place() const override { return in_place_; }

 private:
  BsrTiles(const BsrWeights& w, const BsrTileKernel& kernel, Strips strips, bool in_place)
      : ManyRows(w.rows, w.cols, round_up(kLeastChunkRows, w.block_rows), kernel.panel, copy_row_scales(w),
                 in_place ? most_bytes(strips, chunk_block_rows(w)) : 0),
        kernel_(kernel),
        block_cols_(w.block_cols),
        chunk_block_rows_(chunk_block_rows(w)),
        strips_per_block_(w.block_rows / kernel.strip_rows),
        in_place_(in_place),
        stored_bytes_(kernels::stored_bytes(w)),
        strips_(std::move(strips)) {
    if (!in_place) strips_.own();
  }

  static int64_t chunk_block_rows(const BsrWeights& w) {
    return round_up(kLeastChunkRows, w.block_rows) / w.block_rows;
  }
  static int64_t most_bytes(const Strips& strips, int64_t step) {
    int64_t most = 1;
    for (int64_t i = 0; i < strips.block_rows(); i += step)
      most = std::max(most, strips.strip_bytes(i, std::min(i + step, strips.block_rows())));
    return most;
  }
  int64_t end_of(int64_t chunk) const {
    return std::min((chunk + 1) * chunk_block_rows_, strips_.block_rows());
  }

  bool stages() const override { return in_place_; }
  void stage(int64_t chunk, int64_t, void* scratch) const override {
    const int64_t first = chunk * chunk_block_rows_;
    for (int64_t i = first; i < end_of(chunk); ++i)
      strips_.cut(i, static_cast<char*>(scratch) + strips_.strip_bytes(first, i));
  }
  void multiply(int64_t chunk, int64_t, const Panel& panel, float* tile, void* scratch) const override {
    const int64_t first = chunk * chunk_block_rows_ * strips_per_block_;
    const char* strips = in_place_ ? static_cast<const char*>(scratch) : strips_.data(first);
    for (int64_t s = first; s < end_of(chunk) * strips_per_block_; ++s) {
      kernel_.multiply(strips + strips_.offset(s) - strips_.offset(first), strips_.columns(s),
                       strips_.blocks(s), block_cols_, panel.data, panel.columns, tile);
      tile += kernel_.strip_rows * kernel_.panel.panel_columns;
    }
  }

  const BsrTileKernel& kernel_;
  int64_t block_cols_;
  int64_t chunk_block_rows_;
  int64_t strips_per_block_;
  bool in_place_;
  size_t stored_bytes_;
  Strips strips_;
};

}  // namespace

std::unique_ptr<const Layout> make_bsr_few(const BsrWeights& weights, const PrepareOptions& options) {
  if (weights.scale_group != 0) return nullptr;
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
  if (weights.scale_group != 0) return nullptr;
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
    if (!isa::runs_on(entry.needs, options.isa) || !takes(*entry.kernel, weights, options)) continue;
    const auto make = [&kernel = *entry.kernel, weights, in_place = options.in_place] {
      return std::make_unique<BsrTiles>(weights, kernel, in_place);
    };
    return options.in_place ? at_first_use(entry.kernel->name, make) : make();
  }
  return nullptr;
}

}  // namespace prune::kernels
