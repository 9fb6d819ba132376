// What a tokenizer does to text before it looks for tokens.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "libprune/io/tokenizer/regex.h"

namespace prune::tokenizer {

// Unicode's normalization forms (UAX #15).
struct UnicodeForm {
  int options = 0;  // utf8proc's
  bool compatible = false;
};

struct Prepend {
  std::string text;
};

struct Replace {
  Regex pattern;
  std::string by;
};

std::string replace_all(std::string_view text, const Replace& replace);

class Normalizer {
 public:
  Normalizer() = default;  // changes nothing
  // The `normalizer` of a tokenizer.json: Sequence, Prepend, Replace, NFC, NFD, NFKC or NFKD. Throws
  // Error(kInput), naming any other.
  Normalizer(const nlohmann::json& normalizer, const std::string& where);

  bool changes_nothing() const { return steps_.empty(); }
  std::string apply(std::string_view text) const;

 private:
  void add(const nlohmann::json& normalizer, const std::string& where);

  std::vector<std::variant<UnicodeForm, Prepend, Replace>> steps_;
};

// A `pattern` field: {"String": text} or {"Regex": expression}.
Regex parse_pattern(const nlohmann::json& owner, const std::string& where);

}  // namespace prune::tokenizer
