#include "kernels/sparse/expand/expand.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/sparse/expand/kernel.h"
#include "kernels/sparse/row_source.h"

namespace prune::kernels {
namespace {

int64_t row_bytes(const Weights& w) { return w.cols * weight_bytes(expanded_type(w)); }
const char* value_at(const Weights& w, int64_t i) {
  return static_cast<const char*>(w.values) + i * weight_bytes(w.type);
}
char* row_at(void* out, const Weights& w, int64_t i) { return static_cast<char*>(out) + i * row_bytes(w); }

// Formats whose rows are lists of columns, and N:M other than 2:4.
void scatter_rows(const Weights& w, const RowSource& source, int64_t first, int64_t count, void* out) {
  const WeightType type = expanded_type(w);
#pragma omp parallel
  {
    std::vector<int32_t> columns(static_cast<size_t>(w.cols));
    std::vector<float> values(static_cast<size_t>(w.cols));
#pragma omp for
    for (int64_t i = 0; i < count; ++i) {
      char* row = row_at(out, w, i);
      std::memset(row, 0, static_cast<size_t>(row_bytes(w)));
      const int64_t stored = source.decode(first + i, columns.data(), values.data());
      for (int64_t t = 0; t < stored; ++t) store_weight(row, type, columns[t], values[t]);
    }
  }
}

// A row of whole numbers in bf16 as floats, times the scales of its groups.
void scale_row(const Weights& w, int64_t r, const uint16_t* row, float* out) {
  for (int64_t first = 0; first < w.cols; first += w.scale_group) {
    const float scale = group_scale(w, r, first);
    const int64_t end = std::min(w.cols, first + w.scale_group);
    for (int64_t k = first; k < end; ++k) out[k] = std::bit_cast<float>(uint32_t{row[k]} << 16) * scale;
  }
}

// Row r by its bitmask; `scratch` has room for a row in bf16 where groups have scales.
void expand_row(const Weights& w, const ExpandKernel& kernel, int64_t r, const uint8_t* mask,
                const void* values, void* out, std::vector<uint16_t>& scratch) {
  if (w.scale_group == 0) return kernel.expand_row(mask, values, w.cols, out);
  scratch.resize(static_cast<size_t>(w.cols));
  kernel.expand_row(mask, values, w.cols, scratch.data());
  scale_row(w, r, scratch.data(), static_cast<float*>(out));
}

// One row of a block to its place in a row of W.
void widen_run(const Weights& w, int64_t from, int32_t count, char* row, int64_t column) {
  if (w.type == expanded_type(w.type)) {
    std::memcpy(row + column * weight_bytes(w.type), value_at(w, from),
                static_cast<size_t>(count * weight_bytes(w.type)));
    return;
  }
  for (int32_t c = 0; c < count; ++c) {
    store_weight(row, expanded_type(w.type), column + c, load_weight(w.values, w.type, from + c));
  }
}

uint32_t widen_bits(uint32_t value) { return value; }
uint16_t widen_bits(uint16_t value) { return value; }
uint16_t widen_bits(int8_t value) { return exact_bf16(value); }

// The first `present` rows of a group, in the order in which its places lie. `out` is all zeros.
template <class Stored, class Out>
void scatter_group(const WindowsWeights& w, int64_t group, int64_t tail, int64_t present, Out* out) {
  const auto* all = static_cast<const Stored*>(w.values);
  const Stored* values = all + group * places_of_group(w);
  const uint8_t* columns = w.columns + group * places_of_group(w);
  for (int64_t pair = 0; pair < window_pairs(w); ++pair) {
    for (int64_t step = 0; step < w.steps; ++step) {
      for (int64_t lane = 0; lane < 2 * kWindowRows; ++lane, ++values, ++columns) {
        const int64_t r = lane % kWindowRows;
        if (*values == 0 || r >= present) continue;
        out[r * w.cols + pair * kWindowPair + lane / kWindowRows * kWindow + *columns] = widen_bits(*values);
      }
    }
  }
  const Stored* tails = all + window_groups(w) * places_of_group(w);
  for (int64_t r = 0; r < present; ++r) {
    const int64_t end = tail + w.tail_counts[group * kWindowRows + r];
    for (; tail < end; ++tail) out[r * w.cols + w.tail_columns[tail]] = widen_bits(tails[tail]);
  }
}

template <class Stored, class Out>
void scatter_groups(const WindowsWeights& w, int64_t first, int64_t count, Out* out) {
  const std::vector<int64_t> tails = tail_starts(w);
#pragma omp parallel for
  for (int64_t i = 0; i < count; i += kWindowRows) {
    const int64_t group = (first + i) / kWindowRows, present = std::min(kWindowRows, count - i);
    std::memset(out + i * w.cols, 0, static_cast<size_t>(present * w.cols) * sizeof(Out));
    scatter_group<Stored>(w, group, tails[static_cast<size_t>(group)], present, out + i * w.cols);
  }
}

}  // namespace

const ExpandKernel& choose_expand_kernel(WeightType type, uint32_t isa) {
  static const struct {
    const ExpandKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_EXPAND_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/expand/kernels.inc"
#undef PRUNE_EXPAND_KERNEL
  };
  const ExpandKernel* chosen = nullptr;
  for (const auto& entry : kKernels) {
    if (entry.kernel->type != type || !isa::runs_on(entry.needs, isa)) continue;
    chosen = entry.kernel;
    break;
  }
  return *chosen;  // the generic ones run everywhere
}

void expand(const NmWeights& w, int64_t first, int64_t count, void* out, uint32_t isa) {
  if (w.keep != 2 || w.group != 4) return scatter_rows(w, read_rows(w), first, count, out);
  const ExpandKernel& kernel = choose_expand_kernel(w.type, isa);
  const int64_t index_bytes = nm_row_bytes(w.cols, w.keep, w.group), mask_bytes = (w.cols + 7) / 8;
#pragma omp parallel
  {
    std::vector<uint8_t> masks(static_cast<size_t>(mask_bytes));
    std::vector<uint16_t> scratch;
#pragma omp for
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* indices = w.indices + (first + i) * index_bytes;
      kernel.nm24_masks(indices, mask_bytes, masks.data());
      // Half a byte of indices at the end of a row is an index pair of zeros: no group.
      if (w.cols % 8 != 0) masks.back() &= 0x0f;
      expand_row(w, kernel, first + i, masks.data(), value_at(w, (first + i) * w.cols / 2), row_at(out, w, i),
                 scratch);
    }
  }
}

