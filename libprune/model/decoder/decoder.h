// A decoder-only transformer in a checkpoint, one layer at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "libprune/io/checkpoint.h"
#include "libprune/model/decoder/config.h"
#include "libprune/model/decoder/layer.h"
#include "libprune/model/decoder/sequences.h"
#include "libprune/model/decoder/tensor_reader.h"

namespace prune {

// Holds no weights. Keeps a reference to the checkpoint, which must outlive it and the layers that it loads;
// those also point to its config().
class Decoder {
 public:
  // Throws Error(kInput) when the architecture or its configuration is not supported, or the embedding is
  // missing.
  explicit Decoder(const Checkpoint& checkpoint, Precision precision = Precision::kF32);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const DecoderConfig& config() const { return config_; }
  const TensorReader& tensors() const { return tensors_; }
  // Of the products of its linear layers and its head.
  Precision precision() const { return precision_; }

  // Layer `index` of config().layers, its weights widened to float, or not loaded where `factory` makes a
  // product of them. Throws Error(kInput) naming a tensor that is missing or of another shape.
  DecoderLayer load_layer(int64_t index, const ProductFactory& factory = {}) const;

  // "model.layers.3", for messages.
  std::string layer_name(int64_t index) const;

  // hidden [ids.size(), width]: the embedding of each token, and of its position where these are learned.
  // Throws Error(kInput) for an id outside the vocabulary or a sequence longer than the learned positions.
  void embed(std::span<const int32_t> ids, const Sequences& sequences, float* hidden) const;

  // Names of the tensors outside the layers. Where the head is the embedding, so is its name.
  std::string embedding_name() const;
  std::string positions_name() const;  // of learned positions
  const std::string& head_name() const { return head_name_; }
  // The rows [first, first + count) of the embedding [vocabulary, width], as they are stored, to `out`.
  void load_embedding_rows(int64_t first, int64_t count, float* out) const;
  // The table of learned positions [max_positions + the family's offset, width].
  FloatMatrix load_positions() const;

  // The norm before the head; does not exist in models without one.
  Norm load_final_norm() const;
  // The rows [first, first + count) of the head's matrix [vocabulary, width], to `out`.
  void load_head_rows(int64_t first, int64_t count, float* out) const;

 private:
  std::string module(std::string_view name) const;  // outside the layers
  std::string module(int64_t layer, std::string_view name) const;
  Linear load_linear(const std::string& name, int64_t out, int64_t in, bool has_bias,
                     const ProductFactory& factory) const;
  Norm load_norm(const std::string& name, int64_t width) const;
  FeedForward load_feed_forward(int64_t layer, const std::string& expert,
                                const ProductFactory& factory) const;
  void load_attention(DecoderLayer& layer, const ProductFactory& factory) const;
  void add_positions(const Sequences& sequences, float* hidden) const;

  const Checkpoint& checkpoint_;
  Precision precision_;
  DecoderConfig config_;
  TensorReader tensors_;
  std::string prefix_;
  std::string head_name_;
};

}  // namespace prune
