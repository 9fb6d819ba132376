// CSR into relative indices (decode_relative.h), and back. It happens once.
#include "kernels/sparse/cuda/scan.h"
#include "kernels/sparse/spmm_relative/decode_relative.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kThreads = 64;   // one a list
constexpr int kFarthest = 15;  // units that a code without a weight passes

__device__ inline uint32_t sum_to_lane(uint32_t sum, int lane) {
  for (int step = 1; step < 32; step *= 2) {
    const uint32_t left = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += left;
  }
  return sum;
}

// One warp a row of bits, a byte a lane.
__global__ void __launch_bounds__(32)
    list_bits(const uint8_t* bitmask, int row_bytes, const int64_t* row_offsets, int32_t* indices) {
  const int lane = int(threadIdx.x);
  const uint8_t* from = bitmask + int64_t(blockIdx.x) * row_bytes;
  int64_t to = row_offsets[blockIdx.x];
  for (int first = 0; first < row_bytes; first += 32) {
    const uint32_t bits = first + lane < row_bytes ? from[first + lane] : 0;
    const uint32_t sum = sum_to_lane(uint32_t(__popc(bits)), lane);
    int64_t at = to + sum - __popc(bits);
    for (int bit = 0; bit < 8; ++bit) {
      if (bits >> bit & 1) indices[at++] = 8 * (first + lane) + bit;
    }
    to += __shfl_sync(~0u, sum, 31);
  }
}

// weight(i, absent) for every weight i of a list, with the absent ones since the weight before.
template <class Weight>
__device__ inline void walk(const int32_t* indices, int64_t begin, int64_t end, int list, int lists,
                            const Weight& weight) {
  int passed = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int column = indices[i], unit = column / lists;
    if (column % lists != list) continue;
    weight(i, unit - passed);
    passed = unit + 1;
  }
}

__global__ void __launch_bounds__(kThreads)
    count_vectors(const int32_t* indices, const int64_t* indptr, int rows, int lists, uint16_t* lengths,
                  uint32_t* counts) {
  const int index = int(blockIdx.x) * kThreads + int(threadIdx.x), row = index / lists;
  const int64_t begin = row < rows ? indptr[row] : 0, end = row < rows ? indptr[row + 1] : 0;
  uint32_t entries = 0;
  walk(indices, begin, end, index % lists, lists,
       [&](int64_t, int absent) { entries += 1 + uint32_t(absent / kFarthest); });
  uint32_t vectors = (entries + 7) / 8;
  for (int step = 1; step < lists; step *= 2) vectors += __shfl_xor_sync(~0u, vectors, step);
  if (row >= rows) return;
  lengths[index] = uint16_t((entries + 7) / 8);
  if (index % lists == 0) counts[row] = (vectors + kRelativeLine - 1) / kRelativeLine * kRelativeLine;
}

// One list of a row, and where its vectors lie.
struct List {
  const uint16_t* lengths;  // of the row's lists
  int lists;
  int own;
  uint32_t start;  // of the row

  // Vector `number` lies after those of lower numbers, and those of its number in lists before.
  __device__ uint32_t place_of(uint32_t number) const {
    uint32_t place = start;
    for (int l = 0; l < lists; ++l)
      place += min(uint32_t(lengths[l]), number) + (l < own && lengths[l] > number ? 1 : 0);
    return place;
  }
};

// Writes a list's entries to its vectors.
class Writer {
 public:
  __device__ Writer(const List& list, uint16_t* values, uint32_t* codes)
      : list_(list), values_(values), codes_(codes) {}

  // A weight after so many absent ones.
  __device__ void weight(int absent, uint16_t value) {
    for (; absent >= kFarthest; absent -= kFarthest) add(kFarthest, 0);
    add(absent, value);
  }
  __device__ void fill_up(int units) {
    while (entries_ % 8 != 0) add(passed_ < units ? kFarthest : 0, 0);
  }

 private:
  __device__ void add(int code, uint16_t value) {
    const uint32_t entry = entries_ % 8;
    if (entry == 0) at_ = list_.place_of(entries_ / 8), word_ = 0;
    values_[int64_t(at_) * 8 + entry] = value;
    word_ |= uint32_t(code) << (4 * entry);
    if (entry == 7) codes_[at_] = word_;
    ++entries_;
    passed_ += min(code + 1, kFarthest);
  }

  List list_;
  uint16_t* values_;
  uint32_t* codes_;
  uint32_t entries_ = 0, at_ = 0, word_ = 0;
  int passed_ = 0;
};

__global__ void __launch_bounds__(kThreads)
    fill_lists(const int32_t* indices, const int64_t* indptr, const uint16_t* from, const MatrixRelative to,
               uint32_t* codes, uint16_t* values) {
  const int index = int(blockIdx.x) * kThreads + int(threadIdx.x), row = index / to.lists,
            list = index % to.lists;
  if (row >= to.rows) return;
  Writer writer({to.lengths + row * to.lists, to.lists, list, to.starts[row]}, values, codes);
  walk(indices, indptr[row], indptr[row + 1], list, to.lists,
       [&](int64_t i, int absent) { writer.weight(absent, from[i]); });
  writer.fill_up((to.cols - list + to.lists - 1) / to.lists);
}

