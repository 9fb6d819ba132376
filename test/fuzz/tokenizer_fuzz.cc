// Any bytes as a tokenizer.json: it is refused with Error(kInput), or encodes text to ids of its vocabulary
// and stops at a limit with the same ids.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/tokenizer.h"
#include "prune/error.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

constexpr std::string_view kText =
    "It's 1234 caf\xC3\xA9s, <|end|> \n\n\t\xE2\x96\x81x  word\r\n \xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD "
    "e\xCC\x81 aabb";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace prune;
  try {
    const Tokenizer tokenizer = Tokenizer::from_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const std::vector<int32_t> ids = tokenizer.encode(kText);
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocabulary_size());
    const std::vector<int32_t> first = tokenizer.encode(kText, 3);
    require(first.size() <= 3 && std::vector<int32_t>(ids.begin(), ids.begin() + first.size()) == first);
    tokenizer.decode(ids);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
