// Any text as config.json: it is refused with Error(kInput), or becomes a tree that the plain JSON parser
// builds as well and that survives being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "libprune/io/json.h"
#include "prune/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const nlohmann::json tree = prune::parse_json(text, "fuzz");
    require(tree == nlohmann::json::parse(text));
    require(prune::parse_json(tree.dump(), "again") == tree);
  } catch (const prune::Error& error) {
    require(error.kind() == prune::ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
