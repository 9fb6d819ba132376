// prune recover MODEL -o OUT --train FILE: training under the zeros of a pruned model.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/html_report.h"
#include "apps/prune/output_place.h"
#include "apps/prune/terminal.h"
#include "apps/prune/training.h"
#include "libprune/io/corpus.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/parallel.h"
#include "libprune/model/report_json.h"
#include "libprune/model/train/recovery.h"

namespace prune::app {
namespace {

CommandLine make_recover_line() {
  CommandLine line(
      "prune recover [MODEL] [-o OUT] --train FILE [options]",
      "Trains a pruned checkpoint on text so that it recovers: AdamW in float32, weights that are 0 stay 0.\n"
      "The whole model is held in memory, with gradients and moments: 16 bytes a parameter, and up to 2 GB\n"
      "more for sequences of a step that go through it side by side, each with threads of its own. In fp32\n"
      "zeros are not multiplied where there are enough of them, for 20 bytes a weight that stays.",
      "Examples:\n"
      "  prune recover Llama-2of4 --teacher Llama --train text.jsonl --steps 300\n"
      "  prune recover Llama-2of4 --train text.jsonl --learning-rate 1e-4 --batch 4 --seqlen 1024\n"
      "\nA teacher, the model before it was pruned, tells the student what it would have said; that is "
      "worth\n"
      "more than the text alone. With --lora the linear layers alone learn, by the product of two thin "
      "matrices:\n"
      "moments of the optimizer for these only, and a higher --learning-rate, such as 2e-3.\n");
  line.positional("model");
  add_training_options(line);
  add_training_length_options(line);
  add_output_options(line);
  line.options()(
      "lora", po::value<int>()->value_name("RANK"),
      "train adapters of this rank beside the linear layers, nothing else, and merge them under the mask")(
      "report", po::value<std::string>()->value_name("FILE"),
      "write a report: JSON, or a page with curves when FILE ends in .html");
  add_running_options(line);
  return line;
}

std::string in_words(const PruneReport& r) {
  // A resumed run may find every shard written.
  if (!r.training || r.training->steps.empty())
    return fmt::format("{} written to {}\n", human_bytes(uint64_t(r.bytes_written)), shown(r.output));
  const TrainingReport& t = *r.training;
  const TrainingStep &first = t.steps.front(), &last = t.steps.back();
  return fmt::format(
      "{} steps, {} tokens, {:.1f} s, {:.0f} tokens/s, {:.1f} s of waiting for data\n"
      "loss {:.4f} at first, {:.4f} at last (cross-entropy {:.4f} and {:.4f})\n"
      "{} of the linear weights are zero, as before\n{} written to {}\n",
      last.step, human_count(t.tokens), t.seconds, t.tokens_per_second(), t.waiting, first.loss, last.loss,
      first.cross_entropy, last.cross_entropy, percent(r.achieved_sparsity()),
      human_bytes(uint64_t(r.bytes_written)), shown(r.output));
}

Checkpoint open_model(const std::string& path) {
  Checkpoint checkpoint(path);
  if (PackedCheckpoint::is_packed(checkpoint))
    throw_input(path + ": is packed; 'prune unpack' makes it dense first");
  return checkpoint;
}

}  // namespace

int recover_command(const Arguments& arguments) {
  CommandLine line = make_recover_line();
  if (!line.parse(arguments)) return kDone;
  const auto text = line.maybe_text("train");
  if (!text) throw_usage("--train FILE is missing: the text to train on");
  TrainedPruning trained = read_training(line);
  if (line.has("lora")) trained.lora_rank = line.count("lora", 1);
  const TrainingOptions& options = trained.training;
  const Checkpoint checkpoint = open_model(line.maybe_text("model").value_or("."));
  std::optional<Checkpoint> teacher;
  if (!trained.teacher.empty()) teacher.emplace(open_model(trained.teacher));
  const std::filesystem::path output = output_place(line, checkpoint, "recovered");
  const std::optional<std::string> report_path = line.maybe_text("report");
  if (report_path) check_report_place(*report_path, checkpoint, output);
  const std::vector<int32_t> ids =
      load_corpus(*text, checkpoint.path(), {.min_tokens = size_t(options.seqlen)});
  PruneReport report;
  try {
    const ThreadCount threads(line.threads());
    ProgressBar bar("training", ProgressUnit::kCount);
    const Progress progress = line.flag("quiet") ? Progress() : bar.callback();
    const auto per_step = uint64_t(options.batch * options.seqlen);
    report = recover_checkpoint(checkpoint, teacher ? &*teacher : nullptr, ids, trained, output,
                                staging_options(line), [&](const TrainingStep& step) {
                                  if (!progress) return;
                                  progress(uint64_t(step.step) * per_step, uint64_t(options.steps) * per_step,
                                           fmt::format("loss {:.4f}", step.loss));
                                });
  } catch (const AlreadyComplete&) {
    return print_complete(line, output);
  }
  if (report_path) write_report(*report_path, report);
  fmt::print("{}", line.flag("json") ? json_text(to_json(report)) : in_words(report));
  return kDone;
}

}  // namespace prune::app
