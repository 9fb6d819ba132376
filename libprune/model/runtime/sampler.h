// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace prune {

// With a temperature T > 0, token i is drawn with a probability proportional to exp(logit_i / T) among the
// `top_k` most probable tokens, and of these among the fewest whose probabilities add up to top_p (nucleus
// sampling, Holtzman et al., The Curious Case of Neural Text Degeneration, arXiv:1904.09751).
struct SamplingOptions {
  double temperature = 0;  // 0: always the most probable token, of equal ones the first
  int64_t top_k = 0;       // 0: no limit
  double top_p = 1;
  uint64_t seed = 0;
};

// One sequence's draws. The same seed and logits give the same tokens on every machine.
class Sampler {
 public:
  // `stream` sets sequences of one batch apart. Throws Error(kUsage) for a temperature below 0, top_k below 0
  // or top_p outside (0, 1].
  Sampler(const SamplingOptions& options, uint64_t stream);

  // Finite logits, at least one.
  int32_t choose(std::span<const float> logits);

 private:
  int32_t draw(std::span<const float> logits);

  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<int32_t> order_;
  std::vector<double> shares_;
};

}  // namespace prune
