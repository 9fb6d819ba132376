#include "libprune/model/packed_checks.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include <prune/error.h>
#include <prune/packed.h>
#include <prune/packed_windows.h>

namespace prune {
namespace {

static_assert(kWindowsRows == kernels::kWindowRows && kWindowsColumns == kernels::kWindow &&
              kWindowsTailUnit == kernels::kTailUnit && kMostWindowsColumns == kernels::kMostWindowCols);

// The first row of which `is_sound` is false, or `rows`: what is large is looked through on all threads, and
// only a row at fault is described.
template <class IsSound>
Index first_faulty(Index rows, const IsSound& is_sound) {
  Index first = rows;
#pragma omp parallel for reduction(min : first)
  for (Index i = 0; i < rows; ++i) {
    if (i < first && !is_sound(i)) first = i;
  }
  return first;
}

// Of every group of 2:4 in a word (four bits: the lower index in the lower two): its bit 2 is set where the
// upper index is the greater, upper + 4 - lower - 1 being 4 at least.
template <class Word>
Word ascends24(Word groups) {
  constexpr Word kOnes = Word(0x1111'1111'1111'1111);
  const Word lower = groups & Word(3 * kOnes), upper = Word(groups >> 2) & Word(3 * kOnes);
  return Word((upper | Word(4 * kOnes)) - lower - kOnes) & Word(4 * kOnes);
}

bool is_sound24(const uint8_t* row, Index groups) {
  constexpr uint64_t kAll = 0x4444'4444'4444'4444;
  const Index bytes = groups / 2;
  uint64_t ascends = kAll;
  Index b = 0;
  for (; b + 8 <= bytes; b += 8) {
    uint64_t word;
    std::memcpy(&word, row + b, sizeof word);
    ascends &= ascends24(word);
  }
  bool sound = ascends == kAll;
  for (; b < bytes; ++b) sound &= ascends24(row[b]) == uint8_t(kAll);
  // A group alone: nothing is in the upper half of its byte.
  return sound && (groups % 2 == 0 || (row[bytes] < 16 && (ascends24(row[bytes]) & 4) != 0));
}

void check_nm_row(const PackedWeight& weight, const uint8_t* row, Index i) {
  const auto [keep, group] = weight.nm;
  const int width = index_bits(group);
  const Index kept = weight.in / group * keep;
  detail::BitReader indices(row);
  int previous = -1;
  for (Index t = 0; t < kept; ++t) {
    if (t % keep == 0) previous = -1;
    const int index = int(indices.get(width));
    if (index <= previous || index >= group) {
      throw_input("row " + std::to_string(i) + ", group " + std::to_string(t / keep) + ": index " +
                  std::to_string(index) + (index >= group ? " is outside the group" : " does not ascend"));
    }
    previous = index;
  }
  const Index used_bits = kept * width;
  if (used_bits % 8 != 0 && row[used_bits / 8] >> (used_bits % 8) != 0) {
    throw_input("row " + std::to_string(i) + ": bits behind the last index are set");
  }
}

int64_t count_bits(const uint8_t* row, Index bytes) {
  int64_t set = 0;
  Index b = 0;
  for (; b + 8 <= bytes; b += 8) {
    uint64_t word;
    std::memcpy(&word, row + b, sizeof word);
    set += std::popcount(word);
  }
  for (; b < bytes; ++b) set += std::popcount(row[b]);
  return set;
}

}  // namespace

void check_offsets(const std::vector<int64_t>& offsets, int64_t total, const char* what) {
  if (offsets.front() != 0) throw_input(std::string(what) + "[0] is not 0");
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1])
      throw_input(std::string(what) + "[" + std::to_string(i) + "] is below the one before it");
  }
  if (offsets.back() != total) {
    throw_input(std::string("the last of ") + what + " is " + std::to_string(offsets.back()) + ", not the " +
                std::to_string(total) + " that are stored");
  }
}

void check_indices(const std::vector<int32_t>& indices, const std::vector<int64_t>& indptr, int64_t limit) {
  for (size_t row = 0; row + 1 < indptr.size(); ++row) {
    int64_t previous = -1;
    for (int64_t t = indptr[row]; t < indptr[row + 1]; ++t) {
      const int64_t index = indices[size_t(t)];
      if (index < 0 || index >= limit) {
        throw_input("indices[" + std::to_string(t) + "] is " + std::to_string(index) + ", out of 0.." +
                    std::to_string(limit - 1));
      }
      if (index <= previous) throw_input("indices[" + std::to_string(t) + "] does not ascend in its row");
      previous = index;
    }
  }
}

void check_nm_indices(const PackedWeight& weight, std::span<const std::byte> bytes) {
  const auto* indices = reinterpret_cast<const uint8_t*>(bytes.data());
  const Index row_bytes = index_bytes_per_row(weight.nm, weight.in);
  Index i = 0;
  if (weight.nm == NM{2, 4})
    i = first_faulty(weight.out, [&](Index r) { return is_sound24(indices + r * row_bytes, weight.in / 4); });
  for (; i < weight.out; ++i) check_nm_row(weight, indices + i * row_bytes, i);
}

void check_bitmask(const PackedWeight& weight, std::span<const std::byte> bytes,
                   const std::vector<int64_t>& offsets) {
  const auto* bitmask = reinterpret_cast<const uint8_t*>(bytes.data());
  const Index row_bytes = (weight.in + 7) / 8;
  const auto set = [&](Index i) { return count_bits(bitmask + i * row_bytes, row_bytes); };
  const auto stored = [&](Index i) { return offsets[size_t(i) + 1] - offsets[size_t(i)]; };
  const auto has_bits_behind = [&](Index i) {
    return weight.in % 8 != 0 && bitmask[(i + 1) * row_bytes - 1] >> (weight.in % 8) != 0;
  };
  const Index i =
      first_faulty(weight.out, [&](Index r) { return !has_bits_behind(r) && set(r) == stored(r); });
  if (i == weight.out) return;
  if (has_bits_behind(i)) throw_input("row " + std::to_string(i) + ": bits behind the last column are set");
  throw_input("row " + std::to_string(i) + ": " + std::to_string(set(i)) + " bits are set, " +
              std::to_string(stored(i)) + " values are stored");
}

void check_windows(const kernels::WindowsWeights& w, int64_t value_bytes, int64_t stored) {
  if (const char* fault = kernels::find_shape_fault(w, value_bytes, stored)) throw_input(fault);
  const std::vector<int64_t> tails = kernels::tail_starts(w);
  const auto fault_of = [&](Index g) {
    return kernels::find_group_fault(w, value_bytes, g, tails[size_t(g)]);
  };
  const Index groups = kernels::window_groups(w);
  const Index g = first_faulty(groups, [&](Index group) { return fault_of(group) == nullptr; });
  if (g == groups) return;
  throw_input("rows " + std::to_string(g * kWindowsRows) + " to " +
              std::to_string(std::min((g + 1) * kWindowsRows, Index(w.rows)) - 1) + ": " + fault_of(g));
}

void check_scales(const std::vector<float>& scales) {
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i]) || scales[i] < 0)
      throw_input("scales[" + std::to_string(i) + "] is negative or not finite");
  }
}

}  // namespace prune
