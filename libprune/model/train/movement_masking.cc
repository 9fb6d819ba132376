#include "libprune/model/train/movement_masking.h"

#include <algorithm>
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
    if (!(options_.tau > 0 && options_.tau < 1 && options_.penalty > 0 && options_.penalty <= 1))
      throw_usage("movement: expected a threshold between 0 and 1 and a penalty above 0 and up to 1");
  }

  void begin(std::span<const MaskedLinear> linears) override {
    linears_ = chosen_linears(goal_, linears);
    const bool is_magnitude = options_.start == ScoreStart::kMagnitude;
    for (const MaskedLinear& linear : linears_) {
      dense_.push_back(linear.linear->weight);
      scores_.push_back(is_magnitude
                            ? MovementScores::magnitude(linear.weight(), goal_.pattern)
                            : MovementScores::zero(linear.linear->out, linear.linear->in, goal_.pattern));
      slopes_.emplace_back(scores_.back().values().rows(), scores_.back().values().cols());
    }
    if (is_magnitude) scale_scores();
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
    const bool learns = goal_.schedule.at(step) < goal_.schedule.last;
    parallel_for(linears_.size(), 0, [&](size_t i) {
      // Into the memory that the optimizer knows.
      if (learns) slopes_[i].array() = scores_[i].gradient(dense(i), linears_[i].slope()).array();
      if (!options_.straight_through) apply(masks_[i], linears_[i].slope());
    });
    // Once the sparsity is reached the masks stay, and the weights settle under them.
    if (!learns) return 0;
    step_scores();
    return options_.rule == MaskRule::kSoft ? pull_down(step + 1) : 0;
  }

  void after_update() override {
    parallel_for(linears_.size(), 0, [&](size_t i) { apply(masks_[i], dense(i), linears_[i].weight()); });
  }

  // Masks follow from the scores before the next forward pass.
  void restored() override {}

  void visit(StateVisitor& state) override {
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
    for (MovementScores& scores : scores_) scores.values() = scores.values().cwiseSqrt().eval();
    scale_scores();
  }

  // To a mean of start_scale over all.
  void scale_scores() {
    double sum = 0, count = 0;
    for (const MovementScores& scores : scores_) {
      sum += scores.values().cast<double>().sum();
      count += double(scores.values().size());
    }
    const double scale = sum > 0 ? options_.start_scale * count / sum : 1;
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

  // The penalty lambda mean(sigmoid(S)), apart from the optimizer's step as decoupled weight decay is. lambda
  // is what brings the score that divides the model as the schedule wants `penalty` of its way to the
  // threshold; no score goes further than that one. Returns the penalty.
  double pull_down(int64_t step) {
    const double sparsity = goal_.schedule.at(step);
    if (sparsity == 0) return 0;
    const double divide = score_at(sparsity), threshold = std::log(options_.tau / (1 - options_.tau));
    const double way = options_.penalty * (divide - threshold);
    if (way <= 0) return 0;
    const double slope = slope_of_sigmoid(divide);
    std::vector<double> sums(scores_.size());
    double count = 0;
    for (const MovementScores& scores : scores_) count += double(scores.values().size());
    parallel_for(scores_.size(), 0, [&](size_t i) {
      for (float& s : parameters_[i].values) {
        sums[i] += 1 / (1 + std::exp(-double(s)));
        s -= float(way * std::min(1.0, slope_of_sigmoid(double(s)) / slope));
      }
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    return way / slope * sum / count;
  }

  static double slope_of_sigmoid(double s) {
    const double e = std::exp(-std::abs(s));
    return e / ((1 + e) * (1 + e));
  }

  // The score that this share of all is below, from about 64k of them.
  double score_at(double share) const {
    size_t count = 0;
    for (const Parameter& scores : parameters_) count += scores.values.size();
    const size_t stride = std::max<size_t>(1, count >> 16);
    std::vector<float> sample;
    size_t at = 0;
    for (const Parameter& scores : parameters_) {
      for (; at < scores.values.size(); at += stride) sample.push_back(scores.values[at]);
      at -= scores.values.size();
    }
    const size_t place = std::min(size_t(share * double(sample.size())), sample.size() - 1);
    std::nth_element(sample.begin(), sample.begin() + std::ptrdiff_t(place), sample.end());
    return double(sample[place]);
  }

  void choose_hard(double sparsity) {
    std::vector<Matrix<float>> values;
    for (const MovementScores& scores : scores_) values.push_back(scores.values());
    MaskGoal goal = goal_;
    if (options_.rule == MaskRule::kSoft) goal.scope = Scope::kGlobal;
    masks_ = choose_masks(goal, values, sparsity);
  }

  void choose_soft(double sparsity) {
    const double tau = sparsity == 0 ? 0 : options_.tau;
    parallel_for(scores_.size(), 0, [&](size_t i) { masks_[i] = select_soft(scores_[i], tau); });
  }

  MovementOptions options_;
  const MaskGoal& goal_;
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
