#include "libprune/model/train/movement_masking.h"

#include <cmath>

#include <prune/error.h>
#include <prune/matrix.h>
#include <prune/score/movement.h>

#include "libprune/model/parallel.h"
#include "libprune/model/train/adam.h"

namespace prune {
namespace {

class MovementMasking : public Masking {
 public:
  explicit MovementMasking(const MovementOptions& options) : options_(options), goal_(options_.goal) {
    if (!(options_.score_rate > 0)) throw_usage("movement: expected a rate of the scores above 0");
    if (!(options_.start_scale > 0)) throw_usage("movement: expected a scale of the scores above 0");
    if (options_.start == ScoreStart::kTaylor && goal_.schedule.warm_up < 1)
      throw_usage("movement: scores from taylor need steps before the sparsity rises");
    if (options_.rule == MaskRule::kHard) return;
    if (std::holds_alternative<NM>(goal_.pattern))
      throw_usage("movement: soft masks let a matrix choose its sparsity, and N:M has none to choose");
    if (!(options_.tau > 0 && options_.tau < 1 && options_.penalty > 0))
      throw_usage("movement: expected a threshold between 0 and 1 and a penalty above 0");
  }

  void begin(std::span<const MaskedLinear> linears) override {
    linears_ = chosen_linears(goal_, linears);
    const bool is_magnitude = options_.start == ScoreStart::kMagnitude;
    const double scale = is_magnitude ? options_.start_scale / mean_magnitude() : 0;
    for (const MaskedLinear& linear : linears_) {
      dense_.push_back(linear.linear->weight);
      scores_.push_back(is_magnitude
                            ? MovementScores::magnitude(linear.weight(), goal_.pattern, scale)
                            : MovementScores::zero(linear.linear->out, linear.linear->in, goal_.pattern));
      slopes_.emplace_back(scores_.back().values().rows(), scores_.back().values().cols());
    }
    for (size_t i = 0; i < linears_.size(); ++i) {
      const auto size = static_cast<size_t>(slopes_[i].size());
      parameters_.push_back({"scores/" + linears_[i].linear->weight_name,
                             {scores_[i].values().data(), size},
                             {slopes_[i].data(), size}});
    }
    masks_.resize(linears_.size());
  }

  std::span<float> moved(const Linear& linear) const override {
    for (size_t i = 0; i < linears_.size(); ++i) {
      if (linears_[i].linear == &linear)
        return {const_cast<float*>(dense_[i].data()), size_t(dense_[i].size())};
    }
    return Masking::moved(linear);
  }

  void before_forward(int64_t step) override {
    const double sparsity = is_measuring(step) ? 0 : goal_.schedule.at(step);
    const bool is_last = sparsity == goal_.schedule.last;
    if (is_last && is_settled_) return;
    if (is_measuring(step - 1) && !is_measuring(step)) start_from_squares();
    if (options_.rule == MaskRule::kSoft && !is_last) {
      choose_soft(sparsity);
    } else {
      choose_hard(sparsity);
    }
    is_settled_ = is_last;
    after_update();
  }

  double after_backward(int64_t step) override {
    if (is_measuring(step)) return measure();
    const double share = goal_.schedule.at(step) / goal_.schedule.last;
    const double weight =
        options_.rule == MaskRule::kSoft && share < 1 ? pressure_ * options_.penalty * share : 0;
    std::vector<double> penalties(linears_.size());
    parallel_for(linears_.size(), 0, [&](size_t i) {
      // Into the memory that the optimizer knows.
      if (share < 1) slopes_[i].array() = scores_[i].gradient(dense(i), linears_[i].slope()).array();
      if (weight > 0)
        penalties[i] = add_sigmoid_penalty(scores_[i], weight / double(linears_.size()), slopes_[i]);
      if (!options_.straight_through) apply(masks_[i], linears_[i].slope());
    });
    // Once the sparsity is reached the masks stay, and the weights settle under them.
    if (share < 1) step_scores();
    double penalty = 0;
    for (const double part : penalties) penalty += part;
    return penalty;
  }

