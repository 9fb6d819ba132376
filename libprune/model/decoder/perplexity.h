// Perplexity of a text under a model: exp of the mean negative log-likelihood of its tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/progress.h"

namespace prune {

inline constexpr size_t kDefaultEvalMemory = size_t(1) << 30;

struct PerplexityOptions {
  int64_t seqlen = 0;  // tokens of a window, its context; 0: default_seqlen()
  int64_t stride = 0;  // tokens from one window to the next, 1 to seqlen; 0: seqlen, no overlap
  size_t memory = kDefaultEvalMemory;  // bytes to hold at once, roughly; at least one window is held
  int threads = 0;                     // 0: as OpenMP has it
};

struct Perplexity {
  double perplexity = 0;
  double nats = 0;  // mean negative log-likelihood of a predicted token
  int64_t predictions = 0;
  int64_t windows = 0;
  int64_t tokens = 0;    // that went through the model, those of overlaps each time
  int64_t left_out = 0;  // at the end of the text, less than a window
  int64_t seqlen = 0;
  int64_t stride = 0;
  double seconds = 0;
};

// The smaller of 2048 and the longest sequence that the model was made for.
int64_t default_seqlen(const DecoderConfig& config);

// How measure_perplexity() goes through a text of so many tokens: all but what it measures. Throws
// Error(kUsage) for a seqlen or stride that cannot be, Error(kInput) for a text shorter than one window.
Perplexity plan_windows(const DecoderConfig& config, int64_t tokens, const PerplexityOptions& options);

// What windows of a text lose, however that is computed.
class WindowLosses {
 public:
  virtual ~WindowLosses() = default;
  // How many windows run() takes together, at least one.
  virtual int64_t windows_at_once(int64_t seqlen) const = 0;
  // How often run() counts each token.
  virtual uint64_t counts_of_token() const = 0;
  // Whole windows, one after another; losses[i] = -log softmax(logits after ids[i])[targets[i]] in nats, 0
  // where targets[i] < 0.
  virtual void run(int64_t seqlen, std::span<const int32_t> ids, std::span<const int32_t> targets,
                   std::span<float> losses, ProgressCounter& counter) = 0;
};

// Windows of seqlen tokens start every `stride` tokens; a rest shorter than a window is left out. A window
// starts without context: its first token predicts, and is not predicted. Where windows overlap, a token is
// predicted once, by the first window that reaches it. Throws what plan_windows() throws, Error(kInput) for
// ids outside the vocabulary, and what losses.run() throws. options.memory and options.threads are not looked
// at.
Perplexity measure_perplexity(const DecoderConfig& config, std::span<const int32_t> ids,
                              const PerplexityOptions& options, WindowLosses& losses,
                              const Progress& progress = {});

// The same on the processor: in float32, layer by layer, over as many windows at a time as `memory` holds.
// `products` may make the products of linear layers (see linear.h), each layer's anew when it is its turn.
// Throws Error(kInput) also for activations that are not finite, naming the layer; Interrupted.
Perplexity measure_perplexity(const Decoder& decoder, std::span<const int32_t> ids,
                              const PerplexityOptions& options, const Progress& progress = {},
                              const ProductFactory& products = {});

}  // namespace prune
