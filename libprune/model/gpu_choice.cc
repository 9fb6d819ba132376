#include "libprune/model/gpu_choice.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune {
namespace {

// "spmm_nm/bf16/isa:sm90a/m:4096/k:4096/n:1/sparsity:50/kernel:decode24": the parts without a colon, in
// order, and those with one, by name.
struct CaseName {
  std::vector<std::string_view> plain;
  std::map<std::string_view, std::string_view> named;

  explicit CaseName(std::string_view name) {
    while (!name.empty()) {
      const std::string_view part = name.substr(0, name.find('/'));
      const size_t colon = part.find(':');
      if (colon == std::string_view::npos) {
        plain.push_back(part);
      } else {
        named[part.substr(0, colon)] = part.substr(colon + 1);
      }
      name.remove_prefix(std::min(name.size(), part.size() + 1));
    }
  }
  std::string_view text(std::string_view key) const {
    const auto found = named.find(key);
    return found == named.end() ? std::string_view() : found->second;
  }
  // Positive, or nothing.
  std::optional<int64_t> number(std::string_view key) const {
    const std::string_view digits = text(key);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < 1) return std::nullopt;
    return value;
  }
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

GpuTable::GpuTable(const std::vector<BenchmarkRun>& runs) {
  for (const BenchmarkRun& run : runs) {
    const std::string gpu = run.context_value("gpu");
    if (gpu.empty())
      throw_input(run.file + ": names no GPU: expected a file that a program of bench/gpu wrote");
    if (!gpu_.empty() && gpu != gpu_)
      throw_input(run.file + ": is of " + quote_name(gpu) + ", others are of " + quote_name(gpu_));
    gpu_ = gpu;
    for (const BenchmarkCase& benchmark : run.cases) add(benchmark);
  }
  if (products_.empty()) throw_input("no product of sparse weights was measured in these files");
}

// Launches that overlap their neighbours are left out: dense has none.
void GpuTable::add(const BenchmarkCase& benchmark) {
  const CaseName name(benchmark.name);
  const auto out = name.number("m"), in = name.number("k"), tokens = name.number("n"),
             sparsity = name.number("sparsity");
  const auto speedup = benchmark.counters.find("speedup");
  if (name.plain.size() < 2 || !name.plain[0].starts_with("spmm_") || !out || !in || !tokens || !sparsity ||
      name.text("kernel").empty() || !name.text("overlap").empty() || benchmark.seconds.empty() ||
      speedup == benchmark.counters.end()) {
    return;
  }
  // Where x has eight bits too, so has the dense product beside: no answer to what is asked here.
  if (name.plain[1].find("x8") != std::string_view::npos) return;
  const double seconds = median(benchmark.seconds), ratio = median(speedup->second);
  if (!(ratio > 0)) return;
  products_.push_back({std::string(name.plain[0]), std::string(name.plain[1]),
                       std::string(name.text("block")), std::string(name.text("kernel")), *sparsity, *out,
                       *in, *tokens, seconds, seconds * ratio});
}

// Of the shape's measurements with the most tokens that are no more than asked for, the shortest.
std::optional<double> GpuTable::dense_at_most(const GpuProblem& problem) const {
  const Product* best = nullptr;
  for (const Product& p : products_) {
    if (p.out != problem.out || p.in != problem.in || p.tokens > problem.tokens) continue;
    if (!best || p.tokens > best->tokens ||
        (p.tokens == best->tokens && p.dense_seconds < best->dense_seconds))
      best = &p;
  }
  return best ? std::optional(best->dense_seconds) : std::nullopt;
}

GpuChoice GpuTable::choose(const GpuProblem& problem) const {
  constexpr double kRounding = 1e-9;
  GpuChoice choice;
  choice.dense_seconds = dense_at_most(problem);
  const Product* best = nullptr;
  for (const Product& p : products_) {
    if (p.family != problem.family || p.type != problem.type || p.block != problem.block ||
        p.out != problem.out || p.in != problem.in || p.tokens < problem.tokens ||
        double(p.sparsity) / 100 > problem.sparsity + kRounding) {
      continue;
    }
    if (!best || p.seconds < best->seconds) best = &p;
  }
  if (!best) return choice;
  choice.sparse_seconds = best->seconds;
  if (choice.dense_seconds && best->seconds < *choice.dense_seconds) choice.kernel = best->kernel;
  return choice;
}

}  // namespace prune
