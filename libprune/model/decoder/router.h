// Mixture of experts: which tokens each expert gets (Jiang et al., Mixtral of Experts, arXiv:2401.04088).
#pragma once

#include <vector>

#include "libprune/model/decoder/forward.h"

namespace prune {

// Each token goes to the `experts_per_token` experts with the largest logits x W_router^T, of equal ones the
// first; shares are the softmax over those. Fills shares [n, experts] and each expert's tokens, shares and
// input.
void route(const DecoderConfig& config, const Linear& router, const FloatMatrix& x, FloatMatrix& shares,
           std::vector<FeedForwardActivations>& experts);

// sum[token] += share * output for the tokens of one expert.
void add_expert(const FeedForwardActivations& expert, FloatMatrix& sum);

}  // namespace prune
