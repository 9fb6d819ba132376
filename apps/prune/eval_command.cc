// prune eval MODEL --text FILE: perplexity.
#include <fmt/format.h>

#include <cmath>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/calibration.h"
#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/gpu_model.h"
#include "apps/prune/quantities.h"
#include "apps/prune/runtime_options.h"
#include "apps/prune/terminal.h"
#include "libprune/io/corpus.h"
#include "libprune/model/crossover.h"
#include "libprune/model/decoder/perplexity.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/parallel.h"
#include "libprune/model/runtime/linear_products.h"

namespace prune::app {
namespace {

CommandLine make_eval_line() {
  CommandLine line("prune eval [MODEL] --text FILE [options]",
                   "Measures the perplexity of a text under a checkpoint, dense or pruned.",
                   "Examples:\n  prune eval Llama-3.2-1B --text wiki.jsonl --seqlen 2048\n"
                   "  prune eval Llama-3.2-1B-2of4 --text wiki.tokens.npy --json\n");
  line.positional("model");
  line.options()("text,x", po::value<std::string>()->value_name("FILE"),
                 "the text: .jsonl with a \"text\" in each line, .txt, or token ids as .npy or .safetensors")(
      "seqlen", po::value<int>()->value_name("N"),
      "tokens of a window, its context (default: 2048, or the model's maximum when that is less)")(
      "stride", po::value<int>()->value_name("N"),
      "tokens from one window to the next (default: seqlen, no overlap); with less, a prediction has at "
      "least seqlen - N tokens of context")("precision", po::value<std::string>()->value_name("fp32|bf16"),
                                            "of the products (default fp32; on a GPU bf16); bf16 rounds "
                                            "weights and activations for them, sums are of f32")(
      "int8-inputs", po::bool_switch(),
      "with bf16: where int8 weights with a scale per row, in 2:4 or blocks, are multiplied and the "
      "processor has "
      "AVX-512 BF16: round activations to int8, token by token")(
      "memory", po::value<std::string>()->value_name("SIZE"),
      "bytes to hold at once, as 800M or 4G (default 1G); a layer of a large model may need more; of the "
      "processor: on a GPU the whole model is held");
  add_device_option(line);
  add_running_options(line);
  return line;
}

PerplexityOptions perplexity_options(const CommandLine& line) {
  PerplexityOptions options;
  options.threads = line.threads();
  options.seqlen = line.count("seqlen", 2);
  options.stride = line.count("stride", 1);
  if (const auto memory = line.maybe_text("memory")) options.memory = parse_bytes("--memory", *memory);
  return options;
}

// A window has many rows. No layer is held unpacked: what no sparse kernel multiplies as it lies, and rounds
// as asked, runs on dense products tile by tile. Nothing is chosen by time, so equal calls give equal
// numbers.
RuntimeOptions many_rows(Precision precision, bool int8_inputs) {
  const Rounding rounding = precision == Precision::kBf16 ? Rounding::kBf16 : Rounding::kNone;
  return {.rounding = rounding, .int8_inputs = int8_inputs, .for_many_rows = true};
}

double tokens_per_second(const Perplexity& result) { return double(result.tokens) / result.seconds; }

std::string in_words(const Perplexity& r) {
  const std::string windows =
      r.stride == r.seqlen
          ? fmt::format("{} windows of {} tokens without overlap", r.windows, r.seqlen)
          : fmt::format("{} windows of {} tokens, one every {}", r.windows, r.seqlen, r.stride);
  const std::string rest = r.left_out == 0 ? "" : fmt::format(", {} tokens at the end left out", r.left_out);
  return fmt::format("perplexity {:.4f}: {} predictions in {}{}\n{:.1f} s, {:.0f} tokens/s\n", r.perplexity,
                     r.predictions, windows, rest, r.seconds, tokens_per_second(r));
}

nlohmann::json document(const std::string& model, const std::string& text, const std::string& precision,
                        bool int8_inputs, const Perplexity& r) {
  return {{"model", model},
          {"text", text},
          {"perplexity", r.perplexity},
          {"nats_per_token", r.nats},
          {"tokens", r.tokens},
          {"predictions", r.predictions},
          {"left_out", r.left_out},
          {"windows", r.windows},
          {"seqlen", r.seqlen},
          {"stride", r.stride},
          {"precision", precision},
          {"int8_inputs", int8_inputs},
          {"seconds", r.seconds},
          {"tokens_per_second", tokens_per_second(r)}};
}

std::string precision_of(const CommandLine& line) {
  std::string precision = line.maybe_text("precision").value_or(on_gpu(line) ? "bf16" : "fp32");
  // What the processor multiplies is no matter on a GPU.
  const bool rounds = (on_gpu(line) && precision == "bf16") || parse_precision(precision) == Precision::kBf16;
  if (on_gpu(line) && (!rounds || line.flag("int8-inputs")))
    throw_usage("--device cuda: activations are of bf16 there; leave --precision and --int8-inputs out");
  if (line.flag("int8-inputs") && !rounds)
    throw_usage("--int8-inputs goes with --precision bf16: fp32 rounds nothing");
  return precision;
}

std::vector<int32_t> load_text(const CommandLine& line, const Checkpoint& checkpoint, int64_t vocabulary) {
  return load_corpus(line.text("text"), checkpoint.path(), {.vocabulary_size = vocabulary});
}

// What work(progress) returns, with a bar unless --quiet.
template <class Work>
auto with_bar(const CommandLine& line, const char* verb, const Work& work) {
  ProgressBar bar(verb, ProgressUnit::kCount);
  return work(line.flag("quiet") ? Progress() : bar.callback());
}

Perplexity evaluate(const CommandLine& line, const Checkpoint& checkpoint, const PerplexityOptions& options) {
  const Decoder decoder(checkpoint, parse_precision(precision_of(line)));
  const std::vector<int32_t> ids = load_text(line, checkpoint, decoder.config().vocabulary);
  LinearProducts products(decoder.tensors(), many_rows(decoder.precision(), line.flag("int8-inputs")));
  const ProductFactory factory = [&](const std::string& name, Orientation orientation, int64_t out,
                                     int64_t in, const std::vector<float>& bias) {
    return products.spares_floats(name, orientation, out, in)
               ? products.make(name, orientation, out, in, bias)
               : nullptr;
  };
  return with_bar(line, "evaluating", [&](const Progress& progress) {
    return measure_perplexity(decoder, ids, options, progress, factory);
  });
}

// What the text and options are refused for comes before the model is loaded, whose time is the result's too.
Perplexity evaluate_on_gpu(const CommandLine& line, const Checkpoint& checkpoint,
                           const PerplexityOptions& options) {
  const ThreadCount threads(options.threads);
  const DecoderConfig config = read_decoder_config(checkpoint);
  const std::vector<int32_t> ids = load_text(line, checkpoint, config.vocabulary);
  plan_windows(config, int64_t(ids.size()), options);
  const LossesOnGpu gpu = with_bar(line, "loading", [&](const Progress& progress) {
    return prepare_losses_on_gpu(checkpoint, line.flag("lean"), progress);
  });
  Perplexity result = with_bar(line, "evaluating", [&](const Progress& progress) {
    return measure_perplexity(config, ids, options, *gpu.losses, progress);
  });
  result.seconds += gpu.model->seconds();
  return result;
}

}  // namespace

int eval_command(const Arguments& arguments) {
  CommandLine line = make_eval_line();
  if (!line.parse(arguments)) return kDone;
  const auto text = line.maybe_text("text");
  if (!text) throw_usage("--text FILE is missing: the text to measure on");
  const PerplexityOptions options = perplexity_options(line);
  const std::string precision = precision_of(line);
  require_device(line);
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  const Perplexity result = (on_gpu(line) ? evaluate_on_gpu : evaluate)(line, checkpoint, options);
  if (line.flag("json")) {
    nlohmann::json json =
        document(checkpoint.path().string(), *text, precision, line.flag("int8-inputs"), result);
    json["device"] = *line.maybe_text("device");
    fmt::print("{}", json_text(json));
  } else {
    fmt::print("{}", in_words(result));
  }
  return kDone;
}

}  // namespace prune::app
