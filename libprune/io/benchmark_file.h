// Results of benchmark programs in the JSON that Google Benchmark writes: those of bench/, and any other's.
//
// Format: github.com/google/benchmark, docs/user_guide.md "Output Formats", and src/json_reporter.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace prune {

// One benchmark with all its repetitions.
struct BenchmarkCase {
  std::string name;   // "spmm_nm/bf16/isa:avx512/m:4096/k:4096/n:1/sparsity:50/manual_time"
  std::string label;  // free text: which kernel ran
  std::string error;  // why there are no times; empty where there are
  // The real (above 0) and the processor's time of one iteration, one value a repetition.
  std::vector<double> seconds;
  std::vector<double> cpu_seconds;
  // As many values as `seconds`: a counter that some repetition lacks is left out.
  std::map<std::string, std::vector<double>> counters;
  int64_t iterations = 0;  // of one repetition
  int64_t threads = 1;
  // The file holds the median of the repetitions but not the repetitions: all vectors have one value.
  bool is_summary = false;
};

struct BenchmarkRun {
  std::string file;                            // as messages name it
  std::map<std::string, std::string> context;  // its plain values; lists and objects are left out
  std::vector<BenchmarkCase> cases;            // in the order of the file, no name twice
  // The value of a key of the context; empty where there is none.
  std::string context_value(const std::string& key) const;
};

// Aggregates are left out where the repetitions are there; rows of complexity (BigO, RMS) always. Throws
// Error(kInput), which names the file, the row, and what is wrong with it.
BenchmarkRun parse_benchmark_run(std::string_view text, const std::string& where);
BenchmarkRun read_benchmark_run(const std::filesystem::path& path);

}  // namespace prune
