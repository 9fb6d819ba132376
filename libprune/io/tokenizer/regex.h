// The regular expressions of tokenizer files. They are written for Oniguruma, and run by PCRE2.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace prune::tokenizer {

// `pattern` in PCRE2's syntax with the meaning that it has in Oniguruma's. Where the two differ (\s, \w,
// names of scripts) the pattern is rewritten; what has no equal, or is not used by tokenizers, is refused:
// nested classes and intersections, POSIX classes, possessive intervals, back references, other flags than i.
// Throws Error(kInput).
std::string pcre2_pattern(std::string_view pattern, const std::string& where);

class Regex {
 public:
  // Throws Error(kInput) for a pattern that pcre2_pattern() or PCRE2 refuses.
  Regex(std::string_view pattern, const std::string& where);
  // Finds `text` itself.
  static Regex literal(std::string_view text, const std::string& where);

  struct Match {
    size_t begin = 0;
    size_t end = 0;
  };

  // The matches in `subject` from left to right; an empty match is not found where the last match ended.
  class Matches {
   public:
    Matches(const Regex& regex, std::string_view subject);
    // Throws Error(kInput) when the pattern needs more than the limits on steps and memory.
    std::optional<Match> next();

   private:
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
    };

    bool search();
    void step_over_character();

    const Regex& regex_;
    std::string_view subject_;
    std::unique_ptr<pcre2_real_match_data_8, Free> found_;
    size_t from_ = 0;
    std::optional<size_t> last_end_;
  };

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };

  Regex(std::string_view pcre2, unsigned options, std::string_view shown, const std::string& where);

  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::string description_;  // for messages: where, and the pattern
};

}  // namespace prune::tokenizer
