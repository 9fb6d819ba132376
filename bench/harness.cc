#include "bench/harness.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "apps/prune/run_statistics.h"
#include "bench/inputs.h"
#include "bench/peers/onednn.h"

namespace prune::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kWidestInterval = 0.03;  // of a median, as a share of it
constexpr double kConfidence = 0.95;
constexpr size_t kLeastRounds = 6;  // fewer give no interval of that confidence
constexpr double kWorthALook =
    0.1;  // seconds for a case from which on a look at the roof is little beside them
constexpr double kLeastShare =
    0.1;  // of the time for a case: rounds that follow each other closely are alike

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A product, the weights that it refers to, and what they were made for.
struct Held {
  std::string made_for;
  TestWeights weights;
  std::unique_ptr<Product> product;
};

// Cases that differ in nothing but the number of rows share weights and layouts.
std::string key_of(Case c) {
  c.n = c.n <= kMemoryBoundRows ? 1 : c.n <= kMostFewRows ? kMostFewRows : kMostFewRows + 1;
  return name_of(c);
}

Product& product_of(const Case& c, const Operation& operation, const MakeWeights& make, Held& held) {
  if (held.made_for != key_of(c)) {
    held.product.reset();
    held.weights = make();
    held.product = operation.prepare(c, held.weights);
    held.made_for = key_of(c);
  }
  return *held.product;
}

// oneDNN's product of dense weights of the type; for int8 weights of bf16, as it multiplies int8 by int8
// only, unless our product does so too; for f16, which it has not here, of bf16, which has as many bytes.
Product& dense_peer(const Case& c, bool has_int8_inputs, Held& held) {
  Case dense = c;
  dense.op = "dense/onednn";
  dense.percent = 0;
  dense.mask = {};
  if (dense.type == WeightType::kI8 && !has_int8_inputs) dense.type = WeightType::kBf16;
  if (dense.type == WeightType::kF16) dense.type = WeightType::kBf16;
  const Operation& operation = *find_operation(dense.op);
  return product_of(
      dense, operation, [&] { return with_random_values(operation.random(dense.shape, 0), dense.type); },
      held);
}

double timed(Product& product, const kernels::Batch& batch, double slow_down = 1) {
  const auto start = Clock::now();
  product.run(batch);
  if (slow_down > 1) {
    const double end = seconds_since(start) * slow_down;
    while (seconds_since(start) < end) {
    }
  }
  return seconds_since(start);
}

struct Rounds {
  std::vector<double> ours, peers;
  app::MedianInterval our_median, peer_median;
  static double width(const app::MedianInterval& m) { return (m.high - m.low) / m.median; }
  double widest() const { return std::max(width(our_median), width(peer_median)); }
  bool are_enough() const { return our_median.confidence >= kConfidence && widest() < kWidestInterval; }
};

Rounds measure(Product& product, Product& peer, const kernels::Batch& batch, const Effort& effort) {
  Rounds rounds;
  const auto start = Clock::now();
  for (size_t next_look = kLeastRounds;;) {
    rounds.peers.push_back(timed(peer, batch));
    rounds.ours.push_back(timed(product, batch, effort.slow_down));
    const double seconds = seconds_since(start);
    const bool is_over = seconds >= effort.seconds && rounds.ours.size() >= kLeastRounds;
    if (!is_over && (rounds.ours.size() < next_look || seconds < kLeastShare * effort.seconds)) continue;
    rounds.our_median = app::median_interval(rounds.ours);
    rounds.peer_median = app::median_interval(rounds.peers);
    if (is_over || rounds.are_enough()) return rounds;
    next_look = rounds.ours.size() * 5 / 4;  // sorting takes time of its own
  }
}

