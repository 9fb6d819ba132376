// Each kernel against its equation in double precision.
#include "libprune/model/cuda/elements.h"

#include <algorithm>
#include <limits>

#include "test/libprune/model/cuda/device.h"

namespace prune::gpu {
namespace {

using testing::expect_rounded;
using testing::normal_bf16;
using testing::normal_floats;
using testing::to_host;

class Elements : public testing::OnDevice {};

TEST_F(Elements, EmbeddingsAreRowsOfTheTable) {
  const int width = 136, rows = 40;
  const std::vector<Bf16> table = normal_bf16(size_t(rows * width), 1);
  const std::vector<int32_t> ids{39, 0, 7, 7};
  const DeviceArray<Bf16> table_there(table);
  const DeviceArray<int32_t> ids_there(ids);
  const DeviceArray<float> hidden(ids.size() * width);
  embed(table_there.get(), ids_there.get(), int(ids.size()), width, 1.5F, hidden.get(), stream_->get());
  stream_->wait();
  const std::vector<float> got = to_host(hidden);
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(got[i], 1.5F * float(table[size_t(ids[i / width]) * width + i % width])) << i;
}

TEST_F(Elements, NormsAddFirst) {
  for (const int width : {8, 256, 2048, 8200}) {
    const int n = 5, picked = 3;
    const std::vector<int32_t> rows{4, 0, 2};
    const std::vector<float> hidden = normal_floats(size_t(n * width), 2, 3),
                             weight = normal_floats(width, 3), bias = normal_floats(width, 4);
    const std::vector<Bf16> y = normal_bf16(size_t(n * width), 5);
    for (const bool adds : {false, true}) {
      for (const bool picks : {false, true}) {
        const DeviceArray<float> hidden_there(hidden), weight_there(weight), bias_there(bias);
        const DeviceArray<Bf16> y_there(y), x(size_t((picks ? picked : n) * width));
        const DeviceArray<int32_t> rows_there(rows);
        add_and_norm({.hidden = hidden_there.get(),
                      .y = adds ? y_there.get() : nullptr,
                      .bias = adds ? bias_there.get() : nullptr,
                      .weight = weight_there.get(),
                      .epsilon = 1e-5F,
                      .width = width,
                      .rows = picks ? rows_there.get() : nullptr,
                      .x = x.get()},
                     picks ? picked : n, stream_->get());
        stream_->wait();
        const std::vector<Bf16> got = to_host(x);
        const std::vector<float> kept = to_host(hidden_there);
        for (int i = 0; i < (picks ? picked : n); ++i) {
          const int row = picks ? rows[size_t(i)] : i;
          std::vector<double> h(static_cast<size_t>(width));
          double squares = 0;
          for (size_t c = 0; c < h.size(); ++c) {
            const size_t at = size_t(row * width) + c;
            h[c] = double(hidden[at]) + (adds ? double(float(y[at])) + double(bias[c]) : 0);
            squares += h[c] * h[c];
            ASSERT_NEAR(kept[at], h[c], 1e-6 * (1 + std::abs(h[c])));
          }
          for (size_t c = 0; c < h.size(); ++c) {
            const double scale = 1 / std::sqrt(squares / width + 1e-5);
            expect_rounded(float(got[size_t(i * width) + c]), h[c] * scale * double(weight[c]), "norm", c);
          }
        }
      }
    }
  }
}

// Two sequences with room for 9 and 5 tokens; rows at positions of either.
TEST_F(Elements, HeadsAreNormedTurnedAndPlaced) {
  struct Case {
    int heads, kv_heads, dim, half;
    bool norms, bias;
  };
  for (const Case& c : {Case{4, 2, 64, 32, true, true},
                        {3, 3, 16, 8, false, false},
                        {6, 1, 40, 10, false, true},
                        {2, 1, 128, 0, true, false}}) {
    const std::vector<TokenPlace> places{{9, 5, 0}, {9, 5, 1}, {0, 9, 8}, {9, 5, 4}};
    const int n = int(places.size()), all = c.heads + 2 * c.kv_heads, width = all * c.dim;
    const std::vector<Bf16> qkv = normal_bf16(size_t(n * width), 6);
    const std::vector<float> bias = normal_floats(size_t(width), 7), q_norm = normal_floats(size_t(c.dim), 8),
                             k_norm = normal_floats(size_t(c.dim), 9);
    const testing::Angles angles(9, c.half);
    const DeviceArray<Bf16> qkv_there(qkv);
    const size_t pool = size_t(14 * c.kv_heads * c.dim);
    const DeviceArray<Bf16> keys(std::vector<Bf16>(pool, Bf16(-77.0F))),
        values(std::vector<Bf16>(pool, Bf16(-77.0F)));
    const DeviceArray<float> bias_there(bias), q_there(q_norm), k_there(k_norm), cos_there(angles.cos),
        sin_there(angles.sin);
    const DeviceArray<TokenPlace> places_there(places);
    place_heads({.qkv = qkv_there.get(),
                 .bias = c.bias ? bias_there.get() : nullptr,
                 .q_norm = c.norms ? q_there.get() : nullptr,
                 .k_norm = c.norms ? k_there.get() : nullptr,
                 .epsilon = 1e-6F,
                 .cos = cos_there.get(),
                 .sin = sin_there.get(),
                 .half = c.half,
                 .heads = c.heads,
                 .kv_heads = c.kv_heads,
                 .head_dim = c.dim,
                 .places = places_there.get(),
                 .cache = {keys.get(), values.get()}},
                n, stream_->get());
    stream_->wait();
    const std::vector<Bf16> q_got = to_host(qkv_there), k_got = to_host(keys), v_got = to_host(values);
    size_t written = 0;
    for (int row = 0; row < n; ++row) {
      const TokenPlace place = places[size_t(row)];
      for (int h = 0; h < all; ++h) {
        const bool is_query = h < c.heads, is_value = h >= c.heads + c.kv_heads;
        const float* norm = !c.norms || is_value ? nullptr : is_query ? q_norm.data() : k_norm.data();
        const auto turn = size_t(place.position * c.half);
        const std::vector<double> v = testing::placed_head(
            qkv.data() + row * width + h * c.dim, c.dim, c.bias ? bias.data() + h * c.dim : nullptr, norm,
            1e-6, angles.cos.data() + turn, angles.sin.data() + turn, is_value ? 0 : c.half);
        const int64_t kv = is_value ? h - c.heads - c.kv_heads : h - c.heads;
        const int64_t in_pool = (place.begin * c.kv_heads + kv * place.capacity + place.position) * c.dim;
        written += size_t(is_value ? c.dim : 0);
        for (int i = 0; i < c.dim; ++i) {
          const Bf16 got = is_query   ? q_got[size_t(row * width + h * c.dim + i)]
                           : is_value ? v_got[size_t(in_pool + i)]
                                      : k_got[size_t(in_pool + i)];
          expect_rounded(float(got), v[size_t(i)], is_query ? "q" : is_value ? "v" : "k", size_t(i));
        }
      }
    }
    for (const auto& pool_got : {k_got, v_got})
      EXPECT_EQ(pool - size_t(std::ranges::count(pool_got, -77.0F, [](Bf16 v) { return float(v); })),
                written);
  }
}

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return x < 0 ? 0 : x;
  }
  return x;
}

