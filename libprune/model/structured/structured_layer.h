// The layer that StructuredPruner works at, and how it goes through its text. Of its sources only.
#pragma once

#include <algorithm>
#include <span>

#include "libprune/io/staging.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/structured/structured_pruner.h"

namespace prune {

struct StructuredPruner::Layer {
  DecoderLayer dense;
  DecoderLayer left;
  DecoderConfig after_attention, after_all;  // what `left` is true of after each half
  LayerCut cut;
  LayerReport report;
  Units gap = {};  // the layers that go after it, where it is to make up for them
};

template <class Body>
void StructuredPruner::for_each_batch(Body&& body) {
  const int64_t at_once = batch_sequences(text_.length), width = decoder_.config().width;
  for (int64_t first = 0; first < fit_ + test_;) {
    check_interrupted();
    const bool fits = first < fit_;
    const int64_t end = fits ? fit_ : fit_ + test_;
    const Sequences sequences(std::min(at_once, end - first), text_.length);
    const auto begin = size_t(first * text_.length * width), size = size_t(sequences.tokens() * width);
    const std::span<float> pruned = pruned_.subspan(begin, size);
    const std::span<float> dense = dense_.empty() ? dense_ : dense_.subspan(begin, size);
    body(pruned, dense, sequences, fits);
    scratch_.done_with(std::as_bytes(pruned));
    if (!dense.empty()) scratch_.done_with(std::as_bytes(dense));
    if (!targets_.empty()) scratch_.done_with(std::as_bytes(targets_of(pruned)));
    first += sequences.count();
  }
}

}  // namespace prune
