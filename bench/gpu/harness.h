// What every GPU benchmark program shares: device memory, timing by graph replay, the JSON that Google
// Benchmark writes.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "libprune/model/cuda/device.h"

#ifndef PRUNE_GIT_COMMIT
#define PRUNE_GIT_COMMIT "unknown"
#endif

namespace prune::bench {

using gpu::cuda;
using gpu::DeviceMemory;

// Copies of one operand, together several times the L2, so that each call reads its own from memory.
class Rotation {
 public:
  Rotation(size_t bytes, size_t total)
      : bytes_((bytes + 255) / 256 * 256),
        count_(std::max<size_t>(2, total / bytes_ + 1)),
        memory_(bytes_ * count_) {}
  int count() const { return int(count_); }
  uint8_t* operator[](int i) const { return memory_.get() + bytes_ * (size_t(i) % count_); }
  // Every copy like the first.
  void spread(cudaStream_t stream) const {
    for (int i = 1; i < count(); ++i)
      cuda(cudaMemcpyAsync((*this)[i], (*this)[0], bytes_, cudaMemcpyDeviceToDevice, stream));
  }

 private:
  size_t bytes_;
  size_t count_;
  DeviceMemory memory_;
};

// `calls` calls in one graph, to be replayed. They ran once before.
class CallGraph {
 public:
  CallGraph(cudaStream_t stream, int calls, const std::function<void(int)>& call)
      : stream_(stream), calls_(calls) {
    call(0);
    cuda(cudaStreamSynchronize(stream));
    cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < calls; ++i) call(i);
    cuda(cudaStreamEndCapture(stream, &graph_));
    cuda(cudaGraphInstantiate(&exec_, graph_, 0));
    cuda(cudaEventCreate(&begin_));
    cuda(cudaEventCreate(&end_));
    cuda(cudaStreamSynchronize(stream));
  }
  CallGraph(const CallGraph&) = delete;
  ~CallGraph() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaGraphExecDestroy(exec_);
    cudaGraphDestroy(graph_);
  }

  // Microseconds a call, of one replay.
  double replay() const {
    cuda(cudaEventRecord(begin_, stream_));
    cuda(cudaGraphLaunch(exec_, stream_));
    cuda(cudaEventRecord(end_, stream_));
    cuda(cudaEventSynchronize(end_));
    float milliseconds;
    cuda(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return double(milliseconds) * 1e3 / calls_;
  }

 private:
  cudaStream_t stream_;
  int calls_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// For a profiler, which looks at one call of a kind: PRUNE_BENCH_ONCE is set.
inline bool only_once() { return std::getenv("PRUNE_BENCH_ONCE") != nullptr; }

// Microseconds a call: `calls` of them in one graph, the median of `replays` replays. The chip may draw more
// than its limit for some 40 ms, then its clock goes down: so there is a rest before, and one after each long
// replay. Without those, products that take a millisecond looked 10 to 15% slower from some replay on, and
// those sooner whose replays were longer than their peers'.
inline double time_graph(cudaStream_t stream, int calls, int replays, const std::function<void(int)>& call) {
  if (only_once()) {
    call(0);
    cuda(cudaStreamSynchronize(stream));
    return NAN;
  }
  const CallGraph graph(stream, calls, call);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  graph.replay();
  std::vector<double> times;
  times.reserve(size_t(replays));
  for (int i = 0; i < replays; ++i) {
    times.push_back(graph.replay());
    const std::chrono::duration<double, std::milli> took(times.back() * calls / 1e3);
    if (took.count() > 1) std::this_thread::sleep_for(2 * took);
  }
  std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
  return times[size_t(replays / 2)];
}

// One line of results, as Google Benchmark's JSON has it; cpu_time is the time on the GPU too.
struct Result {
  std::string name;
  double microseconds;
  std::vector<std::pair<std::string, double>> counters;
};

class JsonFile {
 public:
  JsonFile(const std::string& path, const std::vector<std::pair<std::string, std::string>>& context) {
    if (path.empty()) return;
    file_ = std::fopen(path.c_str(), "w");
    if (!file_) throw std::runtime_error("cannot write " + path);
    std::fprintf(file_, "{\n  \"context\": {");
    for (size_t i = 0; i < context.size(); ++i) {
      std::fprintf(file_, "%s\n    \"%s\": \"%s\"", i ? "," : "", context[i].first.c_str(),
                   context[i].second.c_str());
    }
    std::fprintf(file_, "\n  },\n  \"benchmarks\": [");
  }
  JsonFile(const JsonFile&) = delete;
  ~JsonFile() {
    if (!file_) return;
    std::fprintf(file_, "\n  ]\n}\n");
    std::fclose(file_);
  }
  void add(const Result& r) {
    if (!file_) return;
    std::fprintf(
        file_,
        "%s\n    {\"name\": \"%s\", \"run_name\": \"%s\", \"run_type\": \"iteration\", \"repetitions\": 1, "
        "\"repetition_index\": 0, \"threads\": 1, \"iterations\": 1, \"real_time\": %.4f, \"cpu_time\": "
        "%.4f, "
        "\"time_unit\": \"us\"",
        first_ ? "" : ",", r.name.c_str(), r.name.c_str(), r.microseconds, r.microseconds);
    for (const auto& [key, value] : r.counters) std::fprintf(file_, ", \"%s\": %.6g", key.c_str(), value);
    std::fprintf(file_, "}");
    std::fflush(file_);
    first_ = false;
  }

 private:
  std::FILE* file_ = nullptr;
  bool first_ = true;
};

inline std::string time_now() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", std::gmtime(&now));
  return text;
}

// The commit that is measured: who runs the program knows it best, in a copy of the tree the build does not.
inline std::string commit() {
  const char* given = std::getenv("PRUNE_GIT_COMMIT");
  return given ? given : PRUNE_GIT_COMMIT;
}

inline std::vector<std::pair<std::string, std::string>> gpu_context() {
  cudaDeviceProp properties;
  int device = 0, driver = 0, runtime = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaGetDeviceProperties(&properties, device));
  cuda(cudaDriverGetVersion(&driver));
  cuda(cudaRuntimeGetVersion(&runtime));
  return {{"date", time_now()},
          {"commit", commit()},
          {"gpu", properties.name},
          {"compute_capability", std::to_string(properties.major) + "." + std::to_string(properties.minor)},
          {"multiprocessors", std::to_string(properties.multiProcessorCount)},
          {"cuda_driver", std::to_string(driver)},
          {"cuda_runtime", std::to_string(runtime)}};
}

// `--json FILE`, or nothing.
inline std::string json_argument(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) == "--json") return argv[i + 1];
  }
  return "";
}

// run(), and what it throws in words; the program's exit status.
template <class Run>
int run_bench(const char* program, const Run& run) {
  try {
    run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return 1;
  }
  return 0;
}

}  // namespace prune::bench
