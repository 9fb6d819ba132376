// Files of text as one sequence of token ids: what calibration and perplexity read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "libprune/io/tokenizer.h"

namespace prune {

struct CorpusOptions {
  size_t max_tokens = Tokenizer::kNoLimit;  // reading stops here
  size_t min_tokens = 1;                    // a shorter text is refused
  int64_t vocabulary_size = 0;              // of the model; 0: not checked
  // Called now and then: `done` of `total` bytes of the file are read.
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

// The ids of `file`:
//   .jsonl               one JSON object a line, whose "text" is a document
//   .txt                 one document
//   .npy, .safetensors   ids that are there already (token_ids.h), as they are; the model needs no tokenizer
//   then
// Documents are joined, each with the tokenizer's bos_id() in front of it where there is one. Throws
// Error(kInput): for other files, text that is not UTF-8, ids beyond the vocabulary, too few ids, a folder
// without a tokenizer.
std::vector<int32_t> load_corpus(const std::filesystem::path& file, const std::filesystem::path& model_folder,
                                 const CorpusOptions& options = {});

// The same for .jsonl and .txt, with a tokenizer that is loaded already.
std::vector<int32_t> encode_corpus(const std::filesystem::path& file, const Tokenizer& tokenizer,
                                   const CorpusOptions& options = {});

}  // namespace prune
