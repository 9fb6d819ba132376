#include "libprune/io/tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "libprune/io/tokenizer/byte_level.h"
#include "libprune/io/tokenizer/json_fields.h"
#include "libprune/io/utf8.h"

namespace prune::tokenizer {
namespace {

constexpr size_t kCommonCodePoints = 0x10000;

const Json& checked_model(const Json& model, const std::string& where) {
  const std::string type = string_at(model, "type", "BPE", where);  // old files have no type
  if (type != "BPE") throw_unsupported(where, "model", type);
  if (const Json* dropout = find(model, "dropout");
      dropout != nullptr && !(dropout->is_number() && dropout->get<double>() == 0)) {
    throw_unsupported(where, "option", "dropout");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!string_at(model, affix, "", where).empty()) throw_unsupported(where, "option", affix);
  }
  return model;
}

// The two halves of a merge: ["a", "b"] or "a b".
std::pair<std::string, std::string> parse_merge(const Json& merge, const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  throw_input(where + ": a merge must be two tokens, as [\"a\", \"b\"] or \"a b\"");
}

std::string fallback_token(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 0xF] + '>';
}

}  // namespace

Bpe::Bpe(const Json& model, bool is_byte_level, const std::string& where)
    : vocabulary_(object_at(checked_model(model, where), "vocab", where), where),
      is_byte_level_(is_byte_level),
      byte_fallback_(bool_at(model, "byte_fallback", false, where)),
      fuse_unknown_(bool_at(model, "fuse_unk", false, where)),
      ignore_merges_(bool_at(model, "ignore_merges", false, where)),
      ranks_(array_at(model, "merges", where).size()) {
  read_merges(array_at(model, "merges", where), where);
  read_unknown(model, where);
  find_characters();
}

void Bpe::read_merges(const Json& merges, const std::string& where) {
  merged_.reserve(merges.size());
  const auto require = [&](const std::string& token) {
    const std::optional<int32_t> id = vocabulary_.find(token);
    if (!id) throw_input(where + ": a merge needs " + quote_name(token) + ", which is not in the vocabulary");
    return *id;
  };
  for (const Json& merge : merges) {
    const auto [left, right] = parse_merge(merge, where);
    ranks_.insert(require(left), require(right), static_cast<uint32_t>(merged_.size()));
    merged_.push_back(require(left + right));
  }
}

void Bpe::read_unknown(const Json& model, const std::string& where) {
  const std::string token = string_at(model, "unk_token", "", where);
  if (token.empty()) return;
  unknown_ = vocabulary_.find(token);
  if (!unknown_) throw_input(where + ": the unk_token " + quote_name(token) + " is not in the vocabulary");
}

void Bpe::find_characters() {
  byte_ids_.resize(256);
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] =
        vocabulary_.find(is_byte_level_ ? byte_characters()[byte] : fallback_token(byte)).value_or(-1);
  }
  if (is_byte_level_) return;
  character_ids_.assign(kCommonCodePoints, -1);
  for (int32_t id = 0; id < vocabulary_.end_id(); ++id) {
    const std::string* token = vocabulary_.token(id);
    if (token == nullptr || token->empty() || first_character(*token).size() != token->size()) continue;
    const uint32_t c = code_point(*token);
    if (c < kCommonCodePoints) {
      character_ids_[c] = id;
    } else {
      rare_ids_.emplace(c, id);
    }
  }
}

int32_t Bpe::id_of(std::string_view character) const {
  const uint32_t c = code_point(character);
  if (c < kCommonCodePoints) return character_ids_[c];
  const auto found = rare_ids_.find(c);
  return found == rare_ids_.end() ? -1 : found->second;
}

std::optional<int32_t> Bpe::find_word(std::string_view word) const {
  if (!is_byte_level_) return vocabulary_.find(word);
  std::string spelled;
  for (const char byte : word) spelled += byte_characters()[static_cast<unsigned char>(byte)];
  return vocabulary_.find(spelled);
}

void Bpe::begin_with_bytes(std::string_view word, std::vector<Symbol>& symbols) const {
  bool after_unknown = false;
  for (const char byte : word) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const bool is_unknown = id < 0;
    if (!is_unknown) {
      symbols.push_back({id});
    } else if (unknown_ && !(fuse_unknown_ && after_unknown)) {
      symbols.push_back({*unknown_});
    }
    after_unknown = is_unknown;
  }
}

void Bpe::begin_with_characters(std::string_view word, std::vector<Symbol>& symbols) const {
  bool after_unknown = false;
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = first_character(word.substr(at));
    at += character.size();
    const int32_t id = id_of(character);
    if (id < 0 && byte_fallback_ && fall_back_to_bytes(character, symbols)) continue;
    const bool is_unknown = id < 0;
    if (!is_unknown) {
      symbols.push_back({id});
    } else if (unknown_ && !(fuse_unknown_ && after_unknown)) {
      symbols.push_back({*unknown_});
    }
    after_unknown = is_unknown;
  }
}

bool Bpe::fall_back_to_bytes(std::string_view character, std::vector<Symbol>& symbols) const {
  const auto id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char byte) { return id(byte) >= 0; }))
    return false;
  for (const char byte : character) symbols.push_back({id(byte)});
  return true;
}

uint32_t Bpe::rank_at(const std::vector<Symbol>& symbols, const Symbol& symbol) const {
  if (symbol.next < 0) return kNoRank;
  return ranks_.find(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
}

// The heap holds, for each pair that can merge, its rank and place; what it holds of pairs that are gone is
// seen by the rank, which is no longer that of the place.
void Bpe::merge(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<uint64_t>& queue = scratch.queue;
  const auto rank_of = [&](int32_t place) { return rank_at(symbols, symbols[static_cast<size_t>(place)]); };
  const auto update = [&](int32_t place) {
    Symbol& symbol = symbols[static_cast<size_t>(place)];
    symbol.rank = rank_of(place);
    if (symbol.rank == kNoRank) return false;
    queue.push_back(static_cast<uint64_t>(symbol.rank) << 32 | static_cast<uint32_t>(place));
    return true;
  };
  const auto update_and_sift = [&](int32_t place) {
    if (update(place)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };

  queue.clear();
  for (size_t i = 0; i < symbols.size(); ++i) update(static_cast<int32_t>(i));
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(queue.back() >> 32);
    const auto place = static_cast<int32_t>(queue.back());
    queue.pop_back();
    Symbol& symbol = symbols[static_cast<size_t>(place)];
    if (symbol.rank != rank) continue;
    Symbol& swallowed = symbols[static_cast<size_t>(symbol.next)];
    symbol.id = merged_[rank];
    symbol.next = swallowed.next;
    swallowed.rank = kNoRank;
    if (symbol.next >= 0) symbols[static_cast<size_t>(symbol.next)].previous = place;
    update_and_sift(place);
    if (symbol.previous >= 0) update_and_sift(symbol.previous);
  }
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const std::optional<int32_t> id = find_word(word)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  if (is_byte_level_) {
    begin_with_bytes(word, symbols);
  } else {
    begin_with_characters(word, symbols);
  }
  if (symbols.empty()) return;
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = static_cast<int32_t>(i) + 1;
  }
  symbols.back().next = -1;
  merge(scratch);
  for (int32_t at = 0; at >= 0; at = symbols[static_cast<size_t>(at)].next) {
    ids.push_back(symbols[static_cast<size_t>(at)].id);
  }
}

}  // namespace prune::tokenizer
