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

void set_counters(benchmark::State& state, const Case& c, double seconds, double peer_seconds,
                  double weight_bytes, bool bf16_products) {
  const double m = c.shape.rows, k = c.shape.cols, n = c.n;
  const double kept = m * k * (100 - c.percent) / 100;
  const double bytes = weight_bytes + 4 * n * (m + k);
  static const double peak = fma_peak(kernels::isa::supported());
  const double limit = std::max(bytes / read_bandwidth(), kept * n / (peak * (bf16_products ? 2 : 1)));
  state.counters["GFLOP/s"] = 2 * m * k * n / seconds / 1e9;
  state.counters["GB/s"] = bytes / seconds / 1e9;
  state.counters["roofline"] = limit / seconds;
  if (peer_seconds > 0) state.counters["speedup"] = peer_seconds / seconds;
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

template <class T>
Rotation<T>::Rotation(bool rotate, const std::function<T()>& make,
                      const std::function<size_t(const T&)>& bytes) {
  copies_.push_back(make());
  const size_t size = std::max<size_t>(1, bytes(copies_[0]));
  const size_t wanted = rotate ? 2 * static_cast<size_t>(last_level_cache()) / size + 1 : 1;
  while (copies_.size() < std::min<size_t>(wanted, 64)) copies_.push_back(make());
}

double dense_weight_bytes(const Case& c) {
  return static_cast<double>(c.shape.rows * c.shape.cols) * (dense_peer(c).takes_bf16() ? 2 : 4);
}

// The dense weights of an int8 case are bf16: oneDNN has no product of int8 weights with float activations.
DenseLinear& dense_peer(const Case& c) {
  const WeightType type = c.type == WeightType::kF32 ? WeightType::kF32 : WeightType::kBf16;
  static std::unique_ptr<DenseLinear> layer;
  static WeightType held = WeightType::kI8;
  if (layer == nullptr || held != type || layer->rows() != c.shape.rows || layer->cols() != c.shape.cols) {
    layer.reset();
    const auto weights = random_values(c.shape.rows * c.shape.cols, type, 3);
    layer = std::make_unique<DenseLinear>(weights.data(),
                                          type == WeightType::kF32 ? DenseType::kF32 : DenseType::kBf16,
                                          c.shape.rows, c.shape.cols);
    held = type;
  }
  return *layer;
}

namespace {

// The peer's product, its activations already of its type.
class PeerProduct {
 public:
  PeerProduct(const Case& c, BatchMemory& memory) : layer_(dense_peer(c)), memory_(memory) {
    const auto values = random_values(layer_.takes_bf16() ? c.n * c.shape.cols : 0, WeightType::kBf16, 5);
    x_.resize(values.size() / 2);
    if (!values.empty()) std::memcpy(x_.data(), values.data(), values.size());
    run();  // plans and lays out
  }
  void run() const {
    const kernels::Batch& b = memory_.view;
    if (layer_.takes_bf16()) {
      layer_.run_bf16(x_.data(), b.ldx, b.y, b.ldy, b.n);
    } else {
      layer_.run(b.x, b.ldx, b.y, b.ldy, b.n);
    }
  }
  std::string name() const { return layer_.implementation(memory_.view.n); }

 private:
  DenseLinear& layer_;
  BatchMemory& memory_;
  std::vector<uint16_t> x_;
};

}  // namespace

void measure(benchmark::State& state, const Case& c,
             const std::function<kernels::Plan(kernels::Use)>& prepare) {
  BatchMemory memory(c.shape, c.n);
  const PeerProduct peer(c, memory);
  const bool rotate = c.n <= kMemoryBoundRows;
  const auto use = rotate ? kernels::Use::kFewRows : kernels::Use::kManyRows;
  Rotation<kernels::Plan> plans(
      rotate, [&] { return prepare(use); }, [](const kernels::Plan& p) { return p.bytes(); });
  plans.first().run(memory.view);
  std::vector<double> ours, peers;
  for (auto _ : state) {
    peers.push_back(time_of([&] { peer.run(); }));
    ours.push_back(time_of([&] { plans.next().run(memory.view); }));
    state.SetIterationTime(ours.back());
  }
  const std::string kernel = plans.first().kernel_name(c.n);
  state.SetLabel(kernel + " vs " + peer.name());
  set_counters(state, c, median(ours), median(peers), static_cast<double>(plans.first().bytes()),
               kernel.find("avx512bf16") != std::string::npos);
}

void measure_peer(benchmark::State& state, const Case& c, double weight_bytes,
                  const std::function<void(const kernels::Batch&)>& product) {
  BatchMemory memory(c.shape, c.n);
  const PeerProduct peer(c, memory);
  product(memory.view);
  std::vector<double> theirs, peers;
  for (auto _ : state) {
    peers.push_back(time_of([&] { peer.run(); }));
    theirs.push_back(time_of([&] { product(memory.view); }));
    state.SetIterationTime(theirs.back());
  }
  set_counters(state, c, median(theirs), median(peers), weight_bytes, false);
}

void add(const Case& c, std::function<void(benchmark::State&)> body) {
  benchmark::RegisterBenchmark(name_of(c).c_str(), std::move(body))
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace prune::bench
