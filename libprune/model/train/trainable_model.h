// A whole decoder in memory, every parameter as floats, and gradients of the same layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/gradients.h"
#include "libprune/model/float_matrix.h"

namespace prune {

// A matrix outside the layers, with the name of its tensor; without rows where the model has none.
struct NamedMatrix {
  std::string name;
  FloatMatrix matrix;
};

class TrainableModel {
 public:
  // Without weights, for the caller to fill. The configuration must outlive it.
  explicit TrainableModel(const DecoderConfig& config) : config_(&config) {}
  // Reads all weights. The decoder must outlive it.
  explicit TrainableModel(const Decoder& decoder);

  const DecoderConfig& config() const { return *config_; }
  // Linear::round_weight() of all linear layers; and as if that had never been called.
  void round_weights();
  void forget_rounded();
  // Linear::refresh_masked() of all linear layers; and as if nothing had ever been left out.
  void refresh_masked();
  void forget_masked();
  // The head's matrix [vocabulary, width]: its own, or the embedding.
  const FloatMatrix& head_matrix() const { return head.matrix.empty() ? embedding.matrix : head.matrix; }

  NamedMatrix embedding;  // [vocabulary, width]
  NamedMatrix positions;  // [positions + offset, width], learned ones
  std::vector<DecoderLayer> layers;
  Norm final_norm;   // may not exist
  NamedMatrix head;  // [vocabulary, width], unless the embedding serves

 private:
  const DecoderConfig* config_;
};

struct ModelGradients {
  explicit ModelGradients(const TrainableModel& model);  // zeros
  void restart();  // zeros again, for a backward pass that follows: see LayerGradients
  FloatMatrix& head_matrix() { return head.empty() ? embedding : head; }

  FloatMatrix embedding, positions, head;
  std::vector<LayerGradients> layers;
  NormGradient final_norm;
};

// Every parameter but routers, layer by layer, then those outside. Spans live as long as both arguments keep
// their sizes.
std::vector<Parameter> parameters(TrainableModel& model, ModelGradients& gradients);

}  // namespace prune
