// The training text in batches, made ready while the step before is computed.
#pragma once

#include <cstdint>
#include <future>
#include <span>
#include <vector>

#include "libprune/model/shuffle.h"

namespace prune {

struct Batch {
  std::vector<int32_t> ids;      // sequences of one length, one after another
  std::vector<int32_t> targets;  // the id that follows each; -1 at the end of a sequence
};

class Batches {
 public:
  // Cuts the text into sequences of `seqlen` tokens, a rest shorter than that left out, in an order that
  // `seed` decides: each once before any comes again. The text must outlive this. Throws Error(kInput) for a
  // text shorter than one sequence.
  Batches(std::span<const int32_t> ids, int64_t seqlen, int64_t batch, uint64_t seed);

  // The next batch; valid until the next call.
  const Batch& next();
  // Leaves out the next ones, as if they had been taken.
  void skip(int64_t batches);
  // Seconds that next() has waited in all.
  double waiting() const { return waiting_; }

 private:
  Batch make(const std::vector<int64_t>& places) const;
  void prefetch();

  std::span<const int32_t> ids_;
  int64_t seqlen_, batch_;
  Shuffle shuffle_;
  Batch current_;
  double waiting_ = 0;
  std::future<Batch> ready_;  // last: it is waited for before the rest goes
};

}  // namespace prune
