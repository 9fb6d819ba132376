#include "kernels/sparse/spmm_windows/spmm_windows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/sparse/at_first_use.h"
#include "kernels/sparse/buffer.h"
#include "kernels/sparse/few_rows.h"
#include "kernels/sparse/group_scales.h"
#include "kernels/sparse/spmm_windows/kernel.h"

namespace prune::kernels {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Entry {
  int32_t column;
  float value;
};
using Rows = std::array<std::vector<Entry>, kWindowRows>;

Rows decode_rows(const RowSource& source, int64_t group) {
  Rows rows;
  std::vector<int32_t> columns(source.cols);
  std::vector<float> values(source.cols);
  for (int64_t r = 0; r < kWindowRows; ++r) {
    const int64_t row = group * kWindowRows + r;
    const int64_t count = row < source.rows ? source.decode(row, columns.data(), values.data()) : 0;
    rows[r].reserve(count);
    for (int64_t i = 0; i < count; ++i) {
      if (values[i] != 0.0f) rows[r].push_back({columns[i], values[i]});
    }
  }
  return rows;
}

// What a group's places and its tail take.
struct GroupSize {
  int64_t steps = 0;
  int64_t tail = 0;
};

// As many places in every window as make the fewest bytes.
GroupSize size_group(const Rows& rows, int64_t windows, int64_t value_bytes) {
  // fuller[c]: windows of a row with more than c weights.
  std::array<int64_t, kWindow + 1> fuller{};
  std::vector<int32_t> counts(windows);
  for (const auto& row : rows) {
    std::fill(counts.begin(), counts.end(), 0);
    for (const Entry& e : row) ++fuller[counts[e.column / kWindow]++];
  }
  int64_t best = INT64_MAX;
  GroupSize size;
  for (int64_t steps = kWindow, tail = 0; steps >= 0; --steps) {
    tail += fuller[steps];  // those that a window has room for at steps + 1 and not at steps
    const int64_t bytes =
        steps * windows * kWindowRows * (value_bytes + 1) + tail * (value_bytes + 2 + kTailCost);
    if (bytes > best) continue;
    best = bytes;
    size = {steps, tail};
  }
  return size;
}

// A line more than a row takes: rows a power of two apart would meet in the same sets of the cache.
int64_t stride_of(int64_t pairs) { return pairs * kWindowPair + 16; }

void pack_row(const float* x, int64_t cols, int64_t pairs, float* packed) {
  std::memcpy(packed, x, cols * sizeof(float));
  std::fill(packed + cols, packed + pairs * kWindowPair, 0.0f);
}

class Windows final : public FewRows {
 public:
  Windows(const RowSource& source, const WindowsKernel& kernel)
      : Windows(source, kernel, size_groups(source, kernel)) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override {
    return values_.size() + columns_.size() + tail_values_.size() + tail_columns_.size() +
           tail_counts_.size() * sizeof(int32_t) + groups_.size() * sizeof(Group) + frame_bytes();
  }

 private:
  // Where a group begins.
  struct Group {
    int64_t steps;
    int64_t place;
    int64_t tail;
  };

  static int64_t pairs_of(const RowSource& source) { return divide_up(source.cols, kWindowPair); }

  static std::vector<Group> size_groups(const RowSource& source, const WindowsKernel& kernel) {
    const int64_t count = divide_up(source.rows, kWindowRows);
    std::vector<GroupSize> sizes(count);
#pragma omp parallel for
    for (int64_t g = 0; g < count; ++g)
      sizes[g] = size_group(decode_rows(source, g), 2 * pairs_of(source), weight_bytes(kernel.type));
    std::vector<Group> groups;
    groups.reserve(count + 1);
    Group next{0, 0, 0};
    for (const GroupSize& size : sizes) {
      next.steps = size.steps;
      groups.push_back(next);
      next.place += size.steps * pairs_of(source) * 2 * kWindowRows;
      next.tail += size.tail;
    }
    next.steps = 0;
    groups.push_back(next);
    return groups;
  }

  static std::vector<int64_t> costs(const std::vector<Group>& groups) {
    std::vector<int64_t> costs;
    costs.reserve(groups.size());
    for (const Group& g : groups) costs.push_back(g.place + 4 * g.tail);
    return costs;
  }

  Windows(const RowSource& source, const WindowsKernel& kernel, std::vector<Group> groups)
      : FewRows(source.rows, kWindowRows, source.scales, costs(groups)),
        kernel_(kernel),
        cols_(source.cols),
        pairs_(pairs_of(source)),
        groups_(std::move(groups)),
        values_(groups_.back().place * weight_bytes(kernel.type)),
        columns_(groups_.back().place),
        tail_values_(groups_.back().tail * weight_bytes(kernel.type)),
        tail_columns_(groups_.back().tail * sizeof(uint16_t)),
        tail_counts_(FewRows::groups() * kWindowRows) {
#pragma omp parallel for
    for (int64_t g = 0; g < FewRows::groups(); ++g) fill_group(decode_rows(source, g), g);
  }

  void fill_group(const Rows& rows, int64_t g) {
    const Group& group = groups_[g];
    int64_t tail = group.tail;
    std::vector<int32_t> counts(2 * pairs_);
    for (int64_t r = 0; r < kWindowRows; ++r) {
      std::fill(counts.begin(), counts.end(), 0);
      for (const Entry& e : rows[r]) {
        const int64_t window = e.column / kWindow, step = counts[window]++;
        if (step < group.steps) {
          const int64_t pair_step = window / 2 * group.steps + step;
          const int64_t to = group.place + (pair_step * 2 + window % 2) * kWindowRows + r;
          store_weight(values_.as<void>(), kernel_.type, to, e.value);
          columns_.as<uint8_t>()[to] = static_cast<uint8_t>(e.column % kWindow);
        } else {
          store_weight(tail_values_.as<void>(), kernel_.type, tail, e.value);
          tail_columns_.as<uint16_t>()[tail++] = static_cast<uint16_t>(e.column);
          ++tail_counts_[g * kWindowRows + r];
        }
      }
    }
  }

