#include "libprune/model/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <prune/error.h>
#include <prune/matrix.h>

#include "libprune/model/shuffle.h"
#include "libprune/model/train/adam.h"
#include "libprune/model/train/head_loss.h"
#include "libprune/model/train/model_pass.h"

namespace prune {
namespace {

// A loss beyond this many times the first one will not come back.
constexpr double kDiverged = 3;

// Batches of sequences, each sequence once before any comes again.
class Batches {
 public:
  Batches(std::span<const int32_t> ids, const TrainingOptions& options)
      : ids_(ids),
        seqlen_(options.seqlen),
        batch_(options.batch),
        shuffle_(count_of(ids, seqlen_), options.seed) {}

  static int64_t count_of(std::span<const int32_t> ids, int64_t seqlen) {
    return int64_t(ids.size()) / seqlen;
  }

  // Fills the ids of the next batch, and the id that follows each: -1 at the end of a sequence.
  void next(std::vector<int32_t>& ids, std::vector<int32_t>& targets) {
    ids.clear();
    targets.clear();
    for (int64_t i = 0; i < batch_; ++i) {
      const auto window = ids_.subspan(size_t(shuffle_.next() * seqlen_), size_t(seqlen_));
      ids.insert(ids.end(), window.begin(), window.end());
      targets.insert(targets.end(), window.begin() + 1, window.end());
      targets.push_back(-1);
    }
  }

 private:
  std::span<const int32_t> ids_;
  int64_t seqlen_, batch_;
  Shuffle shuffle_;
};

void check(const TrainingOptions& options) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw_usage(std::string("training: ") + what);
  };
  require(options.steps >= 1 && options.batch >= 1, "steps and batch must be 1 or more");
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
    for (float& g : parameter.gradient) g *= float(factor);
  }
}

}  // namespace

struct Trainer::State {
  State(TrainableModel& student_model, const TrainableModel* teacher_model,
        std::vector<std::vector<Mask>> all_masks, std::span<const int32_t> text,
        const TrainingOptions& training_options)
      : student(student_model),
        teacher(teacher_model),
        masks(std::move(all_masks)),
        options(training_options),
        rate{.peak = options.learning_rate,
             .steps = options.steps,
             .warm_up = options.warm_up,
             .decay = options.decay},
        student_rope(student.config().rope, options.seqlen),
        teacher_rope((teacher == nullptr ? student : *teacher).config().rope, options.seqlen),
        batches(text, options),
        gradients(student),
        trained(parameters(student, gradients)),
        adam(AdamOptions{.weight_decay = options.weight_decay}) {
    activations.keeps_layers = options.keeps_activations;
    teacher_activations.keeps_layers = false;
  }

  TrainingStep step() {
    TrainingStep result{.step = adam.steps() + 1, .learning_rate = rate.at(adam.steps())};
    gradients.clear();
    accumulate(result);
    check_loss(result);
    apply_masks();
    result.gradient_norm = norm_of(trained);
    if (options.clip > 0 && result.gradient_norm > options.clip)
      scale_gradients(trained, options.clip / result.gradient_norm);
    adam.step(trained, result.learning_rate);
    return result;
  }

  void accumulate(TrainingStep& result) {
    batches.next(ids, targets);
    const TokenBatch batch{ids, Sequences(options.batch, options.seqlen)};
    HeadInput teacher_head;
    if (teacher != nullptr) {
      forward_model(*teacher, teacher_rope, batch, teacher_activations);
      teacher_head = {&teacher_activations.normed, &teacher->head_matrix()};
    }
    forward_model(student, student_rope, batch, activations);
    const HeadLossOptions loss_options{.distillation = teacher == nullptr ? 0 : options.distillation,
                                       .temperature = options.temperature};
    const HeadLoss loss =
        head_loss({&activations.normed, &student.head_matrix()}, teacher == nullptr ? nullptr : &teacher_head,
                  targets, loss_options, &dnormed, &gradients.head_matrix());
    const HiddenTarget hidden{teacher == nullptr ? nullptr : &teacher_activations, options.hidden_weight};
    result.hidden_loss =
        backward_model(student, student_rope, batch, activations, dnormed, hidden, buffers, gradients);
    result.cross_entropy = loss.cross_entropy;
    result.divergence = loss.divergence;
    result.loss = (1 - loss_options.distillation) * loss.cross_entropy +
                  loss_options.distillation * loss.divergence + result.hidden_loss;
  }

  void check_loss(const TrainingStep& result) {
    if (first_loss == 0) first_loss = result.loss;
    if (std::isfinite(result.loss) && result.loss <= kDiverged * std::max(first_loss, 1.0)) return;
    throw_runtime("training diverged at step " + std::to_string(result.step) + ", with a loss of " +
                  std::to_string(result.loss) + ": use a smaller learning rate or a longer warm-up");
  }

  void apply_masks() {
    for (size_t i = 0; i < masks.size(); ++i) {
      const std::vector<LinearGradient*> linears = gradients.layers[i].linears();
      for (size_t j = 0; j < linears.size(); ++j) {
        FloatMatrix& weight = linears[j]->weight;
        apply(masks[i][j], view(weight.data(), weight.rows(), weight.cols()));
      }
    }
  }

  TrainableModel& student;
  const TrainableModel* teacher;
  std::vector<std::vector<Mask>> masks;
  TrainingOptions options;
  LearningRate rate;
  RopeTable student_rope, teacher_rope;
  Batches batches;
  ModelGradients gradients;
  std::vector<Parameter> trained;
  Adam adam;
  double first_loss = 0;
  std::vector<int32_t> ids, targets;
  ModelActivations activations, teacher_activations;
  BackwardBuffers buffers;
  FloatMatrix dnormed;
};

Trainer::Trainer(TrainableModel& student, const TrainableModel* teacher, std::vector<std::vector<Mask>> masks,
                 std::span<const int32_t> ids, const TrainingOptions& options) {
  check(options);
  if (teacher != nullptr) check_teacher(student.config(), teacher->config(), options.hidden_weight);
  if (Batches::count_of(ids, options.seqlen) < 1) {
    throw_input("the training text has " + std::to_string(ids.size()) +
                " tokens, less than one sequence of " + std::to_string(options.seqlen));
  }
  state_ = std::make_unique<State>(student, teacher, std::move(masks), ids, options);
}

Trainer::~Trainer() = default;

TrainingStep Trainer::step() { return state_->step(); }

std::vector<std::vector<Mask>> masks_of(const TrainableModel& model) {
  std::vector<std::vector<Mask>> masks;
  for (const DecoderLayer& layer : model.layers) {
    std::vector<Mask>& own = masks.emplace_back();
    for (const Linear* linear : layer.linears())
      own.push_back(nonzero_mask(view(linear->weight.data(), linear->out, linear->in)));
  }
  return masks;
}

}  // namespace prune
