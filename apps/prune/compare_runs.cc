#include "apps/prune/compare_runs.h"

#include <algorithm>
#include <unordered_map>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune::app {
namespace {

constexpr size_t kMostRepetitions = 1000;  // all pairs of two runs are looked at

// More is better; empty where the case does not have what is compared.
std::vector<double> values_of(const BenchmarkCase& c, const std::optional<std::string>& counter) {
  std::vector<double> values;
  if (!counter) {
    for (const double seconds : c.seconds) values.push_back(1 / seconds);
    return values;
  }
  const auto found = c.counters.find(*counter);
  if (found == c.counters.end()) return {};
  if (std::ranges::any_of(found->second, [](double value) { return !(value > 0); })) {
    throw_input(quote_name(c.name) + ": counter " + quote_name(*counter) +
                " is not above 0: only such can be compared as ratios");
  }
  return found->second;
}

CaseComparison compare_case(const BenchmarkCase& before, const BenchmarkCase& after,
                            const std::optional<std::string>& counter) {
  CaseComparison c{.name = before.name, .ranks = {}};
  const std::vector<double> old_values = values_of(before, counter);
  const std::vector<double> new_values = values_of(after, counter);
  if (std::max(old_values.size(), new_values.size()) > kMostRepetitions) {
    throw_input(quote_name(c.name) + ": more than " + std::to_string(kMostRepetitions) + " repetitions");
  }
  c.repetitions_before = old_values.size();
  c.repetitions_after = new_values.size();
  if (old_values.empty() || new_values.empty()) {
    if (before.error.empty() && !after.error.empty()) c.verdict = Verdict::kFailed;
    return c;
  }
  c.before = counter ? median(old_values) : median(before.seconds);
  c.after = counter ? median(new_values) : median(after.seconds);
  c.ranks = compare_ranks(old_values, new_values);
  return c;
}

bool has_values(const CaseComparison& c) { return c.repetitions_before > 0 && c.repetitions_after > 0; }

// Both directions, each adjusted for the number of cases.
void judge(std::vector<CaseComparison>& cases) {
  std::vector<CaseComparison*> measured;
  std::vector<double> p_lower, p_higher;
  for (CaseComparison& c : cases) {
    if (!has_values(c)) continue;
    measured.push_back(&c);
    p_lower.push_back(c.ranks.p_lower);
    p_higher.push_back(c.ranks.p_higher);
  }
  p_lower = holm(p_lower);
  p_higher = holm(p_higher);
  for (size_t i = 0; i < measured.size(); ++i) {
    CaseComparison& c = *measured[i];
    const double least = least_p(int(c.repetitions_before), int(c.repetitions_after));
    if (least * double(measured.size()) > kFalseAlarm) c.verdict = Verdict::kTooFew;
    if (p_lower[i] <= kFalseAlarm) c.verdict = Verdict::kSlower;
    if (p_higher[i] <= kFalseAlarm) c.verdict = Verdict::kFaster;
  }
}

int repetitions_for(size_t cases) {
  int n = 2;
  while (least_p(n, n) * double(cases) > kFalseAlarm) ++n;
  return n;
}

}  // namespace

std::vector<const CaseComparison*> RunComparison::having(Verdict verdict) const {
  std::vector<const CaseComparison*> found;
  for (const CaseComparison& c : cases) {
    if (c.verdict == verdict) found.push_back(&c);
  }
  return found;
}

std::vector<const CaseComparison*> RunComparison::regressions(double least) const {
  std::vector<const CaseComparison*> found = having(Verdict::kFailed);
  for (const CaseComparison* c : having(Verdict::kSlower)) {
    if (c->ranks.ratio < least) found.push_back(c);
  }
  return found;
}

RunComparison compare_runs(const BenchmarkRun& before, const BenchmarkRun& after,
                           const std::optional<std::string>& counter) {
  RunComparison result;
  std::unordered_map<std::string, const BenchmarkCase*> by_name;
  for (const BenchmarkCase& c : after.cases) by_name[c.name] = &c;
  for (const BenchmarkCase& c : before.cases) {
    const auto found = by_name.find(c.name);
    if (found == by_name.end()) {
      result.only_before.push_back(c.name);
      continue;
    }
    CaseComparison compared = compare_case(c, *found->second, counter);
    if (has_values(compared) || compared.verdict == Verdict::kFailed)
      result.cases.push_back(std::move(compared));
    by_name.erase(found);
  }
  for (const BenchmarkCase& c : after.cases) {
    if (by_name.contains(c.name)) result.only_after.push_back(c.name);
  }
  if (result.cases.empty()) {
    throw_input(before.file + " and " + after.file + ": no case of one name" +
                (counter ? " with a counter " + quote_name(*counter) : "") + " in both: nothing to compare");
  }
  judge(result.cases);
  result.needed_repetitions = repetitions_for(result.cases.size());
  std::ranges::stable_sort(result.cases, {}, [](const CaseComparison& c) {
    return c.verdict == Verdict::kFailed ? 0.0 : c.ranks.ratio;
  });
  return result;
}

}  // namespace prune::app
