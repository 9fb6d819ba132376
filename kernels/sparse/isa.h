// Which instruction sets the kernels may use on this machine.
#pragma once

#include <cstdint>
#include <string_view>

namespace prune::kernels::isa {

// A set of instruction sets. A kernel names the ones it needs; it runs where all of them are present.
enum Flags : uint32_t {
  kGeneric = 0,
  kAvx2 = 1u << 0,    // AVX2, FMA, BMI1, BMI2, POPCNT, F16C
  kAvx512 = 1u << 1,  // AVX-512 F, BW, DQ, VL (implies kAvx2)
  // The AVX-512 of processors that multiply bf16: VBMI, VBMI2, VNNI and BF16 together (implies kAvx512).
  kAvx512Bf16 = 1u << 2,
  kNeon = 1u << 3,  // of every ARM64 processor
};

// What the processor and the operating system offer, whatever the environment says.
uint32_t detected();

// Whether the processor makes a 512-bit instruction of two halves, one product and one load a cycle, as Zen 4
// does: then what a product needs of other ports weighs half, and transposing twice as much.
bool works_in_halves();

// detected(), lowered by the environment variable PRUNE_ISA=generic|avx2|avx512|avx512bf16|neon. Read
// once, at the first call.
uint32_t supported();

// The value of PRUNE_ISA when it names no known level, else empty. supported() ignores such a value, so a
// program that wants to refuse it asks here.
std::string_view rejected_override();

// What a PRUNE_ISA of `level` leaves of `flags`; sets *known to whether the level is a known one.
uint32_t limit(uint32_t flags, std::string_view level, bool* known);

// The level that contains `flags`, as PRUNE_ISA and the names of benchmarks spell it.
const char* level_name(uint32_t flags);

// Whether a kernel that needs `needs` runs where `have` is present.
constexpr bool runs_on(uint32_t needs, uint32_t have) { return (needs & have) == needs; }

}  // namespace prune::kernels::isa
