#include "bench/harness.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "bench/machine.h"

namespace prune::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Batches up to here are bound by reading the weights.
constexpr int64_t kMemoryBoundRows = 8;

template <class F>
double time_of(F&& f) {
  const auto start = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

void set_counters(benchmark::State& state, const Case& c, const std::vector<double>& ours,
                  const std::vector<double>& peers, double weight_bytes, bool bf16_products) {
  const double seconds = median(ours), peer_seconds = median(peers);
  const double m = c.shape.rows, k = c.shape.cols, n = c.n;
  const double kept = m * k * (100 - c.percent) / 100;
  const double bytes = weight_bytes + 4 * n * (m + k);
  static const double peak = fma_peak(kernels::isa::supported());
  const double limit = std::max(bytes / read_bandwidth(), kept * n / (peak * (bf16_products ? 2 : 1)));
  state.counters["GFLOP/s"] = 2 * m * k * n / seconds / 1e9;
  state.counters["GB/s"] = bytes / seconds / 1e9;
  state.counters["roofline"] = limit / seconds;
  state.counters["speedup"] = peer_seconds / seconds;
  // Of the shortest times, which other work on the machine lengthens least.
  const double shortest = *std::min_element(ours.begin(), ours.end());
  state.counters["best_GB/s"] = bytes / shortest / 1e9;
  state.counters["best_speedup"] = *std::min_element(peers.begin(), peers.end()) / shortest;
}

}  // namespace

const char* type_name(WeightType type) {
  return type == WeightType::kF32 ? "f32" : type == WeightType::kBf16 ? "bf16" : "i8";
}

std::string name_of(const Case& c) {
  return c.op + "/" + type_name(c.type) + "/isa:" + kernels::isa::level_name(kernels::isa::supported()) +
         "/m:" + std::to_string(c.shape.rows) + "/k:" + std::to_string(c.shape.cols) +
         "/n:" + std::to_string(c.n) + "/sparsity:" + std::to_string(c.percent);
}

std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::minstd_rand rng(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = static_cast<float>(rng()) / 2147483648.0f - 0.5f;
  return values;
}

std::vector<char> random_values(int64_t count, WeightType type, uint32_t seed) {
  std::minstd_rand rng(seed);
  const int64_t size = kernels::weight_bytes(type);
  std::vector<char> bytes(static_cast<size_t>(count * size));
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t r = static_cast<uint32_t>(rng());
    // Floats of either sign between 0.5 and 1; int8 of either sign between 1 and 64.
    const uint32_t bits = 0x3f000000u | (r & 0x7fffffu) | (r & 0x800000u) << 8;
    if (type == WeightType::kF32) std::memcpy(&bytes[i * 4], &bits, 4);
    if (type == WeightType::kBf16) std::memcpy(&bytes[i * 2], reinterpret_cast<const char*>(&bits) + 2, 2);
    if (type == WeightType::kI8)
      bytes[i] = static_cast<char>((r & 1) != 0 ? 1 + (r >> 1 & 63) : -1 - (r >> 1 & 63));
  }
  return bytes;
}

std::vector<int32_t> random_subset(int64_t range, double density, std::mt19937& rng) {
  const uint32_t threshold = static_cast<uint32_t>(density * 4294967295.0);
  std::vector<int32_t> chosen;
  for (int64_t i = 0; i < range; ++i) {
    if (rng() <= threshold) chosen.push_back(static_cast<int32_t>(i));
  }
  return chosen;
}

BatchMemory::BatchMemory(const Shape& shape, int64_t n)
    : x(random_floats(n * shape.cols, 7)), y(static_cast<size_t>(n * shape.rows)), view{x.data(), shape.cols,
                                                                                        y.data(), shape.rows,
                                                                                        n,        nullptr} {}

namespace {

// Copies of a weight of this size that pass the last-level cache twice over; one for batches bound by
// arithmetic.
size_t copies_for(int64_t n, int64_t bytes) {
  if (n > kMemoryBoundRows) return 1;
  return std::min<size_t>(64, 2 * static_cast<size_t>(last_level_cache() / std::max<int64_t>(1, bytes)) + 1);
}

struct DenseCopies {
  WeightType type;
  Shape shape;
  std::vector<DenseLinear> copies;
};

}  // namespace

