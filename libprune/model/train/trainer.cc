#include "libprune/model/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>

#include "libprune/model/decoder/memory.h"
#include "libprune/model/parallel.h"
#include "libprune/model/teams.h"
#include "libprune/model/train/adam.h"
#include "libprune/model/train/batch_pass.h"
#include "libprune/model/train/batches.h"

namespace prune {
namespace {

// A loss beyond this many times the first one, and that of knowing nothing, will not come back. Masks alone
// raise the loss of a model that was good.
constexpr double kDiverged = 3;

void check(const TrainingOptions& options) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw_usage(std::string("training: ") + what);
  };
  require(options.steps >= 1 && options.batch >= 1, "steps and batch must be 1 or more");
  require(options.accumulate >= 1 && options.batch % options.accumulate == 0,
          "a batch must fall into equal parts to accumulate");
  require(options.seqlen >= 2, "a sequence must be 2 tokens or longer");
  require(options.learning_rate > 0 && std::isfinite(options.learning_rate),
          "the learning rate must be positive");
  require(options.distillation >= 0 && options.distillation <= 1,
          "the share of distillation must be from 0 to 1");
  require(options.temperature > 0 && std::isfinite(options.temperature), "the temperature must be positive");
  require(options.hidden_weight >= 0 && options.clip >= 0 && options.weight_decay >= 0,
          "weights must not be negative");
}

void check_teacher(const DecoderConfig& student, const DecoderConfig& teacher, double hidden_weight) {
  if (teacher.vocabulary != student.vocabulary) {
    throw_input("the teacher has a vocabulary of " + std::to_string(teacher.vocabulary) +
                " tokens, the model one of " + std::to_string(student.vocabulary) +
                ": a teacher must read the same tokens");
  }
  if (hidden_weight > 0 && (teacher.width != student.width || teacher.layers != student.layers)) {
    throw_input(
        "the teacher's hidden states are of another shape: a weight of hidden states needs the same layers "
        "and width");
  }
}

double norm_of(std::span<const Parameter> parameters) {
  double squares = 0;
  for (const Parameter& parameter : parameters) {
    const float* g = parameter.gradient.data();
    const auto n = static_cast<int64_t>(parameter.gradient.size());
    double sum = 0;
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < n; ++i) sum += double(g[i]) * double(g[i]);
    squares += sum;
  }
  return std::sqrt(squares);
}

void scale_gradients(std::span<const Parameter> parameters, double factor) {
  for (const Parameter& parameter : parameters) {
    float* g = parameter.gradient.data();
    const auto n = static_cast<int64_t>(parameter.gradient.size());
#pragma omp parallel for simd
    for (int64_t i = 0; i < n; ++i) g[i] *= float(factor);
  }
}

uint64_t gradient_bytes(const TrainableModel& model) {
  const DecoderConfig& config = model.config();
  const int64_t tables =
      model.embedding.matrix.size() + model.positions.matrix.size() + model.head.matrix.size();
  return uint64_t(config.layers) * layer_bytes(config) + uint64_t(tables) * sizeof(float);
}

}  // namespace

