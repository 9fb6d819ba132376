// Text to token ids and back, as the model was trained with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prune {

namespace tokenizer {
class Codec;
}

// Immutable: any number of threads may use one at a time.
class Tokenizer {
 public:
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
  enum class SpecialTokens { kKeep, kSkip };

  // From the files of a model: tokenizer.json (byte-pair encoding, of bytes or with SentencePiece's
  // conventions), else tokenizer.model (SentencePiece; added tokens from tokenizer_config.json). The token in
  // front of a text is tokenizer_config.json's bos_token, else the tokenizer's own, else config.json's
  // bos_token_id. Throws Error(kInput), naming what is missing or not supported: text is encoded exactly as
  // the model's own tokenizer does, or not at all.
  static Tokenizer load(const std::filesystem::path& model_folder);
  // A tokenizer.json alone, from memory; `where` names it in messages.
  static Tokenizer from_json(std::string_view json, const std::string& where);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // The first `limit` ids of `text`, no token added in front or behind. The names of special tokens in the
  // text become those tokens. Throws Error(kInput) for text that is not UTF-8.
  std::vector<int32_t> encode(std::string_view text, size_t limit = kNoLimit) const;
  // Ids that no token has give nothing; bytes that are not UTF-8 become U+FFFD.
  std::string decode(std::span<const int32_t> ids, SpecialTokens special = SpecialTokens::kKeep) const;

  // One more than the largest id. The model's own vocabulary may be larger, padded.
  int64_t vocabulary_size() const;
  std::optional<int32_t> find(std::string_view token) const;
  // The token in front of a text, where the model has one.
  std::optional<int32_t> bos_id() const { return bos_id_; }

 private:
  explicit Tokenizer(std::unique_ptr<tokenizer::Codec> codec);

  std::unique_ptr<const tokenizer::Codec> codec_;
  std::optional<int32_t> bos_id_;
};

}  // namespace prune
