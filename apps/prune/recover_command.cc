// prune recover MODEL -o OUT --train FILE: training under the zeros of a pruned model.
#include <fmt/format.h>

#include <cmath>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/output_place.h"
#include "apps/prune/terminal.h"
#include "libprune/io/corpus.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/train/recovery.h"

namespace prune::app {
namespace {

CommandLine make_line() {
  CommandLine line(
      "prune recover [MODEL] [-o OUT] --train FILE [options]",
      "Trains a pruned checkpoint on text so that it recovers: AdamW in float32, weights that are 0 stay 0.\n"
      "The whole model is held in memory, with gradients and moments: 16 bytes a parameter.",
      "Examples:\n"
      "  prune recover Llama-2of4 --teacher Llama --train text.jsonl --steps 300\n"
      "  prune recover Llama-2of4 --train text.jsonl --learning-rate 1e-4 --batch 4 --seqlen 1024\n"
      "\nA teacher, the model before it was pruned, tells the student what it would have said; that is "
      "worth\n"
      "more than the text alone.\n");
  line.positional("model");
  const TrainingOptions defaults;
  const auto number = [](double value) {
    return po::value<double>()->default_value(value, fmt::format("{}", value));
  };
  const auto count = [](int64_t value) { return po::value<int>()->default_value(int(value)); };
  line.options()(
      "train", po::value<std::string>()->value_name("FILE"),
      "text to train on: .jsonl with a \"text\" in each line, .txt, or token ids as .npy or .safetensors")(
      "teacher", po::value<std::string>()->value_name("MODEL"),
      "checkpoint to learn from, of the same vocabulary")("steps", count(defaults.steps)->value_name("N"),
                                                          "of the optimizer")(
      "batch", count(defaults.batch)->value_name("N"), "sequences a step")(
      "seqlen", count(defaults.seqlen)->value_name("N"), "tokens of a sequence")(
      "learning-rate", number(defaults.learning_rate)->value_name("R"),
      "at its peak; falls along half a cosine")("warm-up", count(defaults.warm_up)->value_name("N"),
                                                "steps until the learning rate has its peak")(
      "weight-decay", number(defaults.weight_decay)->value_name("D"), "decoupled, of all parameters")(
      "clip", number(defaults.clip)->value_name("C"), "largest norm of the gradient; 0: any")(
      "distillation", number(defaults.distillation)->value_name("A"),
      "share of the teacher's predictions in the loss, 0 to 1; the rest is the text's")(
      "temperature", number(defaults.temperature)->value_name("T"), "of the softmax in distillation")(
      "hidden-weight", number(defaults.hidden_weight)->value_name("W"),
      "weight of the distance from the teacher's hidden states")(
      "less-memory", po::bool_switch(), "compute activations twice instead of keeping them")(
      "seed", count(0)->value_name("N"), "of the order of sequences");
  add_output_options(line);
  add_running_options(line);
  return line;
}

TrainingOptions options_of(const CommandLine& line) {
  TrainingOptions options;
  options.steps = line.count("steps", 1);
  options.batch = line.count("batch", 1);
  options.seqlen = line.count("seqlen", 2);
  options.warm_up = std::min<int64_t>(line.count("warm-up", 0), options.steps);
  options.learning_rate = *line.maybe_number("learning-rate");
  options.weight_decay = *line.maybe_number("weight-decay");
  options.clip = *line.maybe_number("clip");
  options.distillation = *line.maybe_number("distillation");
  options.temperature = *line.maybe_number("temperature");
  options.hidden_weight = *line.maybe_number("hidden-weight");
  options.keeps_activations = !line.flag("less-memory");
  options.seed = uint64_t(line.count("seed", 0));
  return options;
}

nlohmann::json step_json(const TrainingStep& step) {
  return {{"step", step.step},
          {"loss", step.loss},
          {"cross_entropy", step.cross_entropy},
          {"divergence", step.divergence},
          {"hidden_loss", step.hidden_loss},
          {"gradient_norm", step.gradient_norm},
          {"learning_rate", step.learning_rate}};
}

nlohmann::json document(const RecoveryReport& r) {
  return {
      {"output", r.output.string()}, {"steps", r.steps},          {"tokens", r.tokens},
      {"seconds", r.seconds},        {"weights", r.weights},      {"zeros", r.zeros},
      {"first", step_json(r.first)}, {"last", step_json(r.last)}, {"tokens_per_second", r.tokens_per_second}};
}

std::string in_words(const RecoveryReport& r) {
  const double share = r.weights == 0 ? 0 : double(r.zeros) / double(r.weights);
  return fmt::format(
      "{} steps, {} tokens, {:.1f} s, {:.0f} tokens/s\nloss {:.4f} at first, {:.4f} at last (cross-entropy "
      "{:.4f} and "
      "{:.4f})\n{} of the linear weights are zero, as before\n{} written to {}\n",
      r.steps, human_count(r.tokens), r.seconds, r.tokens_per_second, r.first.loss, r.last.loss,
      r.first.cross_entropy, r.last.cross_entropy, percent(share), human_bytes(uint64_t(r.bytes_written)),
      shown(r.output));
}

Checkpoint open_model(const std::string& path) {
  Checkpoint checkpoint(path);
  if (PackedCheckpoint::is_packed(checkpoint))
    throw_input(path + ": is packed; 'prune unpack' makes it dense first");
  return checkpoint;
}

}  // namespace

int recover_command(const Arguments& arguments) {
  CommandLine line = make_line();
  if (!line.parse(arguments)) return kDone;
  const auto text = line.maybe_text("train");
  if (!text) throw_usage("--train FILE is missing: the text to train on");
  const TrainingOptions options = options_of(line);
  const Checkpoint checkpoint = open_model(line.maybe_text("model").value_or("."));
  std::optional<Checkpoint> teacher;
  if (const auto path = line.maybe_text("teacher")) teacher.emplace(open_model(*path));
  const std::filesystem::path output = output_place(line, checkpoint, "recovered");
  const std::vector<int32_t> ids = load_corpus(*text, checkpoint.path());
  RecoveryReport report;
  {
    ProgressBar bar("training", ProgressUnit::kCount);
    const Progress progress = line.flag("quiet") ? Progress() : bar.callback();
    const auto per_step = uint64_t(options.batch * options.seqlen);
    report = recover_checkpoint(checkpoint, teacher ? &*teacher : nullptr, ids, options, output,
                                staging_options(line), [&](const TrainingStep& step) {
                                  if (!progress) return;
                                  progress(uint64_t(step.step) * per_step, uint64_t(options.steps) * per_step,
                                           fmt::format("loss {:.4f}", step.loss));
                                });
  }
  fmt::print("{}", line.flag("json") ? json_text(document(report)) : in_words(report));
  return kDone;
}

}  // namespace prune::app
