// The backward pass of one decoder layer, and of its parts: reverse-mode differentiation of forward.h.
//
// Throughout, dv is the gradient of the loss with respect to v, of v's shape. Gradients of parameters are
// added to what the caller holds, so that several batches can share a step; gradients of activations are
// written, unless said. Everything runs on all OpenMP threads, and sums in an order that depends on their
// number alone.
#pragma once

#include <cstdint>
#include <span>

#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/gradients.h"

namespace prune {

// Memory of the backward pass, reused by the next batch.
struct BackwardBuffers {
  FloatMatrix middle, context, qkv, input, expanded, inner, output, router, expert_input;
};

// From dy [n, width] to dx [n, width], or to no dx where it is null, and to the gradients of the layer's
// parameters. `x` is what forward_layer() read and `activations` what it left; dx may be dy.
void backward_layer(const DecoderLayer& layer, const RopeTable& rope, const Sequences& sequences,
                    const float* x, const LayerActivations& activations, const float* dy, float* dx,
                    BackwardBuffers& buffers, LayerGradients& gradients);

enum class Write : bool { kOver, kAdd };

// For Y [n, out] = X [n, in] W^T + b:  dW += dY^T X,  db += sum of rows of dY,  dX [n, in] (over or added,
// contiguous) = dY W. dx may be null.
void linear_backward(const Linear& linear, const GemmOperand& x, const GemmOperand& dy, int64_t n, float* dx,
                     Write write, LinearGradient& gradient);

// For y = norm(x), n rows of norm.width(), contiguous. dx may be null, and may be dy when written over.
void norm_backward(const Norm& norm, const float* x, const float* dy, float* dx, int64_t n, Write write,
                   NormGradient& gradient);
// One row, written over; dw and db, which may be null, are added to.
void norm_backward(const Norm& norm, const float* x, const float* dy, float* dx, float* dw, float* db);

// For context = attend(qkv): dqkv [n, qkv_width] from dcontext [n, heads * head_dim].
void attend_backward(const AttentionShape& shape, const Sequences& sequences, const float* qkv,
                     const float* dcontext, float* dqkv);

// For inner = activate(expanded): dexpanded from dinner.
void activate_backward(Activation activation, bool is_gated, const FloatMatrix& expanded,
                       const FloatMatrix& dinner, FloatMatrix& dexpanded);

}  // namespace prune
