// Blocks into slabs of 64 rows by 16 columns (gemm_bsr.h). It happens once: blocks are found by search.
#include "kernels/sparse/cuda/scan.h"
#include "kernels/sparse/spmm_bsr/gemm_bsr.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kBlockRows = 2 * kSlabRows;  // of a thread block of the product
constexpr int kStepSlabs = kStepCols / kSlabCols;
constexpr int kFillers = 16;  // thread blocks that share a group's steps

// Where the block of this block row and block column is, or -1.
__device__ int64_t find_block(const MatrixBsr& m, int block_row, int block_col) {
  int64_t low = m.indptr[block_row], high = m.indptr[block_row + 1];
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (m.indices[middle] < block_col) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < m.indptr[block_row + 1] && m.indices[low] == block_col ? low : -1;
}

// Which of a step's slabs the 64 rows from `row` on have.
__device__ uint32_t slabs_of(const MatrixBsr& m, int row, int col) {
  uint32_t mask = 0;
  for (int r = row; r < min(row + kSlabRows, m.rows); r += min(m.block_rows, kSlabRows)) {
    for (int i = 0; i < kStepSlabs; ++i) {
      const int c = col + i * kSlabCols;
      if (c < m.cols && find_block(m, r / m.block_rows, c / m.block_cols) >= 0) mask |= 1u << i;
    }
  }
  return mask;
}

// One warp a group, a lane a step. `kWrite`: the steps; otherwise how many there are, and how many slabs.
template <bool kWrite>
__global__ void __launch_bounds__(32) list_steps(const MatrixBsr m, int cluster, uint32_t* step_starts,
                                                 uint32_t* slab_starts, uint32_t* steps) {
  const int group = int(blockIdx.x), lane = int(threadIdx.x);
  uint32_t found = 0, slabs[2] = {};
  for (int first = 0; first * kStepCols < m.cols; first += 32) {
    const int step = first + lane;
    uint32_t masks = 0;
    for (int q = 0; q < 2 * cluster; ++q)
      masks |= slabs_of(m, group * cluster * kBlockRows + q * kSlabRows, step * kStepCols)
               << (kStepSlabs * q);
    const uint32_t all = __ballot_sync(~0u, masks != 0);
    if (kWrite && masks != 0)
      steps[step_starts[group] + found + __popc(all & ((1u << lane) - 1))] = uint32_t(step) | masks << 16;
    found += __popc(all);
    for (int i = 0; i < 2; ++i) slabs[i] += __reduce_add_sync(~0u, __popc(masks >> (8 * i) & 0xff));
  }
  if (kWrite || lane != 0) return;
  step_starts[group] = found;
  slab_starts[cluster * group] = slabs[0];
  if (cluster == 2) slab_starts[cluster * group + 1] = slabs[1];
}

// Two neighbouring weights, or zeros where no block is.
__device__ uint32_t pair_at(const MatrixBsr& m, const uint16_t* values, int row, int col) {
  if (row >= m.rows) return 0;
  const int64_t block = find_block(m, row / m.block_rows, col / m.block_cols);
  if (block < 0) return 0;
  return *reinterpret_cast<const uint32_t*>(
      values + (block * m.block_rows + row % m.block_rows) * m.block_cols + col % m.block_cols);
}

// Four warps a thread block, 16 rows of a slab each; a thread block 128 rows.
__global__ void __launch_bounds__(128)
    fill_slabs(const MatrixBsr m, const uint16_t* values, const SlabsBsr to) {
  const int group = int(blockIdx.x) / to.cluster, rank = int(blockIdx.x) % to.cluster,
            lane = threadIdx.x & 31;
  const int row0 = int(blockIdx.x) * kBlockRows + int(threadIdx.x) / 32 * 16 + (lane >> 2);
  uint4* at = static_cast<uint4*>(const_cast<void*>(to.slabs)) +
              int64_t(to.slab_starts[blockIdx.x]) * (kSlabBytes / 16) + int(threadIdx.x);
  for (uint32_t s = to.step_starts[group]; s < to.step_starts[group + 1]; ++s) {
    const uint32_t step = to.steps[s], masks = step >> (16 + 8 * rank);
    const bool mine = s % kFillers == blockIdx.y;
    for (int i = 0; i < 2 * kStepSlabs; ++i) {
      if ((masks >> i & 1) == 0) continue;
      const int row = row0 + i / kStepSlabs * kSlabRows;
      const int col = int(step & 0xffff) * kStepCols + i % kStepSlabs * kSlabCols + 2 * (lane & 3);
      if (mine)
        *at = make_uint4(pair_at(m, values, row, col), pair_at(m, values, row + 8, col),
                         pair_at(m, values, row, col + 8), pair_at(m, values, row + 8, col + 8));
      at += kSlabBytes / 16;
    }
  }
}

bool block_fits(int size) { return size == 16 || size == 32 || size == 64 || size == 128; }
bool shape_fits(const MatrixBsr& m) {
  return block_fits(m.block_rows) && block_fits(m.block_cols) && m.rows >= m.block_rows &&
         m.cols >= m.block_cols && m.rows % m.block_rows == 0 && m.cols % m.block_cols == 0 &&
         m.cols < kStepCols << 16;
}

}  // namespace

Status count_slabs(const MatrixBsr& matrix, const SlabsBsr& to, cudaStream_t stream) {
  if (!shape_fits(matrix)) return {Reason::kShape};
  if (to.cluster != 1 && to.cluster != 2) return {Reason::kPlan};
  const int64_t groups = slab_groups(matrix.rows, to.cluster);
  uint32_t* step_starts = const_cast<uint32_t*>(to.step_starts);
  uint32_t* slab_starts = const_cast<uint32_t*>(to.slab_starts);
  list_steps<false>
      <<<unsigned(groups), 32, 0, stream>>>(matrix, to.cluster, step_starts, slab_starts, nullptr);
  Status s = from_cuda(cudaGetLastError());
  if (s.ok()) s = counts_to_starts(step_starts, groups, stream);
  if (s.ok()) s = counts_to_starts(slab_starts, to.cluster * groups, stream);
  return s;
}

Status pack_slabs(const MatrixBsr& matrix, const void* values, const SlabsBsr& to, cudaStream_t stream) {
  if (!shape_fits(matrix)) return {Reason::kShape};
  if (to.cluster != 1 && to.cluster != 2) return {Reason::kPlan};
  if (reinterpret_cast<uintptr_t>(to.slabs) % 16 != 0 || reinterpret_cast<uintptr_t>(values) % 4 != 0)
    return {Reason::kAlignment};
  const unsigned groups = unsigned(slab_groups(matrix.rows, to.cluster));
  list_steps<true><<<groups, 32, 0, stream>>>(matrix, to.cluster, const_cast<uint32_t*>(to.step_starts),
                                              nullptr, const_cast<uint32_t*>(to.steps));
  const Status s = from_cuda(cudaGetLastError());
  if (!s.ok()) return s;
  fill_slabs<<<dim3(groups * unsigned(to.cluster), kFillers), 128, 0, stream>>>(
      matrix, static_cast<const uint16_t*>(values), to);
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
