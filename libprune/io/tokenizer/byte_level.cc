#include "libprune/io/tokenizer/byte_level.h"

#include "libprune/io/utf8.h"

namespace prune::tokenizer {
namespace {

constexpr uint32_t kFirstStandIn = 0x100;

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint32_t, 256> of_byte{};
  std::array<int, kFirstStandIn + 256> of_code_point{};  // -1: stands for no byte
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.of_code_point.fill(-1);
  uint32_t stand_in = kFirstStandIn;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    alphabet.of_byte[byte] = stands_for_itself(byte) ? byte : stand_in++;
    alphabet.of_code_point[alphabet.of_byte[byte]] = static_cast<int>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> all;
    for (size_t byte = 0; byte < 256; ++byte) append_utf8(all[byte], kAlphabet.of_byte[byte]);
    return all;
  }();
  return characters;
}

std::optional<std::string> spelled_bytes(std::string_view token) {
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const std::string_view character = first_character(token.substr(at));
    const uint32_t c = code_point(character);
    if (c >= kAlphabet.of_code_point.size() || kAlphabet.of_code_point[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.of_code_point[c]);
    at += character.size();
  }
  return bytes;
}

}  // namespace prune::tokenizer
