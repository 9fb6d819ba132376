// Byte-pair encoding.
//
// A word begins as one token a character (a byte, in byte-level vocabularies). As long as neighbouring tokens
// can be merged, the pair of the lowest rank, of equals the leftmost, becomes one token. Source: Sennrich,
// Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "libprune/io/tokenizer/pair_ranks.h"
#include "libprune/io/tokenizer/vocabulary.h"

namespace prune::tokenizer {

class Bpe {
 public:
  // `model` is that of a tokenizer.json, of type BPE. Throws Error(kInput), also for dropout and for affixes
  // of subwords, which no language model in use has.
  Bpe(const nlohmann::json& model, bool is_byte_level, const std::string& where);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // What encode() works with, kept between words.
  struct Symbol {
    int32_t id = 0;
    int32_t previous = 0;  // positions in the word; -1: none
    int32_t next = 0;
    uint32_t rank =
        kNoRank;  // of the pair that begins here; kNoRank also when another symbol swallowed this one
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<uint64_t> queue;  // a heap: rank << 32 | position
  };

  // Appends the ids of one word to `ids`. A character that has neither a token nor bytes that have becomes
  // the unknown token, or nothing where the model has none. `word` is shorter than 2^31 bytes.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  void read_merges(const nlohmann::json& merges, const std::string& where);
  void read_unknown(const nlohmann::json& model, const std::string& where);
  void find_characters();

  std::optional<int32_t> find_word(std::string_view word) const;
  void begin_with_bytes(std::string_view word, std::vector<Symbol>& symbols) const;
  void begin_with_characters(std::string_view word, std::vector<Symbol>& symbols) const;
  bool fall_back_to_bytes(std::string_view character, std::vector<Symbol>& symbols) const;
  int32_t id_of(std::string_view character) const;  // -1: none
  uint32_t rank_at(const std::vector<Symbol>& symbols, const Symbol& symbol) const;
  void merge(Scratch& scratch) const;

  Vocabulary vocabulary_;
  bool is_byte_level_;
  bool byte_fallback_;
  bool fuse_unknown_;
  bool ignore_merges_;
  std::optional<int32_t> unknown_;
  PairRanks ranks_;
  std::vector<int32_t> merged_;                     // by rank
  std::vector<int32_t> byte_ids_;                   // by byte: its character's, or its fallback's; -1: none
  std::vector<int32_t> character_ids_;              // by code point below 2^16; -1: none
  std::unordered_map<uint32_t, int32_t> rare_ids_;  // by code point above
};

}  // namespace prune::tokenizer
