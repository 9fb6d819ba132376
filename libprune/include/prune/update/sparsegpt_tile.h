// The innermost part of SparseGPT's sweep: a few columns, one after another, for some rows at a time.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include <prune/mask.h>
#include <prune/pattern.h>
#include <prune/update/damped_factor.h>

namespace prune::update::detail {

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

// What a sweep works on.
struct SparsegptState {
  static constexpr Index kChunk = 16;  // rows of `changes` are readable in whole chunks

  View<float> weights;  // [out, in]
  const DampedFactor& factor;
  View<float> changes;  // [in, out]: W - W' of columns that are done, and of later ones sum_k (W - W')_k R_kj
  Mask& mask;
  bool keep_zeros;

  bool stuck(float weight) const { return keep_zeros && weight == 0; }
};

// Turned on their side: a column of the weights is contiguous, as it is in the changes. What works on one
// column works on all rows of the tile at once, in the first cache.
class SparsegptTile {
 public:
  static constexpr Index kRows = 128;
  static constexpr Index kColumns = 32;

  // Rows [top, top + rows).
  SparsegptTile(SparsegptState& state, Index top, Index rows) : s_(state), top_(top), rows_(rows) {}

  // Columns [begin, end), of which the mask is known. Returns twice what their weights cost.
  double work_off(Index begin, Index end) {
    load(begin, end);
    for (Index r = 0; r < rows_; ++r)
      bits_[size_t(r)] = get_bits(s_.mask.row(top_ + r).data(), begin, end - begin);
    for (Index a = 0; a < end - begin; ++a) {
      for (Index r = 0; r < rows_; ++r) {
        stays_[a][r] = -int32_t(bits_[size_t(r)] >> a & 1 & uint32_t(!s_.stuck(weights_[a][r])));
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
    bits_ = {};
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
      or_bits(s_.mask.row(top_ + r).data(), begin, end - begin, bits_[size_t(r)]);
    store(begin, end);
    return loss_;
  }

 private:
  template <class T>
  using Columns = T[kColumns][kRows];

  typedef float Lanes __attribute__((vector_size(16)));
  static Lanes load_lanes(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
  }

  // Row by row: weights above each other are as far apart as a page or more.
  void load(Index begin, Index end) {
    loss_ = 0;
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

  float* changes(Index j) { return s_.changes.data() + j * s_.changes.outerStride() + top_; }

  // The sums of column j over the columns [begin, end), in registers.
  void add_changes(Index begin, Index end, Index j) {
    if (begin == end) return;
    constexpr Index kLanes = sizeof(Lanes) / sizeof(float);
    static_assert(SparsegptState::kChunk == 4 * kLanes && kRows % SparsegptState::kChunk == 0);
    for (Index r = 0; r < rows_; r += 4 * kLanes) {
      float* at = changes(j) + r;
      Lanes s0 = load_lanes(at), s1 = load_lanes(at + kLanes);
      Lanes s2 = load_lanes(at + 2 * kLanes), s3 = load_lanes(at + 3 * kLanes);
      for (Index k = begin; k < end; ++k) {
        const float factor = s_.factor.unit_upper(k, j);
        const float* from = changes(k) + r;
        s0 += factor * load_lanes(from);
        s1 += factor * load_lanes(from + kLanes);
        s2 += factor * load_lanes(from + 2 * kLanes);
        s3 += factor * load_lanes(from + 3 * kLanes);
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
    const Eigen::Map<const Eigen::VectorXf> all(lost.data(), rows_);
    loss_ += double(s_.factor.pivots[j]) * double(all.squaredNorm());
  }

  // What the weights of the group of columns that starts at `first`, the a-th of the tile, cost now, as keys
  // of the same order. Negative where it must go.
  void find_costs(Index first, Index a, Index group) {
    for (Index b = 0; b < group; ++b) {
      float* own = taken_up_[b];  // t of t R_bb = sums, R_bb that of the group
      std::memcpy(own, changes(first + b), size_t(rows_) * sizeof(float));
      for (Index c = 0; c < b; ++c) {
        const float factor = s_.factor.unit_upper(first + c, first + b);
        for (Index r = 0; r < rows_; ++r) own[r] -= factor * taken_up_[c][r];
      }
      const float* weight = weights_[a + b];
      const float pivot = s_.factor.pivots[first + b];
      for (Index r = 0; r < rows_; ++r) {
        const float now = weight[r] + own[r];
        costs_[b][r] = std::bit_cast<int32_t>(now * now * pivot);  // of costs >= 0
      }
      for (Index r = 0; r < rows_ && s_.keep_zeros; ++r) costs_[b][r] = weight[r] == 0 ? -1 : costs_[b][r];
    }
  }

  // A weight goes when N of its group beat it: are dearer, or as dear and in a lower column. All pairs, for
  // all rows at once.
  void choose_group(Index first, Index a, NM pattern) {
    find_costs(first, a, pattern.group);
    for (Index b = 0; b < pattern.group; ++b) std::memset(beaten_by_[b], 0, sizeof beaten_by_[b]);
    for (Index c = 1; c < pattern.group; ++c) {
      for (Index b = 0; b < c; ++b) {
        for (Index r = 0; r < rows_; ++r) {
          const int32_t wins = costs_[b][r] >= costs_[c][r];
          beaten_by_[c][r] += wins;
          beaten_by_[b][r] += 1 - wins;
        }
      }
    }
    for (Index b = 0; b < pattern.group; ++b) {
      const uint32_t bit = uint32_t(1) << (a + b);
      for (Index r = 0; r < rows_; ++r) {
        const bool stays = beaten_by_[b][r] < pattern.keep && costs_[b][r] >= 0;
        stays_[a + b][r] = -int32_t(stays);
        bits_[size_t(r)] |= stays ? bit : 0;
      }
    }
  }

  SparsegptState& s_;
  Index top_, rows_;
  double loss_ = 0;
  alignas(64) Columns<float> weights_;
  alignas(64) Columns<int32_t> stays_;            // -1, or 0 for those that go
  alignas(64) std::array<uint32_t, kRows> bits_;  // the same by rows
  // Of one group.
  alignas(64) Columns<float> taken_up_;
  alignas(64) Columns<int32_t> costs_;
  alignas(64) Columns<int32_t> beaten_by_;
};

}  // namespace prune::update::detail
