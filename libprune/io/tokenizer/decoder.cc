#include "libprune/io/tokenizer/decoder.h"

#include <algorithm>
#include <optional>

#include "libprune/io/tokenizer/byte_level.h"
#include "libprune/io/tokenizer/json_fields.h"

namespace prune::tokenizer {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";
constexpr int64_t kMaxStrip = 1'000'000;

std::string joined(const std::vector<std::string>& tokens, std::string_view between) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += between;
    text += tokens[i];
  }
  return text;
}

// Bytes of the longest beginning of a character that `bytes`, which begin with none, begin with; at least
// one.
size_t maximal_part(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0xC2 || lead > 0xF4 || bytes.size() < 2) return 1;
  const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (lead < 0xE0 || byte(1) < lowest || byte(1) > highest) return 1;
  const bool has_third = lead >= 0xF0 && bytes.size() > 2 && byte(2) >= 0x80 && byte(2) <= 0xBF;
  return has_third ? 3 : 2;
}

// The byte that a token "<0x41>" stands for.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

}  // namespace

std::string with_replacement_characters(std::string_view bytes) {
  std::string text;
  while (true) {
    const size_t bad = find_invalid_utf8(bytes);
    text += bytes.substr(0, bad);
    if (bad == std::string_view::npos) return text;
    text += kReplacement;
    bytes.remove_prefix(bad);
    bytes.remove_prefix(maximal_part(bytes));
  }
}

Decoder::Decoder(const Json& decoder, const std::string& where) {
  if (!decoder.is_null()) add(decoder, where);
}

void Decoder::add(const Json& decoder, const std::string& where) {
  const std::string& type = string_at(decoder, "type", where);
  if (type == "Sequence") {
    for (const Json& inner : array_at(decoder, "decoders", where)) add(inner, where);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    steps_.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Fuse{});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace{parse_pattern(decoder, where), string_at(decoder, "content", where)});
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{string_at(decoder, "content", where),
                              static_cast<size_t>(count_at(decoder, "start", kMaxStrip, where)),
                              static_cast<size_t>(count_at(decoder, "stop", kMaxStrip, where))});
  } else if (type == "Metaspace") {
    const bool prepends = bool_at(decoder, "add_prefix_space", true, where) &&
                          string_at(decoder, "prepend_scheme", "always", where) != "never";
    steps_.emplace_back(Metaspace{string_at(decoder, "replacement", "\u2581", where), prepends});
  } else {
    throw_unsupported(where, "decoder", type);
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { run(kind, tokens); }, step);
  }
  return joined(tokens, steps_.empty() ? " " : "");
}

void Decoder::run(const ByteLevel&, std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += spelled_bytes(token).value_or(token);
  tokens.assign(1, with_replacement_characters(bytes));
}

void Decoder::run(const ByteFallback&, std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    const bool is_text = find_invalid_utf8(bytes) == std::string_view::npos;
    if (is_text && !bytes.empty()) out.push_back(bytes);
    if (!is_text) out.insert(out.end(), bytes.size(), std::string(kReplacement));
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const std::optional<char> byte = fallback_byte(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void Decoder::run(const Fuse&, std::vector<std::string>& tokens) { tokens.assign(1, joined(tokens, "")); }

void Decoder::run(const Strip& step, std::vector<std::string>& tokens) {
  if (step.character.empty()) return;
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (size_t i = 0; i < step.at_start && rest.starts_with(step.character); ++i) {
      rest.remove_prefix(step.character.size());
    }
    for (size_t i = 0; i < step.at_end && rest.ends_with(step.character); ++i) {
      rest.remove_suffix(step.character.size());
    }
    token = std::string(rest);
  }
}

// The mark that was put in front of the text is not part of it.
void Decoder::run(const Metaspace& step, std::vector<std::string>& tokens) {
  if (step.mark.empty()) return;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string text;
    std::string_view rest = tokens[i];
    while (!rest.empty()) {
      if (!rest.starts_with(step.mark)) {
        text += rest.front();
        rest.remove_prefix(1);
        continue;
      }
      if (i > 0 || !step.prepended) text += ' ';
      rest.remove_prefix(step.mark.size());
    }
    tokens[i] = text;
  }
}

void Decoder::run(const Replace& step, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) token = replace_all(token, step);
}

}  // namespace prune::tokenizer
