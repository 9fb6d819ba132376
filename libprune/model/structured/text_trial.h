// A few calibration sequences on which changes of a model are tried: what each does to the loss of predicting
// them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "libprune/io/staging.h"
#include "libprune/model/calibrated/calibration_text.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/memory.h"
#include "libprune/model/decoder/rope.h"

namespace prune {

class TextTrial {
 public:
  // The first sequences of the text, at most `samples`. All must outlive it.
  TextTrial(const Decoder& decoder, const CalibrationText& text, int64_t samples);

  const Decoder& decoder() const { return decoder_; }
  const RopeTable& rope() const { return rope_; }
  int64_t tokens() const { return samples_ * length_; }
  FloatMatrix embedded() const;  // [tokens(), width]

  // Calls body(first row, sequences) for all of them, some at once. Throws Interrupted.
  template <class Body>
  void for_each_batch(Body&& body) const {
    const int64_t at_once = batch_sequences(length_);
    for (int64_t first = 0; first < samples_; first += at_once) {
      check_interrupted();
      body(first * length_, Sequences(std::min(at_once, samples_ - first), length_));
    }
  }

  // The dense layer of this number; `from` and `to` may be one.
  void pass(int64_t layer, const FloatMatrix& from, FloatMatrix& to);
  // These layers and then text_loss(); uses up the hidden states.
  double loss_after(std::span<const int64_t> layers, FloatMatrix& hidden);

 private:
  const Decoder& decoder_;
  int64_t length_;
  int64_t samples_;
  std::span<const int32_t> ids_;
  RopeTable rope_;
  LayerActivations activations_;
};

}  // namespace prune