// weight(column, where its value lies) for every weight of a list.
template <class Weight>
__device__ inline void read_list(const List& list, int cols, const uint32_t* codes, const Weight& weight) {
  int passed = 0;
  for (uint32_t entry = 0, at = 0; entry < list.lengths[list.own] * 8u; ++entry) {
    if (entry % 8 == 0) at = list.place_of(entry / 8);
    const int code = int(codes[at] >> (4 * (entry % 8)) & 15),
              column = (passed + code) * list.lists + list.own;
    if (code < kFarthest && column < cols) weight(column, int64_t(at) * 8 + entry % 8);
    passed += min(code + 1, kFarthest);
  }
}

// One warp a row: a bit for every weight, and how many come before each word of them, say where it belongs.
__global__ void __launch_bounds__(32)
    restore_rows(const MatrixRelative from, const int64_t* indptr, int32_t* indices, uint16_t* to) {
  constexpr int kWords = 65536 / 32;
  __shared__ uint32_t bits[kWords], before[kWords];
  const int lane = int(threadIdx.x), row = int(blockIdx.x);
  const auto* values = static_cast<const uint16_t*>(from.values);
  const auto read = [&](const auto& weight) {
    if (lane < from.lists) {
      read_list({from.lengths + row * from.lists, from.lists, lane, from.starts[row]}, from.cols, from.codes,
                weight);
    }
    __syncwarp();
  };
  for (int i = lane; i < kWords; i += 32) bits[i] = 0;
  __syncwarp();
  read([&](int column, int64_t) { atomicOr(bits + column / 32, 1u << (column % 32)); });
  uint32_t sum = 0;
  for (int i = lane; i < kWords; i += 32) {
    const uint32_t to_lane = sum_to_lane(uint32_t(__popc(bits[i])), lane);
    before[i] = sum + to_lane - uint32_t(__popc(bits[i]));
    sum += __shfl_sync(~0u, to_lane, 31);
  }
  __syncwarp();
  read([&](int column, int64_t value) {
    const uint32_t lower = bits[column / 32] & ((1u << (column % 32)) - 1);
    const int64_t i = indptr[row] + before[column / 32] + __popc(lower);
    indices[i] = column, to[i] = values[value];
  });
}

bool shape_fits(const MatrixRelative& m) {
  return m.rows >= 1 && m.cols >= 2 && m.cols <= 65534 && m.cols % 2 == 0 && (m.lists == 1 || m.lists == 8);
}
unsigned blocks_for_lists(const MatrixRelative& m) {
  return unsigned((int64_t(m.rows) * m.lists + kThreads - 1) / kThreads);
}

}  // namespace

Status list_columns(const void* bitmask, int rows, int cols, const int64_t* row_offsets, int32_t* indices,
                    cudaStream_t stream) {
  if (rows < 1 || cols < 8 || cols % 8 != 0) return {Reason::kShape};
  list_bits<<<unsigned(rows), 32, 0, stream>>>(static_cast<const uint8_t*>(bitmask), cols / 8, row_offsets,
                                               indices);
  return from_cuda(cudaGetLastError());
}

Status count_relative(const NeutralCsr<const void, const int32_t>& from, const MatrixRelative& to,
                      cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  auto* starts = const_cast<uint32_t*>(to.starts);
  count_vectors<<<blocks_for_lists(to), kThreads, 0, stream>>>(from.indices, from.indptr, to.rows, to.lists,
                                                               const_cast<uint16_t*>(to.lengths), starts);
  const Status s = from_cuda(cudaGetLastError());
  return s.ok() ? counts_to_starts(starts, to.rows, stream) : s;
}

Status pack_relative(const NeutralCsr<const void, const int32_t>& from, const MatrixRelative& to,
                     cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  if (!aligned16(to.values) || !aligned16(to.codes)) return {Reason::kAlignment};
  fill_lists<<<blocks_for_lists(to), kThreads, 0, stream>>>(
      from.indices, from.indptr, static_cast<const uint16_t*>(from.values), to,
      const_cast<uint32_t*>(to.codes), static_cast<uint16_t*>(const_cast<void*>(to.values)));
  return from_cuda(cudaGetLastError());
}

Status unpack_relative(const MatrixRelative& from, const NeutralCsr<void, int32_t>& to, cudaStream_t stream) {
  if (!shape_fits(from)) return {Reason::kShape};
  restore_rows<<<unsigned(from.rows), 32, 0, stream>>>(from, to.indptr, to.indices,
                                                       static_cast<uint16_t*>(to.values));
  return from_cuda(cudaGetLastError());
}

}  // namespace prune::kernels::cuda
