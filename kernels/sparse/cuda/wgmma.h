// Warp-group matrix instructions of sm_90a, for an operand in registers, 2:4 or dense, and what the tensor
// copies around them need.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace prune::kernels::cuda::ptx {

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

template <int kRegisters>
__device__ inline void registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// The descriptor of a K-major operand in shared memory: rows of 128 bytes, 128-byte swizzle, eight rows every
// 1024 bytes.
__device__ inline uint64_t descriptor_128(uint32_t address) {
  return uint64_t(address >> 4 & 0x3fff) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

// One box of a two-dimensional tensor, to every block of the cluster whose bit is set; arrives as bytes at
// the barrier of each.
__device__ inline void copy_box_multicast(uint32_t to, const CUtensorMap* map, int x, int y, uint32_t barrier,
                                          uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(blocks)
      : "memory");
}
__device__ inline void copy_box(uint32_t to, const CUtensorMap* map, int x, int y, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(to),
      "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}
// Shared memory to one box of a tensor; what lies outside of the tensor is left out.
__device__ inline void store_box(const CUtensorMap* map, int x, int y, uint32_t from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(x), "r"(y), "r"(from)
               : "memory");
}
__device__ inline void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most kLeft of this thread's stores still read shared memory.
template <int kLeft>
__device__ inline void store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
}
__device__ inline void store_wait_all() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// Ordinary writes to shared memory become visible to the copy engine.
__device__ inline void fence_async_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Four transposed 8 x 8 matrices of 16-bit elements to shared memory; lane i gives the address of row i % 8
// of matrix i / 8.
__device__ inline void store_matrix_x4_transposed(uint32_t address, uint32_t a, uint32_t b, uint32_t c,
                                                  uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(a),
               "r"(b), "r"(c), "r"(d)
               : "memory");
}

// The operand lists of the product below, by length. An operand's number in the text is its place in the
// list.
// clang-format off
#define PRUNE_NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define PRUNE_NAMES_16 PRUNE_NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define PRUNE_NAMES_32 PRUNE_NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define PRUNE_NAMES_64 PRUNE_NAMES_32 \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define PRUNE_NAMES_128 PRUNE_NAMES_64 \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95" \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define PRUNE_SUMS_4(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define PRUNE_SUMS_8(c, i) PRUNE_SUMS_4(c, i), PRUNE_SUMS_4(c, i + 4)
#define PRUNE_SUMS_16(c, i) PRUNE_SUMS_8(c, i), PRUNE_SUMS_8(c, i + 8)
#define PRUNE_SUMS_32(c, i) PRUNE_SUMS_16(c, i), PRUNE_SUMS_16(c, i + 16)
#define PRUNE_SUMS_64(c, i) PRUNE_SUMS_32(c, i), PRUNE_SUMS_32(c, i + 32)
#define PRUNE_SUMS_128(c, i) PRUNE_SUMS_64(c, i), PRUNE_SUMS_64(c, i + 64)
// clang-format on

// `types`: columns of a step, then those of sums and operands; `c`: where sums live; `flags`: what follows
// the predicate.
#define PRUNE_WGMMA_SPARSE(tokens, sums, types, c, flags, a0, a1, a2, a3, descriptor, selectors, predicate) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " predicate                                                \
               ", 0;\n"                                                                                     \
               "wgmma.mma_async.sp.sync.aligned.m64n" #tokens types " {" PRUNE_NAMES_##sums                 \
               "}, {" a0 "," a1 "," a2 "," a3 "}, " descriptor ", " selectors ", 0, p" flags ";\n}"         \
               : PRUNE_SUMS_##sums(c, 0)                                                                    \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(metadata), "r"(accumulate))

// e4m3 operands whose sums stay in the tensor cores to the end.
struct FastE4m3 {
  uint8_t bits;
};

// What products of T are summed in.
template <class T>
struct SumOf {
  using Type = float;
};
template <>
struct SumOf<int8_t> {
  using Type = int32_t;
};

