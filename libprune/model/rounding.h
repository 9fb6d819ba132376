// Whether linear layers may round what they read.
#pragma once

namespace prune {

enum class Rounding {
  kBf16,  // layers of bf16 and int8 weights round their inputs to bf16, where the processor multiplies bf16
  kNone,  // weights are widened exactly, inputs are taken as they are
};

}  // namespace prune