TEST_F(Elements, GatesMultiply) {
  const int n = 3, inner = 1096;
  const std::vector<Bf16> expanded = normal_bf16(size_t(n * 2 * inner), 10, 3);
  const std::vector<float> bias = normal_floats(size_t(2 * inner), 11);
  const DeviceArray<Bf16> there(expanded), out(size_t(n * inner));
  const DeviceArray<float> bias_there(bias);
  for (const auto activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const bool adds : {false, true}) {
      activate_and_multiply(activation, there.get(), adds ? bias_there.get() : nullptr, n, inner, out.get(),
                            stream_->get());
      stream_->wait();
      const std::vector<Bf16> got = to_host(out);
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t row = i / size_t(inner), c = i % size_t(inner), at = row * size_t(2 * inner) + c;
        const double gate = double(float(expanded[at])) + (adds ? double(bias[c]) : 0);
        const double up =
            double(float(expanded[at + size_t(inner)])) + (adds ? double(bias[c + size_t(inner)]) : 0);
        expect_rounded(float(got[i]), activated(activation, gate) * up, "gated", i);
      }
    }
  }
}

// Rows of logits with NaN between them, which nothing reads.
std::vector<float> with_gaps(const std::vector<float>& logits, int columns, int64_t stride) {
  const auto rows = int64_t(logits.size()) / columns;
  std::vector<float> apart(size_t(rows * stride), std::numeric_limits<float>::quiet_NaN());
  for (int64_t r = 0; r < rows; ++r)
    std::copy_n(logits.begin() + r * columns, columns, apart.begin() + r * stride);
  return apart;
}

TEST_F(Elements, TheFirstOfTheLargestLogits) {
  const int columns = 5000;
  std::vector<float> logits = normal_floats(4 * columns, 12);
  logits[4321] = logits[77] = 50;
  logits[columns + 4999] = 60;
  logits[2 * columns + 10] = std::numeric_limits<float>::quiet_NaN();
  std::fill(logits.begin() + 3 * columns, logits.end(), -1.5F);
  const int64_t stride = 5008;
  const DeviceArray<float> there(with_gaps(logits, columns, stride));
  const DeviceArray<int32_t> ids(4);
  find_largest({there.get(), columns, stride}, 4, ids.get(), stream_->get());
  stream_->wait();
  EXPECT_EQ(to_host(ids), (std::vector<int32_t>{77, 4999, -1, 0}));
}

TEST_F(Elements, LossesAreNegativeLogProbabilities) {
  const int columns = 4099, n = 3;
  std::vector<float> logits = normal_floats(size_t(n * columns), 13, 4);
  logits[2 * columns] = std::numeric_limits<float>::infinity();
  const std::vector<int32_t> targets{7, -1, 5};
  const int64_t stride = 4104;
  const DeviceArray<float> there(with_gaps(logits, columns, stride)), losses(n);
  const DeviceArray<int32_t> targets_there(targets);
  lose({there.get(), columns, stride}, targets_there.get(), n, losses.get(), stream_->get());
  stream_->wait();
  const std::vector<float> got = to_host(losses);
  double sum = 0;
  for (int c = 0; c < columns; ++c) sum += std::exp(double(logits[size_t(c)]));
  EXPECT_NEAR(got[0], std::log(sum) - double(logits[7]), 1e-5 * std::log(sum) + 1e-5);
  EXPECT_EQ(got[1], 0);
  EXPECT_TRUE(std::isnan(got[2]));
}

}  // namespace
}  // namespace prune::gpu
