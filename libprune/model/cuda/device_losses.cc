#include "libprune/model/cuda/device_losses.h"

#include <algorithm>

namespace prune::gpu {
namespace {

constexpr int64_t kTokensAtOnce = 8192;  // products reach their full speed with fewer

}  // namespace

int64_t DeviceLosses::windows_at_once(int64_t seqlen) const {
  return std::max<int64_t>(1, kTokensAtOnce / seqlen);
}

void DeviceLosses::run(int64_t seqlen, std::span<const int32_t> ids, std::span<const int32_t> targets,
                       std::span<float> losses, ProgressCounter& counter) {
  if (!session_ || tokens_ != ids.size() || seqlen_ != seqlen) {
    session_.reset();  // its memory first
    tokens_ = ids.size();
    seqlen_ = seqlen;
    session_ = std::make_unique<DeviceSession>(model_, std::vector<int64_t>(tokens_ / size_t(seqlen), seqlen),
                                               int64_t(tokens_));
  }
  session_->lose(seqlen, ids, targets, losses);
  counter.add(ids.size(), "windows");
}

}  // namespace prune::gpu
