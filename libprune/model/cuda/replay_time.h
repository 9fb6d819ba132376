// How long work takes on a CUDA stream.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "libprune/model/cuda/captured_graph.h"
#include "libprune/model/cuda/device.h"

namespace prune::gpu {

// Milliseconds that what `queue` queues takes: the shortest of several replays of its graph, which launches
// of their own would hold up. It must have run once before.
template <class Queue>
double replay_time(cudaStream_t stream, const Queue& queue) {
  constexpr int kReplays = 3;
  struct Events {
    Events() {
      cuda(cudaEventCreate(&begin));
      cuda(cudaEventCreate(&end));
    }
    Events(const Events&) = delete;
    ~Events() {
      cudaEventDestroy(begin);
      cudaEventDestroy(end);
    }
    cudaEvent_t begin = nullptr, end = nullptr;
  };
  cuda(cudaStreamSynchronize(stream));
  const CapturedGraph graph(stream, queue);
  const Events events;
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; i < kReplays; ++i) {
    cuda(cudaEventRecord(events.begin, stream));
    graph.launch(stream);
    cuda(cudaEventRecord(events.end, stream));
    cuda(cudaEventSynchronize(events.end));
    float time = 0;
    cuda(cudaEventElapsedTime(&time, events.begin, events.end));
    least = std::min(least, time);
  }
  return double(least);
}

// The same of multiply(weight) for all weights of one shape in turn, as a forward pass walks through them: no
// cache holds them.
template <class Weight, class Multiply>
double time_of_all(cudaStream_t stream, const std::vector<Weight>& weights, const Multiply& multiply) {
  constexpr size_t kLeastCalls = 8;
  multiply(weights.front());
  return replay_time(stream, [&] {
    for (size_t i = 0; i < std::max(kLeastCalls, weights.size()); ++i) multiply(weights[i % weights.size()]);
  });
}

}  // namespace prune::gpu
