#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"

#include <algorithm>

#include "kernels/sparse/cuda/launch.h"
#include "kernels/sparse/cuda/ptx.h"
#include "kernels/sparse/cuda/strip.h"
#include "kernels/sparse/spmm_bitmask/panel.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kMaxWarps = 16;

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

Status decode_bitmask(const MatrixBitmask& matrix, const DecodeBitmaskPlan& plan, const ProductCall& call) {
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
  const unsigned thread_blocks = unsigned(strips_of(matrix) + plan.strips - 1) / unsigned(plan.strips);
  return launch(kernel, {dim3(thread_blocks), 32 * warps, shared}, call, args);
}

}  // namespace prune::kernels::cuda
