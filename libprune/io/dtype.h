// The element types that a safetensors file can name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace prune {

// Spelling and order of the safetensors reference implementation (tensor.rs): ascending alignment.
enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

std::optional<DType> parse_dtype(std::string_view name);  // "BF16" -> kBF16; exact spelling only
std::string_view name(DType dtype);                       // kBF16 -> "BF16"
int bits(DType dtype);                                    // bits of one element: F4 4, F6 6, BOOL 8, C64 64

// True for the types whose weights can be pruned: F64 F32 F16 BF16 F8_E4M3 F8_E5M2. All others are copied.
bool is_prunable(DType dtype);

}  // namespace prune
