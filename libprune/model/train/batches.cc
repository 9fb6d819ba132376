#include "libprune/model/train/batches.h"

#include <chrono>
#include <string>

#include <prune/error.h>

#include "libprune/model/elapsed.h"

namespace prune {
namespace {

int64_t sequences_of(std::span<const int32_t> ids, int64_t seqlen) {
  const auto count = int64_t(ids.size()) / seqlen;
  if (count < 1) {
    throw_input("the training text has " + std::to_string(ids.size()) +
                " tokens, less than one sequence of " + std::to_string(seqlen));
  }
  return count;
}

}  // namespace

Batches::Batches(std::span<const int32_t> ids, int64_t seqlen, int64_t batch, uint64_t seed)
    : ids_(ids), seqlen_(seqlen), batch_(batch), shuffle_(sequences_of(ids, seqlen), seed) {}

const Batch& Batches::next() {
  if (!ready_.valid()) prefetch();
  const auto start = std::chrono::steady_clock::now();
  current_ = ready_.get();
  waiting_ += seconds_since(start);
  prefetch();
  return current_;
}

void Batches::skip(int64_t batches) {
  if (ready_.valid() && batches > 0) {
    ready_.get();
    --batches;
  }
  for (int64_t i = 0; i < batches * batch_; ++i) shuffle_.next();
}

void Batches::prefetch() {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < batch_; ++i) places.push_back(shuffle_.next());
  ready_ = std::async(std::launch::async, [this, places = std::move(places)] { return make(places); });
}

Batch Batches::make(const std::vector<int64_t>& places) const {
  Batch batch;
  for (const int64_t place : places) {
    const auto window = ids_.subspan(size_t(place * seqlen_), size_t(seqlen_));
    batch.ids.insert(batch.ids.end(), window.begin(), window.end());
    batch.targets.insert(batch.targets.end(), window.begin() + 1, window.end());
    batch.targets.push_back(-1);
  }
  return batch;
}

}  // namespace prune
