#include "libprune/model/structured/layer_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "libprune/io/staging.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/structured/text_loss.h"

namespace prune {
namespace {

constexpr int64_t kTestTokens = 16384;  // that a candidate is tried on

Units order_by(const std::vector<double>& scores, int64_t count) {
  Units order(scores.size());
  std::iota(order.begin(), order.end(), int64_t(0));
  std::ranges::stable_sort(order, {}, [&](int64_t layer) { return scores[size_t(layer)]; });
  order.resize(size_t(count));
  return order;
}

double mean_square(const DecoderLayer& layer) {
  double sum = 0, count = 0;
  for (const Linear* linear : layer.linears()) {
    for (int64_t i = 0; i < linear->weight.size(); ++i) sum += std::pow(double(linear->weight.data()[i]), 2);
    count += double(linear->weight.size());
  }
  return sum / count;
}

// 1 - the mean cosine between rows of x and y.
double change(const FloatMatrix& x, const FloatMatrix& y) {
  double sum = 0;
#pragma omp parallel for reduction(+ : sum)
  for (int64_t i = 0; i < x.rows(); ++i) {
    double xy = 0, xx = 0, yy = 0;
    for (int64_t c = 0; c < x.cols(); ++c) {
      const double a = double(x.row(i)[c]), b = double(y.row(i)[c]);
      xy += a * b;
      xx += a * a;
      yy += b * b;
    }
    sum += xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 1;
  }
  return 1 - sum / double(x.rows());
}

// Hidden states of some sequences, and the model without some of its layers.
class Trial {
 public:
  Trial(const Decoder& decoder, const CalibrationText& text)
      : decoder_(decoder),
        length_(text.length),
        samples_(std::min(text.samples, std::max<int64_t>(1, kTestTokens / text.length))),
        ids_(text.sequences(0, samples_)),
        rope_(decoder.config().rope, text.length),
        hidden_(samples_ * length_, decoder.config().width) {
    decoder.embed(ids_, sequences(), hidden_.data());
  }

  std::vector<double> changes() {
    std::vector<double> changes;
    FloatMatrix after(hidden_.rows(), hidden_.cols());
    for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
      pass(layer, hidden_, after);
      changes.push_back(change(hidden_, after));
      std::swap(hidden_, after);
    }
    return changes;
  }

  // The layer of those left that the text's loss misses least.
  int64_t least_missed(const Units& left) {
    FloatMatrix before = hidden_, state(hidden_.rows(), hidden_.cols());
    int64_t best = left.front();
    double least = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < left.size(); ++i) {
      std::copy_n(before.data(), before.size(), state.data());
      for (size_t j = i + 1; j < left.size(); ++j) pass(left[j], state, state);
      const double loss = text_loss(decoder_, ids_, length_, state.data());
      if (loss < least) {
        least = loss;
        best = left[i];
      }
      pass(left[i], before, before);
    }
    return best;
  }

 private:
  Sequences sequences() const { return Sequences(samples_, length_); }

  void pass(int64_t index, const FloatMatrix& from, FloatMatrix& to) {
    const DecoderLayer layer = decoder_.load_layer(index);
    const int64_t at_once = std::max<int64_t>(1, 2048 / length_);
    for (int64_t first = 0; first < samples_; first += at_once) {
      check_interrupted();
      const Sequences some(std::min(at_once, samples_ - first), length_);
      forward_layer(layer, rope_, some, from.row(first * length_), to.row(first * length_), activations_);
    }
  }

  const Decoder& decoder_;
  int64_t length_;
  int64_t samples_;
  std::span<const int32_t> ids_;
  RopeTable rope_;
  FloatMatrix hidden_;
  LayerActivations activations_;
};

}  // namespace

Units layers_to_remove(const Decoder& decoder, const CalibrationText& text, UnitScore score, int64_t count) {
  const int64_t layers = decoder.config().layers;
  if (count == 0) return {};
  if (score == UnitScore::kNorm) {
    std::vector<double> norms;
    for (int64_t layer = 0; layer < layers; ++layer) norms.push_back(mean_square(decoder.load_layer(layer)));
    return order_by(norms, count);
  }
  Trial trial(decoder, text);
  if (score == UnitScore::kEnergy) return order_by(trial.changes(), count);
  Units left(static_cast<size_t>(layers)), gone;
  std::iota(left.begin(), left.end(), int64_t(0));
  for (; int64_t(gone.size()) < count; std::erase(left, gone.back()))
    gone.push_back(trial.least_missed(left));
  return gone;
}

}  // namespace prune
