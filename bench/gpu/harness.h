// What every GPU benchmark program shares: device memory, timing by graph replay, the JSON that Google
// Benchmark writes.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#ifndef PRUNE_GIT_COMMIT
#define PRUNE_GIT_COMMIT "unknown"
#endif

namespace prune::bench {

inline void cuda(cudaError_t code) {
  if (code != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(code));
}

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { cuda(cudaMalloc(&data_, bytes)); }
  DeviceMemory(const DeviceMemory&) = delete;
  ~DeviceMemory() { cudaFree(data_); }
  uint8_t* get() const { return data_; }

 private:
  uint8_t* data_ = nullptr;
};

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

// Microseconds a call: `calls` of them in one graph, the median of `replays` replays, after a rest: what ran
// before must not have used up the power that the chip may draw on average.
inline double time_graph(cudaStream_t stream, int calls, int replays, const std::function<void(int)>& call) {
  call(0);
  cuda(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) call(i);
  cuda(cudaStreamEndCapture(stream, &graph));
  cuda(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin, end;
  cuda(cudaEventCreate(&begin));
  cuda(cudaEventCreate(&end));
  cuda(cudaStreamSynchronize(stream));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  cuda(cudaGraphLaunch(exec, stream));
  std::vector<float> times;
  for (int i = 0; i < replays; ++i) {
    cuda(cudaEventRecord(begin, stream));
    cuda(cudaGraphLaunch(exec, stream));
    cuda(cudaEventRecord(end, stream));
    cuda(cudaEventSynchronize(end));
    float milliseconds;
    cuda(cudaEventElapsedTime(&milliseconds, begin, end));
    times.push_back(milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
  return times[replays / 2] * 1e3 / calls;
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

inline std::vector<std::pair<std::string, std::string>> gpu_context() {
  cudaDeviceProp properties;
  int device = 0, driver = 0, runtime = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaGetDeviceProperties(&properties, device));
  cuda(cudaDriverGetVersion(&driver));
  cuda(cudaRuntimeGetVersion(&runtime));
  return {{"date", time_now()},
          {"commit", PRUNE_GIT_COMMIT},
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
