#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"

#include <algorithm>

#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/cuda/scan.h"
#include "kernels/sparse/cuda/strip.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kMaxWarps = 16;
constexpr int kDefaultShared = 48 << 10;

struct Arguments {
  const uint2* masks;
  const uint32_t* starts;
  const uint4* values;
  const void* x;
  void* y;
  int64_t x_stride;
  int64_t y_stride;
  int rows;
  int cols;
  int tokens;
  int all_strips;
  int panels;      // of a strip
  int strips;      // of a thread block
  int warp_bytes;  // shared memory of a warp
};

// Values i - 1 and i of a panel are word i of the warp's shared memory. Of eight lanes that store together,
// four begin with the second half: then each bank is met once.
__device__ inline void store_words(uint32_t words, int vector, uint32_t before, const uint4& v) {
  const auto overlap = [](uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x5432); };
  const uint4 first{overlap(before, v.x), v.x, overlap(v.x, v.y), v.y},
      second{overlap(v.y, v.z), v.z, overlap(v.z, v.w), v.w};
  const bool swap = vector & 4;
  const uint32_t to = words + uint32_t(vector) * 32 + (swap ? 16 : 0);
  ptx::store_shared_16(to, swap ? second : first);
  ptx::store_shared_16(to ^ 16, swap ? first : second);
}

// A warp's panel on its way from memory. What is more than kVectors * 32 vectors waits for store().
template <int kVectors>
struct Panel {
  uint2 masks;
  const uint4* from;
  int count;  // of 16-byte vectors
  uint4 values[kVectors];

  __device__ void load(const Arguments& args, int64_t panel, uint2 range, int lane) {
    masks = ptx::load_once(args.masks + panel * 32 + lane);
    from = args.values + range.x;
    count = int(range.y - range.x);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) values[i] = vector(i * 32 + lane);
  }
  // One vector of zeros follows the last: the second half of the word at their border is its first.
  __device__ void store(uint32_t words, int lane) const {
    uint32_t carried = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (i * 32 <= count) store_row(words, i, values[i], carried, lane);
    }
    for (int i = kVectors; i * 32 <= count; ++i) store_row(words, i, vector(i * 32 + lane), carried, lane);
  }

 private:
  __device__ uint4 vector(int i) const { return i < count ? ptx::load_once(from + i) : uint4{}; }
  __device__ void store_row(uint32_t words, int i, const uint4& v, uint32_t& carried, int lane) const {
    const uint32_t left = __shfl_sync(~0u, v.w, (lane + 31) & 31);
    if (i * 32 + lane <= count) store_words(words, i * 32 + lane, lane == 0 ? carried : left, v);
    carried = left;
  }
};

// Where lane's values begin among the warp's.
__device__ inline int values_before(uint2 masks, int lane) {
  const int own = __popc(masks.x) + __popc(masks.y);
  int sum = own;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int left = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += left;
  }
  return sum - own;
}

// Of the word's first two bytes, or of its last two, the signs, each copied to 16 bits.
template <bool kLast>
__device__ inline uint32_t spread_signs(uint32_t word) {
  uint32_t mask;  // not __byte_perm, which knows nothing of signs
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(mask) : "r"(word), "n"(kLast ? 0xbbaa : 0x9988));
  return mask;
}

// The two weights of the word at `address` that the mask leaves; nothing is read where it leaves none.
__device__ inline uint32_t take_pair(uint32_t mask, uint32_t address) {
  uint32_t pair = 0;
  asm volatile(
      "{\n.reg .pred some;\n"
      "setp.ne.u32 some, %1, 0;\n"
      "@some ld.shared.u32 %0, [%2];\n}"
      : "+r"(pair)
      : "r"(mask), "r"(address)
      : "memory");
  return mask & pair;
}

// sums += the weights of one word of the lane's bits, 64 columns, times x.
template <class T, int kBlocks>
__device__ inline void multiply_half(float (&sums)[kBlocks][4], uint32_t bits, uint32_t& cursor,
                                     const T* const (&x)[kBlocks], int column, int columns_left) {
  uint4 tokens[2][kBlocks];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      tokens[q][b] =
          32 * q < columns_left ? *reinterpret_cast<const uint4*>(x[b] + column + 32 * q) : uint4{};
    }
  }
