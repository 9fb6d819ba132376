#include <array>
#include <cmath>
#include <tuple>
#include <vector>

#include <omp.h>

#include "libprune/model/decoder/backward.h"

namespace prune {
namespace {

// The sums over i < n of each of the terms (floats) that term(i) gives. Partial sums in float, side by side:
// quick, and more exact than one sum in float.
template <class Term>
auto sums(int64_t n, Term term) {
  constexpr int64_t kLanes = 16;
  constexpr size_t kTerms = std::tuple_size_v<decltype(term(0))>;
  float lanes[kTerms][kLanes] = {};
  std::array<double, kTerms> total = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      const auto terms = term(i + j);
      for (size_t k = 0; k < kTerms; ++k) lanes[k][j] += terms[k];
    }
  }
  for (; i < n; ++i) {
    const auto terms = term(i);
    for (size_t k = 0; k < kTerms; ++k) total[k] += double(terms[k]);
  }
  for (size_t k = 0; k < kTerms; ++k) {
    for (const float lane : lanes[k]) total[k] += double(lane);
  }
  return total;
}

// Sums over one row that the gradient needs, with g = dy * weight and z the normalised x.
struct RowSums {
  float mean = 0;   // of x; layer norms only
  float scale = 0;  // z = (x - mean) scale
  float g = 0;      // mean of g; layer norms only
  float gz = 0;     // mean of g z
};

RowSums sums_of(const Norm& norm, const float* x, const float* dy) {
  const auto n = static_cast<double>(norm.width());
  const float* weight = norm.weight.data();
  if (norm.kind == NormKind::kLayer) {
    const auto mean = float(sums(norm.width(), [&](int64_t i) { return std::array{x[i]}; })[0] / n);
    const auto [squares, g, gx] = sums(norm.width(), [&](int64_t i) {
      const float centred = x[i] - mean, gi = dy[i] * weight[i];
      return std::array{centred * centred, gi, gi * centred};
    });
    const double scale = 1 / std::sqrt(squares / n + double(norm.epsilon));
    return {mean, float(scale), float(g / n), float(gx * scale / n)};
  }
  const auto [squares, gx] = sums(norm.width(), [&](int64_t i) {
    return std::array{x[i] * x[i], dy[i] * weight[i] * x[i]};
  });
  const double scale = 1 / std::sqrt(squares / n + double(norm.epsilon));
  return {0, float(scale), 0, float(gx * scale / n)};
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
  const RowSums row = sums_of(norm, x, dy);
  const int64_t width = norm.width();
  const float* weight = norm.weight.data();
  if (dw != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) dw[i] += dy[i] * ((x[i] - row.mean) * row.scale);
  }
  if (db != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) db[i] += dy[i];
  }
  if (dx == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    const float z = (x[i] - row.mean) * row.scale;
    dx[i] = row.scale * (dy[i] * weight[i] - row.g - z * row.gz);
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
