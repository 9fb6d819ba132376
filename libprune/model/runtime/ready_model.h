// What generation asks of a model that is ready to run, whatever it runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "libprune/model/decoder/config.h"
#include "libprune/model/float_matrix.h"
#include "libprune/model/runtime/linear_products.h"

namespace prune {

// The next tokens of one sequence.
struct NextTokens {
  size_t sequence = 0;
  std::span<const int32_t> ids;
  bool wants_logits = true;
};

// Sequences that grow token by token, each with its cache of keys and values.
class RunningSequences {
 public:
  virtual ~RunningSequences() = default;

  // Appends tokens, at least one to each sequence named, of which there is one at least. Gives the logits
  // [wanted, vocabulary] after the last token of those that want them, valid until the next run. A batch of
  // other size may take other kernels, which round in another order. Throws Error(kInput) for ids outside the
  // vocabulary, packed weights at fault, and activations that are not finite, naming the layer (on a GPU the
  // head, where they end); Error(kUsage) for a sequence that is not there, is named twice or without tokens,
  // or becomes too long, and for too many tokens; Interrupted. After a throw the sequences are of no more
  // use.
  virtual const FloatMatrix& run(std::span<const NextTokens> next) = 0;

  // As run(), but gives the most probable token of each that wants logits, of equal ones the first.
  virtual std::vector<int32_t> run_greedily(std::span<const NextTokens> next);

  // Memory of all caches when full.
  virtual size_t cache_bytes() const = 0;
};

class ReadyModel {
 public:
  virtual ~ReadyModel() = default;

  virtual const DecoderConfig& config() const = 0;
  virtual const PreparedWeights& prepared() const = 0;
  virtual double seconds() const = 0;  // that it took to get ready

  // One sequence for each of `lengths`, of at most so many tokens. `chunk`: the most tokens of a run. The
  // model must outlive them.
  virtual std::unique_ptr<RunningSequences> start(const std::vector<int64_t>& lengths,
                                                  int64_t chunk) const = 0;
};

// Throws what run() throws before it computes anything. `ends`: the tokens that each sequence has.
void check_next_tokens(std::span<const NextTokens> next, std::span<const int64_t> ends,
                       std::span<const int64_t> lengths, int64_t chunk, int64_t vocabulary);

}  // namespace prune
