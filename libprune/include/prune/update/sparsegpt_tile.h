// The innermost part of SparseGPT's sweep: a few columns, one after another, for some rows at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <prune/mask.h>
#include <prune/pattern.h>
#include <prune/select_nm.h>
#include <prune/update/damped_factor.h>

namespace prune::update::detail {

using namespace prune::detail;

typedef float F32x4 __attribute__((vector_size(16)));

// Bits [at, at + count) of words, count <= 32; or'd into them.
inline uint32_t get_bits(const uint64_t* words, Index at, Index count) {
  uint64_t bits = words[at / 64] >> (at % 64);
  if (at % 64 + count > 64) bits |= words[at / 64 + 1] << (64 - at % 64);
  return uint32_t(bits & ((uint64_t(1) << count) - 1));
}
inline void or_bits(uint64_t* words, Index at, Index count, uint32_t bits) {
  words[at / 64] |= uint64_t(bits) << (at % 64);
  if (at % 64 + count > 64) words[at / 64 + 1] |= uint64_t(bits) >> (64 - at % 64);
}

// Weights that stay become q steps[row per_row + column / group], q whole, -most <= q <= most.
struct StepRounding {
  const float* steps = nullptr;  // [out, per_row], not negative; one that is 0 makes weights 0
  Index per_row = 1;             // ceil(in / group)
  Index group = 0;               // columns that share one; 0: whole rows do
  float most = 127;

  float operator()(float weight, Index row, Index column) const {
    const float step = steps[row * per_row + (group == 0 ? 0 : column / group)];
    return step == 0 ? 0.0f : step * std::clamp(std::nearbyint(weight / step), -most, most);
  }
};

// What a sweep works on.
struct SparsegptState {
  View<float> weights;  // [out, in]
  const DampedFactor& factor;
  PaddedMatrix& changes;  // [in, out]: W - W' of settled columns, of later ones sum_k (W - W')_k R_kj so far
  Mask& mask;
  bool keep_zeros;
  StepRounding rounding = {};

  bool stuck(float weight) const { return keep_zeros && weight == 0; }
};

// Turned on their side: a column of the weights is contiguous, as it is in the changes. What works on one
// column works on all rows of the tile at once, in the first cache.
class SparsegptTile {
 public:
  static constexpr Index kRows = 128;
  static constexpr Index kColumns = 32;
  static constexpr Index kLanes = 4;

  // Rows [top, top + rows).
  SparsegptTile(SparsegptState& state, Index top, Index rows) : s_(state), top_(top), rows_(rows) {}

  // Columns [begin, end), of which the mask is known. Returns twice what their weights cost.
  double work_off(Index begin, Index end) {
    load(begin, end);
    for (Index r = 0; r < rows_; ++r)
      bits_[r] = int32_t(get_bits(s_.mask.row(top_ + r).data(), begin, end - begin));
    for (Index a = 0; a < end - begin; ++a) {
      for (Index r = 0; r < rows_; ++r) {
        stays_[a][r] = s_.stuck(weights_[a][r]) ? 0 : -(bits_[r] >> a & 1);
      }
    }
    for (Index a = 0; a < end - begin; ++a) {
      add_changes(begin, begin + a, begin + a);
      settle(begin + a, a);
    }
    store(begin, end);
    return loss_;
  }

  // The same, whole groups, which are chosen when the sweep comes to them.
  double work_off(Index begin, Index end, NM pattern) {
    load(begin, end);
    std::fill(bits_, bits_ + kRows, 0);
    for (Index a = 0; a < end - begin; a += pattern.group) {
      const Index first = begin + a;
      for (Index b = 0; b < pattern.group; ++b) add_changes(begin, first, first + b);
      choose_group(first, a, pattern);
      for (Index b = 0; b < pattern.group; ++b) {
        add_changes(first, first + b, first + b);
        settle(first + b, a + b);
      }
    }
    for (Index r = 0; r < rows_; ++r)
      or_bits(s_.mask.row(top_ + r).data(), begin, end - begin, uint32_t(bits_[r]));
    store(begin, end);
    return loss_;
  }

 private:
  template <class T>
  using Columns = T[kColumns][kRows];

  // Row by row: weights above each other are as far apart as a page or more.
  void load(Index begin, Index end) {
    loss_ = 0;
    for (Index a = 0; a < end - begin; ++a) std::fill(weights_[a] + rows_, weights_[a] + whole_lanes(), 0.0f);
    for (Index r = 0; r < rows_; ++r) {
      const float* row = s_.weights.data() + (top_ + r) * s_.weights.outerStride() + begin;
      for (Index a = 0; a < end - begin; ++a) weights_[a][r] = row[a];
    }
  }
  void store(Index begin, Index end) {
    for (Index r = 0; r < rows_; ++r) {
      float* row = s_.weights.data() + (top_ + r) * s_.weights.outerStride() + begin;
      for (Index a = 0; a < end - begin; ++a) row[a] = weights_[a][r];
    }
  }

  Index whole_lanes() const { return (rows_ + kLanes - 1) / kLanes * kLanes; }
  float* changes(Index j) { return &s_.changes.view()(j, top_); }