#pragma unroll
  for (int f = 0; f < 4; ++f) {
    uint32_t a[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      // A set bit has become -1 in two bytes: -4 times one of them is the 4 of shared memory by which a
      // weight moves the cursor.
      const uint32_t word = bits << (2 * f + r / 2);
      const uint32_t mask = r % 2 ? spread_signs<true>(word) : spread_signs<false>(word);
      a[r] = take_pair(mask, uint32_t(__dp4a(int(mask), 0x000000fc, int(cursor))));
      cursor = uint32_t(__dp4a(int(mask), 0x00fc00fc, int(cursor)));
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const uint4& v = tokens[f / 2][b];
      ptx::mma_16x8x16<T>(sums[b], uint4{a[0], a[1], a[2], a[3]}, f % 2 ? uint2{v.z, v.w} : uint2{v.x, v.y});
    }
  }
}

// Left alone the compiler finds the registers with which most warps are resident; on 8.x it would spill for
// that.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kLeastBlocks = 1;
#else
constexpr int kLeastBlocks = 0;
#endif

template <class T, int kBlocks, int kVectors>
__global__ void __launch_bounds__(32 * kMaxWarps, kLeastBlocks) decode_bitmask_kernel(const Arguments args) {
  extern __shared__ __align__(16) uint8_t storage[];
  const int warp = int(threadIdx.x) / 32, lane = threadIdx.x & 31;
  const StripWarps sharers{warp % args.strips, args.strips, warp / args.strips,
                           int(blockDim.x) / 32 / args.strips};
  const int strip = int(blockIdx.x) * args.strips + sharers.first;
  const uint32_t words = ptx::shared_address(storage) + uint32_t(warp * args.warp_bytes);
  const int64_t first = int64_t(min(strip, args.all_strips - 1)) * args.panels;
  const int panels = strip < args.all_strips ? args.panels : 0;
  const auto range = [&](int at) {
    const uint32_t* starts = args.starts + first + min(at, args.panels - 1);
    return uint2{__ldg(starts), __ldg(starts + 1)};
  };
  Panel<kVectors> panel;
  panel.load(args, first + min(sharers.rank, args.panels - 1), range(sharers.rank), lane);
  uint2 next = range(sharers.rank + sharers.count);
#if __CUDA_ARCH__ >= 900
  ptx::launch_dependents();
  ptx::wait_for_prerequisites();
#endif
  // Absent tokens repeat the last: their products land in columns that nobody reads.
  const T* x[kBlocks];
  const int shift = 8 * (lane & 3);
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const int n = min(8 * b + (lane >> 2), args.tokens - 1);
    x[b] = static_cast<const T*>(args.x) + n * args.x_stride + shift;
  }
  float sums[kBlocks][4] = {};
  for (int at = sharers.rank; at < panels; at += sharers.count) {
    panel.store(words, lane);
    const uint2 bits = panel.masks;
    if (at + sharers.count < panels) {
      panel.load(args, first + at + sharers.count, next, lane);
      next = range(at + 2 * sharers.count);
    }
    uint32_t cursor = words + 4 * uint32_t(values_before(bits, lane));
    __syncwarp();
    const int column = at * kPanelCols, left = args.cols - shift - column;
    multiply_half<T, kBlocks>(sums, bits.x, cursor, x, column, left);
    multiply_half<T, kBlocks>(sums, bits.y, cursor, x, column + 64, left - 64);
    __syncwarp();
  }
  __syncthreads();
  combine_strip<T, kBlocks>(reinterpret_cast<float4*>(storage), sums,
                            {args.y, args.y_stride, args.rows, args.tokens}, strip, sharers, lane);
}

// --- packing

// 128 columns of a row, as the neutral format has them.
struct RowBits {
  uint32_t words[4] = {};

