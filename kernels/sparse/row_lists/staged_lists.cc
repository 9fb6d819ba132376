#include "kernels/sparse/row_lists/staged_lists.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/row_lists/row_lists.h"
#include "kernels/sparse/row_lists/stager.h"
#include "kernels/sparse/row_lists/stored_rows.h"
#include "kernels/sparse/simd/widen.h"

namespace prune::kernels {
namespace {

// Which of the kernels is best depends on how many weights stay, which the arrays say when they are read;
// they are not before the layout runs.
constexpr double kSupposedDensity = 0.2;

template <class Reader>
class StagedLists final : public ManyRows {
 public:
  template <class W>
  StagedLists(const W& weights, const RowListsKernel& kernel)
      : StagedLists(Reader(weights), weights, kernel, stored_bytes(weights)) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return stored_bytes_; }
  size_t own_bytes() const override { return frame_bytes() + reader_.own_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  using T = typename Reader::Value;

  StagedLists(Reader reader, const Weights& w, const RowListsKernel& kernel, size_t stored_bytes)
      : ManyRows(w.rows, w.cols, kChunkRows, kernel.panel, copy_row_scales(w),
                 ChunkMemory(sizes_of(reader, w, kernel)).bytes()),
        reader_(std::move(reader)),
        rows_(w.rows),
        cols_(w.cols),
        sizes_(sizes_of(reader_, w, kernel)),
        stored_bytes_(stored_bytes),
        kernel_(kernel) {}

  static ChunkSizes sizes_of(const Reader& reader, const Weights& w, const RowListsKernel& kernel) {
    int64_t most = 0;
    for (int64_t r = 0; r < w.rows; r += kChunkRows)
      most = std::max(most, reader.stored_before(std::min(r + kChunkRows, w.rows)) - reader.stored_before(r));
    // Lists of a pair and block are as long as the longer one, in whole steps.
    const int64_t pairs = kChunkRows / 2 * divide_up(w.cols, kernel.block_inputs);
    return {Reader::kDecodesColumns ? most + kReadSlack : 0, Reader::kDecodesValues ? most : 0, pairs,
            2 * most + 8 * pairs};
  }

  int64_t rows_in(int64_t chunk) const { return std::min(kChunkRows, rows_ - chunk * kChunkRows); }

  bool stages() const override { return true; }
  void stage(int64_t chunk, int64_t, void* scratch) const override {
    const ChunkMemory memory(sizes_, scratch);
    std::array<Piece<T>, kChunkRows> left;
    int64_t decoded = 0;
    for (int64_t r = 0; r < rows_in(chunk); ++r) {
      left[r] = reader_.read(chunk * kChunkRows + r, memory.columns + decoded, memory.weights + decoded);
      if (Reader::kDecodesColumns) decoded += left[r].count;
    }
    // The last row's partner, where it has none, is empty.
    const int64_t rows = round_up(rows_in(chunk), 2);
    if (rows > rows_in(chunk)) left[rows - 1] = {nullptr, nullptr, 0};
    if (kernel_.bf16)
      Stager<T, Bf16Entry>(kernel_, cols_, memory).stage(left, rows);
    else
      Stager<T, FloatEntry>(kernel_, cols_, memory).stage(left, rows);
  }

  void multiply(int64_t chunk, int64_t, const Panel& panel, float* tile, void* scratch) const override {
    const ChunkMemory memory(sizes_, scratch);
    const int64_t blocks = divide_up(cols_, kernel_.block_inputs);
    // The first block sets the tile; without inputs there is none.
    if (blocks == 0) std::fill_n(tile, kChunkRows * kernel_.panel.panel_columns, 0.0F);
    kernel_.multiply({.pairs = memory.pairs,
                      .offsets = memory.offsets,
                      .values = memory.values,
                      .pair_count = divide_up(rows_in(chunk), 2),
                      .blocks = blocks},
                     panel.data, panel.columns, tile);
  }

  Reader reader_;
  int64_t rows_;
  int64_t cols_;
  ChunkSizes sizes_;
  size_t stored_bytes_;
  const RowListsKernel& kernel_;
};

template <class Reader, class W>
std::unique_ptr<const Layout> make(const W& weights, const PrepareOptions& options) {
  // As read_rows() says.
  const bool is_float = weights.scale_group != 0 || !fits_bf16(weights.type);
  const RowListsKernel* kernel =
      choose_row_lists_kernel(is_float ? WeightType::kF32 : weights.type, kSupposedDensity, options);
  if (kernel == nullptr) return nullptr;
  return at_first_use(kernel->name, [=] { return std::make_unique<StagedLists<Reader>>(weights, *kernel); });
}

// Of values that may be read where they lie.
template <template <class> class Reader, class W>
std::unique_ptr<const Layout> make_of_type(const W& weights, const PrepareOptions& options) {
  if (weights.scale_group != 0) return make<SourceReader<W>>(weights, options);
  switch (weights.type) {
    case WeightType::kF32:
      return make<Reader<float>>(weights, options);
    case WeightType::kBf16:
      return make<Reader<uint16_t>>(weights, options);
    case WeightType::kI8:
      return make<Reader<int8_t>>(weights, options);
    case WeightType::kF16:
      return make<Reader<Half>>(weights, options);
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<const Layout> make_staged_lists(const CsrWeights& weights, const PrepareOptions& options) {
  return make_of_type<CsrReader>(weights, options);
}
std::unique_ptr<const Layout> make_staged_lists(const NmWeights& weights, const PrepareOptions& options) {
  if (weights.keep == 2 && weights.group == 4) return make_of_type<Nm24Reader>(weights, options);
  return make<SourceReader<NmWeights>>(weights, options);
}
std::unique_ptr<const Layout> make_staged_lists(const BitmaskWeights& weights,
                                                const PrepareOptions& options) {
  return make_of_type<BitmaskReader>(weights, options);
}
std::unique_ptr<const Layout> make_staged_lists(const WindowsWeights& weights,
                                                const PrepareOptions& options) {
  return make<SourceReader<WindowsWeights>>(weights, options);
}

}  // namespace prune::kernels
