// prune bench --compare OLD NEW: the gate for CI.
#include "apps/prune/compare_command.h"

#include <fmt/format.h>

#include <cmath>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/compare_runs.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"

namespace prune::app {
namespace {

struct CompareOptions {
  std::vector<std::string> files;  // the old run and the new one
  std::optional<double> fail_below;
  std::optional<std::string> counter;
};

std::string_view in_words(Verdict verdict) {
  switch (verdict) {
    case Verdict::kSame:
      return "same";
    case Verdict::kFaster:
      return "faster";
    case Verdict::kSlower:
      return "slower";
    case Verdict::kTooFew:
      return "too few repetitions";
    case Verdict::kFailed:
      return "failed";
  }
  return "";
}

std::string value_in_words(double value, bool is_time) {
  return is_time ? fmt::format("{:.4g} ms", value * 1e3) : fmt::format("{:.4g}", value);
}

std::string interval(const RankComparison& ranks) {
  return std::isinf(ranks.high) ? "-" : fmt::format("{:.3f} to {:.3f}", ranks.low, ranks.high);
}

std::string table_of(const RunComparison& comparison, const CompareOptions& options) {
  Table table({"case", "old", "new", "ratio", "99% interval", "beyond noise"});
  for (const CaseComparison& c : comparison.cases) {
    const bool measured = c.verdict != Verdict::kFailed;
    const auto value = [&](double v) { return measured ? value_in_words(v, !options.counter) : "-"; };
    table.add({printable(c.name), value(c.before), value(c.after),
               measured ? fmt::format("{:.3f}", c.ranks.ratio) : "-", measured ? interval(c.ranks) : "-",
               std::string(in_words(c.verdict))});
  }
  return table.text();
}

std::string names_in_words(std::string_view what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  return fmt::format("{}: {}{}\n", what, quote_name(names.front()),
                     names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "");
}

std::string summary(const RunComparison& comparison, const CompareOptions& options) {
  std::string text = fmt::format(
      "{} cases: {} slower, {} faster, {} without a difference beyond noise (rank-sum test, {:.0f}% chance "
      "of "
      "one false alarm in all).\n",
      comparison.cases.size(), comparison.having(Verdict::kSlower).size(),
      comparison.having(Verdict::kFaster).size(), comparison.having(Verdict::kSame).size(),
      kFalseAlarm * 100);
  if (const size_t few = comparison.having(Verdict::kTooFew).size(); few > 0) {
    text += fmt::format("{} cases have too few repetitions to tell: {} of each would do.\n", few,
                        comparison.needed_repetitions);
  }
  text += names_in_words("Only in the old run", comparison.only_before);
  text += names_in_words("Only in the new run", comparison.only_after);
  if (!options.fail_below) return text;
  const auto regressions = comparison.regressions(*options.fail_below);
  text += regressions.empty()
              ? fmt::format("Passed: no case is slower beyond noise and below {} times the old.\n",
                            *options.fail_below)
              : fmt::format(
                    "Failed: {} of {} cases are slower beyond noise and below {} times the old, or fail.\n",
                    regressions.size(), comparison.cases.size(), *options.fail_below);
  return text;
}

nlohmann::json to_json(const RunComparison& comparison, const CompareOptions& options) {
  nlohmann::json cases = nlohmann::json::array();
  for (const CaseComparison& c : comparison.cases) {
    const bool bounded = !std::isinf(c.ranks.high);
    cases.push_back({{"name", c.name},
                     {"old", c.before},
                     {"new", c.after},
                     {"old_repetitions", c.repetitions_before},
                     {"new_repetitions", c.repetitions_after},
                     {"ratio", c.ranks.ratio},
                     {"ratio_low", bounded ? nlohmann::json(c.ranks.low) : nlohmann::json()},
                     {"ratio_high", bounded ? nlohmann::json(c.ranks.high) : nlohmann::json()},
                     {"p_slower", c.ranks.p_lower},
                     {"p_faster", c.ranks.p_higher},
                     {"verdict", in_words(c.verdict)}});
  }
  nlohmann::json document = {{"compared", options.counter.value_or("seconds")},
                             {"false_alarm", kFalseAlarm},
                             {"cases", cases},
                             {"only_old", comparison.only_before},
                             {"only_new", comparison.only_after}};
  if (options.fail_below) {
    document["fail_below"] = *options.fail_below;
    document["regressions"] = nlohmann::json::array();
    for (const CaseComparison* c : comparison.regressions(*options.fail_below))
      document["regressions"].push_back(c->name);
  }
  return document;
}

void refuse_too_few(const RunComparison& comparison) {
  const auto few = comparison.having(Verdict::kTooFew);
  if (few.empty()) return;
  throw_input(fmt::format(
      "{} of {} cases, {} among them, have too few repetitions for a gate: with {} and {} no slow-down could "
      "be told "
      "from noise; run both with --benchmark_repetitions={} or more",
      few.size(), comparison.cases.size(), quote_name(few.front()->name), few.front()->repetitions_before,
      few.front()->repetitions_after, comparison.needed_repetitions));
}

CompareOptions read_compare_options(const CommandLine& line) {
  if (line.has("model") || line.has("rows") || line.has("seconds")) {
    throw_usage("--compare times nothing: it goes without MODEL, --rows and --seconds");
  }
  CompareOptions options{line.texts("compare"), line.maybe_number("fail-below"), line.maybe_text("counter")};
  if (options.files.size() != 2) throw_usage("--compare takes two files: the old run and the new one");
  if (options.fail_below && !(*options.fail_below > 0 && *options.fail_below <= 1)) {
    throw_usage("--fail-below: expected a share of the old speed, above 0 and at most 1");
  }
  return options;
}

}  // namespace

void add_compare_options(CommandLine& line) {
  line.options()("compare", po::value<std::vector<std::string>>()->multitoken()->value_name("OLD NEW"),
                 "compare two runs of benchmark programs instead")(
      "fail-below", po::value<double>()->value_name("RATIO"),
      "with --compare: exit code 4 where a case is slower than this share of the old speed, beyond noise")(
      "counter", po::value<std::string>()->value_name("NAME"),
      "with --compare: this counter, of which more is better, instead of the time");
}

int compare_command(const CommandLine& line) {
  const CompareOptions options = read_compare_options(line);
  const RunComparison comparison = compare_runs(read_benchmark_run(options.files[0]),
                                                read_benchmark_run(options.files[1]), options.counter);
  if (options.fail_below) refuse_too_few(comparison);
  if (line.flag("json")) {
    fmt::print("{}", json_text(to_json(comparison, options)));
  } else {
    fmt::print("{}\n{}", table_of(comparison, options), summary(comparison, options));
  }
  const bool failed = options.fail_below && !comparison.regressions(*options.fail_below).empty();
  return failed ? kMismatch : kDone;
}

}  // namespace prune::app