  __device__ RowBits(const uint8_t* bitmask, int row, int rows, int panel, int row_bytes) {
    if (row >= rows) return;
    const uint8_t* from = bitmask + int64_t(row) * row_bytes + panel * 16;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      if (panel * 16 + i < row_bytes) words[i / 4] |= uint32_t(from[i]) << (8 * (i % 4));
    }
  }
  __device__ int before(int column) const {
    int count = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int bits = min(max(column - 32 * i, 0), 32);
      count += __popc(words[i] & uint32_t((uint64_t(1) << bits) - 1));
    }
    return count;
  }
  // A lane's four columns of fragment f.
  __device__ uint32_t nibble(int f, int t) const { return words[f / 2] >> (8 * t + 4 * (f % 2)) & 15; }
};

// The place of bit `which` of register r of fragment f in its word.
constexpr int bit_place(int f, int r, int which) {
  return 16 * (r % 2) + 8 * which + 7 - (2 * (f % 4) + r / 2);
}

__device__ inline uint2 bits_of_lane(const RowBits& upper, const RowBits& lower, int t) {
  uint32_t word[2] = {};
#pragma unroll
  for (int f = 0; f < 8; ++f) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const uint32_t pair = (r % 2 ? lower : upper).nibble(f, t) >> (r / 2 * 2);
      word[f / 4] |= (pair & 1) << bit_place(f, r, 0) | (pair >> 1 & 1) << bit_place(f, r, 1);
    }
  }
  return {word[0], word[1]};
}

// One warp a panel: its masks and how many vectors its values take.
__global__ void __launch_bounds__(32) count_panels(const uint8_t* bitmask, int rows, int cols, int panels,
                                                   uint2* masks, uint32_t* counts, int* most) {
  const int strip = int(blockIdx.x) / panels, panel = int(blockIdx.x) % panels, lane = int(threadIdx.x);
  const int row = strip * kStrip + (lane >> 2);
  const RowBits upper(bitmask, row, rows, panel, cols / 8), lower(bitmask, row + 8, rows, panel, cols / 8);
  const uint2 bits = bits_of_lane(upper, lower, lane & 3);
  masks[int64_t(blockIdx.x) * 32 + lane] = bits;
  int sum = __popc(bits.x) + __popc(bits.y);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (lane == 0) {
    counts[blockIdx.x] = uint32_t(sum + 7) / 8;
    atomicMax(most, sum);
  }
}

// One warp a strip, panel after panel: packed values <- row-major ones, or back.
template <bool kPack>
__global__ void __launch_bounds__(32)
    move_values(const uint8_t* bitmask, const int64_t* row_offsets, int rows, int cols, int panels,
                const uint2* masks, const uint32_t* starts, uint16_t* packed, uint16_t* values) {
  const int lane = int(threadIdx.x), g = lane >> 2, t = lane & 3, row = int(blockIdx.x) * kStrip + g;
  int64_t base[2] = {row < rows ? row_offsets[row] : 0, row + 8 < rows ? row_offsets[row + 8] : 0};
  for (int panel = 0; panel < panels; ++panel) {
    const int64_t index = int64_t(blockIdx.x) * panels + panel;
    const RowBits rows_bits[2] = {{bitmask, row, rows, panel, cols / 8},
                                  {bitmask, row + 8, rows, panel, cols / 8}};
    const uint2 bits = masks[index * 32 + lane];
    const int before = values_before(bits, lane);
    uint16_t* at = packed + int64_t(starts[index]) * 8 + before;
#pragma unroll
    for (int f = 0; f < 8; ++f) {
      for (int element = 0; element < 8; ++element) {
        const int r = element / 2, which = element % 2;
        if ((f < 4 ? bits.x : bits.y) >> bit_place(f, r, which) & 1) {
          const int column = 32 * (f / 2) + 8 * t + 4 * (f % 2) + r / 2 * 2 + which;
          uint16_t& value = values[base[r % 2] + rows_bits[r % 2].before(column)];
          if constexpr (kPack) {
            *at++ = value;
          } else {
            value = *at++;
          }
        }
      }
    }
    const int count = __shfl_sync(~0u, before + __popc(bits.x) + __popc(bits.y), 31);
    if (kPack && count + lane < (count + 7) / 8 * 8) packed[int64_t(starts[index]) * 8 + count + lane] = 0;
    for (int i = 0; i < 2; ++i) base[i] += rows_bits[i].before(kPanelCols);
  }
}

