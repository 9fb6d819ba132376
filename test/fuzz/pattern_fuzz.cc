// Any text as a pattern: it is refused with a short Error(kUsage), or its printed form means the same.
#include <prune/pattern.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void require_in_range(const prune::Pattern& pattern) {
  if (const auto* nm = std::get_if<prune::NM>(&pattern)) {
    require(1 <= nm->keep && nm->keep < nm->group && nm->group <= prune::kMaxGroup);
  }
  if (const auto* block = std::get_if<prune::Block>(&pattern)) {
    require(1 <= block->rows && block->rows <= prune::kMaxBlock);
    require(1 <= block->cols && block->cols <= prune::kMaxBlock);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const prune::Pattern pattern = prune::parse_pattern(text);
    require_in_range(pattern);
    const std::string printed = prune::to_string(pattern);
    require(prune::parse_pattern(printed) == pattern);
    require(!prune::describe(pattern).empty());
  } catch (const prune::Error& error) {
    require(error.kind() == prune::ErrorKind::kUsage);
    require(std::string_view(error.what()).size() < 300);
  }
  return 0;
}