struct Trainer::State {
  State(TrainableModel& student_model, const TrainableModel* teacher_model,
        std::unique_ptr<Masking> mask_rule, std::span<const int32_t> text,
        const TrainingOptions& training_options)
      : student(student_model),
        teacher(teacher_model),
        options(training_options),
        rate{.peak = options.learning_rate,
             .steps = options.steps,
             .warm_up = options.warm_up,
             .decay = options.decay},
        batches(text, options.seqlen, options.batch, options.seed),
        teams(options.batch / options.accumulate, gradient_bytes(student)),
        masking(std::move(mask_rule)),
        adam(AdamOptions{.weight_decay = options.weight_decay,
                         .is_lamb = options.optimizer == OptimizerKind::kLamb}) {
    passes.reserve(size_t(teams.count()));  // parameters point into them
    for (int64_t team = 0; team < teams.count(); ++team) passes.emplace_back(student, teacher, options);
    student.round_weights();
    begin_masking();
  }
  ~State() {
    student.forget_rounded();
    student.forget_masked();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void begin_masking() {
    std::vector<MaskedLinear> linears;
    for (size_t i = 0; i < student.layers.size(); ++i) {
      const std::vector<Linear*> own = student.layers[i].linears();
      const std::vector<LinearGradient*> slopes = passes[0].gradients().layers[i].linears();
      for (size_t j = 0; j < own.size(); ++j) linears.push_back({own[j], slopes[j]});
    }
    masking->begin(linears);
    trained = passes[0].slopes();
    std::vector<Parameter> moved;
    for (const MaskedLinear& masked : linears) {
      const auto own = std::ranges::find(trained, static_cast<const float*>(masked.linear->weight.data()),
                                         [](const Parameter& p) { return p.values.data(); });
      own->values = masking->moved(*masked.linear);
      own->gradient = own->gradient.first(own->values.size());
      if (adam_rounds()) own->rounded = masked.linear->rounded;
      moved.push_back(*own);
    }
    if (masking->trains_linears_only()) trained = std::move(moved);
  }

  // What masks prune for good is never multiplied. By the first step, when it is known whether a saved state
  // has brought its own masks.
  void leave_out_zeros() {
    if (leaves_out_zeros) return;
    std::vector<Linear*> linears;
    for (DecoderLayer& layer : student.layers)
      std::ranges::copy(layer.linears(), std::back_inserter(linears));
    // Lists of two thirds of the weights, as they are and as they grow.
    const auto bytes = [&](size_t i) { return size_t(linears[i]->out * linears[i]->in) * 16; };
    parallel_for(linears.size(), 0, bytes, [&](size_t i) {
      if (const Mask* mask = masking->mask_of(*linears[i])) linears[i]->leave_out(*mask);
    });
    leaves_out_zeros = true;
  }

  // Whether the weights that products read are those that the optimizer leaves.
  bool adam_rounds() const { return masking->is_fixed() && !masking->trains_linears_only(); }

  TrainingStep step() {
    const int64_t t = adam.steps();
    TrainingStep result{.step = t + 1, .learning_rate = rate.at(t)};
    masking->before_forward(t);
    leave_out_zeros();
    if (!adam_rounds()) student.round_weights();
    if (!counted_sparsity || !masking->is_fixed()) counted_sparsity = sparsity();
    result.sparsity = *counted_sparsity;
    teams.run([&](int64_t team) { passes[size_t(team)].gradients().restart(); });
    const Batch& batch = batches.next();
    BatchLoss loss;
    for (int64_t part = 0; part < options.accumulate; ++part)
      loss.add(pass(batch, part), 1 / double(options.accumulate));
    describe(loss, result);
    check_loss(result);
    sum_gradients();
    result.penalty = masking->after_backward(t);
    result.gradient_norm = norm_of(trained);
    const bool is_clipped = options.clip > 0 && result.gradient_norm > options.clip;
    adam.step(trained, result.learning_rate, is_clipped ? options.clip / result.gradient_norm : 1);
    masking->after_update();
    student.refresh_masked();  // whoever runs the model between steps reads the weights of now
    return result;
  }

  // One part of the batch through both models and back, each team with its share of the sequences.
  BatchLoss pass(const Batch& whole, int64_t part) {
    const int64_t sequences = options.batch / options.accumulate;
    const auto of_team = [&](int64_t team, const std::vector<int32_t>& values) {
      const int64_t first = teams.first(team, sequences), last = teams.first(team + 1, sequences);
      return std::span(values).subspan(size_t((part * sequences + first) * options.seqlen),
                                       size_t((last - first) * options.seqlen));
    };
    const auto batch_of = [&](int64_t team) {
      const std::span<const int32_t> ids = of_team(team, whole.ids);
      return TokenBatch{ids, Sequences(int64_t(ids.size()) / options.seqlen, options.seqlen)};
    };
    const std::span<const int32_t> targets =
        std::span(whole.targets)
            .subspan(size_t(part * sequences * options.seqlen), size_t(sequences * options.seqlen));
    const int64_t predictions = std::ranges::count_if(targets, [](int32_t target) { return target >= 0; });
    teams.run([&](int64_t team) {
      passes[size_t(team)].forward(batch_of(team), of_team(team, whole.targets), predictions);
    });
    std::vector<double> scales = passes[0].hidden_scales();
    for (size_t team = 1; team < passes.size(); ++team)
      std::ranges::transform(scales, passes[team].hidden_scales(), scales.begin(), std::plus());
    std::vector<BatchLoss> losses(passes.size());
    teams.run(
        [&](int64_t team) { losses[size_t(team)] = passes[size_t(team)].backward(batch_of(team), scales); });
    BatchLoss sum;
    for (const BatchLoss& loss : losses) sum.add(loss, 1);
    return sum;
  }

  void describe(const BatchLoss& loss, TrainingStep& result) const {
    const double distillation = teacher == nullptr ? 0 : options.distillation;
    result.cross_entropy = loss.cross_entropy;
    result.divergence = loss.divergence;
    result.hidden_loss = loss.hidden;
    result.loss = (1 - distillation) * loss.cross_entropy + distillation * loss.divergence + loss.hidden;
  }

  // To those of the first team.
  void sum_gradients() {
    std::vector<std::span<const Parameter>> others;
    for (size_t team = 1; team < passes.size(); ++team) others.push_back(passes[team].slopes());
    add_gradients(others, passes[0].slopes());
    if (options.accumulate > 1) scale_gradients(passes[0].slopes(), 1 / double(options.accumulate));
  }

  void check_loss(const TrainingStep& result) {
    if (first_loss == 0) first_loss = result.loss;
    const double of_chance = std::log(double(student.config().vocabulary));
    if (std::isfinite(result.loss) && result.loss <= kDiverged * std::max(first_loss, of_chance)) return;
    throw_runtime("training diverged at step " + std::to_string(result.step) + ", with a loss of " +
                  std::to_string(result.loss) + ": use a smaller learning rate or a longer warm-up");
  }

  double sparsity() const {
    int64_t zeros = 0, all = 0;
    for (const DecoderLayer& layer : student.layers) {
      for (const Linear* linear : layer.linears()) {
        const float* w = linear->weight.data();
        const int64_t n = linear->weight.size();
        int64_t own = 0;
#pragma omp parallel for simd reduction(+ : own)
        for (int64_t i = 0; i < n; ++i) own += w[i] == 0;
        zeros += own;
        all += n;
      }
    }
    return all == 0 ? 0 : double(zeros) / double(all);
  }

  TrainableModel& student;
  const TrainableModel* teacher;
  TrainingOptions options;
  LearningRate rate;
  Batches batches;
  Teams teams;
  std::vector<BatchPass> passes;  // of each team
  std::unique_ptr<Masking> masking;
  std::vector<Parameter> trained;  // with what masking makes of the gradients of the first team
  Adam adam;
  bool leaves_out_zeros = false;  // as its masks are now
  double first_loss = 0;
  std::optional<double> counted_sparsity;  // as it was counted last
};

Trainer::Trainer(TrainableModel& student, const TrainableModel* teacher, std::unique_ptr<Masking> masking,
                 std::span<const int32_t> ids, const TrainingOptions& options) {
  check(options);
  if (teacher != nullptr) check_teacher(student.config(), teacher->config(), options.hidden_weight);
  state_ = std::make_unique<State>(student, teacher, std::move(masking), ids, options);
}

Trainer::~Trainer() = default;

TrainingStep Trainer::step() { return state_->step(); }

int64_t Trainer::steps_done() const { return state_->adam.steps(); }

void Trainer::visit(StateVisitor& state) {
  state.value("first_loss", state_->first_loss);
  for (const Parameter& parameter : state_->trained) state.values(parameter.name, parameter.values);
  state_->adam.visit(state_->trained, state);
  state_->masking->visit(state);
}

void Trainer::restored() {
  state_->masking->restored();
  state_->student.round_weights();
  state_->batches.skip(state_->adam.steps());
}

double Trainer::waiting() const { return state_->batches.waiting(); }

}  // namespace prune