// One warp a panel: the neutral bits.
__global__ void __launch_bounds__(32)
    restore_bits(const uint2* masks, int rows, int cols, int panels, uint8_t* bitmask) {
  const int strip = int(blockIdx.x) / panels, panel = int(blockIdx.x) % panels, lane = int(threadIdx.x);
  const int row = strip * kStrip + (lane >> 2), t = lane & 3;
  const uint2 bits = masks[int64_t(blockIdx.x) * 32 + lane];
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    uint32_t bytes[2] = {};  // of rows g and g + 8
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int f = 2 * q + i / 8, r = i % 8 / 2, which = i % 2;
      bytes[r % 2] |= ((f < 4 ? bits.x : bits.y) >> bit_place(f, r, which) & 1)
                      << (4 * (f % 2) + r / 2 * 2 + which);
    }
    const int byte = panel * 16 + 4 * q + t;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (row + 8 * i < rows && byte < cols / 8)
        bitmask[int64_t(row + 8 * i) * (cols / 8) + byte] = uint8_t(bytes[i]);
    }
  }
}

bool shape_fits(const MatrixBitmask& m) { return m.rows >= 1 && m.cols >= 8 && m.cols % 8 == 0; }
bool aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }
int strips_of(const MatrixBitmask& m) { return (m.rows + kStrip - 1) / kStrip; }
int panels_of(const MatrixBitmask& m) { return (m.cols + kPanelCols - 1) / kPanelCols; }

using Kernel = void (*)(Arguments);
template <class T, int kBlocks>
Kernel kernel_for(int most) {
  const int vectors = (most + 7) / 8;
  if (vectors <= 2 * 32) return decode_bitmask_kernel<T, kBlocks, 2>;
  if (vectors <= 3 * 32) return decode_bitmask_kernel<T, kBlocks, 3>;
  return decode_bitmask_kernel<T, kBlocks, 5>;
}
template <class T>
Kernel kernel_for(int most, int tokens) {
  return tokens <= 8 ? kernel_for<T, 1>(most) : kernel_for<T, 2>(most);
}

}  // namespace

Status pack_bitmask(const NeutralBitmask<const void>& from, const MatrixBitmask& to, int* most,
                    cudaStream_t stream) {
  if (!shape_fits(to)) return {Reason::kShape};
  if (!aligned16(to.masks) || !aligned16(to.values)) return {Reason::kAlignment};
  const int64_t panels = bitmask_panels(to.rows, to.cols);
  const auto* bitmask = static_cast<const uint8_t*>(from.bitmask);
  auto* masks = static_cast<uint2*>(const_cast<void*>(to.masks));
  uint32_t* starts = const_cast<uint32_t*>(to.starts);
  Status s = from_cuda(cudaMemsetAsync(most, 0, sizeof(int), stream));
  if (!s.ok()) return s;
  count_panels<<<unsigned(panels), 32, 0, stream>>>(bitmask, to.rows, to.cols, panels_of(to), masks, starts,
                                                    most);
  s = from_cuda(cudaGetLastError());
  if (s.ok()) s = counts_to_starts(starts, panels, stream);
  if (!s.ok()) return s;
  move_values<true><<<unsigned(strips_of(to)), 32, 0, stream>>>(
      bitmask, from.row_offsets, to.rows, to.cols, panels_of(to), masks, starts,
      static_cast<uint16_t*>(const_cast<void*>(to.values)),
      static_cast<uint16_t*>(const_cast<void*>(from.values)));
  return from_cuda(cudaGetLastError());
}

