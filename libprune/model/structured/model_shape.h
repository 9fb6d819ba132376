// How large the smaller model is to be.
#pragma once

#include <cstdint>
#include <vector>

#include "libprune/model/structured/cut.h"
#include "libprune/model/structured/structured_options.h"

namespace prune {

struct ModelShape {
  int64_t layers = 0;
  LayerSize size;
  bool operator==(const ModelShape&) const = default;
};

ModelShape shape_of(const DecoderConfig& config);
// The share of the decoder blocks' parameters that a model of this shape lacks.
double share_removed(const DecoderConfig& config, const ModelShape& shape);

// The shape whose share is nearest to the one asked for, of those that remove units of one kind. Throws
// Error(kUsage) where no such unit would stay or go, or the family has none; of mixed units, see
// with_channels().
ModelShape plan_shape(const DecoderConfig& config, const StructuredOptions& options);

// Of models with some layers and heads removed: the one with as many channels as bring the share nearest to
// that asked for. Nothing where none is within a unit of it.
std::optional<ModelShape> with_channels(const DecoderConfig& config, const StructuredOptions& options,
                                        int64_t layers, int64_t heads);

// Whether layers can go and be numbered anew: they differ in nothing that only their number says.
bool layers_can_go(const DecoderConfig& config);

// Heads that go as one, and how many units of them a layer has.
int64_t head_units(const DecoderConfig& config);
// The layer's size with so many of these left.
LayerSize with_head_units(const DecoderConfig& config, LayerSize size, int64_t units);

}  // namespace prune
