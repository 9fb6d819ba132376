// How sums become y on the device: the arithmetic of epilogue.h. Device code, sm_80 and later.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/sparse/cuda/epilogue.h"

namespace prune::kernels::cuda {

// Where outputs go, and how.
struct Finish {
  void* y;
  int64_t y_stride;
  const float* row_scales;  // 16-byte aligned; null: ones
  int rows;                 // a multiple of 4
  int tokens;
  bool half;  // y is IEEE half, not bfloat16
  Epilogue epilogue;

  // Whether y has 16 bits and nothing is read for each output or costs many instructions.
  bool is_light() const {
    const Activation a = epilogue.activation;
    return !epilogue.single && !epilogue.residual &&
           (a == Activation::kNone || a == Activation::kRelu || a == Activation::kSilu);
  }
};

namespace {

__device__ inline float relu(float x) { return x < 0 ? 0 : x; }  // NaN stays
__device__ inline float silu(float x) { return __fdividef(x, 1 + __expf(-x)); }
__device__ inline float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); }
__device__ inline float gelu_tanh(float x) {  // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u))
  return __fdividef(x, 1 + __expf(-1.5957691f * (x + 0.044715f * x * x * x)));
}

__device__ inline void activate(Activation activation, float (&v)[4]) {
  const auto each = [&v](const auto& of) {
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = of(v[i]);
  };
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kRelu:
      return each([](float x) { return relu(x); });
    case Activation::kSilu:
      return each([](float x) { return silu(x); });
    case Activation::kGelu:
      return each([](float x) { return gelu(x); });
    case Activation::kGeluTanh:
      return each([](float x) { return gelu_tanh(x); });
  }
}

__device__ inline void load_4(const float* from, float (&v)[4]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
}
__device__ inline void store_4(float* to, const float (&v)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
template <class T>
__device__ inline void store_4(T* to, const float (&v)[4]) {
  uint2 bits;
  T* four = reinterpret_cast<T*>(&bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) four[i] = T(v[i]);
  *reinterpret_cast<uint2*>(to) = bits;
}

// Four rows from a multiple of 4 on, as one lane finishes them for several tokens: what depends on the row is
// loaded once, what depends on the token ahead of its use.
class FourRows {
 public:
  // Of one token.
  struct Operands {
    uint4 residual;  // bits of four of y's type
    float scale;
  };

  __device__ FourRows(const Finish& finish, int row) : finish_(finish), row_(row) {
    if (row >= finish.rows) return;
    if (finish.row_scales) load_4(finish.row_scales + row, scale_);
    if (finish.epilogue.bias) load_4(finish.epilogue.bias + row, bias_);
  }

  // Nothing is read beside the matrices.
  __device__ Operands fetch(int token) const {
    const Epilogue& e = finish_.epilogue;
    Operands operands{make_uint4(0, 0, 0, 0), 1};
    if (row_ >= finish_.rows || token >= finish_.tokens) return operands;
    if (e.token_scales) operands.scale = e.token_scales[token];
    if (!e.residual) return operands;
    const int64_t at = token * e.residual_stride + row_;
    if (e.single) {
      operands.residual = reinterpret_cast<const uint4*>(e.residual)[at / 4];
    } else {
      const uint2 bits = reinterpret_cast<const uint2*>(e.residual)[at / 4];
      operands.residual.x = bits.x, operands.residual.y = bits.y;
    }
    return operands;
  }

  // Sums to y; nothing where they lie outside.
  __device__ void store(float (&v)[4], int token, const Operands& operands) const {
    if (row_ >= finish_.rows || token >= finish_.tokens) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = fmaf(v[i], scale_[i] * operands.scale, bias_[i]);
    activate(finish_.epilogue.activation, v);
    if (finish_.epilogue.single) {
      add_and_store<float>(v, token, operands);
    } else if (finish_.half) {
      add_and_store<__half>(v, token, operands);
    } else {
      add_and_store<__nv_bfloat16>(v, token, operands);
    }
  }

 private:
  template <class T>
  __device__ void add_and_store(float (&v)[4], int token, const Operands& operands) const {
    if (finish_.epilogue.residual) {
      const T* more = reinterpret_cast<const T*>(&operands.residual);
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] += float(more[i]);
    }
    store_4(static_cast<T*>(finish_.y) + token * finish_.y_stride + row_, v);
  }

  const Finish& finish_;
  int row_;
  float scale_[4] = {1, 1, 1, 1};
  float bias_[4] = {};
};

}  // namespace
}  // namespace prune::kernels::cuda
