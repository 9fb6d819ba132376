// What the user decides about training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <prune/schedule.h>

#include "libprune/model/gemm.h"

namespace prune {

enum class OptimizerKind { kAdamW, kLamb };

struct TrainingOptions {
  int64_t steps = 300;
  int64_t batch = 8;     // sequences a step
  int64_t seqlen = 512;  // tokens of each
  int64_t warm_up = 20;  // steps
  double learning_rate = 5e-4;
  Decay decay = Decay::kCosine;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double weight_decay = 0;
  double clip = 1;            // the largest norm of the gradient; 0: any
  int64_t accumulate = 1;     // parts that a batch passes the model in, one after another
  double distillation = 0.5;  // share of the teacher's logits in the loss, where there is a teacher
  double temperature = 1;     // of both softmaxes in distillation
  double hidden_weight = 0;   // of the teacher's hidden states, layer by layer
  // Of the products with linear layers and the head, forward and backward; weights, gradients, moments and
  // all sums stay floats.
  Precision precision = Precision::kF32;
  bool keeps_activations = true;  // false: a third more work for less memory
  uint64_t seed = 0;
  int64_t save_every = 0;  // steps between two saves of the state; 0: never
};

// Of the methods of pruning that train, by the name of the option that gives each.
struct TrainedMaskOptions {
  bool soft = false;        // movement
  std::string scores = {};  // movement: zero, magnitude, taylor; gradual: not zero; empty: the method's
  std::string score_optimizer = "adam";  // movement: adam, sgd
  double score_rate = 1e-2;              // movement
  double threshold = 0.1;                // of soft masks
  double penalty = 0.5;                  // of soft masks
  bool straight_through = false;         // pruned weights learn too
  double ramp_begin = 0.1;               // shares of the steps between which the sparsity rises
  double ramp_end = 0.7;
};

// What a method that trains works with.
struct TrainedPruning {
  std::filesystem::path file;     // text or token ids; empty: the method does not train
  std::filesystem::path teacher;  // a checkpoint; empty: none
  TrainingOptions training = {};
  TrainedMaskOptions masks = {};
  int64_t lora_rank = 0;  // recovery: of adapters, which are trained in place of the model; 0: none
};

}  // namespace prune
