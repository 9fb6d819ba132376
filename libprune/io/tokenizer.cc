#include "libprune/io/tokenizer.h"

#include <utility>

#include "libprune/io/folder.h"
#include "libprune/io/json.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/text.h"
#include "libprune/io/tokenizer/codec.h"
#include "libprune/io/tokenizer/json_fields.h"
#include "prune/error.h"

namespace prune {
namespace {

using tokenizer::Codec;

std::string_view text_of(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() > kMaxJsonBytes)
    throw_input(shown(file.path()) + ": " + in_bytes(bytes.size()) + " are too many");
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

nlohmann::json read_object(const std::filesystem::path& path) {
  if (!is_there(path)) return nlohmann::json::object();
  nlohmann::json file = read_json_file(path);
  if (!file.is_object()) throw_input(shown(path) + ": must be a JSON object");
  return file;
}

std::unique_ptr<Codec> open_codec(const std::filesystem::path& folder) {
  const std::filesystem::path json = folder / "tokenizer.json", model = folder / "tokenizer.model";
  if (is_there(json)) return tokenizer::make_json_codec(text_of(MappedFile(json)), shown(json));
  if (is_there(model)) {
    return tokenizer::make_sentencepiece_codec(text_of(MappedFile(model)),
                                               read_object(folder / "tokenizer_config.json"),
                                               read_object(folder / "added_tokens.json"), shown(model));
  }
  throw_input(shown(folder) +
              ": no tokenizer.json or tokenizer.model, so text can't become tokens; give the text as token "
              "ids (.npy), or save the "
              "tokenizer with transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...)");
}

// tokenizer_config.json: "bos_token" is a string, or an object with its content.
std::optional<int32_t> bos_of_tokenizer(const Codec& codec, const std::filesystem::path& path) {
  const nlohmann::json file = read_object(path);
  const nlohmann::json* token = tokenizer::find(file, "bos_token");
  if (token == nullptr) return std::nullopt;
  const std::string& content = token->is_string() ? token->get_ref<const std::string&>()
                                                  : tokenizer::string_at(*token, "content", shown(path));
  const std::optional<int32_t> id = codec.find(content);
  if (!id)
    throw_input(shown(path) + ": the tokenizer has no token " + quote_name(content) + ", the bos_token");
  return id;
}

std::optional<int32_t> bos_of_model(const std::filesystem::path& path) {
  const nlohmann::json file = read_object(path);
  const nlohmann::json* id = tokenizer::find(file, "bos_token_id");
  if (id == nullptr) return std::nullopt;
  return static_cast<int32_t>(
      tokenizer::count_at(file, "bos_token_id", std::numeric_limits<int32_t>::max(), shown(path)));
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Codec> codec)
    : codec_(std::move(codec)), bos_id_(codec_->own_bos_id()) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& model_folder) {
  Tokenizer made(open_codec(model_folder));
  const auto named = bos_of_tokenizer(*made.codec_, model_folder / "tokenizer_config.json");
  if (named) {
    made.bos_id_ = named;
  } else if (!made.bos_id_) {
    made.bos_id_ = bos_of_model(model_folder / "config.json");
  }
  return made;
}

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& where) {
  return Tokenizer(tokenizer::make_json_codec(json, where));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, size_t limit) const {
  if (const size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    throw_input("the text is not UTF-8 at byte " + std::to_string(at + 1));
  }
  std::vector<int32_t> ids;
  codec_->encode(text, limit, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, SpecialTokens special) const {
  return codec_->decode(ids, special == SpecialTokens::kSkip);
}

int64_t Tokenizer::vocabulary_size() const { return codec_->vocabulary_size(); }

std::optional<int32_t> Tokenizer::find(std::string_view token) const { return codec_->find(token); }

}  // namespace prune
