// x in shared memory for kernels whose lanes gather it column by column: a column's tokens lie side by side,
// so that one load brings them all.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace prune::kernels::cuda {

// Single precision of the two halves of a word of T.
template <class T>
__device__ inline float upper(uint32_t pair) {
  if constexpr (__is_same(T, __half)) return __half2float(__ushort_as_half(uint16_t(pair >> 16)));
  return __uint_as_float(pair & 0xffff0000);
}
template <class T>
__device__ inline float lower(uint32_t pair) {
  if constexpr (__is_same(T, __half)) return __half2float(__ushort_as_half(uint16_t(pair)));
  return __uint_as_float(pair << 16);
}

// A column's tokens as whole words: left as 16-bit members, the compiler loads them one by one.
template <int kTokens>
struct alignas(2 * kTokens) Column {
  uint32_t pairs[kTokens / 2];

  __device__ static Column load(uint32_t address) {
    Column c;
    if constexpr (kTokens == 2) {
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(c.pairs[0]) : "r"(address));
    } else if constexpr (kTokens == 4) {
      asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(c.pairs[0]), "=r"(c.pairs[1]) : "r"(address));
    } else {
      asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(c.pairs[0]), "=r"(c.pairs[1]), "=r"(c.pairs[2]), "=r"(c.pairs[3])
                   : "r"(address));
    }
    return c;
  }
  template <class T>
  __device__ void add(float (&sums)[kTokens], float value) const {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      sums[2 * i] = fmaf(value, lower<T>(pairs[i]), sums[2 * i]);
      sums[2 * i + 1] = fmaf(value, upper<T>(pairs[i]), sums[2 * i + 1]);
    }
  }
};
template <>
struct Column<1> {
  uint16_t only;

  __device__ static Column load(uint32_t address) {
    Column c;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(c.only) : "r"(address));
    return c;
  }
  template <class T>
  __device__ void add(float (&sums)[1], float value) const {
    sums[0] = fmaf(value, lower<T>(only), sums[0]);
  }
};

struct GatheredX {
  const void* x;  // [tokens, cols]
  int64_t stride;
  int cols;
  int tokens;
};

// Two columns of a token that is not finite have all bits of an exponent set.
template <class T>
__device__ inline bool not_finite(uint32_t pair) {
  constexpr uint32_t kLow = __is_same(T, __half) ? 0x7c00 : 0x7f80, kHigh = kLow << 16;
  return (pair & kLow) == kLow || (pair & kHigh) == kHigh;
}

// Columns of x of tokens token0 and up, and `kZeros` columns of zeros behind them, by all threads of the
// block. Absent tokens are zeros: nobody writes their sums. True where a thread met a number that is not
// finite.
template <class T, int kTokens, int kZeros>
__device__ inline bool bring_x(const GatheredX& from, int token0, void* to) {
  const auto* x = static_cast<const uint16_t*>(from.x) + token0 * from.stride;
  auto* halves = static_cast<uint16_t*>(to);
  bool found = false;
  for (int pair = int(threadIdx.x); pair < from.cols / 2; pair += int(blockDim.x)) {
    uint32_t both[kTokens];
#pragma unroll
    for (int n = 0; n < kTokens; ++n) {
      both[n] =
          token0 + n < from.tokens ? *reinterpret_cast<const uint32_t*>(x + n * from.stride + 2 * pair) : 0;
      found |= not_finite<T>(both[n]);
    }
    if constexpr (kTokens == 1) {
      static_cast<uint32_t*>(to)[pair] = both[0];
    } else {
      Column<kTokens> first, second;
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        first.pairs[i] = __byte_perm(both[2 * i], both[2 * i + 1], 0x5410);
        second.pairs[i] = __byte_perm(both[2 * i], both[2 * i + 1], 0x7632);
      }
      static_cast<Column<kTokens>*>(to)[2 * pair] = first;
      static_cast<Column<kTokens>*>(to)[2 * pair + 1] = second;
    }
  }
  for (int i = int(threadIdx.x); i < kZeros * kTokens; i += int(blockDim.x))
    halves[from.cols * kTokens + i] = 0;
  return found;
}

}  // namespace prune::kernels::cuda
