// One linear layer of a decoder.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <prune/mask.h>

#include "kernels/sparse/masked_plan.h"
#include "libprune/model/architecture.h"
#include "libprune/model/float_matrix.h"
#include "libprune/model/gemm.h"

namespace prune {

// A way of its own to compute Y[n, out] = X[n, in] W^T + bias: a packed kernel, another precision.
class LinearProduct {
 public:
  virtual ~LinearProduct() = default;
  virtual void run(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const = 0;
};

// Makes the product of a layer [out, in] whose weight is this tensor of the checkpoint; nothing for a layer
// that is to be loaded as floats.
using ProductFactory =
    std::function<std::unique_ptr<LinearProduct>(const std::string& weight_name, Orientation orientation,
                                                 int64_t out, int64_t in, const std::vector<float>& bias)>;

// Products of a weight whose zeros stay that leave them out.
struct MaskedProducts {
  kernels::MaskedPlan forward, backward;
};

struct Linear {
  std::string weight_name;                        // of the checkpoint's tensor
  Orientation orientation = Orientation::kOutIn;  // how that tensor lies in the file; `weight` is [out, in]
  FloatMatrix weight;
  std::vector<float> bias;  // [out], or empty
  // When there, it stands for weight and bias, which may then be empty.
  std::unique_ptr<LinearProduct> product;
  int64_t out = 0;
  int64_t in = 0;
  Precision precision = Precision::kF32;  // of the products, forward and backward
  // The weight as products in bf16 read it, of the last round_weight(); empty: each product rounds it.
  Bf16Memory rounded;
  // Where there, products take the weight as it was at the last refresh_masked().
  std::unique_ptr<MaskedProducts> masked;

  // For many products with one weight. Whoever changes it calls this again, or writes `rounded` too. Does
  // nothing where products read floats.
  void round_weight();
  // From now on products leave out what the mask prunes, forward and backward, where weights are zeros for as
  // long as that goes on. Does nothing where dense products are faster, or read bf16. Takes about twenty
  // bytes for each weight that stays.
  void leave_out(const Mask& mask);
  // Whoever changes the weight calls this afterwards. Does nothing without leave_out().
  void refresh_masked();
  // Whether products of so many rows leave anything out.
  bool leaves_out(int64_t n) const { return masked != nullptr && n > kernels::MaskedPlan::kFewRows; }
  GemmOperand operand() const { return {weight.data(), in, rounded.empty() ? nullptr : rounded.data(), in}; }

  // y[i * ldy + r] = sum_k x[i * ldx + k] weight(r, k) + bias[r] for i < n. A changed weight counts at once,
  // unless it was rounded or its zeros are left out.
  void forward(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const;
  // The same for inputs that several linear layers read; without a product of its own only.
  void forward(const GemmOperand& x, float* y, int64_t ldy, int64_t n) const;
};

}  // namespace prune