  void after_update() override {
    parallel_for(linears_.size(), 0, [&](size_t i) { apply(masks_[i], dense(i), linears_[i].weight()); });
  }

  // Masks follow from the scores before the next forward pass.
  void restored() override {}

  void visit(StateVisitor& state) override {
    state.value("movement/pressure", pressure_);
    for (size_t i = 0; i < linears_.size(); ++i) {
      state.values(parameters_[i].name, parameters_[i].values);
      state.values("dense/" + linears_[i].linear->weight_name,
                   std::span(dense_[i].data(), size_t(dense_[i].size())));
    }
    adam_.visit(parameters_, state);
  }

 private:
  View<float> dense(size_t i) {
    return view(dense_[i].data(), linears_[i].linear->out, linears_[i].linear->in);
  }

  // Before the sparsity rises, scores from taylor are sums of squares.
  bool is_measuring(int64_t step) const {
    return options_.start == ScoreStart::kTaylor && step >= 0 && step < goal_.schedule.warm_up;
  }

  double measure() {
    parallel_for(linears_.size(), 0, [&](size_t i) {
      scores_[i].values() += scores_[i].gradient(dense(i), linears_[i].slope()).cwiseAbs2();
    });
    return 0;
  }

  void start_from_squares() {
    double sum = 0, count = 0;
    for (MovementScores& scores : scores_) {
      scores.values() = scores.values().cwiseSqrt().eval();
      sum += scores.values().cast<double>().sum();
      count += double(scores.values().size());
    }
    const double scale = sum > 0 ? options_.start_scale * count / sum : 0;
    for (MovementScores& scores : scores_) scores.values() *= float(scale);
  }

  void step_scores() {
    if (options_.score_step == ScoreStep::kAdam) return adam_.step(parameters_, options_.score_rate);
    double squares = 0, count = 0;
    for (const Matrix<float>& slope : slopes_) {
      squares += slope.cast<double>().squaredNorm();
      count += double(slope.size());
    }
    const double scale = squares > 0 ? options_.score_rate / std::sqrt(squares / count) : 0;
    for (size_t i = 0; i < scores_.size(); ++i) scores_[i].values() -= float(scale) * slopes_[i];
  }

  double mean_magnitude() const {
    double sum = 0;
    int64_t count = 0;
    for (const MaskedLinear& linear : linears_) {
      sum += linear.weight().cast<double>().cwiseAbs().sum();
      count += linear.weight().size();
    }
    return sum > 0 ? sum / double(count) : 1;
  }

  void choose_hard(double sparsity) {
    std::vector<Matrix<float>> values;
    for (const MovementScores& scores : scores_) values.push_back(scores.values());
    MaskGoal goal = goal_;
    if (options_.rule == MaskRule::kSoft) goal.scope = Scope::kGlobal;
    masks_ = choose_masks(goal, values, sparsity);
  }

  void choose_soft(double sparsity) {
    const double tau = options_.tau * sparsity / goal_.schedule.last;
    double kept = 0, all = 0;
    for (size_t i = 0; i < linears_.size(); ++i) {
      masks_[i] = select_soft(scores_[i], tau);
      kept += double(masks_[i].count());
      all += double(masks_[i].size());
    }
    pressure_ *= std::exp(sparsity - (1 - kept / all));
  }

  MovementOptions options_;
  const MaskGoal& goal_;
  double pressure_ = 1;  // on the penalty
  bool is_settled_ = false;
  std::vector<MaskedLinear> linears_;
  std::vector<FloatMatrix> dense_;  // W
  std::vector<MovementScores> scores_;
  std::vector<Matrix<float>> slopes_;  // dL/dS
  std::vector<Mask> masks_;
  std::vector<Parameter> parameters_;  // the scores
  Adam adam_;
};

}  // namespace

std::unique_ptr<Masking> movement_masking(const MovementOptions& options) {
  return std::make_unique<MovementMasking>(options);
}

}  // namespace prune
