// Gradients of a loss with respect to the parameters of one decoder layer, laid out like the layer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libprune/model/decoder/layer.h"
#include "libprune/model/float_matrix.h"

namespace prune {

struct LinearGradient {
  FloatMatrix weight;       // [out, in], as Linear::weight
  std::vector<float> bias;  // [out], or empty
  bool is_stale = false;    // the weight's: the next backward pass writes over it
};

// Of the weight as it is applied, which is the one that is stored but for a constant.
struct NormGradient {
  std::vector<float> weight;
  std::vector<float> bias;
};

struct FeedForwardGradient {
  std::vector<LinearGradient> expanding;
  LinearGradient contracting;
};

struct LayerGradients {
  // Zeros, for every parameter that the layer has.
  explicit LayerGradients(const DecoderLayer& layer);
  void clear();  // zeros again
  // As clear(), for a backward pass that follows: it writes over the weights of linears, which are not
  // touched before.
  void restart();

  // In the order of DecoderLayer::linears().
  std::vector<LinearGradient*> linears();

  NormGradient attention_norm, q_norm, k_norm, feed_forward_norm;
  std::vector<LinearGradient> qkv;
  LinearGradient output;
  LinearGradient router;
  std::vector<FeedForwardGradient> experts;
};

// One tensor of the layer beside its gradient.
struct Parameter {
  std::string name;  // of the checkpoint's tensor
  std::span<float> values;
  std::span<float> gradient;
  std::span<uint16_t> rounded = {};  // the values as bf16, for whoever moves them to write; may be empty
};

// Adds the gradients of the same parameters that others hold, on all OpenMP threads.
void add_gradients(std::span<const std::span<const Parameter>> others, std::span<const Parameter> sums);

// The tensor of the bias that belongs to a weight: "<module>.bias" to "<module>.weight".
std::string bias_name(const std::string& weight_name);

// Every parameter, the router's and the norms' included. The spans live as long as the layer and the
// gradients keep their sizes.
std::vector<Parameter> parameters(DecoderLayer& layer, LayerGradients& gradients);

}  // namespace prune
