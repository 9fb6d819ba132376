// The tokens of a model and their ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace prune::tokenizer {

inline constexpr int32_t kMaxTokenId = (1 << 21) - 1;  // twice the largest vocabulary there is

class Vocabulary {
 public:
  // `vocab` maps tokens to ids. Throws Error(kInput) for ids beyond kMaxTokenId and for an id given twice.
  Vocabulary(const nlohmann::json& vocab, const std::string& where);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  std::optional<int32_t> find(std::string_view token) const;
  // nullptr where no token has the id.
  const std::string* token(int32_t id) const;
  int32_t end_id() const { return static_cast<int32_t>(tokens_.size()); }  // one more than the largest id

 private:
  std::vector<std::optional<std::string>> tokens_;     // by id; never resized, so that the views stay
  std::unordered_map<std::string_view, int32_t> ids_;  // views of tokens_
};

}  // namespace prune::tokenizer
