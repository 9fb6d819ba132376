#include "kernels/sparse/pattern_lists/pattern_lists.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/pattern_lists/kernel.h"

namespace prune::kernels {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t row_bytes(const PatternListsKernel& kernel) {
  return kernel.panel.panel_columns * kernel.panel.input_bytes;
}

// As few blocks as the kernel allows, of nearly equal size.
int64_t choose_block_inputs(int64_t cols, const PatternListsKernel& kernel) {
  const int64_t blocks = std::max<int64_t>(1, divide_up(cols, kernel.block_inputs));
  return std::max<int64_t>(1, divide_up(cols, blocks));
}

// Collects the words of one chunk of rows after another.
class PatternBuilder {
 public:
  PatternBuilder(const RowSource& source, const PatternListsKernel& kernel, int64_t block_inputs)
      : source_(source),
        kernel_(kernel),
        block_inputs_(block_inputs),
        columns_(kPatternChunkRows, std::vector<int32_t>(source.cols)),
        weights_(kPatternChunkRows, std::vector<float>(source.cols)),
        wanted_(block_inputs),
        values_(kPatternRows * block_inputs) {}

  std::vector<uint32_t> words;
  std::vector<size_t> starts;  // of the words of every block of every chunk

  void add_chunk(int64_t first_row) {
    const int64_t rows = std::min(kPatternChunkRows, source_.rows - first_row);
    for (int64_t r = 0; r < kPatternChunkRows; ++r) {
      ends_[r] = r < rows ? source_.decode(first_row + r, columns_[r].data(), weights_[r].data()) : 0;
      cursors_[r] = 0;
    }
    for (int64_t k = 0; k < source_.cols; k += block_inputs_) {
      starts.push_back(words.size());
      for (int64_t r = 0; r < rows; r += kPatternRows) add_four_rows(r, k);
    }
  }

 private:
  void add_four_rows(int64_t row, int64_t k0) {
    std::fill(wanted_.begin(), wanted_.end(), uint8_t{0});
    std::fill(values_.begin(), values_.end(), 0.0F);
    for (int64_t i = 0; i < kPatternRows; ++i) {
      const int64_t r = row + i, end = k0 + block_inputs_;
      for (int64_t& c = cursors_[r]; c < ends_[r] && columns_[r][c] < end; ++c) {
        // A zero is stored to fill a group or a block.
        if (weights_[r][c] == 0.0F) continue;
        wanted_[columns_[r][c] - k0] |= static_cast<uint8_t>(1 << i);
        value(i, columns_[r][c] - k0) = weights_[r][c];
      }
    }
    for (auto& list : lists_) list.clear();
    for (size_t k = 0; k < wanted_.size(); ++k) lists_[wanted_[k]].push_back(static_cast<uint16_t>(k));
    fill_entries();
    append();
  }

  // What a list lacks of whole entries it takes from a pattern of fewer of the same rows that has some too
  // many: a weight of zero costs nothing in an entry that is there anyway. Of such patterns, whose surplus is
  // least.
  void fill_entries() {
    static constexpr uint8_t kMostRowsFirst[] = {15, 7, 11, 13, 14, 3, 5, 6, 9, 10, 12};
    for (const uint8_t pattern : kMostRowsFirst) {
      while (surplus(pattern) != 0) {
        uint8_t from = 0;
        for (uint8_t p = 1; p < pattern; ++p) {
          if ((p & pattern) != p || surplus(p) == 0) continue;
          if (from == 0 || surplus(p) <= surplus(from)) from = p;
        }
        if (from == 0) break;
        lists_[pattern].push_back(lists_[from].back());
        lists_[from].pop_back();
      }
    }
  }
  size_t surplus(uint8_t pattern) const {
    return lists_[pattern].size() % static_cast<size_t>(kernel_.inputs_together);
  }

  void append() {
    const auto together = static_cast<size_t>(kernel_.inputs_together);
    uint8_t lengths[4 * sizeof(uint32_t)] = {};
    for (int i = 0; i < kPatterns; ++i) {
      auto& list = lists_[kPatternOrder[i]];
      lengths[i] = static_cast<uint8_t>((list.size() + together - 1) / together);
    }
    words.resize(words.size() + 4);
    std::memcpy(words.data() + words.size() - 4, lengths, sizeof lengths);
    for (const uint8_t pattern : kPatternOrder) {
      const auto& list = lists_[pattern];
      for (size_t i = 0; i < list.size(); i += together) append_entry(pattern, list, i);
    }
  }

  // Inputs that are missing are the first one again, times zero.
  void append_entry(uint8_t pattern, const std::vector<uint16_t>& list, size_t first) {
    const int32_t together = kernel_.inputs_together;
    for (int32_t i = 0; i < together; i += 2) {
      uint32_t word = 0;
      for (int32_t h = 0; h < 2; ++h) {
        const size_t at = first + i + h < list.size() ? first + i + h : first;
        word |= static_cast<uint32_t>(list[at] * row_bytes(kernel_)) << 16 * h;
      }
      words.push_back(word);
    }
    for (int64_t r = 0; r < kPatternRows; ++r) {
      if ((pattern >> r & 1) == 0) continue;
      uint32_t word = 0;
      for (int32_t i = 0; i < together && first + i < list.size(); ++i) {
        const float weight = value(r, list[first + i]);
        word |= kernel_.in_bytes ? uint32_t{static_cast<uint8_t>(static_cast<int8_t>(weight))} << 8 * i
                                 : uint32_t{exact_bf16(weight)} << 16 * i;
      }
      words.push_back(word);
    }
  }

