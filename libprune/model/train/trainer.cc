#include "libprune/model/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>

#include "libprune/model/train/adam.h"
#include "libprune/model/train/batches.h"
#include "libprune/model/train/head_loss.h"
#include "libprune/model/train/model_pass.h"

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
        student_rope(student.config().rope, options.seqlen),
        teacher_rope((teacher == nullptr ? student : *teacher).config().rope, options.seqlen),
        batches(text, options.seqlen, options.batch, options.seed),
        gradients(student),
        masking(std::move(mask_rule)),
        adam(AdamOptions{.weight_decay = options.weight_decay,
                         .is_lamb = options.optimizer == OptimizerKind::kLamb}) {
    activations.keeps_layers = options.keeps_activations;
    teacher_activations.keeps_layers = false;
    student.round_weights();
    begin_masking();
  }
  ~State() { student.forget_rounded(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void begin_masking() {
    std::vector<MaskedLinear> linears;
    for (size_t i = 0; i < student.layers.size(); ++i) {
      const std::vector<Linear*> own = student.layers[i].linears();
      const std::vector<LinearGradient*> slopes = gradients.layers[i].linears();
      for (size_t j = 0; j < own.size(); ++j) linears.push_back({own[j], slopes[j]});
    }
    masking->begin(linears);
    slopes = trained = parameters(student, gradients);
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

  // Whether the weights that products read are those that the optimizer leaves.
  bool adam_rounds() const { return masking->is_fixed() && !masking->trains_linears_only(); }

  TrainingStep step() {
    const int64_t t = adam.steps();
    TrainingStep result{.step = t + 1, .learning_rate = rate.at(t)};
    masking->before_forward(t);
    if (!adam_rounds()) student.round_weights();
    if (!counted_sparsity || !masking->is_fixed()) counted_sparsity = sparsity();
    result.sparsity = *counted_sparsity;
    gradients.restart();
    const Batch& batch = batches.next();
    for (int64_t part = 0; part < options.accumulate; ++part) accumulate(batch, part, result);
    check_loss(result);
    if (options.accumulate > 1) scale_gradients(slopes, 1 / double(options.accumulate));
    result.penalty = masking->after_backward(t);
    result.gradient_norm = norm_of(trained);
    const bool is_clipped = options.clip > 0 && result.gradient_norm > options.clip;
    adam.step(trained, result.learning_rate, is_clipped ? options.clip / result.gradient_norm : 1);
    masking->after_update();
    return result;
  }

  // One part of the batch, through both models and back.
  void accumulate(const Batch& whole, int64_t part, TrainingStep& result) {
    const int64_t sequences = options.batch / options.accumulate;
    const auto tokens = size_t(sequences * options.seqlen), begin = size_t(part) * tokens;
    const TokenBatch batch{std::span(whole.ids).subspan(begin, tokens), Sequences(sequences, options.seqlen)};
    HeadInput teacher_head;
    if (teacher != nullptr) {
      forward_model(*teacher, teacher_rope, batch, teacher_activations);
      teacher_head = {&teacher_activations.normed, &teacher->head_matrix()};
    }
    forward_model(student, student_rope, batch, activations);
    const HeadLossOptions loss_options{.distillation = teacher == nullptr ? 0 : options.distillation,
                                       .temperature = options.temperature,
                                       .precision = options.precision};
    const HeadLoss loss =
        head_loss({&activations.normed, &student.head_matrix()}, teacher == nullptr ? nullptr : &teacher_head,
                  std::span(whole.targets).subspan(begin, tokens), loss_options, head_buffers, &dnormed,
                  &gradients.head_matrix());
    const HiddenTarget hidden{teacher == nullptr ? nullptr : &teacher_activations, options.hidden_weight};
    const double hidden_loss =
        backward_model(student, student_rope, batch, activations, dnormed, hidden, buffers, gradients);
    const double share = 1 / double(options.accumulate);
    result.hidden_loss += share * hidden_loss;
    result.cross_entropy += share * loss.cross_entropy;
    result.divergence += share * loss.divergence;
    result.loss += share * ((1 - loss_options.distillation) * loss.cross_entropy +
                            loss_options.distillation * loss.divergence + hidden_loss);
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
  RopeTable student_rope, teacher_rope;
  Batches batches;
  ModelGradients gradients;
  std::unique_ptr<Masking> masking;
  std::vector<Parameter> slopes;  // of all weights, before masking makes of them those of what it moves
  std::vector<Parameter> trained;
  Adam adam;
  double first_loss = 0;
  std::optional<double> counted_sparsity;  // as it was counted last
  ModelActivations activations, teacher_activations;
  BackwardBuffers buffers;
  HeadLossBuffers head_buffers;
  FloatMatrix dnormed;
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
