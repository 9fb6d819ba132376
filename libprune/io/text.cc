#include "libprune/io/text.h"

#include <cstring>
#include <system_error>

namespace prune {
namespace {

constexpr size_t kLongestName = 160;
constexpr size_t kKeptHead = 96;
constexpr size_t kKeptTail = 48;

struct Utf8Step {
  size_t length = 0;  // bytes; 0 when they are not well-formed
  uint32_t code_point = 0;
};

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

Utf8Step decode_first(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {1, lead};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  uint32_t code_point = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[i])) return {};
    code_point = code_point << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < kSmallest[length] || code_point > 0x10FFFF || is_surrogate) return {};
  return {length, code_point};
}

bool is_misleading(uint32_t c) {
  const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
  const bool separator = c == 0x2028 || c == 0x2029;
  const bool direction =
      (c >= 0x200E && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
  return control || separator || direction;
}

void append_hex(std::string& out, char letter, uint32_t value, int digits) {
  out += '\\';
  out += letter;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[value >> shift & 0xF];
}

void append_code_point(std::string& out, uint32_t c, std::string_view bytes) {
  if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (!is_misleading(c)) {
    out += bytes;
  } else if (c < 0x100) {
    append_hex(out, 'x', c, 2);
  } else {
    append_hex(out, 'u', c, 4);
  }
}

void append_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = decode_first(text);
    if (step.length == 0) {
      append_hex(out, 'x', static_cast<unsigned char>(text[0]), 2);
      text.remove_prefix(1);
    } else {
      append_code_point(out, step.code_point, text.substr(0, step.length));
      text.remove_prefix(step.length);
    }
  }
}

// The longest prefix and suffix within the bounds that don't cut a character.
std::string_view head_of(std::string_view text) {
  size_t size = kKeptHead;
  while (size > kKeptHead - 3 && is_continuation(text[size])) --size;
  return text.substr(0, size);
}

std::string_view tail_of(std::string_view text) {
  size_t start = text.size() - kKeptTail;
  while (start < text.size() - kKeptTail + 3 && is_continuation(text[start])) ++start;
  return text.substr(start);
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  constexpr uint64_t kBeyondAscii = 0x8080'8080'8080'8080;
  for (size_t at = 0; at < text.size();) {
    if (uint64_t bytes; at + sizeof bytes <= text.size()) {
      std::memcpy(&bytes, text.data() + at, sizeof bytes);
      if ((bytes & kBeyondAscii) == 0) {
        at += sizeof bytes;
        continue;
      }
    }
    const size_t length = decode_first(text.substr(at)).length;
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string quote_name(std::string_view name) {
  std::string out = "'";
  if (name.size() <= kLongestName) {
    append_escaped(out, name);
  } else {
    append_escaped(out, head_of(name));
    out += "...";
    append_escaped(out, tail_of(name));
  }
  out += '\'';
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  append_escaped(out, text);
  return out;
}

std::string shown(const std::filesystem::path& path) { return printable(path.native()); }

std::string in_bytes(uint64_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

std::string system_reason(int error) {
  std::string reason = std::generic_category().message(error);
  if (!reason.empty() && reason[0] >= 'A' && reason[0] <= 'Z')
    reason[0] = static_cast<char>(reason[0] - 'A' + 'a');
  return reason;
}

}  // namespace prune