  size_t packed_x_bytes() const override { return stride_of(pairs_) * sizeof(float); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    pack_row(x, cols_, pairs_, reinterpret_cast<float*>(packed) + i * stride_of(pairs_));
  }

  void multiply(int64_t g, const void* x, int64_t n, float* sums) const override {
    const Group& group = groups_[g];
    const WindowsStream stream{
        .values = values_.as<char>() + group.place * weight_bytes(kernel_.type),
        .columns = columns_.as<uint8_t>() + group.place,
        .pairs = pairs_,
        .steps = group.steps,
        .tail_values = tail_values_.as<char>() + group.tail * weight_bytes(kernel_.type),
        .tail_columns = tail_columns_.as<uint16_t>() + group.tail,
        .tail_counts = tail_counts_.data() + g * kWindowRows};
    kernel_.multiply(stream, static_cast<const float*>(x), stride_of(pairs_), n, sums);
  }

  const WindowsKernel& kernel_;
  int64_t cols_;
  int64_t pairs_;
  std::vector<Group> groups_;
  Buffer values_, columns_, tail_values_, tail_columns_;
  std::vector<int32_t> tail_counts_;
};

class InPlaceWindows final : public FewRows {
 public:
  InPlaceWindows(const WindowsWeights& weights, const WindowsKernel& kernel)
      : InPlaceWindows(weights, kernel, tail_starts(weights)) {}

  const char* kernel_name() const override { return kernel_.name; }
  size_t bytes() const override { return stored_bytes_; }
  size_t own_bytes() const override { return tails_.size() * sizeof(int64_t) + frame_bytes(); }
  bool is_in_place() const override { return true; }

 private:
  InPlaceWindows(const WindowsWeights& weights, const WindowsKernel& kernel, std::vector<int64_t> tails)
      : FewRows(weights.rows, kWindowRows, copy_row_scales(weights), costs(weights, tails)),
        kernel_(kernel),
        weights_(weights),
        tails_(std::move(tails)),
        stored_bytes_(stored_bytes(weights)) {}

  static std::vector<int64_t> costs(const WindowsWeights& w, const std::vector<int64_t>& tails) {
    std::vector<int64_t> costs;
    costs.reserve(tails.size());
    for (const int64_t tail : tails)
      costs.push_back(static_cast<int64_t>(costs.size()) * places_of_group(w) + 4 * tail);
    return costs;
  }

  int64_t pairs() const { return window_pairs(weights_); }
  size_t packed_x_bytes() const override { return stride_of(pairs()) * sizeof(float); }
  void pack_x(const float* x, int64_t i, int64_t, char* packed) const override {
    pack_row(x, weights_.cols, pairs(), reinterpret_cast<float*>(packed) + i * stride_of(pairs()));
  }
  void multiply(int64_t g, const void* x, int64_t n, float* sums) const override {
    const int64_t place = g * places_of_group(weights_),
                  tail = groups() * places_of_group(weights_) + tails_[g];
    const char* values = static_cast<const char*>(weights_.values);
    const int64_t value = weight_bytes(kernel_.type);
    const WindowsStream stream{.values = values + place * value,
                               .columns = weights_.columns + place,
                               .pairs = pairs(),
                               .steps = weights_.steps,
                               .tail_values = values + tail * value,
                               .tail_columns = weights_.tail_columns + tails_[g],
                               .tail_counts = weights_.tail_counts + g * kWindowRows};
    kernel_.multiply(stream, static_cast<const float*>(x), stride_of(pairs()), n, sums);
  }

  const WindowsKernel& kernel_;
  WindowsWeights weights_;
  std::vector<int64_t> tails_;
  size_t stored_bytes_;  // every product asks
};

const WindowsKernel* choose_windows_kernel(WeightType type, const PrepareOptions& options) {
  static const struct {
    const WindowsKernel* kernel;
    uint32_t needs;
  } kKernels[] = {
#define PRUNE_WINDOWS_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/spmm_windows/kernels.inc"
#undef PRUNE_WINDOWS_KERNEL
  };
  for (const auto& entry : kKernels) {
    if (!isa::runs_on(entry.needs, options.isa) || entry.kernel->type != type) continue;
    if (options.kernel.empty() || options.kernel == entry.kernel->name) return entry.kernel;
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<const Layout> make_windows(const RowSource& source, const PrepareOptions& options) {
  if (source.cols > kMostWindowCols) return nullptr;
  const WindowsKernel* kernel = choose_windows_kernel(source.type, options);
  return kernel == nullptr ? nullptr : std::make_unique<Windows>(source, *kernel);
}

std::unique_ptr<const Layout> make_windows_in_place(const WindowsWeights& weights,
                                                    const PrepareOptions& options) {
  if (weights.scale_group != 0) return nullptr;
  const WindowsKernel* kernel = choose_windows_kernel(weights.type, options);
  if (kernel == nullptr) return nullptr;
  return at_first_use(kernel->name, [=] { return std::make_unique<InPlaceWindows>(weights, *kernel); });
}

}  // namespace prune::kernels
