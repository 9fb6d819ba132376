// SentencePiece's tokenizer.model, through SentencePiece itself. What Hugging Face adds around it: added
// tokens are cut out of the text first, and the pieces between them are encoded one by one.
#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include <sentencepiece_processor.h>

#include "libprune/io/tokenizer/added_tokens.h"
#include "libprune/io/tokenizer/codec.h"
#include "libprune/io/tokenizer/decoder.h"
#include "libprune/io/tokenizer/json_fields.h"
#include "libprune/io/tokenizer/normalizer.h"
#include "libprune/io/tokenizer/vocabulary.h"

namespace prune::tokenizer {
namespace {

using sentencepiece::SentencePieceProcessor;

const std::string kConfigName = "tokenizer_config.json";
constexpr std::string_view kSpace = "\u2581";  // stands for a space in pieces

// A message of Protocol Buffers may come in parts, of which the last one counts: this one, behind a
// ModelProto, sets normalizer_spec.add_dummy_prefix (fields 3 and 3) to false.
constexpr std::string_view kNoPrefix("\x1a\x02\x18\x00", 4);

void load(std::string_view model, const std::string& where, SentencePieceProcessor& processor) {
  const auto status = processor.LoadFromSerializedProto(model);
  if (!status.ok() || processor.GetPieceSize() == 0) {
    throw_input(where + ": is no SentencePiece model" +
                (status.ok() ? "" : ": " + quote_name(std::string(status.message()))));
  }
  if (processor.GetPieceSize() > kMaxTokenId) throw_input(where + ": more pieces than a vocabulary may have");
}

Json pieces_of(const SentencePieceProcessor& processor) {
  Json vocabulary = Json::object();
  for (int id = 0; id < processor.GetPieceSize(); ++id) vocabulary[processor.IdToPiece(id)] = unsigned(id);
  return vocabulary;
}

// The array `added_tokens` of a tokenizer.json: those of tokenizer_config.json, of an older
// added_tokens.json, and the model's own control tokens. As in the reference all are found in the raw text.
Json list_added_tokens(const SentencePieceProcessor& processor, const Json& config, const Json& older) {
  std::map<int64_t, Json> by_id;
  const auto add = [&](int64_t id, Json token) {
    token["id"] = uint64_t(id);
    token["normalized"] = false;
    by_id.emplace(id, std::move(token));
  };
  if (find(config, "added_tokens_decoder") != nullptr) {
    for (const auto& [id, token] : object_at(config, "added_tokens_decoder", kConfigName).items()) {
      const bool is_number = !id.empty() && id.size() < 8 &&
                             std::ranges::all_of(id, [](char c) { return c >= '0' && c <= '9'; });
      if (!is_number || !token.is_object())
        throw_field(kConfigName, "added_tokens_decoder", "an object of tokens by id");
      add(std::stoll(id), token);
    }
  }
  for (const auto& [content, id] : older.items()) {
    if (!id.is_number_unsigned()) throw_field("added_tokens.json", content, "the id of an added token");
    add(id.get<int64_t>(), {{"content", content}});
  }
  for (const int id : {processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id()}) {
    if (id >= 0) add(id, {{"content", processor.IdToPiece(id)}, {"special", true}});
  }
  Json list = Json::array();
  for (auto& [id, token] : by_id) list.push_back(std::move(token));
  return list;
}

Json decoding(bool drops_first_space) {
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  if (drops_first_space) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1U}, {"stop", 0U}});
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

class SentencePieceCodec : public Codec {
 public:
  SentencePieceCodec(std::string_view model, const Json& config, const Json& older, const std::string& where)
      : prefixes_each_(bool_at(config, "legacy", true, kConfigName)),
        prefixes_first_(bool_at(config, "add_prefix_space", true, kConfigName)),
        decoder_(decoding(prefixes_each_ || prefixes_first_), where) {
    std::string bytes(model);
    if (!prefixes_each_) bytes += kNoPrefix;
    load(bytes, where, processor_);
    vocabulary_.emplace(pieces_of(processor_), where);
    added_.emplace(list_added_tokens(processor_, config, older), *vocabulary_, Normalizer(Json(), where),
                   where);
  }

  void encode(std::string_view text, size_t limit, std::vector<int32_t>& ids) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;

  int64_t vocabulary_size() const override { return std::max(vocabulary_->end_id(), added_->end_id()); }
  std::optional<int32_t> find(std::string_view token) const override {
    if (const AddedToken* added = added_->find(token); added != nullptr) return added->id;
    return vocabulary_->find(token);
  }
  std::optional<int32_t> own_bos_id() const override {
    return processor_.bos_id() < 0 ? std::nullopt : std::optional<int32_t>(processor_.bos_id());
  }

 private:
  std::vector<int> encode_piece(std::string_view text, bool is_first) const;

  bool prefixes_each_;   // a space goes in front of all text between added tokens: tokenizers before 2023
  bool prefixes_first_;  // else of the whole text alone
  Decoder decoder_;
  SentencePieceProcessor processor_;
  std::optional<Vocabulary> vocabulary_;
  std::optional<AddedTokens> added_;
};

std::vector<int> SentencePieceCodec::encode_piece(std::string_view text, bool is_first) const {
  std::string prefixed;
  if (!prefixes_each_ && prefixes_first_ && is_first) {
    prefixed.append(kSpace).append(text);
    text = prefixed;
  }
  if (text.size() > size_t(std::numeric_limits<int32_t>::max()))
    throw_input("a text of " + in_bytes(text.size()) + " is more than a tokenizer takes at once: split it");
  std::vector<int> ids;
  const auto status = processor_.Encode(text, &ids);
  if (!status.ok()) throw_input("SentencePiece can't encode the text: " + quote_name(status.message()));
  return ids;
}

void SentencePieceCodec::encode(std::string_view text, size_t limit, std::vector<int32_t>& ids) const {
  if (ids.size() >= limit) return;
  struct Sink {
    const SentencePieceCodec& codec;
    size_t limit;
    std::vector<int32_t>& ids;
    bool operator()(int32_t id) const {
      ids.push_back(id);
      return ids.size() < limit;
    }
    bool operator()(std::string_view piece, size_t offset) const {
      const std::vector<int> found = codec.encode_piece(piece, offset == 0);
      ids.insert(ids.end(), found.begin(), found.end());
      return ids.size() < limit;
    }
  };
  added_->split(AddedTokens::kInRawText, text, Sink{*this, limit, ids});
  if (ids.size() > limit) ids.resize(limit);
}

std::string SentencePieceCodec::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (const AddedToken* added = added_->find(id); added != nullptr) {
      if (!skip_special || !added->special) tokens.push_back(added->matched);
    } else if (const std::string* token = vocabulary_->token(id); token != nullptr) {
      tokens.push_back(*token);
    }
  }
  return decoder_.decode(std::move(tokens));
}

}  // namespace

std::unique_ptr<Codec> make_sentencepiece_codec(std::string_view model, const nlohmann::json& config,
                                                const nlohmann::json& older, const std::string& where) {
  return std::make_unique<SentencePieceCodec>(model, config, older, where);
}

}  // namespace prune::tokenizer
