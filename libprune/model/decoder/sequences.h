// Which rows of a batch of tokens belong together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

namespace prune {

// Sequences one after another; sequence s is the rows [begin(s), begin(s + 1)), its first row is position 0.
class Sequences {
 public:
  Sequences(int64_t count, int64_t length) {
    for (int64_t s = 0; s <= count; ++s) begins_.push_back(s * length);
  }
  explicit Sequences(const std::vector<int64_t>& lengths) : begins_{0} {
    for (const int64_t length : lengths) begins_.push_back(begins_.back() + length);
  }

  int64_t count() const { return static_cast<int64_t>(begins_.size()) - 1; }
  int64_t begin(int64_t s) const { return begins_[static_cast<size_t>(s)]; }
  int64_t length(int64_t s) const { return begin(s + 1) - begin(s); }
  int64_t tokens() const { return begins_.back(); }
  // Of row `token` within its sequence.
  int64_t position(int64_t token) const {
    return token - *std::prev(std::upper_bound(begins_.begin(), begins_.end(), token));
  }

 private:
  std::vector<int64_t> begins_;
};

}  // namespace prune
