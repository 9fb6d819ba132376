#include "kernels/sparse/row_lists/row_lists.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/buffer.h"

namespace prune::kernels {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Collects the lists of one chunk of rows after another.
class ListBuilder {
 public:
  ListBuilder(const RowSource& source, const RowListsKernel& kernel)
      : source_(source),
        kernel_(kernel),
        columns_(static_cast<size_t>(kListChunkRows), std::vector<int32_t>(source.cols)),
        weights_(static_cast<size_t>(kListChunkRows), std::vector<float>(source.cols)),
        lists_(size_t{1} << kernel.group_rows) {}

  std::vector<uint16_t> counts, offsets;
  std::vector<float> floats;
  std::vector<uint32_t> pairs;

  void add_chunk(int64_t first_row) {
    const int64_t rows = std::min(kListChunkRows, source_.rows - first_row);
    for (int64_t r = 0; r < kListChunkRows; ++r) {
      ends_[r] = r < rows ? source_.decode(first_row + r, columns_[r].data(), weights_[r].data()) : 0;
      cursors_[r] = 0;
    }
    const int64_t groups = divide_up(rows, kernel_.group_rows);
    for (int64_t k0 = 0; k0 < source_.cols; k0 += kernel_.block_inputs) {
      for (int64_t g = 0; g < groups; ++g) add_group(g * kernel_.group_rows, k0);
    }
  }

 private:
  struct Entry {
    int64_t k;
    float weights[4];  // of the rows in the pattern, ascending
  };

  // Sorts the inputs k0 .. k0 + block_inputs - 1 of one group of rows into the lists of their patterns.
  void add_group(int64_t first, int64_t k0) {
    for (auto& list : lists_) list.clear();
    const int64_t end = std::min<int64_t>(k0 + kernel_.block_inputs, source_.cols);
    for (int64_t k = k0; k < end; ++k) {
      Entry entry{k - k0, {}};
      uint32_t pattern = 0;
      int kept = 0;
      for (int32_t r = 0; r < kernel_.group_rows; ++r) {
        int64_t& cursor = cursors_[first + r];
        if (cursor == ends_[first + r] || columns_[first + r][cursor] != k) continue;
        const float weight = weights_[first + r][cursor++];
        if (weight == 0.0f) continue;  // stored to fill a group or a block
        entry.weights[kept++] = weight;
        pattern |= 1u << r;
      }
      if (pattern != 0) lists_[pattern].push_back(entry);
    }
    for (size_t pattern = 1; pattern < lists_.size(); ++pattern) {
      append(lists_[pattern], __builtin_popcount(static_cast<uint32_t>(pattern)));
    }
  }

  void append(const std::vector<Entry>& list, int kept) {
    const int64_t row_bytes = int64_t{kernel_.panel.panel_columns} * kernel_.panel.input_bytes;
    if (!kernel_.bf16) {
      counts.push_back(static_cast<uint16_t>(list.size()));
      for (const Entry& e : list) {
        offsets.push_back(static_cast<uint16_t>(e.k * row_bytes));
        floats.insert(floats.end(), e.weights, e.weights + kept);
      }
      return;
    }
    // Two inputs an entry; an odd one out is paired with itself, its second weight zero.
    counts.push_back(static_cast<uint16_t>((list.size() + 1) / 2));
    for (size_t i = 0; i < list.size(); i += 2) {
      const Entry& a = list[i];
      const bool paired = i + 1 < list.size();
      const Entry& b = paired ? list[i + 1] : a;
      offsets.push_back(static_cast<uint16_t>(a.k * row_bytes));
      offsets.push_back(static_cast<uint16_t>(b.k * row_bytes));
      for (int r = 0; r < kept; ++r) {
        const uint32_t high = paired ? exact_bf16(b.weights[r]) : 0u;
        pairs.push_back(exact_bf16(a.weights[r]) | high << 16);
      }
    }
  }

  const RowSource& source_;
  const RowListsKernel& kernel_;
  std::vector<std::vector<int32_t>> columns_;
  std::vector<std::vector<float>> weights_;
  int64_t cursors_[kListChunkRows] = {};
  int64_t ends_[kListChunkRows] = {};
  std::vector<std::vector<Entry>> lists_;
};

template <class T>
Buffer to_buffer(const std::vector<T>& items) {
  Buffer buffer(items.size() * sizeof(T));
  std::copy(items.begin(), items.end(), buffer.as<T>());
  return buffer;
}

class RowLists final : public ManyRows {
 public:
  RowLists(const RowSource& source, const RowListsKernel& kernel)
      : ManyRows(source.rows, source.cols, kListChunkRows, kernel.panel, source.scales),
        kernel_(kernel),
        rows_(source.rows),
        blocks_(divide_up(source.cols, kernel.block_inputs)) {
    ListBuilder builder(source, kernel);
    for (int64_t r = 0; r < rows_; r += kListChunkRows) {
      starts_.push_back({builder.counts.size(), builder.offsets.size(),
                         kernel.bf16 ? builder.pairs.size() : builder.floats.size()});
      builder.add_chunk(r);
    }
    counts_ = to_buffer(builder.counts);
    offsets_ = to_buffer(builder.offsets);
    values_ = kernel.bf16 ? to_buffer(builder.pairs) : to_buffer(builder.floats);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return counts_.size() + offsets_.size() + values_.size() + starts_.size() * sizeof(ChunkStart) +
           frame_bytes();
  }

 private:
  struct ChunkStart {
    size_t counts, offsets, values;
  };

  void multiply(int64_t chunk, const void* panel, int64_t columns, float* tile) const override {
    const ChunkStart& start = starts_[chunk];
    const int64_t rows = std::min(kListChunkRows, rows_ - chunk * kListChunkRows);
    const ListStream stream{.counts = counts_.as<uint16_t>() + start.counts,
                            .offsets = offsets_.as<uint16_t>() + start.offsets,
                            .values = values_.as<uint32_t>() + start.values,
                            .groups = divide_up(rows, kernel_.group_rows),
                            .blocks = blocks_};
    // The first block sets the tile; without inputs there is none.
    if (blocks_ == 0) std::fill_n(tile, kListChunkRows * kernel_.panel.panel_columns, 0.0f);
    kernel_.multiply(stream, panel, columns, tile);
  }

  const RowListsKernel& kernel_;
  int64_t rows_;
  int64_t blocks_;
  std::vector<ChunkStart> starts_;
  Buffer counts_, offsets_, values_;
};

}  // namespace

const RowListsKernel* choose_row_lists_kernel(WeightType type, const PrepareOptions& options) {
  static const struct {
    const RowListsKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_ROW_LISTS_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/row_lists/kernels.inc"
#undef PRUNE_ROW_LISTS_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa)) continue;
    // A bf16 kernel would round float weights; bf16 and int8 weights it holds exactly.
    if (entry.kernel->bf16 && type == WeightType::kF32) continue;
    if (options.kernel.empty() || options.kernel == entry.kernel->name) return entry.kernel;
  }
  return nullptr;
}

std::unique_ptr<const Layout> make_row_lists(const RowSource& source, const RowListsKernel& kernel) {
  return std::make_unique<RowLists>(source, kernel);
}

}  // namespace prune::kernels
