// Text out of tokens as they come.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libprune/io/tokenizer.h"

namespace prune {

// The pieces joined are what the tokenizer makes of all tokens at once: a character that several tokens spell
// comes with the last of them. Special tokens give no text.
class TextStream {
 public:
  // `before`: the prompt's tokens, whose text is not given again but decides about spaces.
  TextStream(const Tokenizer& tokenizer, std::span<const int32_t> before);

  // The text that this token completes, often empty.
  std::string add(int32_t id);
  // What is left: incomplete characters, as U+FFFD.
  std::string finish();

 private:
  std::string text(size_t end) const;
  std::string beyond(const std::string& before, const std::string& all) const;

  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  size_t anchor_ = 0;  // decoding begins here: no tokenizer joins a token with others than its neighbours
  size_t given_ = 0;   // the text of ids before this one is out
};

}  // namespace prune