// d (64 x tokens) = or += A(64 x K, 2:4, registers) * B(K x tokens, shared memory), K = 32 columns of 16-bit
// or 64 of 8-bit operands. Of 16 bits, lanes 0 and 1 of each quad supply the metadata; of 8, all. The number
// of sums, tokens / 2 a thread, names the instruction.
#define PRUNE_DEFINE_WGMMA_SPARSE(tokens, sums, ...)                                                        \
  template <class T>                                                                                        \
  __device__ inline void wgmma_sparse(typename SumOf<T>::Type(&d)[sums], const uint32_t(&a)[4], uint64_t b, \
                                      uint32_t metadata, int accumulate) {                                  \
    if constexpr (__is_same(T, __half)) {                                                                   \
      PRUNE_WGMMA_SPARSE(tokens, sums, "k32.f32.f16.f16", "+f", ", 1, 1, 0", __VA_ARGS__);                  \
    } else if constexpr (__is_same(T, __nv_bfloat16)) {                                                     \
      PRUNE_WGMMA_SPARSE(tokens, sums, "k32.f32.bf16.bf16", "+f", ", 1, 1, 0", __VA_ARGS__);                \
    } else if constexpr (__is_same(T, __nv_fp8_e4m3) || __is_same(T, FastE4m3)) {                           \
      PRUNE_WGMMA_SPARSE(tokens, sums, "k64.f32.e4m3.e4m3", "+f", ", 1, 1", __VA_ARGS__);                   \
    } else {                                                                                                \
      PRUNE_WGMMA_SPARSE(tokens, sums, "k64.s32.s8.s8", "+r", "", __VA_ARGS__);                             \
    }                                                                                                       \
  }
PRUNE_DEFINE_WGMMA_SPARSE(16, 8, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
PRUNE_DEFINE_WGMMA_SPARSE(32, 16, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
PRUNE_DEFINE_WGMMA_SPARSE(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
PRUNE_DEFINE_WGMMA_SPARSE(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
PRUNE_DEFINE_WGMMA_SPARSE(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134")
#undef PRUNE_DEFINE_WGMMA_SPARSE
#undef PRUNE_WGMMA_SPARSE

#define PRUNE_WGMMA(tokens, sums, type, a0, a1, a2, a3, descriptor)                                         \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #tokens "k16.f32." type "." type " {" PRUNE_NAMES_##sums \
               "}, {" a0 "," a1 "," a2 "," a3 "}, " descriptor ", 1, 1, 1, 0;"                              \
               : PRUNE_SUMS_##sums("+f", 0)                                                                 \
               : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(b))

// d (64 x tokens, single precision) += A(64 x 16, registers) * B(16 x tokens, shared memory).
#define PRUNE_DEFINE_WGMMA(tokens, sums, ...)                                       \
  template <class T>                                                                \
  __device__ inline void wgmma_dense(float(&d)[sums], const uint4& a, uint64_t b) { \
    if constexpr (__is_same(T, __half)) {                                           \
      PRUNE_WGMMA(tokens, sums, "f16", __VA_ARGS__);                                \
    } else {                                                                        \
      PRUNE_WGMMA(tokens, sums, "bf16", __VA_ARGS__);                               \
    }                                                                               \
  }
PRUNE_DEFINE_WGMMA(64, 32, "%32", "%33", "%34", "%35", "%36")
PRUNE_DEFINE_WGMMA(128, 64, "%64", "%65", "%66", "%67", "%68")
PRUNE_DEFINE_WGMMA(256, 128, "%128", "%129", "%130", "%131", "%132")
#undef PRUNE_DEFINE_WGMMA
#undef PRUNE_WGMMA
#undef PRUNE_SUMS_4
#undef PRUNE_SUMS_8
#undef PRUNE_SUMS_16
#undef PRUNE_SUMS_32
#undef PRUNE_SUMS_64
#undef PRUNE_SUMS_128
#undef PRUNE_NAMES_8
#undef PRUNE_NAMES_16
#undef PRUNE_NAMES_32
#undef PRUNE_NAMES_64
#undef PRUNE_NAMES_128

}  // namespace prune::kernels::cuda::ptx
