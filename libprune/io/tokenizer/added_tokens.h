// Tokens that are found in the text itself before anything else happens to it: control tokens, and what users
// added.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "libprune/io/tokenizer/normalizer.h"
#include "libprune/io/tokenizer/regex.h"
#include "libprune/io/tokenizer/vocabulary.h"

namespace prune::tokenizer {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string
      matched;  // what is found in the text, and comes back from it: content, normalized where it says so
  bool special = false;      // left out of decoded text on demand
  bool normalized = false;   // looked for in normalized text, and itself normalized first
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
};

// Finds, from left to right, the longest of a set of byte strings.
class Trie {
 public:
  struct Hit {
    size_t begin = 0;
    size_t end = 0;
    size_t value = 0;
  };

  Trie();
  bool empty() const { return nodes_.size() == 1; }
  void insert(std::string_view key, size_t value);
  std::optional<Hit> find(std::string_view text, size_t from) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> children;
    std::optional<size_t> value;
  };

  std::optional<Hit> longest_at(std::string_view text, size_t begin) const;
  uint32_t child(uint32_t node, char byte) const;  // 0: none

  std::vector<Node> nodes_;
};

class AddedTokens {
 public:
  // `tokens` is the array `added_tokens` of a tokenizer.json. Throws Error(kInput), also where it and the
  // vocabulary disagree about an id.
  AddedTokens(const nlohmann::json& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer,
              const std::string& where);

  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;
  int32_t end_id() const { return end_id_; }  // one more than the largest id

  // Goes through `text` from left to right, and calls sink(piece, offset) for text between tokens, sink(id)
  // for a token. Stops where a sink returns false, and returns false then.
  enum Kind { kInRawText, kInNormalizedText };
  template <typename Sink>
  bool split(Kind kind, std::string_view text, const Sink& sink) const;

 private:
  struct Part {
    size_t begin = 0;  // with the white space that the token takes along
    size_t end = 0;
    int32_t id = 0;
  };

  void insert(AddedToken token, const Normalizer& normalizer);
  // The first token whose content begins at or after `from`; `done` is the end of the part before. `from`
  // moves behind the content.
  std::optional<Part> next(Kind kind, std::string_view text, size_t& from, size_t done) const;
  bool touches_words(std::string_view text, const Trie::Hit& hit) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  Trie raw_;
  Trie normalized_;
  Regex word_character_;
  int32_t end_id_ = 0;
};

template <typename Sink>
bool AddedTokens::split(Kind kind, std::string_view text, const Sink& sink) const {
  size_t done = 0;
  size_t from = 0;
  while (const auto part = next(kind, text, from, done)) {
    if (done < part->begin && !sink(text.substr(done, part->begin - done), done)) return false;
    if (!sink(part->id)) return false;
    done = part->end;
  }
  return done >= text.size() || sink(text.substr(done), done);
}

}  // namespace prune::tokenizer
