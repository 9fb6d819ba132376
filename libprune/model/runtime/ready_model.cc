#include "libprune/model/runtime/ready_model.h"

#include <algorithm>
#include <string>

#include <prune/error.h>

#include "libprune/io/token_ids.h"

namespace prune {

std::vector<int32_t> RunningSequences::run_greedily(std::span<const NextTokens> next) {
  const FloatMatrix& logits = run(next);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < logits.rows(); ++i) {
    const float* row = logits.row(i);
    ids.push_back(int32_t(std::max_element(row, row + logits.cols()) - row));
  }
  return ids;
}

void check_next_tokens(std::span<const NextTokens> next, std::span<const int64_t> ends,
                       std::span<const int64_t> lengths, int64_t chunk, int64_t vocabulary) {
  int64_t tokens = 0;
  std::vector<bool> is_named(lengths.size());
  for (const NextTokens& n : next) {
    if (n.sequence >= lengths.size()) {
      throw_usage("sequence " + std::to_string(n.sequence) + ": there are " + std::to_string(lengths.size()) +
                  ", counted from 0");
    }
    if (is_named[n.sequence])
      throw_usage("sequence " + std::to_string(n.sequence) + " is named twice: give its tokens in one");
    is_named[n.sequence] = true;
    if (n.ids.empty()) throw_usage("sequence " + std::to_string(n.sequence) + " is named without tokens");
    tokens += int64_t(n.ids.size());
    if (ends[n.sequence] + int64_t(n.ids.size()) > lengths[n.sequence]) {
      throw_usage("sequence " + std::to_string(n.sequence) + " becomes longer than the " +
                  std::to_string(lengths[n.sequence]) + " tokens that its cache was made for");
    }
    check_token_ids(n.ids, vocabulary, "the prompt");
  }
  if (next.empty()) throw_usage("no sequence is named");
  if (tokens > chunk) throw_usage("more than " + std::to_string(chunk) + " tokens at once");
}

}  // namespace prune
