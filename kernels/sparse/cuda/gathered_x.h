// What kernels share whose lanes gather x from shared memory, column by column: a column's tokens lie side by
// side, so that one load brings them all. A thread block has a share of the rows and of the tokens.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace prune::kernels::cuda {

inline constexpr int kGatherThreads = 1024;  // of a thread block

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

// How x is shared out: thread blocks hold that of as many tokens as there are, 8 at most, where so much fits.
struct SharedX {
  int tokens = 0;  // 1, 2, 4 or 8; none where not even one token's x fits
  int bytes = 0;

  // For `columns` of each token, those of zeros behind x with them.
  SharedX(int columns, int all_tokens, int most_bytes) {
    for (int n = 1; 2 * n * columns <= most_bytes; n *= 2) {
      tokens = n, bytes = 2 * n * columns;
      if (n >= 8 || n >= all_tokens) break;
    }
  }
  // Every share of the tokens times `row_blocks` shares of the rows.
  dim3 blocks(int all_tokens, int row_blocks) const {
    return dim3(unsigned(row_blocks), unsigned((all_tokens + tokens - 1) / tokens));
  }
};

struct GatheredX {
  const void* x;  // [tokens, cols]
  int64_t stride;
  int cols;
  int tokens;
  bool is_ready;  // no kernel of the stream may still be making it
};

// The rows of thread block `i` of `blocks`.
struct RowShares {
  int each;
  int more;  // blocks that have one more

  RowShares(int rows, int blocks) : each(rows / blocks), more(rows % blocks) {}
  __device__ int begin(int i) const { return i * each + min(i, more); }
};

// Two columns of a token that is not finite have all bits of an exponent set.
template <class T>
__device__ inline bool not_finite(uint32_t pair) {
  constexpr uint32_t kLow = __is_same(T, __half) ? 0x7c00 : 0x7f80, kHigh = kLow << 16;
  return (pair & kLow) == kLow || (pair & kHigh) == kHigh;
}

// x of tokens token0 and up on its way to shared memory, by all threads of the block: fetch(), then store().
// A thread asks for several pieces before it stores one. Absent tokens are zeros: nobody writes their sums.
template <class T, int kTokens>
class SharedColumns {
 public:
  __device__ SharedColumns(const GatheredX& from, int token0)
      : from_(from), x_(static_cast<const uint16_t*>(from.x) + token0 * from.stride), token0_(token0) {}

  __device__ void fetch(int first = 0) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int piece = first + i * kGatherThreads + int(threadIdx.x);
      if (piece < pieces()) load(piece, words_[i]);
    }
  }

  // And `kZeros` columns of zeros behind them. True where this thread met a number that is not finite.
  template <int kZeros>
  __device__ bool store(void* to) {
    bool found = false;
    for (int first = 0;;) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int piece = first + i * kGatherThreads + int(threadIdx.x);
        if (piece >= pieces()) break;
        store_piece(piece, words_[i], to);
#pragma unroll
        for (int w = 0; w < kWords; ++w) found |= not_finite<T>(words_[i][w]);
      }
      first += kAhead * kGatherThreads;
      if (first >= pieces()) break;
      fetch(first);
    }
    for (int pair = pieces() * (kColumns / 2) + int(threadIdx.x); pair < from_.cols / 2;
         pair += kGatherThreads) {
      const uint32_t both = word(0, pair);  // what is less than a piece, of one token
      static_cast<uint32_t*>(to)[pair] = both;
      found |= not_finite<T>(both);
    }
    for (int i = int(threadIdx.x); i < kZeros * kTokens; i += kGatherThreads)
      static_cast<uint16_t*>(to)[from_.cols * kTokens + i] = 0;
    return found;
  }

 private:
  static constexpr int kColumns = kTokens == 1 ? 8 : 2;        // of a piece
  static constexpr int kWords = kColumns * kTokens / 2;        // of a piece
  static constexpr int kAhead = kWords == 8 ? 2 : 8 / kWords;  // pieces

  __device__ int pieces() const { return from_.cols / kColumns; }
  __device__ uint32_t word(int token, int pair) const {
    return *reinterpret_cast<const uint32_t*>(x_ + token * from_.stride + 2 * pair);
  }
  __device__ void load(int piece, uint32_t (&words)[kWords]) const {
    if constexpr (kTokens == 1) {
      const uint4 v = reinterpret_cast<const uint4*>(x_)[piece];
      words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
    } else {
#pragma unroll
      for (int n = 0; n < kTokens; ++n) words[n] = token0_ + n < from_.tokens ? word(n, piece) : 0;
    }
  }
  __device__ static void store_piece(int piece, const uint32_t (&words)[kWords], void* to) {
    if constexpr (kTokens == 1) {
      static_cast<uint4*>(to)[piece] = make_uint4(words[0], words[1], words[2], words[3]);
    } else {
      Column<kTokens> first, second;
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        first.pairs[i] = __byte_perm(words[2 * i], words[2 * i + 1], 0x5410);
        second.pairs[i] = __byte_perm(words[2 * i], words[2 * i + 1], 0x7632);
      }
      static_cast<Column<kTokens>*>(to)[2 * piece] = first;
      static_cast<Column<kTokens>*>(to)[2 * piece + 1] = second;
    }
  }

  const GatheredX& from_;
  const uint16_t* x_;
  int token0_;
  uint32_t words_[kAhead][kWords];
};

}  // namespace prune::kernels::cuda
