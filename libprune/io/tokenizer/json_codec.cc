// Hugging Face's tokenizer.json: added tokens, normalizer, pre-tokenizer, BPE, decoder, in this order.
#include <algorithm>
#include <limits>
#include <utility>

#include "libprune/io/json.h"
#include "libprune/io/tokenizer/added_tokens.h"
#include "libprune/io/tokenizer/bpe.h"
#include "libprune/io/tokenizer/codec.h"
#include "libprune/io/tokenizer/decoder.h"
#include "libprune/io/tokenizer/json_fields.h"
#include "libprune/io/tokenizer/normalizer.h"
#include "libprune/io/tokenizer/pre_tokenizer.h"

namespace prune::tokenizer {
namespace {

const Json kNull;

const Json& section(const Json& file, std::string_view key) {
  const Json* found = find(file, key);
  return found == nullptr ? kNull : *found;
}

const Json& added_tokens(const Json& file, const std::string& where) {
  static const Json kNone = Json::array();
  return find(file, "added_tokens") == nullptr ? kNone : array_at(file, "added_tokens", where);
}

class JsonCodec : public Codec {
 public:
  JsonCodec(const Json& file, const std::string& where)
      : normalizer_(section(file, "normalizer"), where),
        pre_tokenizer_(section(file, "pre_tokenizer"), where),
        bpe_(object_at(file, "model", where), pre_tokenizer_.is_byte_level(), where),
        added_(added_tokens(file, where), bpe_.vocabulary(), normalizer_, where),
        decoder_(section(file, "decoder"), where) {}

  void encode(std::string_view text, size_t limit, std::vector<int32_t>& ids) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;

  int64_t vocabulary_size() const override { return std::max(bpe_.vocabulary().end_id(), added_.end_id()); }

  std::optional<int32_t> find(std::string_view token) const override {
    if (const AddedToken* added = added_.find(token); added != nullptr) return added->id;
    return bpe_.vocabulary().find(token);
  }

 private:
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  AddedTokens added_;
  Decoder decoder_;
};

// One text on its way to ids. Its functions return false once there are enough.
class Encoding {
 public:
  Encoding(const PreTokenizer& pre_tokenizer, const Bpe& bpe, size_t limit, std::vector<int32_t>& ids)
      : pre_tokenizer_(pre_tokenizer),
        limit_(limit),
        ids_(ids),
        encode_word_([this, &bpe](std::string_view word) {
          bpe.encode(word, scratch_, ids_);
          return has_room();
        }) {}

  bool add_token(int32_t id) {
    ids_.push_back(id);
    return has_room();
  }

  bool add_text(std::string_view text, bool is_first) {
    if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      throw_input("a text of " + in_bytes(text.size()) + " is more than a tokenizer takes at once: split it");
    }
    return pre_tokenizer_.split(text, is_first, encode_word_);
  }

 private:
  bool has_room() const { return ids_.size() < limit_; }

  const PreTokenizer& pre_tokenizer_;
  size_t limit_;
  std::vector<int32_t>& ids_;
  Bpe::Scratch scratch_;
  PreTokenizer::Sink encode_word_;
};

// Two functions as one that AddedTokens::split() can call.
template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

void JsonCodec::encode(std::string_view text, size_t limit, std::vector<int32_t>& ids) const {
  if (ids.size() >= limit) return;
  Encoding encoding(pre_tokenizer_, bpe_, limit, ids);
  const auto add_token = [&](int32_t id) { return encoding.add_token(id); };
  added_.split(AddedTokens::kInRawText, text,
               Overloaded{add_token, [&](std::string_view raw, size_t raw_offset) {
                            std::string changed;
                            if (!normalizer_.changes_nothing()) raw = changed = normalizer_.apply(raw);
                            return added_.split(
                                AddedTokens::kInNormalizedText, raw,
                                Overloaded{add_token, [&](std::string_view piece, size_t offset) {
                                             return encoding.add_text(piece, raw_offset == 0 && offset == 0);
                                           }});
                          }});
  if (ids.size() > limit) ids.resize(limit);
}

std::string JsonCodec::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (const AddedToken* added = added_.find(id); added != nullptr) {
      if (!skip_special || !added->special) tokens.push_back(added->matched);
    } else if (const std::string* token = bpe_.vocabulary().token(id); token != nullptr) {
      tokens.push_back(*token);
    }
  }
  return decoder_.decode(std::move(tokens));
}

}  // namespace

std::unique_ptr<Codec> make_json_codec(std::string_view json, const std::string& where) {
  const Json file = parse_json(json, where);
  if (!file.is_object()) throw_input(where + ": must be a JSON object");
  return std::make_unique<JsonCodec>(file, where);
}

}  // namespace prune::tokenizer
