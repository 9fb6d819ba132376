#include "libprune/io/json_scanner.h"

#include <locale.h>
#include <stdlib.h>

#include <array>
#include <charconv>
#include <cmath>
#include <system_error>

#include "libprune/io/utf8.h"

namespace prune {
namespace {

constexpr uint64_t kLargestNegative = uint64_t{1} << 63;

// What ends a run of a string's plain bytes: its quote, an escape, a control character.
constexpr std::array<bool, 256> kEndsRun = [] {
  std::array<bool, 256> ends{};
  for (size_t c = 0; c < 0x20; ++c) ends[c] = true;
  ends['"'] = ends['\\'] = true;
  return ends;
}();

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// False where no double is that large. (What is too small becomes 0, or as near as doubles come.)
bool parse_double(std::string_view spelled, double& value) {
  const auto [end, fault] = std::from_chars(spelled.data(), spelled.data() + spelled.size(), value);
  if (fault == std::errc::result_out_of_range) {
    static const locale_t c_locale =
        newlocale(LC_ALL_MASK, "C", nullptr);  // whatever the program's has for a point
    value = strtod_l(std::string(spelled).c_str(), nullptr, c_locale);
  }
  return std::isfinite(value);
}

}  // namespace

bool JsonScanner::run() {
  while (wants_value_) {
    skip_space();
    if (!read_value()) return false;
    if (!wants_value_ && !go_on()) return false;
  }
  return at_ == text_.size();
}

void JsonScanner::skip_space() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++at_;
  }
}

bool JsonScanner::take(char c) {
  if (peek() != c) return false;
  ++at_;
  return true;
}

// One value, or of a container that is not empty what precedes its first one.
bool JsonScanner::read_value() {
  wants_value_ = false;
  switch (peek()) {
    case '{':
      return open(true);
    case '[':
      return open(false);
    case '"': {
      std::string_view value;
      if (!read_string(value)) return false;
      events_.string(value);
      return true;
    }
    case 't':
      if (!read_word("true")) return false;
      events_.boolean(true);
      return true;
    case 'f':
      if (!read_word("false")) return false;
      events_.boolean(false);
      return true;
    case 'n':
      if (!read_word("null")) return false;
      events_.null();
      return true;
    default:
      return read_number();
  }
}

bool JsonScanner::open(bool is_object) {
  ++at_;
  is_object ? events_.start_object() : events_.start_array();
  skip_space();
  if (take(is_object ? '}' : ']')) {
    is_object ? events_.end_object() : events_.end_array();
    return true;
  }
  open_.push_back(is_object);
  wants_value_ = true;
  return !is_object || read_key();
}

// Behind a value: closes what ends there, up to the next value or the end of the text.
bool JsonScanner::go_on() {
  for (;;) {
    skip_space();
    if (open_.empty()) return true;
    const bool in_object = open_.back();
    if (take(',')) {
      wants_value_ = true;
      skip_space();
      return !in_object || read_key();
    }
    if (!take(in_object ? '}' : ']')) return false;
    in_object ? events_.end_object() : events_.end_array();
    open_.pop_back();
  }
}

bool JsonScanner::read_key() {
  std::string_view name;
  if (peek() != '"' || !read_string(name)) return false;
  events_.key(name);
  skip_space();
  return take(':');
}

bool JsonScanner::read_word(std::string_view word) {
  if (!text_.substr(at_).starts_with(word)) return false;
  at_ += word.size();
  return true;
}

bool JsonScanner::read_number() {
  const size_t begin = at_;
  const bool is_negative = take('-');
  if (!is_digit(peek())) return false;
  uint64_t number = 0;
  bool fits = true;
  if (!take('0')) {
    for (; is_digit(peek()); ++at_) {
      const auto digit = static_cast<uint64_t>(peek() - '0');
      if (__builtin_mul_overflow(number, uint64_t{10}, &number) ||
          __builtin_add_overflow(number, digit, &number))
        fits = false;
    }
  }
  const size_t digits_end = at_;
  if (take('.')) {
    if (!is_digit(peek())) return false;
    while (is_digit(peek())) ++at_;
  }
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (!is_digit(peek())) return false;
    while (is_digit(peek())) ++at_;
  }
  if (at_ == digits_end && fits && (!is_negative || number <= kLargestNegative)) {
    is_negative ? events_.number_integer(static_cast<int64_t>(-number)) : events_.number_unsigned(number);
    return true;
  }
  double value = 0;
  if (!parse_double(text_.substr(begin, at_ - begin), value)) return false;
  events_.number_float(value);
  return true;
}

bool JsonScanner::read_string(std::string_view& value) {
  const size_t begin = ++at_;
  while (at_ < text_.size() && !kEndsRun[static_cast<unsigned char>(text_[at_])]) ++at_;
  if (peek() == '\\') return read_escapes(begin, value);
  value = text_.substr(begin, at_ - begin);
  return take('"');
}

// The rest of a string from its first escape on.
bool JsonScanner::read_escapes(size_t begin, std::string_view& value) {
  unescaped_.assign(text_.substr(begin, at_ - begin));
  while (peek() == '\\') {
    ++at_;
    if (!read_escape()) return false;
    const size_t run = at_;
    while (at_ < text_.size() && !kEndsRun[static_cast<unsigned char>(text_[at_])]) ++at_;
    unescaped_.append(text_.substr(run, at_ - run));
  }
  value = unescaped_;
  return take('"');
}

bool JsonScanner::read_escape() {
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  const char letter = peek();
  ++at_;
  if (letter != 'u') {
    const size_t found = letter == '\0' ? kLetters.npos : kLetters.find(letter);
    if (found == kLetters.npos) return false;
    unescaped_ += kMeanings[found];
    return true;
  }
  uint32_t unit = 0;
  if (!read_hex(unit)) return false;
  if (unit >= 0xDC00 && unit <= 0xDFFF) return false;  // the second of a pair
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    uint32_t second = 0;
    if (!take('\\') || !take('u') || !read_hex(second) || second < 0xDC00 || second > 0xDFFF) return false;
    unit = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
  }
  append_utf8(unescaped_, unit);
  return true;
}

bool JsonScanner::read_hex(uint32_t& unit) {
  constexpr size_t kDigits = 4;
  const std::string_view digits = text_.substr(at_ < text_.size() ? at_ : text_.size(), kDigits);
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
  if (fault != std::errc() || digits.size() < kDigits || end != digits.data() + kDigits) return false;
  at_ += kDigits;
  return true;
}

}  // namespace prune
