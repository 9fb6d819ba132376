// Places of packed weights, read from files that anyone may have written: every kernel that multiplies them
// where they lie trusts what passed. All throw Error(kInput) that says what is wrong, not in which tensor.
// The arrays have the sizes that packed_tensors() gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sparse/weights.h"
#include "libprune/model/packed_layout.h"

namespace prune {

// 0 = offsets[0] <= offsets[1] <= ... <= offsets[n] = total.
void check_offsets(const std::vector<int64_t>& offsets, int64_t total, const char* what);
// Within each row the indices ascend and are below `limit`.
void check_indices(const std::vector<int32_t>& indices, const std::vector<int64_t>& indptr, int64_t limit);
// Within each group the indices ascend and are below its size; no bits are set behind the last.
void check_nm_indices(const PackedWeight& weight, std::span<const std::byte> bytes);
// As many bits in each row as values, none behind the last column.
void check_bitmask(const PackedWeight& weight, std::span<const std::byte> bytes,
                   const std::vector<int64_t>& offsets);
// Tails are counted to the last value, columns are within their windows, and those of tails ascend.
void check_windows(const kernels::WindowsWeights& weights, int64_t value_bytes, int64_t stored);
// None negative, none that is not finite.
void check_scales(const std::vector<float>& scales);

}  // namespace prune
