#include <type_traits>

#include "kernels/sparse/simd/avx2.h"
#include "kernels/sparse/simd/widen.h"
#include "kernels/sparse/spmm_csr/rows.h"

namespace prune::kernels {
namespace {

// x at four columns, each loaded by itself: on Zen 4 the gather instruction takes 1.6 times as long. Two
// column numbers of 32 bits come with one load, or four of 16.
PRUNE_INLINE __m128 find_four(const float* a, const float* b, const float* c, const float* d) {
  return _mm_movelh_ps(_mm_unpacklo_ps(_mm_load_ss(a), _mm_load_ss(b)),
                       _mm_unpacklo_ps(_mm_load_ss(c), _mm_load_ss(d)));
}
PRUNE_INLINE __m128 find_four(const uint32_t* columns, const float* x) {
  uint64_t low, high;
  std::memcpy(&low, columns, sizeof low);
  std::memcpy(&high, columns + 2, sizeof high);
  return find_four(x + static_cast<uint32_t>(low), x + (low >> 32), x + static_cast<uint32_t>(high),
                   x + (high >> 32));
}
PRUNE_INLINE __m128 find_four(const uint16_t* columns, const float* x) {
  uint64_t all;
  std::memcpy(&all, columns, sizeof all);
  return find_four(x + (all & 0xffff), x + (all >> 16 & 0xffff), x + (all >> 32 & 0xffff), x + (all >> 48));
}

PRUNE_INLINE __m128 widen_four(const float* p) { return _mm_loadu_ps(p); }
PRUNE_INLINE __m128 widen_four(const uint16_t* p) {
  const __m128i wide = _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm_castsi128_ps(_mm_slli_epi32(wide, 16));
}
PRUNE_INLINE __m128 widen_four(const int8_t* p) {
  int32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(bytes)));
}

PRUNE_INLINE float add_lanes(__m128 sums) {
  const __m128 pairs = _mm_add_ps(sums, _mm_movehl_ps(sums, sums));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}

// Four sums, so that a product need not wait for the one before.
template <class T, class Column>
float dot(const T* values, const Column* columns, int64_t count, const float* x) {
  constexpr int kStep = 16;
  const AheadByLevels<true> ahead;
  __m128 sum[4] = {};
  int64_t j = 0;
  for (; j + kStep <= count; j += kStep) {
    ahead.ask_for(columns + j);
    ahead.ask_for(values + j);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
      sum[q] = _mm_fmadd_ps(find_four(columns + j + 4 * q, x), widen_four(values + j + 4 * q), sum[q]);
  }
  for (; j + 4 <= count; j += 4)
    sum[0] = _mm_fmadd_ps(find_four(columns + j, x), widen_four(values + j), sum[0]);
  float total = add_lanes(_mm_add_ps(_mm_add_ps(sum[0], sum[1]), _mm_add_ps(sum[2], sum[3])));
  for (; j < count; ++j) total += widen(values[j]) * x[columns[j]];
  return total;
}

struct FourFloats {
  using Reg = __m128;
  static constexpr int kWidth = 4;

  static PRUNE_INLINE Reg zero() { return _mm_setzero_ps(); }
  static PRUNE_INLINE Reg load(const float* p) { return _mm_loadu_ps(p); }
  static PRUNE_INLINE void store(float* p, Reg r) { _mm_storeu_ps(p, r); }
  static PRUNE_INLINE Reg broadcast(const float* p) { return _mm_broadcast_ss(p); }
  static PRUNE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm_fmadd_ps(a, b, c); }
  static PRUNE_INLINE Reg add(Reg a, Reg b) { return _mm_add_ps(a, b); }
};

// Sixteen weights as floats in memory, from where they are loaded into all lanes.
PRUNE_INLINE const float* widen_sixteen(const float* values, float*) { return values; }
template <class T>
PRUNE_INLINE const float* widen_sixteen(const T* values, float* memory) {
  for (int i = 0; i < 2; ++i) _mm256_store_ps(memory + 8 * i, Avx2F32::widen(values + 8 * i));
  return memory;
}

// NV vectors of rows of X.
template <class V, int NV, class T, class Column>
void multiply_together(const T* values, const Column* columns, int64_t count, const float* x, float* sums) {
  constexpr int kSets = 4 / NV, kStep = 16;
  const AheadByLevels<false> ahead;
  typename V::Reg acc[kSets][NV];
  for (auto& set : acc) {
    for (auto& sum : set) sum = V::zero();
  }
  const auto add = [&](int set, const float* weight, Column column) {
    const typename V::Reg w = V::broadcast(weight);
    const float* found = x + static_cast<int64_t>(column) * (NV * V::kWidth);
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) acc[set][v] = V::fma(w, V::load(found + v * V::kWidth), acc[set][v]);
  };
  int64_t j = 0;
  for (; j + kStep <= count; j += kStep) {
    ahead.ask_for(columns + j);
    ahead.ask_for(values + j);
    alignas(32) float memory[kStep];
    const float* weights = widen_sixteen(values + j, memory);
#pragma GCC unroll 16
    for (int q = 0; q < kStep; ++q) add(q % kSets, weights + q, columns[j + q]);
  }
  for (; j < count; ++j) {
    const float weight = widen(values[j]);
    add(0, &weight, columns[j]);
  }
#pragma GCC unroll 2
  for (int v = 0; v < NV; ++v) {
    typename V::Reg sum = acc[0][v];
#pragma GCC unroll 4
    for (int set = 1; set < kSets; ++set) sum = V::add(sum, acc[set][v]);
    V::store(sums + v * V::kWidth, sum);
  }
}

struct Vectors {
  template <class T, class Column>
  static float one(const T* values, const Column* columns, int64_t count, const float* x) {
    return dot(values, columns, count, x);
  }

  template <int Width, class T, class Column>
  static void together(const T* values, const Column* columns, int64_t count, const float* x, float* sums) {
    using V = std::conditional_t<Width == 4, FourFloats, Avx2F32>;
    multiply_together<V, Width / V::kWidth>(values, columns, count, x, sums);
  }
};

}  // namespace

constexpr CsrKernel csr_f32_avx2 = csr_kernel<Vectors, float>("csr_f32_avx2", WeightType::kF32);
constexpr CsrKernel csr_bf16_avx2 = csr_kernel<Vectors, uint16_t>("csr_bf16_avx2", WeightType::kBf16);
constexpr CsrKernel csr_i8_avx2 = csr_kernel<Vectors, int8_t>("csr_i8_avx2", WeightType::kI8);

}  // namespace prune::kernels