void expand(const BitmaskWeights& w, int64_t first, int64_t count, void* out, uint32_t isa) {
  const ExpandKernel& kernel = choose_expand_kernel(w.type, isa);
  const int64_t mask_bytes = (w.cols + 7) / 8;
#pragma omp parallel
  {
    std::vector<uint16_t> scratch;
#pragma omp for
    for (int64_t i = 0; i < count; ++i) {
      const int64_t r = first + i;
      expand_row(w, kernel, r, w.bitmask + r * mask_bytes, value_at(w, w.row_offsets[r]), row_at(out, w, i),
                 scratch);
    }
  }
}

void expand(const CsrWeights& w, int64_t first, int64_t count, void* out, uint32_t) {
  scatter_rows(w, read_rows(w), first, count, out);
}

void expand(const WindowsWeights& w, int64_t first, int64_t count, void* out, uint32_t) {
  if (w.scale_group != 0 || w.type == WeightType::kF16)
    return scatter_rows(w, read_rows(w), first, count, out);
  if (w.type == WeightType::kF32)
    return scatter_groups<uint32_t>(w, first, count, static_cast<uint32_t*>(out));
  if (w.type == WeightType::kBf16)
    return scatter_groups<uint16_t>(w, first, count, static_cast<uint16_t*>(out));
  scatter_groups<int8_t>(w, first, count, static_cast<uint16_t*>(out));
}

void expand(const BsrWeights& w, int64_t first, int64_t count, void* out, uint32_t) {
  if (w.scale_group != 0) return scatter_rows(w, read_rows(w), first, count, out);
#pragma omp parallel for
  for (int64_t strip = first / w.block_rows; strip < (first + count) / w.block_rows; ++strip) {
    const int64_t top = strip * w.block_rows - first;
    std::memset(row_at(out, w, top), 0, static_cast<size_t>(w.block_rows * row_bytes(w)));
    for (int64_t b = w.indptr[strip]; b < w.indptr[strip + 1]; ++b) {
      for (int32_t r = 0; r < w.block_rows; ++r) {
        widen_run(w, (b * w.block_rows + r) * w.block_cols, w.block_cols, row_at(out, w, top + r),
                  int64_t{w.indices[b]} * w.block_cols);
      }
    }
  }
}

}  // namespace prune::kernels
