// Recovery by low-rank adapters: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
// arXiv 2106.09685, under the masks of a pruned model.
#pragma once

#include <cstdint>
#include <memory>

#include "libprune/model/train/masking.h"

namespace prune {

// Each linear computes with W' = W + M o (2 B A), M being the mask of the weights W that are not 0, so the
// result is an ordinary model with the same zeros. A [rank, in] starts random by `seed`, B [out, rank] from
// 0; these alone are trained. begin() throws Error(kUsage) for a rank whose factors are larger than a matrix.
std::unique_ptr<Masking> lora_masking(int64_t rank, uint64_t seed);

}  // namespace prune
