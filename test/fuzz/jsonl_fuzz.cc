// Any bytes as JSON Lines: they are refused with Error(kInput), or are documents in UTF-8, and the file is
// read to its end.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libprune/io/jsonl.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace prune;
  try {
    JsonLines documents({reinterpret_cast<const char*>(data), size}, "fuzz");
    size_t before = 0;
    while (const auto document = documents.next()) {
      require(find_invalid_utf8(*document) == std::string_view::npos);
      require(documents.bytes_read() > before && documents.bytes_read() <= size);
      before = documents.bytes_read();
    }
    require(documents.bytes_read() == size);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
