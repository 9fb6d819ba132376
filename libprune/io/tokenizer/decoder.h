// From tokens back to text.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "libprune/io/tokenizer/normalizer.h"

namespace prune::tokenizer {

// Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a character (Unicode 14, section 3.9).
std::string with_replacement_characters(std::string_view bytes);

class Decoder {
 public:
  // The `decoder` of a tokenizer.json: null, Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip or
  // Metaspace. Throws Error(kInput), naming any other.
  Decoder(const nlohmann::json& decoder, const std::string& where);

  std::string decode(std::vector<std::string> tokens) const;

 private:
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    std::string character;
    size_t at_start = 0;  // at most so many
    size_t at_end = 0;
  };
  struct Metaspace {
    std::string mark;
    bool prepended = true;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Strip, Metaspace, Replace>;

  void add(const nlohmann::json& decoder, const std::string& where);
  // One overload a step: changes the tokens in place.
  static void run(const ByteLevel& step, std::vector<std::string>& tokens);
  static void run(const ByteFallback& step, std::vector<std::string>& tokens);
  static void run(const Fuse& step, std::vector<std::string>& tokens);
  static void run(const Strip& step, std::vector<std::string>& tokens);
  static void run(const Metaspace& step, std::vector<std::string>& tokens);
  static void run(const Replace& step, std::vector<std::string>& tokens);

  std::vector<Step> steps_;
};

}  // namespace prune::tokenizer
