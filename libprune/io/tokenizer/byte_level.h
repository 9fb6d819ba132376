// GPT-2's spelling of bytes as printable characters, in which byte-level vocabularies are written: '!' to
// '~', U+00A1 to U+00AC and U+00AE to U+00FF stand for themselves, the other 68 bytes in ascending order are
// U+0100, U+0101, ... Source: Radford et al. 2019, encoder.py, bytes_to_unicode().
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace prune::tokenizer {

// The character of each byte, in UTF-8.
const std::array<std::string, 256>& byte_characters();

// The bytes that `token` spells, or nothing when it has a character that stands for no byte.
std::optional<std::string> spelled_bytes(std::string_view token);

}  // namespace prune::tokenizer
