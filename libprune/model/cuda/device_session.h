// Sequences that grow token by token through a decoder on a CUDA device, their caches there.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "libprune/model/cuda/attention.h"
#include "libprune/model/cuda/batch_inputs.h"
#include "libprune/model/cuda/captured_graph.h"
#include "libprune/model/cuda/device_decoder.h"

namespace prune::gpu {

class DeviceSession final : public RunningSequences {
 public:
  // One sequence for each of `lengths`, of at most so many tokens; `chunk`: the most tokens of a run. Throws
  // Error(kRuntime) where the device's memory does not hold caches and activations.
  DeviceSession(const DeviceDecoder& model, const std::vector<int64_t>& lengths, int64_t chunk);
  ~DeviceSession() override;

  // Finds out now, not while a second token is waited for, what the products of decoding run on.
  void prepare_decoding();

  const FloatMatrix& run(std::span<const NextTokens> next) override;
  std::vector<int32_t> run_greedily(std::span<const NextTokens> next) override;
  size_t cache_bytes() const override { return keys_.bytes() + values_.bytes(); }

  // Starts all sequences anew with windows of seqlen tokens; losses as WindowLosses::run() (perplexity.h) has
  // them.
  void lose(int64_t seqlen, std::span<const int32_t> ids, std::span<const int32_t> targets,
            std::span<float> losses);

 private:
  struct Batch {
    int tokens = 0, wanted = 0, tiles = 0;
    bool is_decoding = false;  // one token of every sequence that is in it
  };
  Batch begin(std::span<const NextTokens> next);
  void step(const Batch& batch);
  void forward(const Batch& batch);
  void forward_layer(size_t index, const Batch& batch);
  void attend(size_t index, const Batch& batch);
  void finish(const Batch& batch);
  void fetch_logits(int64_t rows);
  LogitRows logit_rows() const;
  void reserve(const std::vector<int64_t>& lengths);
  CacheView cache(size_t layer) const;
  HeadsCall heads(size_t layer) const;
  NormCall norm(const Bf16* y, const float* bias, const float* weight) const;

  const DeviceDecoder& model_;
  cudaStream_t stream_;
  std::vector<int64_t> lengths_, begins_, ends_;
  int64_t chunk_;
  DeviceArray<float> cos_, sin_;
  int rope_half_;
  DeviceArray<Bf16> keys_, values_;  // [layer][sequence][head][position]
  BatchInputs inputs_;
  DeviceArray<float> hidden_;
  DeviceArray<Bf16> x_, qkv_, context_, y_, expanded_, inner_;
  int most_logit_rows_;
  DeviceArray<float> logits_, losses_;
  DeviceArray<int32_t> chosen_;
  PinnedArray<int32_t> chosen_here_;
  FloatMatrix logits_here_;         // once they are asked for: greedy texts and losses need none
  float* pinned_logits_ = nullptr;  // its memory, which the device copies to by itself
  // Steps of decoding, by the number of sequences; none for one that ran once, when products were chosen.
  std::map<int, std::optional<CapturedGraph>> graphs_;
};

}  // namespace prune::gpu