void set_counters(benchmark::State& state, const Case& c, const Product& product, int64_t stored,
                  const Rounds& rounds, const Roof* roof) {
  const double seconds = rounds.our_median.median;
  const auto m = static_cast<double>(c.shape.rows), k = static_cast<double>(c.shape.cols);
  const auto n = static_cast<double>(c.n);
  const double bytes = product.bytes() + 4 * n * (m + k);
  if (roof != nullptr) {
    const double limit = std::max(bytes / roof->read_bandwidth(),
                                  static_cast<double>(stored) * n / (roof->fma_peak() * product.rate()));
    state.counters["roofline"] = limit / seconds;
  }
  state.counters["GFLOP/s"] = 2 * m * k * n / seconds / 1e9;
  state.counters["GB/s"] = bytes / seconds / 1e9;
  state.counters["speedup"] = rounds.peer_median.median / seconds;
  state.counters["interval"] = rounds.widest();
  state.counters["rounds"] = static_cast<double>(rounds.ours.size());
  // Of the shortest times, which other work on the machine lengthens least.
  const double shortest = std::ranges::min(rounds.ours);
  state.counters["best_GB/s"] = bytes / shortest / 1e9;
  state.counters["best_speedup"] = std::ranges::min(rounds.peers) / shortest;
}

struct NotReached {
  size_t cases = 0;
  double widest = 0;
  std::string name;
};
NotReached not_reached;

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", share * 100);
  return text;
}

// What the label adds where the interval is too wide.
std::string judge_interval(const Case& c, const Rounds& rounds, const Effort& effort) {
  const double widest = rounds.widest();
  if (rounds.are_enough()) return "";
  ++not_reached.cases;
  if (widest > not_reached.widest) {
    not_reached.widest = widest;
    not_reached.name = name_of(c);
  }
  char limit[32];
  std::snprintf(limit, sizeof limit, "%g", effort.seconds);
  return "; interval " + percent(widest) + ", 3% not reached in " + limit + " s";
}

void run_case(benchmark::State& state, const Case& c, const Operation& operation, const MakeWeights& make,
              const Effort& effort) {
  // The library calls a benchmark once for every repetition.
  static Held ours, peers;
  Product& product = product_of(c, operation, make, ours);
  Product& peer = dense_peer(c, operation.has_int8_inputs, peers);
  BatchMemory memory(c.shape, c.n);
  for (const auto& [multiply, held] : {std::pair(&peer, &peers), std::pair(&product, &ours)}) {
    multiply->take(memory.view);
    std::ranges::fill(memory.y, 0.0F);
    multiply->run(memory.view);
    if (const auto difference = find_difference(held->weights, memory.view)) {
      state.SkipWithError((multiply->kernel(c.n) + " " + *difference).c_str());
      return;
    }
  }
  if (effort.roof != nullptr && effort.seconds >= kWorthALook) effort.roof->look_again();
  for (auto _ : state) {  // once: see kOneIteration in main.cc
    const Rounds rounds = measure(product, peer, memory.view, effort);
    state.SetIterationTime(rounds.our_median.median);
    set_counters(state, c, product, ours.weights.places.count(), rounds, effort.roof);
    state.SetLabel(product.kernel(c.n) + " vs " + peer.kernel(c.n) + judge_interval(c, rounds, effort));
  }
}

}  // namespace

void add(const Case& c, const Operation& operation, MakeWeights weights, const Effort& effort) {
  const auto body = [c, &operation, weights = std::move(weights), effort](benchmark::State& state) {
    try {
      run_case(state, c, operation, weights, effort);
    } catch (const std::exception& fault) {
      state.SkipWithError(fault.what());
    }
  };
  benchmark::RegisterBenchmark(name_of(c).c_str(), body)->UseManualTime()->Unit(benchmark::kMillisecond);
}

std::string intervals_not_reached() {
  if (not_reached.cases == 0) return "";
  return std::to_string(not_reached.cases) + " measurements did not reach an interval of 3%; the widest, " +
         percent(not_reached.widest) + ": " + not_reached.name;
}

}  // namespace prune::bench
