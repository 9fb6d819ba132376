// Is the new run slower than the old one, beyond what noise explains?
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/prune/run_statistics.h"
#include "libprune/io/benchmark_file.h"

namespace prune::app {

// The chance of a false alarm anywhere in a comparison of two runs from one distribution.
inline constexpr double kFalseAlarm = 0.01;

enum class Verdict {
  kSame,    // no difference beyond noise
  kFaster,  // beyond noise
  kSlower,  // beyond noise
  kTooFew,  // repetitions: no result of these could be beyond noise
  kFailed,  // gave a time before, and an error now
};

struct CaseComparison {
  std::string name;
  double before = 0;  // medians
  double after = 0;
  size_t repetitions_before = 0;
  size_t repetitions_after = 0;
  RankComparison ranks;  // of speed, or of the counter
  Verdict verdict = Verdict::kSame;
};

struct RunComparison {
  std::vector<CaseComparison> cases;     // in both runs, the slowest first
  std::vector<std::string> only_before;  // names
  std::vector<std::string> only_after;
  // Repetitions a run that would do for as many cases as these.
  int needed_repetitions = 0;

  std::vector<const CaseComparison*> having(Verdict verdict) const;
  // Slower beyond noise and below `least` times the old speed, or failed.
  std::vector<const CaseComparison*> regressions(double least) const;
};

// Pairs cases by name. What is compared is speed (1 / time), or a counter of which more is better; a case
// without that counter in both runs is left out. Throws Error(kInput) where no case is left.
RunComparison compare_runs(const BenchmarkRun& before, const BenchmarkRun& after,
                           const std::optional<std::string>& counter);

}  // namespace prune::app
