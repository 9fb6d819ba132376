#include "libprune/model/runtime/session.h"

#include <algorithm>

#include "libprune/io/staging.h"
#include "libprune/model/decoder/finite.h"
#include "libprune/model/runtime/cached_forward.h"

namespace prune {

Session::Session(const PreparedDecoder& model, const std::vector<int64_t>& lengths, int64_t chunk)
    : model_(model),
      lengths_(lengths),
      ends_(lengths.size()),
      chunk_(chunk),
      rope_(model.config().rope, lengths.empty() ? 0 : *std::ranges::max_element(lengths)) {
  for (int64_t layer = 0; layer < model.config().layers; ++layer) {
    std::vector<LayerCache>& caches = caches_.emplace_back();
    for (const int64_t length : lengths)
      caches.emplace_back(model.layer(layer).attention_shape(), length, chunk);
  }
}

void Session::embed(std::span<const NextTokens> next) {
  std::vector<int32_t> ids;
  std::vector<int64_t> positions;
  for (const NextTokens& n : next) {
    ids.insert(ids.end(), n.ids.begin(), n.ids.end());
    for (size_t i = 0; i < n.ids.size(); ++i) positions.push_back(ends_[n.sequence] + int64_t(i));
  }
  hidden_.resize(int64_t(ids.size()), model_.config().width);
  model_.embed(ids, positions, hidden_.data());
}

const FloatMatrix& Session::run(std::span<const NextTokens> next) {
  check_next_tokens(next, ends_, lengths_, chunk_, model_.config().vocabulary);
  embed(next);
  std::vector<int64_t> counts;
  for (const NextTokens& n : next) counts.push_back(int64_t(n.ids.size()));
  const Sequences rows(counts);
  std::vector<LayerCache*> caches(next.size());
  for (int64_t layer = 0; layer < model_.config().layers; ++layer) {
    check_interrupted();
    for (size_t s = 0; s < next.size(); ++s) caches[s] = &caches_[size_t(layer)][next[s].sequence];
    forward_layer_cached(model_.layer(layer), rope_, rows, caches, hidden_.data(), hidden_.data(),
                         activations_);
    require_finite(hidden_.data(), hidden_.size(), model_.decoder().layer_name(layer));
  }
  for (const NextTokens& n : next) ends_[n.sequence] += int64_t(n.ids.size());
  return logits_of_last(next, rows);
}

const FloatMatrix& Session::logits_of_last(std::span<const NextTokens> next, const Sequences& rows) {
  const int64_t wanted = std::ranges::count_if(next, &NextTokens::wants_logits);
  last_.resize(wanted, model_.config().width);
  logits_.resize(wanted, model_.config().vocabulary);
  if (wanted == 0) return logits_;
  int64_t to = 0;
  for (size_t s = 0; s < next.size(); ++s) {
    if (next[s].wants_logits)
      std::copy_n(hidden_.row(rows.begin(int64_t(s) + 1) - 1), last_.cols(), last_.row(to++));
  }
  model_.project_to_vocabulary(last_.data(), wanted, logits_.data());
  require_finite(logits_.data(), logits_.size(), model_.decoder().head_name());
  return logits_;
}

size_t Session::cache_bytes() const {
  size_t sum = 0;
  for (const auto& layer : caches_) {
    for (const LayerCache& cache : layer) sum += cache.bytes();
  }
  return sum;
}

}  // namespace prune
