// What a tokenizer of any kind does. One file a kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace prune::tokenizer {

class Codec {
 public:
  Codec() = default;
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;
  virtual ~Codec() = default;

  // Appends ids to `ids` until it holds `limit` of them or `text`, which is well-formed UTF-8, ends.
  virtual void encode(std::string_view text, size_t limit, std::vector<int32_t>& ids) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  virtual int64_t vocabulary_size() const = 0;
  virtual std::optional<int32_t> find(std::string_view token) const = 0;
  // The id that the file itself names as the beginning of a text.
  virtual std::optional<int32_t> own_bos_id() const { return std::nullopt; }
};

// A Hugging Face tokenizer.json. Throws Error(kInput).
std::unique_ptr<Codec> make_json_codec(std::string_view json, const std::string& where);

// The bytes of a SentencePiece tokenizer.model. `config` is the model's tokenizer_config.json and `older` its
// added_tokens.json, or empty objects. As in Hugging Face's tokenizers a space goes in front of all text
// between added tokens, with "legacy": false in front of the whole text alone. Throws Error(kInput).
std::unique_ptr<Codec> make_sentencepiece_codec(std::string_view model, const nlohmann::json& config,
                                                const nlohmann::json& older, const std::string& where);

}  // namespace prune::tokenizer
