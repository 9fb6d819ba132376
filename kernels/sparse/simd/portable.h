// Four floats through the compilers' vector extension: SSE2, NEON or whatever the target has.
//
// Every file under simd/ offers the same vector type to the kernel templates:
//   Reg, kWidth, zero, load, keep (in a register what is used again: gcc would rather fold a load into every
//   instruction that wants it, and so load it as often), store, broadcast, load_four and spread<i> (the i-th
//   of four floats to every lane: one load for four broadcasts), add, fma(a, b, c) = a * b + c, widen
//   (weights of any type), transpose of kWidth registers.
// They live in anonymous namespaces: a file built for one instruction set must not lend its code to another.
#pragma once

#include <cstdint>
#include <cstring>

#define PRUNE_INLINE inline __attribute__((always_inline))

namespace prune::kernels {
namespace {

struct PortableF32 {
  typedef float Reg __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;

  static PRUNE_INLINE Reg zero() { return Reg{0, 0, 0, 0}; }
  static PRUNE_INLINE Reg load(const float* p) {
    Reg r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static PRUNE_INLINE void keep(Reg&) {}
  static PRUNE_INLINE void store(float* p, Reg r) { std::memcpy(p, &r, sizeof r); }
  static PRUNE_INLINE Reg broadcast(const float* p) { return Reg{*p, *p, *p, *p}; }
  static PRUNE_INLINE Reg load_four(const float* p) { return load(p); }
  template <int I>
  static PRUNE_INLINE Reg spread(Reg four) {
    return Reg{four[I], four[I], four[I], four[I]};
  }
  static PRUNE_INLINE Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static PRUNE_INLINE Reg add(Reg a, Reg b) { return a + b; }
  // kWidth weights of any type as floats.
  static PRUNE_INLINE Reg widen(const float* p) { return load(p); }
  static PRUNE_INLINE Reg widen(const int8_t* p) {
    return Reg{float(p[0]), float(p[1]), float(p[2]), float(p[3])};
  }
  static PRUNE_INLINE Reg widen(const uint16_t* p) {
    typedef uint32_t Bits __attribute__((vector_size(16)));
    return reinterpret_cast<Reg>(Bits{p[0], p[1], p[2], p[3]} << 16);
  }
  static PRUNE_INLINE void transpose(Reg (&r)[4]) {
    const Reg a = r[0], b = r[1], c = r[2], d = r[3];
    for (int i = 0; i < 4; ++i) r[i] = Reg{a[i], b[i], c[i], d[i]};
  }
};

}  // namespace
}  // namespace prune::kernels
