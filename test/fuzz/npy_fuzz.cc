// Any bytes as a .npy file: they are refused with Error(kInput), or describe an array whose data ends the
// file.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libprune/io/npy.h"
#include "prune/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace prune;
  try {
    const NpyArray array = parse_npy({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    require(reinterpret_cast<const uint8_t*>(array.data.data()) + array.data.size() == data + size);
    for (const int64_t extent : array.shape) require(extent >= 0);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
