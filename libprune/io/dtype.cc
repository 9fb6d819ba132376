#include "libprune/io/dtype.h"

#include <array>

namespace prune {
namespace {

struct DTypeFacts {
  std::string_view name;
  int bits;
  bool prunable;
};

// In the order of the enumeration.
constexpr std::array<DTypeFacts, 22> kFacts{{
    {"BOOL", 8, false},    {"F4", 4, false},          {"F6_E2M3", 6, false},     {"F6_E3M2", 6, false},
    {"U8", 8, false},      {"I8", 8, false},          {"F8_E5M2", 8, true},      {"F8_E4M3", 8, true},
    {"F8_E8M0", 8, false}, {"F8_E4M3FNUZ", 8, false}, {"F8_E5M2FNUZ", 8, false}, {"I16", 16, false},
    {"U16", 16, false},    {"F16", 16, true},         {"BF16", 16, true},        {"I32", 32, false},
    {"U32", 32, false},    {"F32", 32, true},         {"C64", 64, false},        {"F64", 64, true},
    {"I64", 64, false},    {"U64", 64, false},
}};
static_assert(static_cast<size_t>(DType::kU64) + 1 == kFacts.size());

const DTypeFacts& facts(DType dtype) { return kFacts[static_cast<size_t>(dtype)]; }

}  // namespace

std::optional<DType> parse_dtype(std::string_view name) {
  for (size_t i = 0; i < kFacts.size(); ++i) {
    if (kFacts[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::string_view name(DType dtype) { return facts(dtype).name; }
int bits(DType dtype) { return facts(dtype).bits; }
bool is_prunable(DType dtype) { return facts(dtype).prunable; }

}  // namespace prune