// The dense weights of an int8 case are bf16: oneDNN has no product of int8 weights with float activations.
std::vector<DenseLinear>& dense_peers(const Case& c) {
  static DenseCopies held{WeightType::kI8, {0, 0}, {}};
  const WeightType type = c.type == WeightType::kF32 ? WeightType::kF32 : WeightType::kBf16;
  const size_t wanted = copies_for(c.n, c.shape.rows * c.shape.cols * kernels::weight_bytes(type));
  const bool same = held.type == type && held.shape.rows == c.shape.rows && held.shape.cols == c.shape.cols;
  if (!same || held.copies.size() > wanted) held = {type, c.shape, {}};
  if (held.copies.size() < wanted) {
    const auto weights = random_values(c.shape.rows * c.shape.cols, type, 3);
    const DenseType dense = type == WeightType::kF32 ? DenseType::kF32 : DenseType::kBf16;
    while (held.copies.size() < wanted)
      held.copies.emplace_back(weights.data(), dense, c.shape.rows, c.shape.cols);
  }
  return held.copies;
}

double dense_weight_bytes(const Case& c) {
  return static_cast<double>(c.shape.rows * c.shape.cols) * (dense_peers(c)[0].takes_bf16() ? 2 : 4);
}

namespace {

// The dense product, its activations already of its type, its weights taken from copy after copy.
class PeerProduct {
 public:
  PeerProduct(const Case& c, BatchMemory& memory) : layers_(dense_peers(c)), memory_(memory) {
    const auto values = random_values(layers_[0].takes_bf16() ? c.n * c.shape.cols : 0, WeightType::kBf16, 5);
    x_.resize(values.size() / 2);
    if (!values.empty()) std::memcpy(x_.data(), values.data(), values.size());
    for (size_t i = 0; i < layers_.size(); ++i) run();  // plans and lays out every copy
  }
  void run() {
    const DenseLinear& layer = layers_[next_++ % layers_.size()];
    const kernels::Batch& b = memory_.view;
    if (layer.takes_bf16()) {
      layer.run_bf16(x_.data(), b.ldx, b.y, b.ldy, b.n);
    } else {
      layer.run(b.x, b.ldx, b.y, b.ldy, b.n);
    }
  }
  std::string name() const { return layers_[0].implementation(memory_.view.n); }

 private:
  const std::vector<DenseLinear>& layers_;
  BatchMemory& memory_;
  std::vector<uint16_t> x_;
  size_t next_ = 0;
};

}  // namespace

std::vector<kernels::Plan> prepare_copies(const Case& c,
                                          const std::function<kernels::Plan(kernels::Use)>& prepare) {
  const auto use = c.n <= kMemoryBoundRows ? kernels::Use::kFewRows : kernels::Use::kManyRows;
  std::vector<kernels::Plan> plans;
  plans.push_back(prepare(use));
  while (plans.size() < copies_for(c.n, static_cast<int64_t>(plans[0].bytes())))
    plans.push_back(prepare(use));
  return plans;
}

void measure(benchmark::State& state, const Case& c,
             const std::function<std::vector<kernels::Plan>()>& prepare) {
  static std::string held_for;
  static std::vector<kernels::Plan> plans;
  Case any_batch = c;
  any_batch.n = c.n <= kMemoryBoundRows ? 1 : kMemoryBoundRows + 1;  // whose plans are the same
  if (held_for != name_of(any_batch)) {
    plans.clear();
    plans = prepare();
    held_for = name_of(any_batch);
  }
  BatchMemory memory(c.shape, c.n);
  PeerProduct peer(c, memory);
  plans[0].run(memory.view);
  size_t next = 0;
  std::vector<double> ours, peers;
  for (auto _ : state) {
    peers.push_back(time_of([&] { peer.run(); }));
    ours.push_back(time_of([&] { plans[next++ % plans.size()].run(memory.view); }));
    state.SetIterationTime(ours.back());
  }
  const std::string kernel = plans[0].kernel_name(c.n);
  state.SetLabel(kernel + " vs " + peer.name());
  set_counters(state, c, ours, peers, static_cast<double>(plans[0].bytes()),
               kernel.find("avx512bf16") != std::string::npos);
}

void measure_peer(benchmark::State& state, const Case& c, double weight_bytes,
                  const std::function<void(const kernels::Batch&)>& product) {
  BatchMemory memory(c.shape, c.n);
  PeerProduct peer(c, memory);
  product(memory.view);
  std::vector<double> theirs, peers;
  for (auto _ : state) {
    peers.push_back(time_of([&] { peer.run(); }));
    theirs.push_back(time_of([&] { product(memory.view); }));
    state.SetIterationTime(theirs.back());
  }
  set_counters(state, c, theirs, peers, weight_bytes, false);
}

void add(const Case& c, std::function<void(benchmark::State&)> body) {
  benchmark::RegisterBenchmark(name_of(c).c_str(), std::move(body))
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace prune::bench
