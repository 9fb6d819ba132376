// The kernels of this processor, from every kernels.inc, by name.
#pragma once

#include <cstdint>
#include <vector>

namespace prune::kernels {

struct KernelLine {
  const char* name;
  uint32_t needs;
};

#define PRUNE_LINE(name, needs) {#name, needs},
inline constexpr KernelLine kNm24Kernels[] = {
#define PRUNE_NM24_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_nm/kernels.inc"
};
inline constexpr KernelLine kBitmaskKernels[] = {
#define PRUNE_BITMASK_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_bitmask/kernels.inc"
};
// Empty where there are none for the processor.
inline const std::vector<KernelLine> kInPlaceKernels{
#define PRUNE_IN_PLACE_KERNEL PRUNE_LINE
#define PRUNE_IN_PLACE_BLOCKS_KERNEL PRUNE_LINE
#include "kernels/sparse/in_place/kernels.inc"
};
inline const std::vector<KernelLine> kStagedKernels{
#define PRUNE_ROW_LANES_KERNEL PRUNE_LINE
#include "kernels/sparse/row_lanes/kernels.inc"
#define PRUNE_SIX_PAIRS_NM24_KERNEL PRUNE_LINE
#define PRUNE_SIX_PAIRS_BITMASK_KERNEL PRUNE_LINE
#include "kernels/sparse/six_pairs/kernels.inc"
};
inline constexpr KernelLine kCsrKernels[] = {
#define PRUNE_CSR_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_csr/kernels.inc"
};
inline constexpr KernelLine kGemvKernels[] = {
#define PRUNE_GEMV_KERNEL PRUNE_LINE
#include "kernels/sparse/gemv/kernels.inc"
};
inline constexpr KernelLine kWindowsKernels[] = {
#define PRUNE_WINDOWS_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_windows/kernels.inc"
};
inline constexpr KernelLine kBsrKernels[] = {
#define PRUNE_BSR_TILE_KERNEL PRUNE_LINE
#define PRUNE_BSR_FEW_KERNEL PRUNE_LINE
#include "kernels/sparse/spmm_bsr/kernels.inc"
};
inline constexpr KernelLine kRowListsKernels[] = {
#define PRUNE_ROW_LISTS_KERNEL PRUNE_LINE
#include "kernels/sparse/row_lists/kernels.inc"
};
// Empty where there are none for the processor.
inline const std::vector<KernelLine> kPatternListsKernels{
#define PRUNE_PATTERN_LISTS_KERNEL PRUNE_LINE
#include "kernels/sparse/pattern_lists/kernels.inc"
};
inline constexpr KernelLine kPlainKernels[] = {
#define PRUNE_PLAIN_KERNEL PRUNE_LINE
#include "kernels/sparse/plain/kernels.inc"
};
#undef PRUNE_LINE

}  // namespace prune::kernels
