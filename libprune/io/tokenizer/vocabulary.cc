#include "libprune/io/tokenizer/vocabulary.h"

#include <algorithm>

#include "libprune/io/tokenizer/json_fields.h"

namespace prune::tokenizer {

Vocabulary::Vocabulary(const Json& vocab, const std::string& where) {
  int64_t last = -1;
  for (const auto& [token, value] : vocab.items()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxTokenId) {
      throw_field(where, token, "an id from 0 to " + std::to_string(kMaxTokenId));
    }
    last = std::max(last, value.get<int64_t>());
  }
  tokens_.resize(static_cast<size_t>(last + 1));
  ids_.reserve(vocab.size());
  for (const auto& [token, value] : vocab.items()) {
    const auto id = value.get<int32_t>();
    std::optional<std::string>& place = tokens_[static_cast<size_t>(id)];
    if (place) {
      throw_input(where + ": id " + std::to_string(id) + " belongs to both " + quote_name(*place) + " and " +
                  quote_name(token));
    }
    place = token;
    ids_.emplace(*place, id);
  }
}

std::optional<int32_t> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::token(int32_t id) const {
  if (id < 0 || id >= end_id() || !tokens_[static_cast<size_t>(id)]) return nullptr;
  return &*tokens_[static_cast<size_t>(id)];
}

}  // namespace prune::tokenizer
