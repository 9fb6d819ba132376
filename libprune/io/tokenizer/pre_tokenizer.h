// Cuts text into the words that byte-pair encoding works on.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "libprune/io/tokenizer/regex.h"

namespace prune::tokenizer {

// Where the matches of a pattern go when text is cut at them.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct Split {
  Regex pattern;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  // the text between the matches is what is matched
};

// A space in front of text that begins with none.
struct PrefixSpace {};

// Spaces become `mark`, one is put in front of the text, and a word begins at each.
struct Metaspace {
  enum Prepend { kAlways, kFirst, kNever };

  std::string mark;
  Prepend prepend = kAlways;  // kFirst: only at the beginning of the whole text
  bool split = true;
};

class PreTokenizer {
 public:
  // The `pre_tokenizer` of a tokenizer.json: null, Sequence, Split, ByteLevel (at the end), Digits
  // or Metaspace. Throws Error(kInput), naming any other.
  PreTokenizer(const nlohmann::json& pre_tokenizer, const std::string& where);

  // True when words are encoded byte by byte, as with ByteLevel, and not character by character.
  bool is_byte_level() const { return is_byte_level_; }

  // Calls sink(word) for each word of `text`, from left to right, until it returns false; returns false then.
  // The words are views that live as long as the call of the sink. `is_first`: nothing of the whole text is
  // before it.
  using Sink = std::function<bool(std::string_view word)>;
  bool split(std::string_view text, bool is_first, const Sink& sink) const;

 private:
  class Walk;

  void add(const nlohmann::json& pre_tokenizer, const std::string& where);
  void add_byte_level(const nlohmann::json& pre_tokenizer, const std::string& where);

  std::vector<std::variant<Split, PrefixSpace, Metaspace>> steps_;
  bool is_byte_level_ = false;
};

}  // namespace prune::tokenizer
