// Any text as model.safetensors.index.json: it is refused with Error(kInput), or names shards that stay in
// their folder.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "libprune/io/checkpoint.h"
#include "prune/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const prune::JsonDocument index({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const std::string& name : prune::shard_names_of_index(index.root(), "fuzz")) {
      const std::filesystem::path path = std::filesystem::path("/model") / name;
      require(path.lexically_normal().parent_path() == "/model" && path.filename() == name);
      require(name.find('\0') == name.npos);
    }
  } catch (const prune::Error& error) {
    require(error.kind() == prune::ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
