// The loss at the head of a language model, and its gradient.
//
//   L = (1 - a) CE + a T^2 KL
//   CE = -mean over predicted tokens of log softmax(z)[target]
//   KL = mean over the same tokens of sum_v p_v (log p_v - log softmax(z / T)_v),  p = softmax(teacher's z /
//   T)
//
// Distillation by Hinton, Vinyals, Dean, arXiv:1503.02531; T^2 keeps the gradient's size independent of T.
#pragma once

#include <cstdint>
#include <span>

#include "libprune/model/float_matrix.h"
#include "libprune/model/gemm.h"

namespace prune {

// Where logits come from: z = normed head^T.
struct HeadInput {
  const FloatMatrix* normed = nullptr;  // [n, width]
  const FloatMatrix* head = nullptr;    // [vocabulary, width]
};

struct HeadLossOptions {
  double distillation = 0;                // a; 0: no teacher
  double temperature = 1;                 // T
  Precision precision = Precision::kF32;  // of the products with the head
  int64_t predictions = 0;                // what the means are taken over; 0: those of these targets
};

struct HeadLoss {
  double cross_entropy = 0;
  double divergence = 0;  // T^2 KL
  int64_t predictions = 0;
};

// Memory that the next batch uses again.
struct HeadLossBuffers {
  FloatMatrix logits, teacher_logits;
  Bf16Memory head, teacher_head, slopes;
};

// targets[i] < 0 where token i predicts nothing. Writes dnormed [n, width] and adds to dhead [vocabulary,
// width]; both may be null together. Holds the logits of a few tokens at a time.
HeadLoss head_loss(const HeadInput& student, const HeadInput* teacher, std::span<const int32_t> targets,
                   const HeadLossOptions& options, HeadLossBuffers& buffers, FloatMatrix* dnormed,
                   FloatMatrix* dhead);

}  // namespace prune
