#include "kernels/sparse/row_lists/row_lists.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
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
        per_entry_(kernel.bf16 ? 2 : 1),
        columns_(static_cast<size_t>(kListChunkRows), std::vector<int32_t>(source.cols)),
        weights_(static_cast<size_t>(kListChunkRows), std::vector<float>(source.cols)),
        block_(kListChunkRows),
        lists_(kListChunkRows / 2) {}

  std::vector<ListPair> pairs;
  std::vector<uint16_t> offsets;
  std::vector<uint32_t> values;

  void add_chunk(int64_t first_row) {
    const int64_t rows = std::min(kListChunkRows, source_.rows - first_row);
    for (int64_t r = 0; r < kListChunkRows; ++r) {
      ends_[r] = r < rows ? source_.decode(first_row + r, columns_[r].data(), weights_[r].data()) : 0;
      cursors_[r] = 0;
    }
    for (int64_t k0 = 0; k0 < source_.cols; k0 += kernel_.block_inputs) add_block(k0, divide_up(rows, 2));
  }

 private:
  // A weight that stays, of input k of the block.
  struct Weight {
    int64_t k;
    float value;
  };
  struct Shared {
    int64_t k;
    float values[2];
  };
  struct Lists {
    ListPair pair;
    std::vector<Shared> shared;
    std::vector<Weight> single[2];
  };

  void add_block(int64_t k0, int64_t pair_count) {
    const int64_t rows = 2 * pair_count, end = k0 + kernel_.block_inputs;
    uint8_t order[kListChunkRows];
    for (int64_t r = 0; r < rows; ++r) {
      order[r] = static_cast<uint8_t>(r);
      block_[r].clear();
      for (int64_t& c = cursors_[r]; c < ends_[r] && columns_[r][c] < end; ++c) {
        // A zero is stored to fill a group or a block.
        if (weights_[r][c] != 0.0f) block_[r].push_back({columns_[r][c] - k0, weights_[r][c]});
      }
    }
    match_rows(order, rows);
    for (int64_t i = 0; i < pair_count; ++i) split_pair(order[2 * i], order[2 * i + 1], lists_[i]);
    std::stable_sort(lists_.begin(), lists_.begin() + pair_count, [](const Lists& a, const Lists& b) {
      return std::pair(a.pair.shared, a.pair.single) > std::pair(b.pair.shared, b.pair.single);
    });
    for (int64_t i = 0; i < pair_count; ++i) append(lists_[i]);
  }

  // Puts rows two and two: those with most weights choose first, a partner that wants many of the same
  // inputs, and about as many.
  void match_rows(uint8_t* order, int64_t rows) {
    std::stable_sort(order, order + rows,
                     [&](uint8_t a, uint8_t b) { return block_[a].size() > block_[b].size(); });
    for (int64_t r = 0; r < rows; ++r) {
      wanted_[r] = {};
      for (const Weight& w : block_[r]) wanted_[r][w.k / 64] |= uint64_t{1} << w.k % 64;
    }
    for (int64_t i = 0; i + 2 < rows; i += 2) {
      uint8_t* best = std::max_element(order + i + 1, order + rows, [&](uint8_t a, uint8_t b) {
        return gain(order[i], a) < gain(order[i], b);
      });
      std::rotate(order + i + 1, best, best + 1);
    }
  }

  // Of two rows, the first with at least as many weights. What the second lacks is filled with zeros, which
  // costs more than a shared input gains.
  int64_t gain(uint8_t row0, uint8_t row1) const {
    int64_t shared = 0;
    for (size_t i = 0; i < kWantedWords; ++i) shared += std::popcount(wanted_[row0][i] & wanted_[row1][i]);
    return shared - 2 * static_cast<int64_t>(block_[row0].size() - block_[row1].size());
  }

  void split_pair(uint8_t row0, uint8_t row1, Lists& lists) const {
    const std::vector<Weight>&a = block_[row0], &b = block_[row1];
    lists.shared.clear();
    lists.single[0].clear();
    lists.single[1].clear();
    for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
      if (j == b.size() || (i < a.size() && a[i].k < b[j].k)) {
        lists.single[0].push_back(a[i++]);
      } else if (i == a.size() || b[j].k < a[i].k) {
        lists.single[1].push_back(b[j++]);
      } else {
        lists.shared.push_back({a[i].k, {a[i].value, b[j].value}});
        ++i, ++j;
      }
    }
    // What does not fill a step is single for both.
    const size_t step = 2 * static_cast<size_t>(per_entry_);
    while (lists.shared.size() % step != 0) {
      const Shared& last = lists.shared.back();
      for (int r = 0; r < 2; ++r) lists.single[r].push_back({last.k, last.values[r]});
      lists.shared.pop_back();
    }
    const size_t most = std::max(lists.single[0].size(), lists.single[1].size());
    lists.pair = {.rows = {row0, row1},
                  .shared = static_cast<uint8_t>(lists.shared.size() / step),
                  .single = static_cast<uint8_t>((most + step - 1) / step)};
    for (int r = 0; r < 2; ++r) fill(lists.single[r], lists.pair.single * step, lists.single[1 - r]);
  }

  // Zero weights, of an input that the row or its partner wants anyway.
  static void fill(std::vector<Weight>& list, size_t size, const std::vector<Weight>& partner) {
    if (list.size() == size) return;
    const int64_t k = list.empty() ? partner.front().k : list.front().k;
    list.resize(size, {k, 0.0f});
  }

  void append(const Lists& lists) {
    pairs.push_back(lists.pair);
    for (size_t i = 0; i < lists.shared.size(); i += per_entry_) {
      const Shared* entry = &lists.shared[i];
      for (int32_t j = 0; j < per_entry_; ++j) push_offset(entry[j].k);
      for (int r = 0; r < 2; ++r) push_value(entry[0].values[r], entry[per_entry_ - 1].values[r]);
    }
    for (size_t i = 0; i < lists.single[0].size(); i += per_entry_) {
      for (const auto& list : lists.single) {
        const Weight* entry = &list[i];
        for (int32_t j = 0; j < per_entry_; ++j) push_offset(entry[j].k);
        push_value(entry[0].value, entry[per_entry_ - 1].value);
      }
    }
  }

  void push_offset(int64_t k) {
    offsets.push_back(static_cast<uint16_t>(k * kernel_.panel.panel_columns * kernel_.panel.input_bytes));
  }
  void push_value(float first, float last) {
    values.push_back(kernel_.bf16 ? exact_bf16(first) | uint32_t{exact_bf16(last)} << 16
                                  : std::bit_cast<uint32_t>(first));
  }

  static constexpr size_t kWantedWords = (kMostBlockInputs + 63) / 64;

  const RowSource& source_;
  const RowListsKernel& kernel_;
  int32_t per_entry_;
  std::array<uint64_t, kWantedWords> wanted_[kListChunkRows];  // inputs of the block, of each row
  std::vector<std::vector<int32_t>> columns_;
  std::vector<std::vector<float>> weights_;
  int64_t cursors_[kListChunkRows] = {};
  int64_t ends_[kListChunkRows] = {};
  std::vector<std::vector<Weight>> block_;  // of each row
  std::vector<Lists> lists_;
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
      starts_.push_back({builder.pairs.size(), builder.offsets.size(), builder.values.size()});
      builder.add_chunk(r);
    }
    pairs_ = to_buffer(builder.pairs);
    offsets_ = to_buffer(builder.offsets);
    values_ = to_buffer(builder.values);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return pairs_.size() + offsets_.size() + values_.size() + starts_.size() * sizeof(ChunkStart) +
           frame_bytes();
  }
  std::span<float> float_values() { return {values_.as<float>(), values_.size() / sizeof(float)}; }

 private:
  struct ChunkStart {
    size_t pairs, offsets, values;
  };

  void multiply(int64_t chunk, int64_t, const Panel& panel, float* tile, void*) const override {
    const ChunkStart& start = starts_[chunk];
    const int64_t rows = std::min(kListChunkRows, rows_ - chunk * kListChunkRows);
    const ListStream stream{.pairs = pairs_.as<ListPair>() + start.pairs,
                            .offsets = offsets_.as<uint16_t>() + start.offsets,
                            .values = values_.as<uint32_t>() + start.values,
                            .pair_count = divide_up(rows, 2),
                            .blocks = blocks_};
    // The first block sets the tile; without inputs there is none.
    if (blocks_ == 0) std::fill_n(tile, kListChunkRows * kernel_.panel.panel_columns, 0.0f);
    kernel_.multiply(stream, panel.data, panel.columns, tile);
  }

  const RowListsKernel& kernel_;
  int64_t rows_;
  int64_t blocks_;
  std::vector<ChunkStart> starts_;
  Buffer pairs_, offsets_, values_;
};

}  // namespace

const RowListsKernel* choose_row_lists_kernel(const RowSource& source, const PrepareOptions& options) {
  const double places = static_cast<double>(source.rows * source.cols);
  return choose_row_lists_kernel(source.type, static_cast<double>(source.kept) / places, options);
}

const RowListsKernel* choose_row_lists_kernel(WeightType type, double stays, const PrepareOptions& options) {
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
    const bool fits = stays <= entry.kernel->densest && (!entry.kernel->in_halves || isa::works_in_halves());
    if (options.kernel.empty() ? !fits : options.kernel != entry.kernel->name) continue;
    return entry.kernel;
  }
  return nullptr;
}

std::unique_ptr<const Layout> make_row_lists(const RowSource& source, const RowListsKernel& kernel) {
  return std::make_unique<RowLists>(source, kernel);
}

FloatLists make_float_lists(const RowSource& source, const RowListsKernel& kernel) {
  auto lists = std::make_unique<RowLists>(source, kernel);
  const std::span<float> values = lists->float_values();
  return {std::move(lists), values};
}

}  // namespace prune::kernels
