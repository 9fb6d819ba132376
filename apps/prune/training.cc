#include "apps/prune/training.h"

#include <fmt/format.h>

#include <algorithm>

#include <prune/error.h>

#include "apps/prune/calibration.h"

namespace prune::app {
namespace {

auto number(double value) { return po::value<double>()->default_value(value, fmt::format("{}", value)); }
auto count(int64_t value) { return po::value<int>()->default_value(int(value)); }

Decay parse_decay(const std::string& name) {
  if (name == "cosine") return Decay::kCosine;
  if (name == "linear") return Decay::kLinear;
  if (name == "none") return Decay::kNone;
  throw_usage("--decay " + name + ": expected cosine, linear or none");
}

OptimizerKind parse_optimizer(const std::string& name) {
  if (name == "adamw") return OptimizerKind::kAdamW;
  if (name == "lamb") return OptimizerKind::kLamb;
  throw_usage("--optimizer " + name + ": expected adamw or lamb");
}

int64_t whole(const CommandLine& line, const char* name, int64_t least, int64_t otherwise) {
  if (!line.has(name)) return otherwise;
  const auto value = line.get<int64_t>(name);
  if (value < least) throw_usage(fmt::format("--{} {}: expected at least {}", name, value, least));
  return value;
}

}  // namespace

void add_training_options(CommandLine& line) {
  const TrainingOptions defaults;
  line.options()(
      "train", po::value<std::string>()->value_name("FILE"),
      "text to train on: .jsonl with a \"text\" in each line, .txt, or token ids as .npy or .safetensors")(
      "teacher", po::value<std::string>()->value_name("MODEL"),
      "checkpoint to learn from, of the same vocabulary: the model before it was pruned")(
      "batch", count(defaults.batch)->value_name("N"), "sequences a step of training")(
      "accumulate", count(defaults.accumulate)->value_name("N"),
      "equal parts in which a batch passes the model, for less memory")(
      "learning-rate", number(defaults.learning_rate)->value_name("R"), "at its peak")(
      "decay", po::value<std::string>()->default_value("cosine")->value_name("cosine|linear|none"),
      "how the learning rate falls")("warm-up", count(defaults.warm_up)->value_name("N"),
                                     "steps until the learning rate has its peak")(
      "optimizer", po::value<std::string>()->default_value("adamw")->value_name("adamw|lamb"),
      "of the weights")("weight-decay", number(defaults.weight_decay)->value_name("D"),
                        "decoupled, of all parameters")("clip", number(defaults.clip)->value_name("C"),
                                                        "largest norm of the gradient; 0: any")(
      "distillation", number(defaults.distillation)->value_name("A"),
      "share of the teacher's predictions in the loss, 0 to 1; the rest is the text's")(
      "temperature", number(defaults.temperature)->value_name("T"), "of the softmax in distillation")(
      "hidden-weight", number(defaults.hidden_weight)->value_name("W"),
      "weight of the distance from the teacher's hidden states")(
      "less-memory", po::bool_switch(), "compute activations twice instead of keeping them")(
      "save-every", count(defaults.save_every)->value_name("N"),
      "steps between two saves of the training's state, from which --resume goes on; 0: never");
}

void add_training_length_options(CommandLine& line) {
  line.options()("steps", po::value<int64_t>()->default_value(TrainingOptions{}.steps)->value_name("N"),
                 "of the optimizer")(
      "seqlen", po::value<int64_t>()->default_value(TrainingOptions{}.seqlen)->value_name("N"),
      "tokens of a sequence")("seed", po::value<uint64_t>()->default_value(0)->value_name("N"),
                              "of the order of sequences")(
      "precision", po::value<std::string>()->default_value("fp32")->value_name("P"),
      "of products: fp32, or bf16, which is faster where the processor has it; weights stay float32");
}

void add_mask_options(CommandLine& line) {
  const TrainedMaskOptions defaults;
  line.options()(
      "scores", po::value<std::string>()->value_name("S"),
      "where movement's start, zero, magnitude (default) or taylor; gradual's: magnitude (default) or "
      "taylor")("soft", po::bool_switch(), "movement: weights stay whose score is above a threshold")(
      "score-optimizer", po::value<std::string>()->default_value("adam")->value_name("adam|sgd"),
      "movement: of the scores")("score-rate", number(defaults.score_rate)->value_name("R"),
                                 "movement: learning rate of the scores")(
      "threshold", number(defaults.threshold)->value_name("T"), "of soft masks, 0 to 1")(
      "penalty", number(defaults.penalty)->value_name("L"),
      "on the scores of soft masks: share of their way to the scheduled sparsity in a step, up to 1")(
      "straight-through", po::bool_switch(), "pruned weights learn too, and may return during the ramp")(
      "ramp-begin", number(defaults.ramp_begin)->value_name("A"),
      "share of the steps after which the sparsity begins to rise")(
      "ramp-end", number(defaults.ramp_end)->value_name("B"), "share of the steps after which it stays");
}

TrainedPruning read_training(const CommandLine& line) {
  TrainedPruning trained{.file = line.maybe_text("train").value_or(""),
                         .teacher = line.maybe_text("teacher").value_or("")};
  TrainingOptions& options = trained.training;
  options.steps = whole(line, "steps", 1, options.steps);
  options.seqlen = whole(line, "seqlen", 2, options.seqlen);
  if (line.has("seed")) options.seed = line.get<uint64_t>("seed");
  options.batch = line.count("batch", 1);
  options.accumulate = line.count("accumulate", 1);
  options.warm_up = std::min<int64_t>(line.count("warm-up", 0), options.steps);
  options.learning_rate = *line.maybe_number("learning-rate");
  options.decay = parse_decay(line.text("decay"));
  options.optimizer = parse_optimizer(line.text("optimizer"));
  options.weight_decay = *line.maybe_number("weight-decay");
  options.clip = *line.maybe_number("clip");
  options.distillation = *line.maybe_number("distillation");
  options.temperature = *line.maybe_number("temperature");
  options.hidden_weight = *line.maybe_number("hidden-weight");
  options.save_every = line.count("save-every", 0);
  options.precision = parse_precision(line.text("precision"));
  options.keeps_activations = !line.flag("less-memory");
  return trained;
}

TrainedMaskOptions read_masks(const CommandLine& line) {
  TrainedMaskOptions masks;
  masks.soft = line.flag("soft");
  masks.scores = line.maybe_text("scores").value_or("");
  masks.score_optimizer = line.text("score-optimizer");
  if (masks.score_optimizer != "adam" && masks.score_optimizer != "sgd")
    throw_usage("--score-optimizer " + masks.score_optimizer + ": expected adam or sgd");
  masks.score_rate = *line.maybe_number("score-rate");
  masks.threshold = *line.maybe_number("threshold");
  masks.penalty = *line.maybe_number("penalty");
  masks.straight_through = line.flag("straight-through");
  masks.ramp_begin = *line.maybe_number("ramp-begin");
  masks.ramp_end = *line.maybe_number("ramp-end");
  return masks;
}

void refuse_training_options(const CommandLine& line, const std::string& method, TrainsLayers trains_layers) {
  const auto refuse = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (!line.has(name)) continue;
      throw_usage(trains_layers == TrainsLayers::kYes
                      ? fmt::format("method {} trains layer by layer: no use for --{}", method, name)
                      : fmt::format("method {} does not train: no use for --{}", method, name));
    }
  };
  refuse({"train",
          "teacher",
          "accumulate",
          "decay",
          "warm-up",
          "optimizer",
          "weight-decay",
          "clip",
          "distillation",
          "temperature",
          "hidden-weight",
          "less-memory",
          "save-every",
          "scores",
          "soft",
          "score-rate",
          "threshold",
          "penalty",
          "straight-through",
          "ramp-begin",
          "ramp-end",
          "score-optimizer"});
  if (trains_layers == TrainsLayers::kNo) refuse({"batch", "learning-rate"});
}

}  // namespace prune::app
