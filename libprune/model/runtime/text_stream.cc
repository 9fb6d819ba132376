#include "libprune/model/runtime/text_stream.h"

#include <algorithm>

namespace prune {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr size_t kContext = 6;  // tokens of the prompt: enough to end inside any character

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const int32_t> before) : tokenizer_(tokenizer) {
  const size_t kept = std::min(before.size(), kContext);
  ids_.assign(before.end() - std::ptrdiff_t(kept), before.end());
  given_ = ids_.size();
}

std::string TextStream::text(size_t end) const {
  return tokenizer_.decode({ids_.data() + anchor_, end - anchor_}, Tokenizer::SpecialTokens::kSkip);
}

// What `all` has beyond `before`. A tokenizer may spell the end of `before` otherwise once more follows: then
// the new tokens by themselves.
std::string TextStream::beyond(const std::string& before, const std::string& all) const {
  if (all.starts_with(before)) return all.substr(before.size());
  return tokenizer_.decode({ids_.data() + given_, ids_.size() - given_}, Tokenizer::SpecialTokens::kSkip);
}

std::string TextStream::add(int32_t id) {
  ids_.push_back(id);
  const std::string before = text(given_), all = text(ids_.size());
  if (all.ends_with(kReplacement) || all.size() <= before.size()) return "";
  std::string more = beyond(before, all);
  anchor_ = given_;
  given_ = ids_.size();
  return more;
}

std::string TextStream::finish() {
  const std::string before = text(given_), all = text(ids_.size());
  std::string more = all.size() > before.size() ? beyond(before, all) : "";
  given_ = ids_.size();
  return more;
}

}  // namespace prune
