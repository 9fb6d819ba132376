#include "libprune/model/structured/text_loss.h"

#include <numeric>
#include <vector>

#include "libprune/model/decoder/head.h"

namespace prune {

double text_loss(const Decoder& decoder, std::span<const int32_t> ids, int64_t length, float* hidden) {
  std::vector<int32_t> targets;
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool is_last = int64_t(i + 1) % length == 0;
    targets.push_back(is_last ? -1 : ids[i + 1]);
  }
  std::vector<float> losses(targets.size());
  cross_entropy(decoder, hidden, targets, losses);
  const auto predictions = double(ids.size()) * double(length - 1) / double(length);
  return std::accumulate(losses.begin(), losses.end(), 0.0) / predictions;
}

}  // namespace prune