  float& value(int64_t row, int64_t k) { return values_[row * block_inputs_ + k]; }

  const RowSource& source_;
  const PatternListsKernel& kernel_;
  int64_t block_inputs_;
  std::vector<std::vector<int32_t>> columns_;
  std::vector<std::vector<float>> weights_;
  int64_t cursors_[kPatternChunkRows] = {};
  int64_t ends_[kPatternChunkRows] = {};
  // Of four rows and a block: who wants an input, and the weights [row][input].
  std::vector<uint8_t> wanted_;
  std::vector<float> values_;
  std::vector<uint16_t> lists_[kPatterns + 1];
};

class PatternLists final : public ManyRows {
 public:
  PatternLists(const RowSource& source, const PatternListsKernel& kernel)
      : ManyRows(source.rows, source.cols, kPatternChunkRows, kernel.panel, source.scales),
        kernel_(kernel),
        rows_(source.rows),
        block_inputs_(choose_block_inputs(source.cols, kernel)),
        blocks_(divide_up(source.cols, block_inputs_)) {
    PatternBuilder builder(source, kernel, block_inputs_);
    for (int64_t r = 0; r < rows_; r += kPatternChunkRows) builder.add_chunk(r);
    starts_ = std::move(builder.starts);
    words_ = Buffer(builder.words.size() * sizeof(uint32_t));
    std::copy(builder.words.begin(), builder.words.end(), words_.as<uint32_t>());
    if (kernel.in_bytes) find_begins(source);
  }

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return words_.size() + starts_.size() * sizeof(size_t) + begins_.size() * sizeof(int32_t) + frame_bytes();
  }

 private:
  // Inputs have kByteZero added, of which the sums must be rid.
  void find_begins(const RowSource& source) {
    begins_.assign(divide_up(rows_, kPatternRows) * kPatternRows, 0);
    std::vector<int32_t> columns(source.cols);
    std::vector<float> weights(source.cols);
    for (int64_t r = 0; r < rows_; ++r) {
      const int64_t count = source.decode(r, columns.data(), weights.data());
      // Modulo 2^32, as the sums are.
      uint32_t begin = 0;
      for (int64_t i = 0; i < count; ++i)
        begin -= kByteZero * static_cast<uint32_t>(static_cast<int32_t>(weights[i]));
      begins_[r] = static_cast<int32_t>(begin);
    }
  }

  int64_t segments() const override {
    return std::max<int64_t>(1, divide_up(blocks_, kPatternSegmentBlocks));
  }

  void multiply(int64_t chunk, int64_t segment, const Panel& panel, float* tile, void*) const override {
    // The first block sets the tile; without inputs there is none.
    if (blocks_ == 0) {
      std::fill_n(tile, kPatternChunkRows * kernel_.panel.panel_columns, 0.0F);
      return;
    }
    const int64_t first = segment * kPatternSegmentBlocks, row = chunk * kPatternChunkRows;
    const int64_t block_bytes = block_inputs_ * row_bytes(kernel_);
    const PatternStream stream{.words = words_.as<uint32_t>() + starts_[chunk * blocks_ + first],
                               .fours = divide_up(std::min(kPatternChunkRows, rows_ - row), kPatternRows),
                               .blocks = std::min(kPatternSegmentBlocks, blocks_ - first),
                               .block_bytes = block_bytes,
                               .is_first = first == 0,
                               .begins = begins_.empty() ? nullptr : begins_.data() + row};
    kernel_.multiply(stream, static_cast<const char*>(panel.data) + first * block_bytes, panel.columns, tile);
  }

  const PatternListsKernel& kernel_;
  int64_t rows_;
  int64_t block_inputs_;
  int64_t blocks_;
  std::vector<size_t> starts_;  // [chunk][block]
  std::vector<int32_t> begins_;
  Buffer words_;
};

bool takes(const PatternListsKernel& kernel, const RowSource& source, const PrepareOptions& options,
           bool may_round) {
  if (kernel.in_bytes) {
    if (source.type != WeightType::kI8 || source.cols > kMostByteInputs) return false;
  } else if (!fits_bf16(source.type)) {
    return false;
  }
  if (!options.kernel.empty()) return options.kernel == kernel.name;
  const double stays = static_cast<double>(source.kept) / static_cast<double>(source.rows * source.cols);
  return isa::works_in_halves() && stays >= kernel.sparsest &&
         kernel.in_bytes == (may_round && options.int8_inputs);
}

}  // namespace

std::unique_ptr<const Layout> make_pattern_lists(const RowSource& source, const PrepareOptions& options,
                                                 bool may_round) {
  static const struct {
    const PatternListsKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_PATTERN_LISTS_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/pattern_lists/kernels.inc"
#undef PRUNE_PATTERN_LISTS_KERNEL
      {nullptr, 0},  // on a processor that has none
  };
  for (const auto& [kernel, needs] : kKernels) {
    if (kernel != nullptr && isa::runs_on(needs, options.isa) && takes(*kernel, source, options, may_round))
      return std::make_unique<PatternLists>(source, *kernel);
  }
  return nullptr;
}

}  // namespace prune::kernels
