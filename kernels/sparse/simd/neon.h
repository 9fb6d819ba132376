// Four floats in a NEON register. Include only from files built for ARM64.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/sparse/simd/prefetch.h"
#include "kernels/sparse/simd/widen.h"

#define PRUNE_INLINE inline __attribute__((always_inline))

namespace prune::kernels {
namespace {

struct NeonF32 {
  using Reg = float32x4_t;
  static constexpr int kWidth = 4;

  static PRUNE_INLINE Reg zero() { return vdupq_n_f32(0); }
  static PRUNE_INLINE Reg load(const float* p) { return vld1q_f32(p); }
  static PRUNE_INLINE void keep(Reg& r) { __asm__("" : "+w"(r)); }
  static PRUNE_INLINE void store(float* p, Reg r) { vst1q_f32(p, r); }
  static PRUNE_INLINE Reg broadcast(const float* p) { return vld1q_dup_f32(p); }
  static PRUNE_INLINE Reg load_four(const float* p) { return load(p); }
  // A multiply-add takes one lane of a register for all: compilers fold this into it.
  template <int I>
  static PRUNE_INLINE Reg spread(Reg four) {
    return vdupq_laneq_f32(four, I);
  }
  static PRUNE_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  static PRUNE_INLINE Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static PRUNE_INLINE Reg widen(const float* p) { return load(p); }
  static PRUNE_INLINE Reg widen(const uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }
  static PRUNE_INLINE Reg widen(const Half* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits)));
  }
  // Four bytes, and none behind them.
  static PRUNE_INLINE Reg widen(const int8_t* p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    const int16x8_t halves = vmovl_s8(vcreate_s8(static_cast<uint32_t>(bytes)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(halves)));
  }

  static PRUNE_INLINE void transpose(Reg (&r)[4]) {
    const Reg a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
    const Reg c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);
    const auto join = [](float64x2_t v) { return vreinterpretq_f32_f64(v); };
    const auto twos = [](Reg v) { return vreinterpretq_f64_f32(v); };
    r[0] = join(vtrn1q_f64(twos(a), twos(c)));
    r[1] = join(vtrn1q_f64(twos(b), twos(d)));
    r[2] = join(vtrn2q_f64(twos(a), twos(c)));
    r[3] = join(vtrn2q_f64(twos(b), twos(d)));
  }
};

}  // namespace
}  // namespace prune::kernels
