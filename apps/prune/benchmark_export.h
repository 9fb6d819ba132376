// Runs of benchmark programs in the formats that dashboards and spreadsheets of others read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/benchmark_file.h"

namespace prune::app {

struct ExportFormat {
  std::string_view name;
  std::string_view summary;
  bool takes_many;  // runs at once
  std::string (*write)(const std::vector<BenchmarkRun>& runs);
};

// Google Benchmark's JSON again, one row a case: the median over its repetitions, under the case's own name.
// Rows of aggregates, complexity and failures, which github-action-benchmark charts and at which Bencher's
// cpp_google adapter gives up, are gone, and every key that either reads is there.
std::string export_googlecpp(const std::vector<BenchmarkRun>& runs);
// github-action-benchmark's tool customBiggerIsBetter: GFLOP/s and speed-up.
std::string export_github_action(const std::vector<BenchmarkRun>& runs);
// Bencher Metric Format: latency in ns and throughput in FLOP/s, which are its built-in measures, speedup,
// bandwidth in bytes/s and roofline, with the interval of each median.
std::string export_bencher(const std::vector<BenchmarkRun>& runs);
// RFC 4180, a line a case and run.
std::string export_csv(const std::vector<BenchmarkRun>& runs);
// Text for the textfile collector of Prometheus' node exporter: gauges in base units.
std::string export_prometheus(const std::vector<BenchmarkRun>& runs);

inline constexpr ExportFormat kExportFormats[] = {
    {"googlecpp", "medians alone, for github-action-benchmark's googlecpp and Bencher's cpp_google", false,
     export_googlecpp},
    {"github-action-benchmark", "its customBiggerIsBetter: GFLOP/s and speed-up", false,
     export_github_action},
    {"bencher", "Bencher Metric Format", false, export_bencher},
    {"csv", "a table, of any number of runs", true, export_csv},
    {"prometheus", "for the textfile collector", false, export_prometheus},
};

}  // namespace prune::app
