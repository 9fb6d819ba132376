#include "libprune/io/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "libprune/io/text.h"
#include "libprune/io/utf8.h"
#include "prune/error.h"

namespace prune::tokenizer {
namespace {

// Enough for any pattern that a tokenizer needs; what needs more would hang on hostile text.
constexpr uint32_t kMaxSteps = 10'000'000;
constexpr uint32_t kMaxHeapKiB = 64 * 1024;

PCRE2_SPTR bytes_of(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string reason(int error) {
  char text[256] = "";
  pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
  return text;
}

// Newline is '\n' alone, as in Oniguruma: for '.', '^' and '$'.
pcre2_compile_context* compile_context() {
  static const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context = [] {
    std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> made(
        pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
    if (made == nullptr) throw std::bad_alloc();
    pcre2_set_newline(made.get(), PCRE2_NEWLINE_LF);
    return made;
  }();
  return context.get();
}

pcre2_match_context* match_context() {
  static const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context = [] {
    std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> made(
        pcre2_match_context_create(nullptr), pcre2_match_context_free);
    if (made == nullptr) throw std::bad_alloc();
    pcre2_set_match_limit(made.get(), kMaxSteps);
    pcre2_set_heap_limit(made.get(), kMaxHeapKiB);
    return made;
  }();
  return context.get();
}

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }
void Regex::Matches::Free::operator()(pcre2_real_match_data_8* data) const { pcre2_match_data_free(data); }

Regex::Regex(std::string_view pattern, const std::string& where)
    : Regex(pcre2_pattern(pattern, where), PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, pattern,
            where) {}

Regex Regex::literal(std::string_view text, const std::string& where) {
  return {text, PCRE2_LITERAL, text, where};
}

Regex::Regex(std::string_view pcre2, unsigned options, std::string_view shown, const std::string& where)
    : description_(where + ": the pattern " + quote_name(shown)) {
  int error = 0;
  size_t at = 0;
  code_.reset(
      pcre2_compile(bytes_of(pcre2), pcre2.size(), options | PCRE2_UTF, &error, &at, compile_context()));
  if (code_ == nullptr) throw_input(description_ + " is not understood: " + reason(error));
  // Where the system allows no code made at run time, matching interprets.
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
}

Regex::Matches::Matches(const Regex& regex, std::string_view subject)
    : regex_(regex), subject_(subject), found_(pcre2_match_data_create(1, nullptr)) {
  if (found_ == nullptr) throw std::bad_alloc();
}

// One search from from_ on; the result is in found_.
bool Regex::Matches::search() {
  const auto match = [&](uint32_t options) {
    return pcre2_match(regex_.code_.get(), bytes_of(subject_), subject_.size(), from_,
                       options | PCRE2_NO_UTF_CHECK, found_.get(), match_context());
  };
  int result = match(0);
  // Compiled code has a small stack; the interpreter works on the heap.
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) throw_input(regex_.description_ + " fails on the text: " + reason(result));
  return true;
}

void Regex::Matches::step_over_character() {
  from_ += from_ < subject_.size() ? utf8_length(subject_[from_]) : 1;
}

std::optional<Regex::Match> Regex::Matches::next() {
  while (from_ <= subject_.size() && search()) {
    const size_t* range = pcre2_get_ovector_pointer(found_.get());
    const Match match{range[0], range[1]};
    if (match.begin != match.end || last_end_ != match.end) {
      from_ = match.end;
      last_end_ = match.end;
      return match;
    }
    step_over_character();
  }
  return std::nullopt;
}

}  // namespace prune::tokenizer
