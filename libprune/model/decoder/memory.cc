#include "libprune/model/decoder/memory.h"

#include <algorithm>

#include <omp.h>

#include "libprune/model/decoder/attention.h"
#include "libprune/model/decoder/head.h"

namespace prune {
namespace {

// Fewer, and threads wait for each other more than they compute.
constexpr int64_t kBatchTokens = 1024, kTokensOfThread = 256;

}  // namespace

int64_t batch_sequences(int64_t seqlen) {
  const int64_t tokens = std::max(kBatchTokens, kTokensOfThread * omp_get_max_threads());
  return std::max<int64_t>(1, tokens / seqlen);
}

size_t layer_bytes(const DecoderConfig& config) {
  const int64_t attention = config.width * (config.qkv_width() + config.context_width());
  const int64_t expert = config.width * (config.expanded_width() + config.inner);
  return size_t(attention + config.experts * expert) * sizeof(float);
}

size_t activation_bytes(const DecoderConfig& config, int64_t seqlen) {
  const int64_t tokens = batch_sequences(seqlen) * seqlen;
  const int64_t a_token =
      5 * config.width + config.qkv_width() + config.context_width() +
      config.experts_per_token * (config.expanded_width() + config.inner + 2 * config.width);
  const int64_t probabilities = int64_t(omp_get_max_threads()) * kQueryBlock * seqlen;
  return size_t(tokens * a_token + probabilities) * sizeof(float);
}

size_t backward_sum_bytes(const DecoderConfig& config, int64_t seqlen) {
  return size_t(kPartsOfThread * omp_get_max_threads() * seqlen * 2 * config.head_dim) * sizeof(float);
}

int64_t windows_in(size_t memory, const DecoderConfig& config, int64_t seqlen) {
  const size_t beside = std::max(layer_bytes(config) + activation_bytes(config, seqlen), head_bytes(config));
  const size_t window = size_t(seqlen * config.width) * sizeof(float);
  return memory > beside + window ? int64_t((memory - beside) / window) : 1;
}

}  // namespace prune
