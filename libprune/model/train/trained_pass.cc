#include "libprune/model/train/trained_pass.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include <prune/error.h>

#include "libprune/io/corpus.h"
#include "libprune/model/parallel.h"
#include "libprune/model/train/gradual_masking.h"
#include "libprune/model/train/movement_masking.h"
#include "libprune/model/train/trained_checkpoint.h"

namespace prune {
namespace {

// The goal of everything but the tensors' names.
MaskGoal goal_of(const PruneOptions& options, double sparsity) {
  const TrainedMaskOptions& masks = options.trained.masks;
  const int64_t steps = options.trained.training.steps;
  const auto begin = std::llround(masks.ramp_begin * double(steps));
  const auto end = std::llround(masks.ramp_end * double(steps));
  // At least the last step runs under the masks of the result.
  const int64_t cool_down = std::clamp<int64_t>(steps - end, 1, steps - std::min<int64_t>(begin, steps - 1));
  return {.pattern = options.pattern,
          .sparsity = sparsity,
          .scope = options.scope,
          .schedule = {.first = 0,
                       .last = sparsity,
                       .steps = steps,
                       .warm_up = std::min<int64_t>(begin, steps - cool_down),
                       .cool_down = cool_down}};
}

[[noreturn]] void refuse_scores(const PruneOptions& options, const char* expected) {
  throw_usage("method " + options.method + ": scores '" + options.trained.masks.scores + "': expected " +
              expected);
}

std::unique_ptr<Masking> make_movement(const PruneOptions& options, MaskGoal goal) {
  const TrainedMaskOptions& masks = options.trained.masks;
  MovementOptions movement{.goal = std::move(goal),
                           .rule = masks.soft ? MaskRule::kSoft : MaskRule::kHard,
                           .score_rate = masks.score_rate,
                           .tau = masks.threshold,
                           .penalty = masks.penalty,
                           .straight_through = masks.straight_through};
  if (masks.score_optimizer == "sgd") movement.score_step = ScoreStep::kSgd;
  if (masks.scores == "zero") {
    movement.start = ScoreStart::kZero;
  } else if (masks.scores == "taylor") {
    movement.start = ScoreStart::kTaylor;
  } else if (!masks.scores.empty() && masks.scores != "magnitude") {
    refuse_scores(options, "zero, magnitude or taylor");
  }
  return movement_masking(movement);
}

std::unique_ptr<Masking> make_gradual(const PruneOptions& options, MaskGoal goal) {
  const TrainedMaskOptions& masks = options.trained.masks;
  if (masks.soft) throw_usage("method gradual has no soft masks: use movement");
  GradualOptions gradual{.goal = std::move(goal), .straight_through = masks.straight_through};
  if (masks.scores == "taylor") {
    gradual.score = GradualScore::kTaylor;
  } else if (!masks.scores.empty() && masks.scores != "magnitude") {
    refuse_scores(options, "magnitude or taylor");
  }
  return gradual_masking(gradual);
}

std::unique_ptr<Masking> make_masking(const PruneOptions& options, MaskGoal goal) {
  return options.method == "movement" ? make_movement(options, std::move(goal))
                                      : make_gradual(options, std::move(goal));
}

std::string in_words(const TrainingStep& step) {
  char text[64];
  std::snprintf(text, sizeof text, "loss %.4f, %.1f%% zero", step.loss, 100 * step.sparsity);
  return text;
}

}  // namespace

void check_trained(const PruneOptions& options) {
  const TrainedMaskOptions& masks = options.trained.masks;
  if (options.trained.file.empty())
    throw_usage("method " + options.method + " needs --train FILE: the text to train on");
  if (options.scope == Scope::kRow)
    throw_usage("method " + options.method + ": sparsity is shared over a layer or the whole model");
  if (!(masks.ramp_begin >= 0 && masks.ramp_begin <= masks.ramp_end && masks.ramp_end <= 1))
    throw_usage("the sparsity rises between two shares of the steps, 0 <= begin <= end <= 1");
  make_masking(options, goal_of(options, resolve_sparsity(options.pattern, options.sparsity)));
}

PruneReport prune_trained(const Checkpoint& checkpoint, const PrunePlan& plan,
                          const std::filesystem::path& output, StagingOptions options,
                          const Progress& progress) {
  const ThreadCount threads(plan.options.threads);
  const TrainedPruning& trained = plan.options.trained;
  std::optional<Checkpoint> teacher;
  if (!trained.teacher.empty()) teacher.emplace(trained.teacher);
  const std::vector<int32_t> ids =
      load_corpus(trained.file, checkpoint.path(), {.min_tokens = size_t(trained.training.seqlen)});
  MaskGoal goal = goal_of(plan.options, plan.sparsity);
  for (const PlannedTensor& planned : plan.tensors) {
    if (planned.prune) goal.tensors.insert(checkpoint.tensor(planned.ref).name);
  }
  const auto per_step = uint64_t(trained.training.batch * trained.training.seqlen);
  const auto tell = [&](const TrainingStep& step) {
    if (!progress) return;
    progress(uint64_t(step.step) * per_step, uint64_t(trained.training.steps) * per_step, in_words(step));
  };
  TrainingJob job{.checkpoint = checkpoint,
                  .teacher = teacher ? &*teacher : nullptr,
                  .ids = ids,
                  .masking = make_masking(plan.options, std::move(goal)),
                  .plan = plan,
                  .on_step = tell};
  return train_checkpoint(std::move(job), output, std::move(options));
}

}  // namespace prune
