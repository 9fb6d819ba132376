// Layers that see a sequence piece by piece against layers that see it whole.
#include "libprune/model/runtime/cached_forward.h"

#include <cmath>

#include <gmock/gmock.h>

#include "test/libprune/model/decoder/tiny_layers.h"

namespace prune {
namespace {

constexpr int64_t kLength = 29;
constexpr int64_t kChunk = 7;

class CachedForwardTest : public ::testing::TestWithParam<testing::TinyFamily> {
 protected:
  CachedForwardTest()
      : config_(GetParam().parse()),
        random_(config_, 3),
        layer_(random_.make()),
        rope_(config_.rope, kLength) {}

  FloatMatrix whole(const FloatMatrix& x) const {
    FloatMatrix y(x.rows(), x.cols());
    LayerActivations activations;
    forward_layer(layer_, rope_, Sequences(1, x.rows()), x.data(), y.data(), activations);
    return y;
  }

  DecoderConfig config_;
  testing::RandomLayer random_;
  DecoderLayer layer_;
  RopeTable rope_;
};

// Rows [first, first + count) of both.
void expect_rows(const float* rows, const FloatMatrix& whole, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count * whole.cols(); ++i)
    ASSERT_NEAR(rows[i], whole.row(first)[i], 1e-5F) << "token " << first << ", value " << i;
}

TEST_P(CachedForwardTest, PiecesGiveWhatTheWholeGives) {
  // One sequence is ahead of the other, and their pieces differ.
  const int64_t pieces[][2] = {{4, 1}, {1, 6}, {3, 4}, {1, 1}, {1, 1}, {6, 1}, {1, 1}, {1, 5}, {2, 1}};
  const AttentionShape shape = layer_.attention_shape();
  LayerCache first(shape, kLength, kChunk), second(shape, kLength, kChunk);
  const FloatMatrix x1 = random_.values(kLength, config_.width, 1),
                    x2 = random_.values(kLength, config_.width, 1);
  const FloatMatrix y1 = whole(x1), y2 = whole(x2);
  LayerActivations activations;
  for (const auto& [a, b] : pieces) {
    const int64_t at1 = first.end(), at2 = second.end();
    FloatMatrix hidden(a + b, config_.width);
    std::copy_n(x1.row(at1), a * config_.width, hidden.row(0));
    std::copy_n(x2.row(at2), b * config_.width, hidden.row(a));
    forward_layer_cached(layer_, rope_, Sequences(std::vector<int64_t>{a, b}), {&first, &second},
                         hidden.data(), hidden.data(), activations);
    ASSERT_NO_FATAL_FAILURE(expect_rows(hidden.row(0), y1, at1, a));
    ASSERT_NO_FATAL_FAILURE(expect_rows(hidden.row(a), y2, at2, b));
  }
}

TEST_P(CachedForwardTest, AWindowBoundsTheCache) {
  const AttentionShape shape = layer_.attention_shape();
  const auto bytes_of = [&](int64_t most) { return LayerCache(shape, most, kChunk).bytes(); };
  if (shape.window == 0) {
    EXPECT_EQ(bytes_of(2000), 100 * bytes_of(20));
  } else {
    EXPECT_EQ(bytes_of(2000), bytes_of(20));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CachedForwardTest, ::testing::ValuesIn(testing::tiny_families()),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::erase_if(
                               name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
                           return name;
                         });

// A long window with queries in several blocks, several heads a key: the cache forgets, the result does not
// change.
TEST(AttendCached, WindowsAndBlocks) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 8, .scale = 0.3F, .window = 40};
  constexpr int64_t kTokens = 700, kMost = 200;
  FloatMatrix qkv(kTokens, shape.qkv_width()), whole(kTokens, shape.heads * shape.head_dim);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < qkv.size(); ++i) qkv.data()[i] = normal(random);
  attend(shape, Sequences(1, kTokens), qkv.data(), whole.data());
  LayerCache cache(shape, kTokens, kMost);
  FloatMatrix context(kMost, whole.cols());
  for (int64_t at = 0, i = 0; at < kTokens; ++i) {
    const int64_t sizes[] = {kMost, 1, 30, 1, 1, 150};
    const int64_t count = std::min(sizes[i % 6], kTokens - at);
    cache.append(qkv.row(at), count);
    ASSERT_EQ(cache.end(), at + count);
    attend_cached(shape, Sequences(1, count), {&cache}, qkv.row(at), context.data());
    ASSERT_NO_FATAL_FAILURE(expect_rows(context.data(), whole, at, count));
    at += count;
  }
  EXPECT_GT(cache.first(), 0);
}

}  // namespace
}  // namespace prune
