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
constexpr double kLongEnough = 0.5;

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

// Bytes per second of all threads together. Four streams a thread: as the kernels read, and more than one
// stream of a core gets.
double read_once(const std::vector<uint64_t>& data) {
  uint64_t total = 0;
  const auto start = Clock::now();
#pragma omp parallel reduction(+ : total)
  {
    const auto share = static_cast<int64_t>(data.size()) / omp_get_num_threads() / 4;
    const uint64_t* p = data.data() + omp_get_thread_num() * 4 * share;
    for (int64_t i = 0; i < share; ++i) total += p[i] + p[i + share] + p[i + 2 * share] + p[i + 3 * share];
  }
  const double seconds = seconds_since(start);
  return total > 0 ? static_cast<double>(data.size()) * 8 / seconds : 0.0;
}

}  // namespace

Roof::Roof()
    : data_(static_cast<size_t>(std::max<int64_t>(4 * last_level_cache(), int64_t{256} << 20)) / 8, 1) {
  for (const auto begin = Clock::now(); seconds_since(begin) < kLongEnough;) look_again();
}

void Roof::look_again() {
  read_bandwidth_ = std::max(read_bandwidth_, read_once(data_));
  double done = 0;
  const auto start = Clock::now();
#pragma omp parallel reduction(+ : done)
  done += run_chains(kernels::isa::supported());
  fma_peak_ = std::max(fma_peak_, done / seconds_since(start));
}

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
