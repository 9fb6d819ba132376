#include "bench/machine.h"

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <numeric>
#include <vector>

#include "kernels/sparse/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace prune::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Independent chains of multiply-adds: enough to hide their latency. Returns how many were done on one lane.
constexpr int64_t kChainSteps = int64_t{1} << 20;
constexpr int kChains = 12;

double scalar_chains() {
  float sums[kChains];
  std::iota(sums, sums + kChains, 1.0f);
  for (int64_t i = 0; i < kChainSteps; ++i) {
    for (float& sum : sums) sum = sum * 0.999f + 0.5f;
  }
  return std::accumulate(sums, sums + kChains, 0.0f) > 0 ? double(kChains) * kChainSteps : 0;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double avx2_chains() {
  __m256 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = _mm256_set1_ps(static_cast<float>(c));
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.5f);
  for (int64_t i = 0; i < kChainSteps; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = _mm256_fmadd_ps(sums[c], a, b);
  }
  __m256 total = sums[0];
  for (int c = 1; c < kChains; ++c) total = _mm256_add_ps(total, sums[c]);
  return _mm256_cvtss_f32(total) > 0 ? 8.0 * kChains * kChainSteps : 0;
}

__attribute__((target("avx512f"))) double avx512_chains() {
  __m512 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(static_cast<float>(c));
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.5f);
  for (int64_t i = 0; i < kChainSteps; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_fmadd_ps(sums[c], a, b);
  }
  __m512 total = sums[0];
  for (int c = 1; c < kChains; ++c) total = _mm512_add_ps(total, sums[c]);
  return _mm512_cvtss_f32(total) > 0 ? 16.0 * kChains * kChainSteps : 0;
}
#endif

double run_chains(uint32_t isa_flags) {
#if defined(__x86_64__)
  if (isa_flags & kernels::isa::kAvx512) return avx512_chains();
  if (isa_flags & kernels::isa::kAvx2) return avx2_chains();
#endif
  return scalar_chains() + 0 * isa_flags;
}

// Sums lines of the cache, each asked for 4 KiB ahead, on so many streams.
template <int kStreams>
uint64_t sum_streams(const uint64_t* p, int64_t lines) {
  constexpr int64_t kLine = 8, kAhead = 64 * kLine;
  uint64_t sums[kLine] = {};  // one chain of additions would be slower than memory
  const int64_t share = lines / kStreams * kLine;
  for (int64_t i = 0; i < share; i += kLine) {
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) {
      const uint64_t* line = p + s * share + i;
      __builtin_prefetch(line + kAhead);
      for (int64_t j = 0; j < kLine; ++j) sums[j] += line[j];
    }
  }
  return std::accumulate(sums, sums + kLine, uint64_t{0});
}

// Bytes per second of all threads together.
template <int kStreams>
double read_once(const kernels::Buffer& data) {
  uint64_t total = 0;
  const auto start = Clock::now();
#pragma omp parallel reduction(+ : total)
  {
    const auto lines = static_cast<int64_t>(data.size()) / 64 / omp_get_num_threads();
    total += sum_streams<kStreams>(data.as<uint64_t>() + omp_get_thread_num() * lines * 8, lines);
  }
  const double seconds = seconds_since(start);
  return total > 0 ? static_cast<double>(data.size()) / seconds : 0.0;
}

}  // namespace

Roof::Roof(double seconds)
    : data_(static_cast<size_t>(std::max<int64_t>(4 * last_level_cache(), int64_t{256} << 20))) {
  std::fill_n(data_.as<uint64_t>(), data_.size() / 8, 1);
  for (const auto begin = Clock::now(); seconds_since(begin) < seconds;) look_again();
}

void Roof::look_again() {
  // Some processors read one stream of a core fastest, others several.
  read_bandwidth_ = std::max({read_bandwidth_, read_once<1>(data_), read_once<4>(data_)});
  double done = 0;
  const auto start = Clock::now();
#pragma omp parallel reduction(+ : done)
  done += run_chains(kernels::isa::supported());
  fma_peak_ = std::max(fma_peak_, done / seconds_since(start));
}

uint64_t sum_lines(const uint64_t* p, int64_t lines) { return sum_streams<1>(p, lines); }

int64_t last_level_cache() {
  const int64_t reported = std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), sysconf(_SC_LEVEL2_CACHE_SIZE));
  return std::max<int64_t>(reported, int64_t{8} << 20);
}

namespace {

// The processors of the process, the first of each core before those that share a core with one.
std::vector<int> processors_by_core() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {};
  std::vector<int> first, others;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream siblings("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                           "/topology/thread_siblings_list");
    int lowest = cpu;
    siblings >> lowest;
    (lowest == cpu ? first : others).push_back(cpu);
  }
  first.insert(first.end(), others.begin(), others.end());
  return first;
}

}  // namespace

void pin_threads() {
  const std::vector<int> processors = processors_by_core();
  if (static_cast<int>(processors.size()) < omp_get_max_threads()) return;
#pragma omp parallel
  {
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(processors[omp_get_thread_num()], &own);
    sched_setaffinity(0, sizeof own, &own);
  }
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int thread_count() { return omp_get_max_threads(); }

}  // namespace prune::bench