Status unpack_bitmask(const MatrixBitmask& from, const NeutralBitmask<void>& to, cudaStream_t stream) {
  if (!shape_fits(from)) return {Reason::kShape};
  if (!aligned16(from.masks) || !aligned16(from.values)) return {Reason::kAlignment};
  const auto* masks = static_cast<const uint2*>(from.masks);
  auto* bitmask = static_cast<uint8_t*>(to.bitmask);
  restore_bits<<<unsigned(bitmask_panels(from.rows, from.cols)), 32, 0, stream>>>(masks, from.rows, from.cols,
                                                                                  panels_of(from), bitmask);
  const Status s = from_cuda(cudaGetLastError());
  if (!s.ok()) return s;
  move_values<false><<<unsigned(strips_of(from)), 32, 0, stream>>>(
      bitmask, to.row_offsets, from.rows, from.cols, panels_of(from), masks, from.starts,
      static_cast<uint16_t*>(const_cast<void*>(from.values)), static_cast<uint16_t*>(to.values));
  return from_cuda(cudaGetLastError());
}

std::vector<DecodeBitmaskPlan> decode_bitmask_candidates() {
  std::vector<DecodeBitmaskPlan> plans;
  for (const int strips : {1, 2, 4, 8}) {
    for (const int warps : {1, 2, 3, 4, 6, 8, 12, 16}) {
      if (strips * warps <= kMaxWarps && strips * warps >= 4) plans.push_back({strips, warps});
    }
  }
  return plans;
}

// All strips at once where so many warps can be resident, otherwise wave after wave; by measurement on an
// H100 (decode_bitmask_bench --sweep).
DecodeBitmaskPlan plan_decode_bitmask(const MatrixBitmask& matrix, int tokens, int multiprocessors) {
  const bool dense = matrix.most > 3 * 256;  // its kernels hold more registers
  const int resident = tokens <= 8 ? (dense ? 24 : 32) : (dense ? 16 : 24);
  const int each = (strips_of(matrix) + multiprocessors - 1) / multiprocessors, warps = resident / each;
  if (each > 8 || warps < 2) return {1, tokens > 8 && dense ? 4 : 8};
  if (warps < 4) return {2, warps};
  return {1, std::min(warps, kMaxWarps)};
}

Status decode_bitmask(const MatrixBitmask& matrix, const DecodeBitmaskPlan& plan,
                      const DecodeBitmaskCall& call) {
  if (!shape_fits(matrix) || matrix.most < 0 || matrix.most > kPanelRows * kPanelCols || call.tokens < 1 ||
      call.tokens > kMaxDecodeBitmaskTokens || call.x_stride < matrix.cols || call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.masks) || !aligned16(matrix.values) || !aligned16(call.x) || call.x_stride % 8 != 0)
    return {Reason::kAlignment};
  if (plan.strips < 1 || plan.column_warps < 1 || plan.strips * plan.column_warps > kMaxWarps)
    return {Reason::kPlan};
  const int warps = plan.strips * plan.column_warps, blocks = call.tokens <= 8 ? 1 : 2;
  // Of a warp: a word for each value and a vector of zeros, and later its sums.
  const int warp_bytes = std::max(((matrix.most + 7) / 8 + 1) * 32, blocks * 512),
            shared = warp_bytes * warps;
  const Arguments args{static_cast<const uint2*>(matrix.masks),
                       matrix.starts,
                       static_cast<const uint4*>(matrix.values),
                       call.x,
                       call.y,
                       call.x_stride,
                       call.y_stride,
                       matrix.rows,
                       matrix.cols,
                       call.tokens,
                       strips_of(matrix),
                       panels_of(matrix),
                       plan.strips,
                       warp_bytes};
  const Kernel kernel = call.element == Element::kF16 ? kernel_for<__half>(matrix.most, call.tokens)
                                                      : kernel_for<__nv_bfloat16>(matrix.most, call.tokens);
  if (shared > kDefaultShared) {
    const Status s =
        from_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    if (!s.ok()) return s;
  }
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(strips_of(matrix) + plan.strips - 1) / unsigned(plan.strips));
  config.blockDim = dim3(unsigned(32 * warps));
  config.dynamicSmemBytes = size_t(shared);
  config.stream = call.stream;
  config.attrs = &attribute;
  config.numAttrs = call.overlap_previous ? 1 : 0;
  return from_cuda(cudaLaunchKernelEx(&config, kernel, args));
}

}  // namespace prune::kernels::cuda
