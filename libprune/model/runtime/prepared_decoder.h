// A whole decoder ready to run: all layers in memory, rearranged once for this machine.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/progress.h"
#include "libprune/model/runtime/linear_products.h"
#include "libprune/model/runtime/ready_model.h"

namespace prune {

// Immutable after construction; any number of sessions may share one. Keeps a reference to the checkpoint,
// which must outlive it: weights that are not packed are read from its files.
class PreparedDecoder final : public ReadyModel {
 public:
  // Throws what Decoder throws; Error(kInput) for a packed weight whose damage loading sees, Interrupted. Of
  // what is multiplied where it lies, the first tokens that run see the rest: see SparseLinearOptions.
  explicit PreparedDecoder(const Checkpoint& checkpoint, const RuntimeOptions& options = {},
                           const Progress& progress = {});

  const Decoder& decoder() const { return decoder_; }
  const DecoderConfig& config() const override { return decoder_.config(); }
  const DecoderLayer& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  const PreparedWeights& prepared() const override { return prepared_; }
  double seconds() const override { return seconds_; }
  std::unique_ptr<RunningSequences> start(const std::vector<int64_t>& lengths, int64_t chunk) const override;

  // hidden [ids.size(), width]: the embeddings of tokens at these positions. Ids are in the vocabulary,
  // positions below config().max_positions where these are learned.
  void embed(std::span<const int32_t> ids, std::span<const int64_t> positions, float* hidden) const;
  // logits [n, vocabulary] = head(norm(hidden [n, width])); hidden is normalised in place.
  void project_to_vocabulary(float* hidden, int64_t n, float* logits) const;

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  Decoder decoder_;
  std::vector<DecoderLayer> layers_;
  FloatMatrix positions_;  // learned ones
  Norm final_norm_;
  std::unique_ptr<LinearProduct> head_;
  PreparedWeights prepared_;
  double seconds_ = 0;
};

}  // namespace prune
