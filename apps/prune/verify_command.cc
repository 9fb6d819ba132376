// prune verify MODEL: does it keep what was promised?
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "apps/prune/unit_check.h"
#include "apps/prune/verifier.h"

namespace prune::app {
namespace {

constexpr size_t kMostShown = 20;  // mismatches printed one by one

CommandLine make_verify_line() {
  CommandLine line(
      "prune verify [MODEL] [--pattern P] [--sparsity S] [--against ORIGINAL] [options]",
      "Checks a dense or packed checkpoint: that its files are sound, no weight is NaN, and "
      "every packed index and\n"
      "offset is in order; with the options below, that it is what pruning promises. Exit code "
      "4 on a mismatch.",
      "Examples:\n  prune verify Llama-3-8B-2of4 --pattern 2:4 --against Llama-3-8B\n"
      "  prune verify Llama-3-8B-packed --against Llama-3-8B-2of4\n"
      "  prune verify Llama-3-8B-channels --pattern channels --sparsity 0.19 --against Llama-3-8B\n");
  line.positional("model");
  line.options()(
      "pattern,p", po::value<std::string>()->value_name("P"),
      "every linear weight keeps to this pattern; channels, heads, layers, experts, mixed: the model is "
      "what is left of the original without such units")(
      "sparsity,s", po::value<double>()->value_name("S"),
      "at least as many linear weights are zero (for RxC: in blocks that are all zero) as pruning with this "
      "sparsity promises")("scope",
                           po::value<std::string>()->default_value("layer")->value_name("row|layer|global"),
                           "over what the sparsity was shared, as in pruning")(
      "skip-unfit", po::bool_switch(),
      "tensors that can't take the pattern are not held against it, as in pruning")(
      "against", po::value<std::string>()->value_name("ORIGINAL"),
      "same tensors, types and shapes; linear weights are the original's or zero; other tensors, and the "
      "other "
      "files of a folder, equal bit for bit");
  line.options()(
      "updated", po::bool_switch(),
      "with --against: linear weights that stay may have other values than the original's, as after "
      "sparsegpt, refit, swap, admm and best; they are not compared");
  add_selection_options(line);
  add_running_options(line);
  return line;
}

// The promise of a pattern of whole units.
UnitPromise read_unit_promise(const CommandLine& line, UnitKind units) {
  for (const char* name : {"scope", "skip-unfit", "updated", "include", "exclude"}) {
    if (line.has(name)) throw_usage(fmt::format("pattern {} has no use for --{}", to_string(units), name));
  }
  const UnitPromise promise{units, line.maybe_number("sparsity")};
  if (promise.sparsity && !line.has("against"))
    throw_usage("--sparsity of whole units needs --against ORIGINAL, of which they are a share");
  return promise;
}

Promise read_promise(const CommandLine& line) {
  Promise promise;
  if (const auto text = line.maybe_text("pattern")) promise.pattern = parse_pattern(*text);
  promise.sparsity = line.maybe_number("sparsity");
  if (promise.sparsity)
    promise.sparsity = resolve_sparsity(promise.pattern.value_or(Unstructured{}), promise.sparsity);
  if (promise.pattern && !promise.sparsity && !std::holds_alternative<NM>(*promise.pattern)) {
    throw_usage("pattern " + to_string(*promise.pattern) +
                " alone promises nothing that can be checked: give --sparsity too");
  }
  promise.scope = parse_scope(line.text("scope"));
  promise.skip_unfit = line.flag("skip-unfit");
  promise.updated = line.flag("updated");
  if (promise.updated && !line.has("against"))
    throw_usage("--updated has a meaning with --against ORIGINAL only");
  promise.include = line.texts("include");
  promise.exclude = line.texts("exclude");
  return promise;
}

// `compares`: whether values of linear weights were held against the original's.
int print_outcome(const CommandLine& line, const Model& model, const Verdict& verdict, bool compares) {
  const std::vector<std::string>& findings = verdict.mismatches;
  if (line.flag("json")) {
    const nlohmann::json document = {{"model", model.checkpoint.path().string()},
                                     {"packed", model.packed != nullptr},
                                     {"ok", findings.empty()},
                                     {"values_compared", compares},
                                     {"matrices", verdict.matrices},
                                     {"weights", verdict.weights},
                                     {"zeros", verdict.zeros},
                                     {"mismatches", findings}};
    fmt::print("{}", json_text(document));
  } else {
    for (size_t i = 0; i < std::min(findings.size(), kMostShown); ++i)
      fmt::print("mismatch: {}\n", printable(findings[i]));
    if (findings.size() > kMostShown) fmt::print("... and {} more\n", findings.size() - kMostShown);
    const double share = verdict.weights == 0 ? 0.0 : double(verdict.zeros) / double(verdict.weights);
    fmt::print("{}: {} linear weights in {} matrices, {} zero: {}\n", model.checkpoint.path().string(),
               human_count(verdict.weights), verdict.matrices, percent(share),
               findings.empty() ? "sound" : fmt::format("{} mismatches", findings.size()));
    if (line.has("against") && !compares)
      fmt::print("Values of linear weights were not compared with the original's.\n");
  }
  return findings.empty() ? kDone : kMismatch;
}

}  // namespace

int verify_command(const Arguments& arguments) {
  CommandLine line = make_verify_line();
  if (!line.parse(arguments)) return kDone;
  const std::optional<UnitKind> units = parse_units(line.maybe_text("pattern").value_or(""));
  const UnitPromise of_units = units ? read_unit_promise(line, *units) : UnitPromise();
  const Promise promise = units ? Promise() : read_promise(line);
  const Model model(line.maybe_text("model").value_or("."));
  std::unique_ptr<Model> original;
  if (const auto path = line.maybe_text("against")) original = std::make_unique<Model>(*path);
  Verdict verdict;
  {
    ProgressBar bar("verifying");
    verdict = verify(model, units ? nullptr : original.get(), promise, line.threads(),
                     line.flag("quiet") ? Progress() : bar.callback());
  }
  if (units) {
    for (std::string& finding :
         check_units(model.checkpoint, original ? &original->checkpoint : nullptr, of_units))
      verdict.mismatches.push_back(std::move(finding));
  }
  const bool asks_of_weights = promise.pattern || promise.sparsity || !promise.include.empty();
  if (asks_of_weights && verdict.matrices == 0)
    throw_input(shown(model.checkpoint.path()) + ": holds no weight matrix that this could be true of");
  return print_outcome(line, model, verdict, original && !units && !line.flag("updated"));
}

}  // namespace prune::app
