// What the benchmark program measures, beyond the options of Google Benchmark.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace prune::bench {

struct Options {
  bool is_quick = false;
  std::vector<std::string> shapes;  // names of sets, or 4096x11008
  std::vector<int64_t> rows;        // of X; empty: the mode's
  std::vector<std::string> cases;   // full names of cases; empty: all
  std::string checkpoint;
  bool has_random_masks = false;  // beside those of the checkpoint
  std::optional<double> seconds;
  double slow_down = 1;
  bool is_pinned = true;
  bool has_roof = true;
};

std::string help_text();
// What Google Benchmark left of the command line. Throws std::runtime_error that says what is wrong.
Options read_options(int argc, char** argv);

}  // namespace prune::bench
