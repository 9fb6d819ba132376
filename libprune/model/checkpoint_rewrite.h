// Writing a checkpoint that is another one with some tensors changed: same shards, names, types, shapes and
// order.
#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include <prune/report.h>

#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"
#include "libprune/model/progress.h"
#include "libprune/model/prune_plan.h"

namespace prune {

// Takes the new bytes of one tensor piece by piece.
class TensorSink {
 public:
  TensorSink(SafetensorsWriter& writer, size_t tensor) : writer_(writer), tensor_(tensor) {}
  // Bytes that follow those given before. Throws Interrupted once the user asks to stop.
  void append(std::span<const std::byte> bytes);

 private:
  SafetensorsWriter& writer_;
  size_t tensor_;
  uint64_t offset_ = 0;
};

struct TensorRewriter {
  // Called once before the first tensor, and not at all where an earlier run has left nothing to do.
  std::function<void()> prepare;
  // Makes the new bytes of one tensor of the plan and reports on it. Called from several threads for
  // different tensors.
  std::function<TensorReport(const PlannedTensor&, TensorSink&)> rewrite;
};

// Rewrites every tensor that the plan prunes, copies all others and all other files, and puts the result at
// `output` at once. Shards that an interrupted run of the same job finished are taken over. An error of a
// rewriter is given the tensor's name.
PruneReport rewrite_checkpoint(const Checkpoint& checkpoint, const PrunePlan& plan,
                               const std::filesystem::path& output, StagingOptions options,
                               const TensorRewriter& rewriter, const Progress& progress);

// The job that rewrite_checkpoint() leaves to a run that resumes, see Staging.
nlohmann::json describe_pruning(const Checkpoint& checkpoint, const PrunePlan& plan);

// A report on a tensor before it was touched: name, type, shape and the plan's decision.
TensorReport describe_tensor(const Checkpoint& checkpoint, const PlannedTensor& planned);

}  // namespace prune
