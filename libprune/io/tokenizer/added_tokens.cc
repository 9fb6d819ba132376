#include "libprune/io/tokenizer/added_tokens.h"

#include <algorithm>

#include "libprune/io/tokenizer/json_fields.h"
#include "libprune/io/utf8.h"

namespace prune::tokenizer {
namespace {

constexpr size_t kMaxTrieBytes = 10'000'000;  // a node a byte

AddedToken parse_token(const Json& token, const std::string& where) {
  AddedToken parsed;
  parsed.id = static_cast<int32_t>(count_at(token, "id", kMaxTokenId, where));
  parsed.content = string_at(token, "content", where);
  parsed.special = bool_at(token, "special", false, where);
  parsed.normalized = bool_at(token, "normalized", !parsed.special, where);
  parsed.single_word = bool_at(token, "single_word", false, where);
  parsed.lstrip = bool_at(token, "lstrip", false, where);
  parsed.rstrip = bool_at(token, "rstrip", false, where);
  return parsed;
}

void check_against(const Vocabulary& vocabulary, const AddedToken& token, const std::string& where) {
  const std::string* holder = vocabulary.token(token.id);
  const std::optional<int32_t> id = vocabulary.find(token.content);
  if ((holder == nullptr || *holder == token.content) && (!id || *id == token.id)) return;
  const std::string other = holder != nullptr && *holder != token.content
                                ? "belongs to " + quote_name(*holder)
                                : "is " + std::to_string(*id);
  throw_input(where + ": the added token " + quote_name(token.content) + " has id " +
              std::to_string(token.id) + ", which in the vocabulary " + other);
}

size_t without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    const std::string_view last = last_character(text);
    if (!is_white_space(code_point(last))) break;
    text.remove_suffix(last.size());
  }
  return text.size();
}

size_t leading_space(std::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    const std::string_view next = first_character(text.substr(size));
    if (!is_white_space(code_point(next))) break;
    size += next.size();
  }
  return size;
}

}  // namespace

Trie::Trie() : nodes_(1) {}

uint32_t Trie::child(uint32_t node, char byte) const {
  const auto& children = nodes_[node].children;
  const std::pair<unsigned char, uint32_t> wanted{static_cast<unsigned char>(byte), 0};
  const auto found = std::lower_bound(children.begin(), children.end(), wanted);
  return found != children.end() && found->first == wanted.first ? found->second : 0;
}

void Trie::insert(std::string_view key, size_t value) {
  uint32_t node = 0;
  for (const char byte : key) {
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      auto& children = nodes_[node].children;
      const std::pair<unsigned char, uint32_t> entry{static_cast<unsigned char>(byte), next};
      children.insert(std::lower_bound(children.begin(), children.end(), entry), entry);
      nodes_.emplace_back();
    }
    node = next;
  }
  if (!nodes_[node].value) nodes_[node].value = value;  // of equal keys the first counts
}

std::optional<Trie::Hit> Trie::longest_at(std::string_view text, size_t begin) const {
  std::optional<Hit> longest;
  uint32_t node = 0;
  for (size_t at = begin; at < text.size(); ++at) {
    node = child(node, text[at]);
    if (node == 0) break;
    if (nodes_[node].value) longest = Hit{begin, at + 1, *nodes_[node].value};
  }
  return longest;
}

std::optional<Trie::Hit> Trie::find(std::string_view text, size_t from) const {
  if (empty()) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (const auto hit = longest_at(text, begin)) return hit;
  }
  return std::nullopt;
}

AddedTokens::AddedTokens(const Json& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer,
                         const std::string& where)
    : word_character_(R"([\w\p{Join_Control}])", where) {
  size_t bytes = 0;
  for (const Json& entry : tokens) {
    AddedToken token = parse_token(entry, where);
    bytes += token.content.size();
    if (bytes > kMaxTrieBytes)
      throw_input(where + ": more than " + in_bytes(kMaxTrieBytes) + " of added tokens");
    check_against(vocabulary, token, where);
    if (const auto known = by_id_.find(token.id); known != by_id_.end()) {
      throw_input(where + ": id " + std::to_string(token.id) + " belongs to both " +
                  quote_name(tokens_[known->second].content) + " and " + quote_name(token.content));
    }
    insert(std::move(token), normalizer);
  }
}

void AddedTokens::insert(AddedToken token, const Normalizer& normalizer) {
  if (token.content.empty()) return;
  end_id_ = std::max(end_id_, token.id + 1);
  by_id_.emplace(token.id, tokens_.size());
  token.matched = token.normalized ? normalizer.apply(token.content) : token.content;
  (token.normalized ? normalized_ : raw_).insert(token.matched, tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = std::find_if(tokens_.begin(), tokens_.end(),
                                  [&](const AddedToken& token) { return token.content == content; });
  return found == tokens_.end() ? nullptr : &*found;
}

bool AddedTokens::touches_words(std::string_view text, const Trie::Hit& hit) const {
  const auto is_word = [&](std::string_view character) {
    return Regex::Matches(word_character_, character).next().has_value();
  };
  return (hit.begin > 0 && is_word(last_character(text.substr(0, hit.begin)))) ||
         (hit.end < text.size() && is_word(first_character(text.substr(hit.end))));
}

std::optional<AddedTokens::Part> AddedTokens::next(Kind kind, std::string_view text, size_t& from,
                                                   size_t done) const {
  const Trie& trie = kind == kInRawText ? raw_ : normalized_;
  while (const auto hit = trie.find(text, from)) {
    from = hit->end;
    const AddedToken& token = tokens_[hit->value];
    if (token.single_word && touches_words(text, *hit)) continue;
    Part part{hit->begin, hit->end, token.id};
    if (token.lstrip) part.begin = std::max(done, without_trailing_space(text.substr(0, part.begin)));
    if (token.rstrip) part.end += leading_space(text.substr(part.end));
    return part;
  }
  return std::nullopt;
}

}  // namespace prune::tokenizer
