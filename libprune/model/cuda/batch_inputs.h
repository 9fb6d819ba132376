// The tokens of a run on their way to the device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "libprune/model/cuda/attention.h"
#include "libprune/model/cuda/device.h"

namespace prune::gpu {

// The tokens of a run, as the kernels read them: one copy brings them to the device. Where they lie there
// depends on the number of tokens alone.
class BatchInputs {
 public:
  // For runs of up to so many tokens and sequences.
  BatchInputs(size_t tokens, size_t sequences);

  struct View {
    int32_t* ids;        // [tokens]
    int32_t* targets;    // [tokens], of losses
    TokenPlace* places;  // [tokens]
    int32_t* wanted;     // [tokens], rows
    QueryTile* tiles;
  };
  void lay_out(size_t tokens);
  const View& host() const { return host_; }
  const View& device() const { return device_; }
  void upload(cudaStream_t stream) const;

 private:
  static View view(uint8_t* at, size_t tokens);
  size_t bytes(size_t tokens) const;

  size_t sequences_, used_ = 0;
  PinnedArray<uint8_t> pinned_;
  DeviceArray<uint8_t> memory_;
  View host_{}, device_{};
};

}  // namespace prune::gpu
