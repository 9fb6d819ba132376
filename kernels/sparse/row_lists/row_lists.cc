#include "kernels/sparse/row_lists/row_lists.h"

#include <algorithm>
#include <vector>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/threads.h"

namespace prune::kernels {
namespace {

// Panels packed at a time: enough to amortise a barrier, little enough to stay in a shared cache.
constexpr int64_t kPanelBudget = int64_t{8} << 20;
// Inputs packed per unit of parallel work.
constexpr int64_t kPackDepth = 256;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

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
    const int64_t row_bytes = int64_t{kernel_.panel_columns} * (kernel_.bf16 ? 2 : 4);
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

class RowLists final : public Layout {
 public:
  RowLists(const RowSource& source, const RowListsKernel& kernel)
      : kernel_(kernel), rows_(source.rows), cols_(source.cols), scales_(source.scales) {
    ListBuilder builder(source, kernel);
    for (int64_t r = 0; r < rows_; r += kListChunkRows) {
      chunks_.push_back({builder.counts.size(), builder.offsets.size(),
                         kernel.bf16 ? builder.pairs.size() : builder.floats.size()});
      builder.add_chunk(r);
    }
    counts_ = to_buffer(builder.counts);
    offsets_ = to_buffer(builder.offsets);
    values_ = kernel.bf16 ? to_buffer(builder.pairs) : to_buffer(builder.floats);
  }

  const char* kernel_name() const override { return kernel_.name; }

  size_t bytes() const override {
    return counts_.size() + offsets_.size() + values_.size() + chunks_.size() * sizeof(ChunkStart) +
           scales_.size() * sizeof(float);
  }

  size_t workspace_bytes(int64_t n, int threads) const override {
    return static_cast<size_t>(panels_at_once(n) * panel_bytes() + threads * tile_bytes());
  }

  void run(const Batch& batch, int threads, void* workspace) const override {
    char* panels = static_cast<char*>(workspace);
    const int64_t at_once = panels_at_once(batch.n);
    char* tiles = panels + at_once * panel_bytes();
    const int64_t width = panel_width(batch.n);
    const int64_t slabs = divide_up(cols_, kPackDepth);
    const int64_t chunks = static_cast<int64_t>(chunks_.size());
#pragma omp parallel num_threads(threads)
    {
      float* tile = reinterpret_cast<float*>(tiles + thread_index() * tile_bytes());
      for (int64_t c0 = 0; c0 < batch.n; c0 += at_once * width) {
        const int64_t count = std::min(at_once, divide_up(batch.n - c0, width));
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count * slabs; ++i) {
          pack(batch, c0 + i / slabs * width, i % slabs * kPackDepth, width,
               panels + i / slabs * panel_bytes());
        }
        // Chunks differ in cost and cores in speed, so threads take the next chunk when they are free.
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count * chunks; ++i) {
          multiply(batch, c0 + i / chunks * width, i % chunks, width, panels + i / chunks * panel_bytes(),
                   tile);
        }
      }
    }
  }

 private:
  struct ChunkStart {
    size_t counts, offsets, values;
  };

  int64_t element_bytes() const { return kernel_.bf16 ? 2 : 4; }
  int64_t panel_bytes() const {
    return round_up(cols_ * kernel_.panel_columns * element_bytes(), Buffer::kAlignment);
  }
  int64_t tile_bytes() const { return kListChunkRows * kernel_.panel_columns * int64_t{sizeof(float)}; }

  // Columns of each panel: as few panels as the kernel allows, of nearly equal width.
  int64_t panel_width(int64_t n) const {
    const int64_t panels = divide_up(n, kernel_.panel_columns);
    return std::min<int64_t>(round_up(divide_up(n, panels), kernel_.vector_columns), kernel_.panel_columns);
  }
  int64_t panels_at_once(int64_t n) const {
    const int64_t fit = std::max<int64_t>(1, kPanelBudget / std::max<int64_t>(1, panel_bytes()));
    return std::min(fit, divide_up(n, panel_width(n)));
  }

  void pack(const Batch& batch, int64_t column, int64_t k, int64_t width, char* panel) const {
    kernel_.pack(batch.x + column * batch.ldx + k, batch.ldx, std::min(width, batch.n - column),
                 std::min(kPackDepth, cols_ - k), panel + k * kernel_.panel_columns * element_bytes());
  }

  void multiply(const Batch& batch, int64_t column, int64_t chunk, int64_t width, const char* panel,
                float* tile) const {
    const int64_t row = chunk * kListChunkRows;
    const int64_t rows = std::min(kListChunkRows, rows_ - row);
    const int64_t columns = std::min(width, batch.n - column);
    const ChunkStart& start = chunks_[chunk];
    const ListStream stream{.counts = counts_.as<uint16_t>() + start.counts,
                            .offsets = offsets_.as<uint16_t>() + start.offsets,
                            .values = values_.as<uint32_t>() + start.values,
                            .groups = divide_up(rows, kernel_.group_rows),
                            .blocks = divide_up(cols_, kernel_.block_inputs)};
    if (stream.blocks == 0) std::fill(tile, tile + kListChunkRows * kernel_.panel_columns, 0.0f);
    kernel_.multiply(stream, panel, columns, tile);
    kernel_.store(tile, rows, columns, scales_.empty() ? nullptr : scales_.data() + row,
                  batch.bias == nullptr ? nullptr : batch.bias + row, batch.y + column * batch.ldy + row,
                  batch.ldy);
  }

  const RowListsKernel& kernel_;
  int64_t rows_;
  int64_t cols_;
  std::vector<float> scales_;
  std::vector<ChunkStart> chunks_;
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
