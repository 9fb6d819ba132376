#include "apps/prune/calibration.h"

#include <fmt/format.h>

#include <prune/error.h>

#include "apps/prune/quantities.h"
#include "libprune/model/bf16.h"
#include "libprune/model/report_json.h"

namespace prune::app {
namespace {

Allocation parse_allocation(const std::string& word) {
  for (const Allocation allocation : {Allocation::kUniform, Allocation::kOwl, Allocation::kError}) {
    if (word == to_string(allocation)) return allocation;
  }
  throw_usage("--allocation " + word + ": expected uniform, owl or error");
}

}  // namespace

Precision parse_precision(const std::string& word) {
  if (word == "fp32") return Precision::kF32;
  if (word != "bf16") throw_usage("--precision " + word + ": expected fp32 or bf16");
  if (has_bf16_products()) return Precision::kBf16;
  throw_usage("--precision bf16: this processor has no products of bf16, fp32 is all there is");
}

void add_calibration_options(CommandLine& line) {
  line.options()("calib", po::value<std::string>()->value_name("FILE"),
                 "text that methods with calibration run the model on: .jsonl, .txt, or token ids as .npy or "
                 ".safetensors")("samples", po::value<int64_t>()->default_value(128)->value_name("N"),
                                 "sequences of it")(
      "own-samples", po::value<int>()->value_name("N"),
      "more sequences, that the model itself continues the text to: where there is little of it")(
      "seqlen", po::value<int64_t>()->value_name("N"),
      "tokens of each (default: the model's maximum, at most 2048; of training: 512)")(
      "seed", po::value<uint64_t>()->value_name("N"),
      "take them from random places (default: the first ones, in order); of training: their order")(
      "damping", po::value<double>()->value_name("D"),
      "added to the diagonal of the inputs' moments, as a share of its mean (default: the method's)")(
      "follow", po::value<double>()->value_name("F"),
      "0 to 1: how far refit, swap and admm aim at what the dense model's own inputs give (default: 0.5)")(
      "steps", po::value<int64_t>()->default_value(400)->value_name("N"),
      "of training each decoder layer, and each two neighbours, with method best (half of N each where units "
      "are removed), of 2 sequences with a rate of 4e-4 unless --batch and --learning-rate say otherwise; of "
      "the optimizer, with gradual and movement (300)")(
      "allocation", po::value<std::string>()->default_value("uniform")->value_name("uniform|owl|error"),
      "how matrices share the sparsity of unstructured and block patterns: all alike, by the outliers of "
      "decoder layers, by measured errors")(
      "precision", po::value<std::string>()->default_value("fp32")->value_name("P"),
      "of products while the model runs or is trained: fp32, or bf16, which takes half the time where the "
      "processor has it "
      "(method best trains in bf16 always)")("keep-zeros", po::bool_switch(),
                                             "weights that are zero stay zero, and count as pruned")(
      "true-sequential", po::bool_switch(),
      "also within a decoder layer, later matrices see the earlier ones pruned")(
      "memory", po::value<std::string>()->value_name("SIZE"),
      "of hidden states in memory, 512M or 8G; the rest goes to a temporary file (default: 4G)");
}

CalibrationOptions read_calibration(const CommandLine& line) {
  CalibrationOptions options;
  options.file = line.maybe_text("calib").value_or("");
  options.samples = line.get<int64_t>("samples");
  options.own_samples = line.count("own-samples", 1);
  options.length = line.maybe<int64_t>("seqlen");
  options.seed = line.maybe<uint64_t>("seed");
  options.damping = line.maybe_number("damping");
  options.follow = line.maybe_number("follow");
  options.steps = line.get<int64_t>("steps");
  if (line.has("batch")) options.batch = line.count("batch", 1);
  if (line.has("learning-rate")) options.learning_rate = *line.maybe_number("learning-rate");
  options.allocation = parse_allocation(line.text("allocation"));
  options.precision = parse_precision(line.text("precision"));
  options.keep_zeros = line.flag("keep-zeros");
  options.true_sequential = line.flag("true-sequential");
  if (const auto memory = line.maybe_text("memory")) options.memory = parse_bytes("--memory", *memory);
  return options;
}

void refuse_calibration_options(const CommandLine& line, const std::string& method,
                                ShareTrainingOptions shares) {
  const auto refuse = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (line.has(name)) throw_usage(fmt::format("method {} has no use for --{}", method, name));
    }
  };
  refuse({"calib", "samples", "own-samples", "damping", "follow", "allocation", "keep-zeros",
          "true-sequential", "memory"});
  if (shares == ShareTrainingOptions::kNo) refuse({"seqlen", "seed", "steps", "precision"});
}

}  // namespace prune::app
