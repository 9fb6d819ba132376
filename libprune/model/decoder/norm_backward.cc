#include <cmath>
#include <vector>

#include <omp.h>

#include "libprune/model/decoder/backward.h"

namespace prune {
namespace {

// Sums over one row that the gradient needs, with g = dy * weight and z the normalised x.
struct RowSums {
  float mean = 0;   // of x; layer norms only
  float scale = 0;  // z = (x - mean) scale
  float g = 0;      // mean of g; layer norms only
  float gz = 0;     // mean of g z
};

RowSums sums_of(const Norm& norm, const float* x, const float* dy) {
  const auto n = static_cast<double>(norm.width());
  double sum = 0, squares = 0, g = 0, gx = 0;
  if (norm.kind == NormKind::kLayer) {
    for (int64_t i = 0; i < norm.width(); ++i) sum += double(x[i]);
  }
  const double mean = sum / n;
  for (int64_t i = 0; i < norm.width(); ++i) {
    const double centred = double(x[i]) - mean;
    const double gi = double(dy[i]) * double(norm.weight[size_t(i)]);
    squares += centred * centred;
    g += gi;
    gx += gi * centred;
  }
  const double scale = 1 / std::sqrt(squares / n + double(norm.epsilon));
  return {float(mean), float(scale), norm.kind == NormKind::kLayer ? float(g / n) : 0, float(gx * scale / n)};
}

// Gradients of parameters that threads sum apart.
struct Partial {
  std::vector<float> weight, bias;
};

void add(const std::vector<float>& from, std::vector<float>& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

}  // namespace

// dx = scale (g - mean(g) - z mean(g z)); without mean(g) for RMS norms, which do not centre.
void norm_backward(const Norm& norm, const float* x, const float* dy, float* dx, float* dw, float* db) {
  const RowSums sums = sums_of(norm, x, dy);
  for (int64_t i = 0; i < norm.width(); ++i) {
    const float z = (x[i] - sums.mean) * sums.scale, slope = dy[i];
    if (dw != nullptr) dw[i] += slope * z;
    if (db != nullptr) db[i] += slope;
    if (dx != nullptr) dx[i] = sums.scale * (slope * norm.weight[size_t(i)] - sums.g - z * sums.gz);
  }
}

void norm_backward(const Norm& norm, const float* x, const float* dy, float* dx, int64_t n, Write write,
                   NormGradient& gradient) {
  const int64_t width = norm.width();
  const int threads = omp_get_max_threads();
  std::vector<Partial> partials(static_cast<size_t>(threads));
#pragma omp parallel num_threads(threads)
  {
    Partial& partial = partials[size_t(omp_get_thread_num())];
    partial = {std::vector<float>(gradient.weight.size()), std::vector<float>(gradient.bias.size())};
    std::vector<float> row(static_cast<size_t>(width));
    float* db = partial.bias.empty() ? nullptr : partial.bias.data();
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n; ++i) {
      const float* from = dy + i * width;
      if (dx == nullptr || write == Write::kOver) {
        norm_backward(norm, x + i * width, from, dx == nullptr ? nullptr : dx + i * width,
                      partial.weight.data(), db);
        continue;
      }
      norm_backward(norm, x + i * width, from, row.data(), partial.weight.data(), db);
      for (int64_t c = 0; c < width; ++c) dx[i * width + c] += row[size_t(c)];
    }
  }
  for (const Partial& partial : partials) {
    add(partial.weight, gradient.weight);
    add(partial.bias, gradient.bias);
  }
}

}  // namespace prune