  // The sums of column j over the columns [begin, end), in registers.
  void add_changes(Index begin, Index end, Index j) {
    if (begin == end) return;
    static_assert(PaddedMatrix::kPadding == 4 * kLanes && kRows % PaddedMatrix::kPadding == 0);
    for (Index r = 0; r < rows_; r += 4 * kLanes) {
      float* at = changes(j) + r;
      auto s0 = load_lanes<F32x4>(at), s1 = load_lanes<F32x4>(at + kLanes);
      auto s2 = load_lanes<F32x4>(at + 2 * kLanes), s3 = load_lanes<F32x4>(at + 3 * kLanes);
      for (Index k = begin; k < end; ++k) {
        const float factor = s_.factor.unit_upper(k, j);
        const float* from = changes(k) + r;
        s0 += factor * load_lanes<F32x4>(from);
        s1 += factor * load_lanes<F32x4>(from + kLanes);
        s2 += factor * load_lanes<F32x4>(from + 2 * kLanes);
        s3 += factor * load_lanes<F32x4>(from + 3 * kLanes);
      }
      std::memcpy(at, &s0, sizeof s0);
      std::memcpy(at + kLanes, &s1, sizeof s1);
      std::memcpy(at + 2 * kLanes, &s2, sizeof s2);
      std::memcpy(at + 3 * kLanes, &s3, sizeof s3);
    }
  }

  // Column j, the a-th of the tile, whose sums are complete: what stays takes them up, what goes passes on
  // the whole of itself.
  void settle(Index j, Index a) {
    float* weight = weights_[a];
    const int32_t* stays = stays_[a];
    float* change = changes(j);
    alignas(64) std::array<float, kRows> lost;
    for (Index r = 0; r < rows_; ++r) {
      const float now = weight[r] + change[r];
      change[r] = stays[r] ? -change[r] : weight[r];
      lost[size_t(r)] = stays[r] ? 0.0f : now;
      weight[r] = stays[r] ? now : 0.0f;
    }
    if (s_.rounding.steps != nullptr) round_column(j, a, lost.data());
    const Eigen::Map<const Eigen::VectorXf> all(lost.data(), rows_);
    loss_ += double(s_.factor.pivots[j]) * double(all.squaredNorm());
  }

  // What rounding takes from the weights that stay, later ones take up like those that go.
  void round_column(Index j, Index a, float* lost) {
    float* weight = weights_[a];
    float* change = changes(j);
    for (Index r = 0; r < rows_; ++r) {
      if (!stays_[a][r]) continue;
      const float rounded = s_.rounding(weight[r], top_ + r, j);
      lost[r] = weight[r] - rounded;
      change[r] += lost[r];
      weight[r] = rounded;
    }
  }

  // What the weights of the group of columns that starts at `first` cost now, rows r to r + 3, as keys of the
  // same order; negative where they must go. With t R_bb = sums, R_bb that of the group, as in
  // SparsegptSweep::find_costs().
  void find_costs(Index first, Index a, Index r, int group, I32x4* keys) {
    F32x4 taken_up[kColumns];
    for (int b = 0; b < group; ++b) {
      F32x4 own = load_lanes<F32x4>(changes(first + b) + r);
      for (int c = 0; c < b; ++c) own -= s_.factor.unit_upper(first + c, first + b) * taken_up[c];
      taken_up[b] = own;
      const F32x4 weight = load_lanes<F32x4>(weights_[a + b] + r);
      own += weight;
      own = own * own * s_.factor.pivots[first + b];
      std::memcpy(&keys[b], &own, sizeof own);  // costs are not negative, so their patterns order as they do
      if (s_.keep_zeros) keys[b] |= I32x4(weight == 0.0f);
    }
  }

  // A weight goes when N of its group beat it: are dearer, or as dear and in a lower column. kGroup is the
  // pattern's, or 0 for any.
  template <int kGroup>
  void choose_group(Index first, Index a, NM pattern) {
    const int group = kGroup == 0 ? pattern.group : kGroup;
    for (Index r = 0; r < rows_; r += kLanes) {
      I32x4 keys[kColumns], beaten_by[kColumns];
      find_costs(first, a, r, group, keys);
      for (int c = 0; c < group; ++c) beaten_by[c] = I32x4{} + c;
      for (int c = 1; c < group; ++c) {
        for (int b = 0; b < c; ++b) {
          const I32x4 dearer = keys[c] > keys[b];  // -1 in those lanes
          beaten_by[b] -= dearer;
          beaten_by[c] += dearer;
        }
      }
      auto bits = load_lanes<I32x4>(bits_ + r);
      for (int b = 0; b < group; ++b) {
        const I32x4 stays = (beaten_by[b] < pattern.keep) & (keys[b] >= 0);
        std::memcpy(stays_[a + b] + r, &stays, sizeof stays);
        bits |= stays & (1 << (a + b));
      }
      std::memcpy(bits_ + r, &bits, sizeof bits);
    }
  }
  void choose_group(Index first, Index a, NM pattern) {
    if (pattern.group == 4) return choose_group<4>(first, a, pattern);
    if (pattern.group == 8) return choose_group<8>(first, a, pattern);
    choose_group<0>(first, a, pattern);
  }

  SparsegptState& s_;
  Index top_, rows_;
  double loss_ = 0;
  alignas(64) Columns<float> weights_;
  alignas(64) Columns<int32_t> stays_;  // -1, or 0 for those that go
  alignas(64) int32_t bits_[kRows];     // the same by rows
};

}  // namespace prune::update::detail
