#include "libprune/model/train/gradual_masking.h"

#include <algorithm>

#include <prune/error.h>
#include <prune/matrix.h>
#include <prune/score/movement.h>

#include "libprune/model/parallel.h"

namespace prune {
namespace {

constexpr float kMemory = 0.95F;  // of the mean of squares: about the last twenty steps

class GradualMasking : public Masking {
 public:
  explicit GradualMasking(const GradualOptions& options) : options_(options), goal_(options_.goal) {
    if (options_.straight_through && options_.score != GradualScore::kMagnitude)
      throw_usage("straight-through masks are those of magnitudes");
    if (options_.interval < 1) throw_usage("gradual masks: expected an interval of 1 or more steps");
  }

  void begin(std::span<const MaskedLinear> linears) override {
    linears_ = chosen_linears(goal_, linears);
    const Block unit = MovementScores::unit_of(goal_.pattern);
    for (const MaskedLinear& linear : linears_) {
      masks_.push_back(full_mask(linear.linear->out, linear.linear->in));
      scores_.emplace_back(
          Matrix<float>::Zero(linear.linear->out / unit.rows, linear.linear->in / unit.cols));
      if (options_.straight_through) dense_.push_back(linear.linear->weight);
    }
  }

  std::span<float> moved(const Linear& linear) const override {
    for (size_t i = 0; i < dense_.size(); ++i) {
      if (linears_[i].linear == &linear)
        return {const_cast<float*>(dense_[i].data()), size_t(dense_[i].size())};
    }
    return Masking::moved(linear);
  }

  void before_forward(int64_t step) override {
    const double sparsity = goal_.schedule.at(step);
    const bool is_due = step % options_.interval == 0 || sparsity == goal_.schedule.last;
    // Learned masks change with the weights, until the schedule ends.
    const bool changes = sparsity != chosen_ || (options_.straight_through && sparsity < goal_.schedule.last);
    if (!is_due || !changes || sparsity == 0) return;
    chosen_ = sparsity;
    if (options_.score == GradualScore::kMagnitude) score_by_magnitude();
    if (!options_.straight_through) put_pruned_last();
    masks_ = choose_masks(goal_, scores_, sparsity);
    after_update();
  }

  double after_backward(int64_t) override {
    parallel_for(linears_.size(), 0, [&](size_t i) {
      if (options_.score == GradualScore::kTaylor) learn(i);
      if (options_.straight_through) {
        decay_pruned(i);
      } else {
        apply(masks_[i], linears_[i].slope());
      }
    });
    return 0;
  }

  // Moments of the optimizer would go on moving what was just pruned.
  void after_update() override {
    parallel_for(linears_.size(), 0, [&](size_t i) {
      options_.straight_through ? apply(masks_[i], dense(i), linears_[i].weight())
                                : apply(masks_[i], linears_[i].weight());
    });
  }

  void visit(StateVisitor& state) override {
    state.value("gradual/sparsity", chosen_);
    for (size_t i = 0; i < linears_.size(); ++i) {
      const std::string& name = linears_[i].linear->weight_name;
      state.values("scores/" + name, std::span(scores_[i].data(), size_t(scores_[i].size())));
      if (options_.straight_through)
        state.values("dense/" + name, std::span(dense_[i].data(), size_t(dense_[i].size())));
      state.values("mask/" + name, words_of(masks_[i]));
    }
  }

 private:
  static Mask full_mask(Index rows, Index cols) {
    Mask mask(rows, cols);
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < cols; ++j) mask.set(i, j, true);
    }
    return mask;
  }

  View<float> dense(size_t i) {
    return view(dense_[i].data(), linears_[i].linear->out, linears_[i].linear->in);
  }

  void score_by_magnitude() {
    parallel_for(linears_.size(), 0, [&](size_t i) {
      const View<float> weights = options_.straight_through ? dense(i) : linears_[i].weight();
      scores_[i] = MovementScores::magnitude(weights, goal_.pattern).values();
    });
  }

  // Scores are not negative: what is pruned goes first.
  void put_pruned_last() {
    const Block unit = MovementScores::unit_of(goal_.pattern);
    for (size_t i = 0; i < scores_.size(); ++i) {
      for (Index r = 0; r < scores_[i].rows(); ++r) {
        for (Index c = 0; c < scores_[i].cols(); ++c) {
          if (!masks_[i](r * unit.rows, c * unit.cols)) scores_[i](r, c) = -1;
        }
      }
    }
  }

  void learn(size_t i) {
    const Matrix<float> change =
        MovementScores::zero(linears_[i].linear->out, linears_[i].linear->in, goal_.pattern)
            .gradient(linears_[i].weight(), linears_[i].slope());
    scores_[i] = kMemory * scores_[i] + (1 - kMemory) * change.cwiseAbs2();
  }

  void decay_pruned(size_t i) {
    View<float> weights = dense(i), slope = linears_[i].slope();
    for (Index r = 0; r < weights.rows(); ++r) {
      for (Index c = 0; c < weights.cols(); ++c) {
        if (!masks_[i](r, c)) slope(r, c) += float(options_.pruned_decay) * weights(r, c);
      }
    }
  }

  GradualOptions options_;
  const MaskGoal& goal_;
  double chosen_ = 0;  // the sparsity of the masks
  std::vector<MaskedLinear> linears_;
  std::vector<Mask> masks_;
  std::vector<Matrix<float>> scores_;
  std::vector<FloatMatrix> dense_;  // of straight-through masks: W
};

}  // namespace

std::unique_ptr<Masking> gradual_masking(const GradualOptions& options) {
  return std::make_unique<GradualMasking>(options);
}

}  // namespace prune
