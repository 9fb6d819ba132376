// From Oniguruma's syntax to PCRE2's: the rewriting of patterns.
#include <algorithm>
#include <array>
#include <cctype>

#include "libprune/io/text.h"
#include "libprune/io/tokenizer/regex.h"
#include "prune/error.h"

namespace prune::tokenizer {
namespace {

constexpr std::string_view kWordClass = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

bool is_alphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Rewriter {
 public:
  Rewriter(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      switch (pattern_[at_]) {
        case '\\':
          escape();
          break;
        case '[':
          character_class();
          break;
        case '(':
          group();
          break;
        case '{':
          interval();
          break;
        default:
          out_ += pattern_[at_++];
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw_input(where_ + ": the pattern " + quote_name(pattern_) + " has " + what +
                ", which is not supported");
  }

  char peek(size_t ahead) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }

  // `\` and what follows it, outside a class.
  void escape() {
    const char c = peek(1);
    if (c != 'w' && c != 'W') {
      class_escape();
      return;
    }
    out_ += c == 'w' ? "[" : "[^";
    out_.append(kWordClass).append("]");
    at_ += 2;
  }

  // `\` and what follows it, inside a class or, but for \w and \W, anywhere.
  void class_escape() {
    const char c = peek(1);
    if (c == '\0') refuse("a backslash at its end");
    if (c == 'p' || c == 'P') {
      property();
      return;
    }
    if (c == 's' || c == 'S') {
      // PCRE2's \s has U+180E too.
      out_ += c == 's' ? R"(\p{White_Space})" : R"(\P{White_Space})";
    } else if (c == 'w') {
      out_ += kWordClass;
    } else if (std::string_view("dDrntf").find(c) != std::string_view::npos || !is_alphanumeric(c)) {
      out_.append({'\\', c});
    } else {
      refuse("the escape " + quote_name(pattern_.substr(at_, 2)));
    }
    at_ += 2;
  }

  // \p{Name}: general categories have one or two letters; all else but two properties are scripts, whose bare
  // names mean more characters in PCRE2 (the extensions of a script too).
  void property() {
    const size_t close = pattern_.find('}', at_);
    if (peek(2) != '{' || close == std::string_view::npos) refuse("a property without its braces");
    out_ += pattern_.substr(at_, 3);
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    if (name.starts_with('^')) {
      out_ += '^';
      name.remove_prefix(1);
    }
    const bool is_script =
        name.size() > 2 && name != "Alphabetic" && name != "White_Space" && name != "Join_Control";
    if (is_script) out_ += "sc:";
    out_.append(name).append("}");
    at_ = close + 1;
  }

  void character_class() {
    out_ += pattern_[at_++];
    if (peek(0) == '^') out_ += pattern_[at_++];
    if (peek(0) == ']') refuse("a class that begins with ']'");
    while (peek(0) != ']') {
      if (at_ >= pattern_.size()) refuse("a class without its end");
      if (peek(0) == '[') refuse("a class within a class");
      if (peek(0) == '&' && peek(1) == '&') refuse("an intersection of classes");
      if (peek(0) == '\\') {
        class_escape();
      } else {
        out_ += pattern_[at_++];
      }
    }
    out_ += pattern_[at_++];
  }

  void group() {
    constexpr std::array<std::string_view, 9> kKnown = {"(?:", "(?=",  "(?!",  "(?<=", "(?<!",
                                                        "(?>", "(?i:", "(?i)", "(?-i:"};
    const std::string_view rest = pattern_.substr(at_);
    const auto* known = std::find_if(kKnown.begin(), kKnown.end(),
                                     [&](std::string_view start) { return rest.starts_with(start); });
    const bool is_plain = peek(1) != '?' && peek(1) != '*';
    if (known == kKnown.end() && !is_plain) refuse("the group " + quote_name(rest.substr(0, 4)));
    const size_t size = is_plain ? 1 : known->size();
    out_ += rest.substr(0, size);
    at_ += size;
  }

  // {n}, {n,} and {n,m}. In Oniguruma a '+' behind it repeats it, and a '?' behind {n} makes it optional.
  void interval() {
    const size_t begin = at_++;
    const auto digits = [&] {
      const size_t first = at_;
      while (is_digit(peek(0))) ++at_;
      return at_ > first;
    };
    bool is_interval = digits();
    const bool is_exact = peek(0) != ',';
    if (!is_exact) {
      ++at_;
      digits();
    }
    is_interval = is_interval && peek(0) == '}';
    if (!is_interval) refuse("a '{' that begins no interval");
    ++at_;
    if (peek(0) == '+') refuse("a '+' behind an interval");
    if (peek(0) == '?' && is_exact) refuse("a '?' behind an interval");
    out_ += pattern_.substr(begin, at_ - begin);
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern, const std::string& where) {
  return Rewriter(pattern, where).run();
}

}  // namespace prune::tokenizer
