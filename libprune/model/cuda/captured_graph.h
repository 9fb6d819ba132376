// Work of a stream that is queued again and again.
#pragma once

#include "libprune/model/cuda/device.h"

namespace prune::gpu {

class CapturedGraph {
 public:
  // What queue() queues on the stream, instead of doing it. What it throws leaves the stream as it was.
  template <class Queue>
  CapturedGraph(cudaStream_t stream, const Queue& queue) {
    cudaGraph_t graph = nullptr;
    cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      queue();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      cudaGetLastError();  // a failed capture is no fault of what comes next
      throw;
    }
    cuda(cudaStreamEndCapture(stream, &graph));
    const cudaError_t made = cudaGraphInstantiate(&exec_, graph, 0);
    cudaGraphDestroy(graph);
    cuda(made);
  }
  CapturedGraph(const CapturedGraph&) = delete;
  ~CapturedGraph() { cudaGraphExecDestroy(exec_); }

  void launch(cudaStream_t stream) const { cuda(cudaGraphLaunch(exec_, stream)); }

 private:
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace prune::gpu
