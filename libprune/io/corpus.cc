#include "libprune/io/corpus.h"

#include <algorithm>
#include <string>
#include <utility>

#include "libprune/io/jsonl.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/text.h"
#include "libprune/io/token_ids.h"
#include "prune/error.h"

namespace prune {
namespace {

constexpr size_t kProgressBytes = size_t{1} << 20;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Documents on their way into one sequence.
class Sequence {
 public:
  Sequence(const Tokenizer& tokenizer, size_t max_tokens) : tokenizer_(tokenizer), max_tokens_(max_tokens) {}

  bool is_full() const { return ids_.size() >= max_tokens_; }

  void add(std::string_view document) {
    if (is_full()) return;
    if (const auto bos = tokenizer_.bos_id()) ids_.push_back(*bos);
    const std::vector<int32_t> ids = tokenizer_.encode(document, max_tokens_ - ids_.size());
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

  std::vector<int32_t> take() { return std::move(ids_); }

 private:
  const Tokenizer& tokenizer_;
  size_t max_tokens_;
  std::vector<int32_t> ids_;
};

std::vector<int32_t> encode_json_lines(const MappedFile& file, const Tokenizer& tokenizer,
                                       const CorpusOptions& options) {
  JsonLines documents(text_of(file), shown(file.path()));
  Sequence sequence(tokenizer, options.max_tokens);
  size_t reported = 0;
  while (!sequence.is_full()) {
    const std::optional<std::string> document = documents.next();
    if (!document) break;
    sequence.add(*document);
    const size_t read = documents.bytes_read();
    if (read - reported < kProgressBytes) continue;
    file.done_with(reported, read - reported);
    reported = read;
    if (options.progress) options.progress(read, file.bytes().size());
  }
  return sequence.take();
}

std::vector<int32_t> encode_text(const MappedFile& file, const Tokenizer& tokenizer,
                                 const CorpusOptions& options) {
  const std::string_view text = text_of(file);
  if (const size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    throw_input(shown(file.path()) + ": not UTF-8 at byte " + std::to_string(at + 1) + ": is it a text?");
  }
  Sequence sequence(tokenizer, options.max_tokens);
  sequence.add(text);
  return sequence.take();
}

std::vector<int32_t> checked(std::vector<int32_t> ids, const std::filesystem::path& file,
                             const CorpusOptions& options) {
  if (options.vocabulary_size > 0) check_token_ids(ids, options.vocabulary_size, shown(file));
  if (ids.size() < options.min_tokens) {
    throw_input(shown(file) + ": too short: " + std::to_string(ids.size()) +
                (ids.size() == 1 ? " token" : " tokens") + ", at least " +
                std::to_string(options.min_tokens) + " are needed");
  }
  return ids;
}

}  // namespace

std::vector<int32_t> encode_corpus(const std::filesystem::path& file, const Tokenizer& tokenizer,
                                   const CorpusOptions& options) {
  const bool is_text = file.extension() == ".txt";
  if (!is_text && file.extension() != ".jsonl") {
    throw_input(
        shown(file) +
        ": text is read from .jsonl (a \"text\" a line) and .txt, token ids from .npy and .safetensors");
  }
  const MappedFile bytes(file);
  std::vector<int32_t> ids =
      is_text ? encode_text(bytes, tokenizer, options) : encode_json_lines(bytes, tokenizer, options);
  if (options.progress) options.progress(bytes.bytes().size(), bytes.bytes().size());
  return checked(std::move(ids), file, options);
}

std::vector<int32_t> load_corpus(const std::filesystem::path& file, const std::filesystem::path& model_folder,
                                 const CorpusOptions& options) {
  if (!holds_token_ids(file)) return encode_corpus(file, Tokenizer::load(model_folder), options);
  std::vector<int32_t> ids = read_token_ids(file);
  ids.resize(std::min(ids.size(), options.max_tokens));
  return checked(std::move(ids), file, options);
}

}  // namespace prune
