#include "libprune/model/structured/norm_cut.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace prune {
namespace {

double square(float x) { return double(x) * double(x); }

double sum_of_rows(const Linear& linear, const Units& rows) {
  double sum = 0;
  for (const int64_t row : rows) {
    for (int64_t j = 0; j < linear.in; ++j) sum += square(linear.weight.row(row)[j]);
  }
  return sum;
}

double sum_of_columns(const Linear& linear, const Units& columns) {
  double sum = 0;
  for (int64_t i = 0; i < linear.out; ++i) {
    for (const int64_t column : columns) sum += square(linear.weight.row(i)[column]);
  }
  return sum;
}

std::vector<double> head_scores(const DecoderLayer& layer) {
  const DecoderConfig& config = *layer.config;
  std::vector<double> scores;
  for (int64_t unit = 0; unit < head_units(config); ++unit) {
    LayerCut alone;
    if (config.kv_heads > 1) alone.kv_heads = {unit};
    alone.heads = config.kv_heads > 1 ? heads_of(config, {unit}) : Units{unit};
    double score = sum_of_columns(layer.output, columns_of_heads(config, alone.heads));
    for (size_t i = 0; i < layer.qkv.size(); ++i)
      score += sum_of_rows(layer.qkv[i], qkv_rows(config, alone, i, layer.qkv.size() == 1));
    scores.push_back(score);
  }
  return scores;
}

std::vector<double> channel_scores(const DecoderConfig& config, const FeedForward& expert) {
  std::vector<double> scores(size_t(config.inner), 0);
  for (int64_t i = 0; i < config.width; ++i) {
    for (int64_t c = 0; c < config.inner; ++c)
      scores[size_t(c)] += square(expert.contracting.weight.row(i)[c]);
  }
  for (int64_t c = 0; c < config.inner; ++c) {
    const Units rows = expanding_rows(config, {c}, expert.expanding.size() == 1);
    for (const Linear& linear : expert.expanding) scores[size_t(c)] += sum_of_rows(linear, rows);
  }
  return scores;
}

}  // namespace

Units largest(const std::vector<double>& scores, int64_t count) {
  Units order(scores.size());
  std::iota(order.begin(), order.end(), int64_t(0));
  std::ranges::stable_sort(order,
                           [&](int64_t a, int64_t b) { return scores[size_t(a)] > scores[size_t(b)]; });
  order.resize(size_t(count));
  std::ranges::sort(order);
  return order;
}

Cut cut_by_norm(const Decoder& decoder, const ModelShape& shape, const Units& gone) {
  const DecoderConfig& config = decoder.config();
  Cut cut;
  for (int64_t index = 0; index < config.layers; ++index) {
    if (std::ranges::find(gone, index) != gone.end()) continue;
    const DecoderLayer layer = decoder.load_layer(index);
    LayerCut kept = whole_layer(config, index);
    if (shape.size.heads < config.heads) {
      const bool groups = config.kv_heads > 1;
      const Units units = largest(head_scores(layer), groups ? shape.size.kv_heads : shape.size.heads);
      if (groups) kept.kv_heads = units;
      kept.heads = groups ? heads_of(config, units) : units;
    }
    std::vector<double> experts;
    for (const FeedForward& expert : layer.experts) {
      const std::vector<double> channels = channel_scores(config, expert);
      experts.push_back(std::accumulate(channels.begin(), channels.end(), 0.0));
      kept.channels[experts.size() - 1] = largest(channels, shape.size.channels);
    }
    kept.experts = largest(experts, shape.size.experts);
    std::vector<Units> channels;
    for (const int64_t expert : kept.experts) channels.push_back(std::move(kept.channels[size_t(expert)]));
    kept.channels = std::move(channels);
    cut.layers.push_back(std::move(kept));
  }
  return cut;
}

}  // namespace prune
