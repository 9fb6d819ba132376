#include "kernels/sparse/isa.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace prune::kernels::isa {
namespace {

#if defined(__x86_64__)
// clang 14's __builtin_cpu_supports does not know it. Every processor with AVX2 has it.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

struct Choice {
  uint32_t flags;
  std::string_view rejected;
};

// Evaluated once: a plan prepared now must find the same kernels later.
const Choice& choice() {
  static const Choice chosen = [] {
    const char* level = std::getenv("PRUNE_ISA");
    if (level == nullptr || *level == '\0') return Choice{detected(), {}};
    bool known = false;
    const uint32_t flags = limit(detected(), level, &known);
    return Choice{flags, known ? std::string_view{} : std::string_view{level}};
  }();
  return chosen;
}

}  // namespace

uint32_t detected() {
  uint32_t flags = kGeneric;
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks whether the operating system saves the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") && has_f16c()) {
    flags |= kAvx2;
  }
  if (flags != 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    flags |= kAvx512;
    if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
        __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16")) {
      flags |= kAvx512Bf16;
    }
  }
#elif defined(__aarch64__)
  flags |= kNeon;
#endif
  return flags;
}

bool works_in_halves() {
#if defined(__x86_64__)
  // Asked once: in a virtual machine the processor's answer takes 20 us. Family 19h is Zen 3, which has no
  // AVX-512, and Zen 4.
  static const bool works = [] {
    __builtin_cpu_init();
    return runs_on(kAvx512, detected()) && __builtin_cpu_is("amdfam19h");
  }();
  return works;
#else
  return false;
#endif
}

uint32_t supported() { return choice().flags; }

std::string_view rejected_override() { return choice().rejected; }

uint32_t limit(uint32_t flags, std::string_view level, bool* known) {
  *known = true;
  if (level == "generic") return kGeneric;
  if (level == "avx2") return flags & kAvx2;
  if (level == "neon") return flags & kNeon;
  if (level == "avx512") return flags & (kAvx2 | kAvx512);
  *known = level == "avx512bf16";
  return flags;
}

const char* level_name(uint32_t flags) {
  if (flags & kNeon) return "neon";
  if (flags & kAvx512Bf16) return "avx512bf16";
  if (flags & kAvx512) return "avx512";
  return flags == kAvx2 ? "avx2" : "generic";
}

}  // namespace prune::kernels::isa
