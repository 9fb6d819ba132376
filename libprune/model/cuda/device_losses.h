// Losses of windows of a text, for perplexity, on a CUDA device.
#pragma once

#include <memory>

#include "libprune/model/cuda/device_session.h"
#include "libprune/model/decoder/perplexity.h"

namespace prune::gpu {

// Keeps a reference to the model.
class DeviceLosses final : public WindowLosses {
 public:
  // Products of the model are no longer chosen by time: equal texts give equal losses.
  explicit DeviceLosses(const DeviceDecoder& model) : model_(model) { model.context().dense.take_first(); }

  int64_t windows_at_once(int64_t seqlen) const override;
  uint64_t counts_of_token() const override { return 1; }
  void run(int64_t seqlen, std::span<const int32_t> ids, std::span<const int32_t> targets,
           std::span<float> losses, ProgressCounter& counter) override;

 private:
  const DeviceDecoder& model_;
  std::unique_ptr<DeviceSession> session_;
  size_t tokens_ = 0;   // that the session was made for
  int64_t seqlen_ = 0;  // of each of its windows
};

}  // namespace prune::gpu
