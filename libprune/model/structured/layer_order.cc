#include "libprune/model/structured/layer_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "libprune/model/structured/text_trial.h"

namespace prune {
namespace {

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

std::vector<double> changes(TextTrial& trial) {
  std::vector<double> changes;
  FloatMatrix before = trial.embedded(), after(before.rows(), before.cols());
  for (int64_t layer = 0; layer < trial.decoder().config().layers; ++layer) {
    trial.pass(layer, before, after);
    changes.push_back(change(before, after));
    std::swap(before, after);
  }
  return changes;
}

// The layer of those left that the text's loss misses least.
int64_t least_missed(TextTrial& trial, const Units& left) {
  FloatMatrix before = trial.embedded(), state(before.rows(), before.cols());
  int64_t best = left.front();
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < left.size(); ++i) {
    std::copy_n(before.data(), before.size(), state.data());
    const double loss = trial.loss_after(std::span(left).subspan(i + 1), state);
    if (loss < least) {
      least = loss;
      best = left[i];
    }
    trial.pass(left[i], before, before);
  }
  return best;
}

}  // namespace

Units layers_to_remove(const Decoder& decoder, const CalibrationText& text, UnitScore score, int64_t count) {
  const int64_t layers = decoder.config().layers;
  if (count == 0) return {};
  if (score == UnitScore::kNorm) {
    std::vector<double> norms;
    for (int64_t layer = 0; layer < layers; ++layer) norms.push_back(mean_square(decoder.load_layer(layer)));
    return order_by(norms, count);
  }
  TextTrial trial(decoder, text, text.samples);
  if (score == UnitScore::kEnergy) return order_by(changes(trial), count);
  Units left(static_cast<size_t>(layers)), gone;
  std::iota(left.begin(), left.end(), int64_t(0));
  for (; int64_t(gone.size()) < count; std::erase(left, gone.back()))
    gone.push_back(least_missed(trial, left));
  return gone;
}

}  // namespace prune
