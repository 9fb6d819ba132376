// Both kernels against softmax attention in double precision.
#include "libprune/model/cuda/attention.h"

#include <algorithm>
#include <optional>

#include "test/libprune/model/cuda/device.h"

namespace prune::gpu {
namespace {

using testing::kBf16;
using testing::normal_bf16;
using testing::normal_floats;
using testing::to_host;

struct Heads {
  int heads, kv_heads, dim, window;
  int half = 0;             // that turn
  bool has_extras = false;  // norms and a bias
};

// Random queries, keys and values of sequences with room for 300, 70, 90 and 64 tokens.
class Attention : public testing::OnDevice {
 protected:
  static constexpr int kRows = 200;
  static constexpr int kRoom = 524;

  void make(const Heads& h) {
    heads_ = h;
    qkv_ = normal_bf16(size_t(kRows * width()), 1);
    keys_ = normal_bf16(size_t(kRoom * h.kv_heads * h.dim), 2);
    values_ = normal_bf16(size_t(kRoom * h.kv_heads * h.dim), 3);
    qkv_there_ = DeviceArray<Bf16>(qkv_);
    keys_there_ = DeviceArray<Bf16>(keys_);
    values_there_ = DeviceArray<Bf16>(values_);
    queries_.clear();
    for (const Bf16 q : qkv_) queries_.push_back(double(float(q)));
    context_ = DeviceArray<Bf16>(std::vector<Bf16>(size_t(kRows * h.heads * h.dim), Bf16(-77.0F)));
  }
  int width() const { return (heads_.heads + 2 * heads_.kv_heads) * heads_.dim; }

  AttentionCall call() const {
    return {.qkv = qkv_there_.get(),
            .cache = {keys_there_.get(), values_there_.get()},
            .context = context_.get(),
            .heads = heads_.heads,
            .kv_heads = heads_.kv_heads,
            .head_dim = heads_.dim,
            .scale = 0.2F,
            .window = heads_.window};
  }

  // Probabilities may be rounded to bfloat16, and so is what comes out: 2^-8 of sum_j p_j |v_j| each, and
  // single precision of exponents with scores up to a hundred beside that.
  void check(int row, const TokenPlace& place, const std::vector<Bf16>& got) const {
    const int dim = heads_.dim;
    const int low = heads_.window > 0 ? std::max(0, place.position - heads_.window + 1) : 0;
    for (int h = 0; h < heads_.heads; ++h) {
      const int kv = h / (heads_.heads / heads_.kv_heads);
      const size_t pool = size_t((place.begin * heads_.kv_heads + kv * place.capacity) * dim);
      std::vector<double> scores;
      for (int j = low; j <= place.position; ++j) {
        double s = 0;
        for (int i = 0; i < dim; ++i) {
          s += queries_[size_t(row * width() + h * dim + i)] *
               double(float(keys_[pool + size_t(j * dim + i)]));
        }
        scores.push_back(double(0.2F) * s);
      }
      const double most = *std::ranges::max_element(scores);
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s - most);
      for (int i = 0; i < dim; ++i) {
        double expected = 0, size = 0;
        for (int j = low; j <= place.position; ++j) {
          const double v = double(float(values_[pool + size_t(j * dim + i)]));
          expected += scores[size_t(j - low)] / sum * v;
          size += scores[size_t(j - low)] / sum * std::abs(v);
        }
        ASSERT_NEAR(float(got[size_t((row * heads_.heads + h) * dim + i)]), expected,
                    (2 * kBf16 + 2e-5) * size)
            << heads_.heads << " heads of " << dim << ", row " << row << ", head " << h << ", " << i;
      }
    }
  }

  Heads heads_{};
  std::vector<Bf16> qkv_, keys_, values_;
  std::vector<double> queries_;  // in the places of qkv_
  DeviceArray<Bf16> qkv_there_, keys_there_, values_there_, context_;
};

const Heads kHeads[] = {{4, 2, 64, 0}, {8, 1, 128, 0}, {3, 3, 16, 0},
                        {7, 1, 40, 0}, {8, 2, 64, 50}, {2, 1, 96, 1}};

// Queries and the tokens' own keys and values come out of qkv, normed and turned on the way.
class SingleTokens : public Attention {
 protected:
  void make_single(const Heads& h) {
    make(h);
    angles_.emplace(300, h.half);
    bias_ = normal_floats(size_t(width()), 4);
    q_norm_ = normal_floats(size_t(h.dim), 5);
    k_norm_ = normal_floats(size_t(h.dim), 6);
    for (size_t row = 0; row < places_.size(); ++row) {
      for (int head = 0; head < h.heads + 2 * h.kv_heads; ++head) place(int(row), head);
    }
  }

  // The head as it will be: a query, or an element of the cache.
  void place(int row, int head) {
    const Heads& h = heads_;
    const TokenPlace& at = places_[size_t(row)];
    const bool is_query = head < h.heads, is_value = head >= h.heads + h.kv_heads;
    const float* norm = !h.has_extras || is_value ? nullptr : is_query ? q_norm_.data() : k_norm_.data();
    const auto turn = size_t(at.position * h.half);
    const std::vector<double> v =
        testing::placed_head(qkv_.data() + row * width() + head * h.dim, h.dim,
                             h.has_extras ? bias_.data() + head * h.dim : nullptr, norm, 1e-6,
                             angles_->cos.data() + turn, angles_->sin.data() + turn, is_value ? 0 : h.half);
    const int kv = (head - h.heads) % h.kv_heads;
    for (int i = 0; i < h.dim; ++i) {
      const Bf16 rounded(float(v[size_t(i)]));
      if (is_query) {  // in a kernel of its own they are rounded
        queries_[size_t(row * width() + head * h.dim + i)] =
            h.half % 8 == 0 ? v[size_t(i)] : double(float(rounded));
      } else {
        (is_value ? values_
                  : keys_)[size_t((at.begin * h.kv_heads + kv * at.capacity + at.position) * h.dim + i)] =
            rounded;
      }
    }
  }

  void expect_cache(const DeviceArray<Bf16>& there, const std::vector<Bf16>& expected) const {
    const std::vector<Bf16> got = to_host(there);
    for (size_t i = 0; i < got.size(); ++i)
      testing::expect_rounded(float(got[i]), float(expected[i]), "cache", i);
  }

  const std::vector<TokenPlace> places_{{0, 300, 299}, {300, 70, 0}, {370, 90, 69}, {460, 64, 63}};
  std::optional<testing::Angles> angles_;
  std::vector<float> bias_, q_norm_, k_norm_;
};

TEST_F(SingleTokens, Attend) {
  std::vector<Heads> cases(std::begin(kHeads), std::end(kHeads));
  for (const Heads& turned : {Heads{8, 2, 64, 0, 32, true},
                              {4, 1, 128, 7, 64, false},
                              {6, 2, 96, 0, 24, true},
                              {2, 2, 40, 0, 20, true}})
    cases.push_back(turned);
  for (const Heads& h : cases) {
    SCOPED_TRACE(h.half);
    make_single(h);
    const int n = int(places_.size());
    const DeviceArray<TokenPlace> there(places_);
    const DeviceArray<float> bias(bias_), q_norm(q_norm_), k_norm(k_norm_), cos(angles_->cos),
        sin(angles_->sin);
    for (const int splits : {1, 2, 8}) {
      if (splits > decode_splits(call(), 1, 1 << 20, 132)) continue;
      std::vector<float> first;
      for (int again = 0; again < 2; ++again) {  // equal bits
        const DeviceArray<Bf16> qkv(qkv_);       // where heads are placed first, queries go back to it
        AttentionCall attention = call();
        attention.qkv = qkv.get();
        const HeadsCall heads{.qkv = qkv.get(),
                              .bias = h.has_extras ? bias.get() : nullptr,
                              .q_norm = h.has_extras ? q_norm.get() : nullptr,
                              .k_norm = h.has_extras ? k_norm.get() : nullptr,
                              .epsilon = 1e-6F,
                              .cos = cos.get(),
                              .sin = sin.get(),
                              .half = h.half,
                              .heads = h.heads,
                              .kv_heads = h.kv_heads,
                              .head_dim = h.dim,
                              .places = there.get(),
                              .cache = attention.cache};
        attend_decoding(attention, heads, n, splits, stream_->get());
        stream_->wait();
        const std::vector<Bf16> got = to_host(context_);
        for (size_t i = 0; i < places_.size(); ++i) check(int(i), places_[i], got);
        expect_cache(keys_there_, keys_);
        expect_cache(values_there_, values_);
        EXPECT_EQ(float(got[places_.size() * size_t(h.heads * h.dim)]), -77.0F);
        std::vector<float> floats;
        for (const Bf16 v : got) floats.push_back(float(v));
        EXPECT_TRUE(again == 0 || floats == first);
        first = floats;
      }
    }
  }
}

TEST_F(Attention, OfManyTokens) {
  for (const Heads& heads : kHeads) {
    make(heads);
    // A sequence's positions 131 to 260, and another's from its begin.
    std::vector<QueryTile> tiles;
    std::vector<TokenPlace> places;
    for (const auto& [begin, count] :
         {std::pair{TokenPlace{0, 300, 131}, 130}, {TokenPlace{300, 70, 0}, 70}}) {
      for (int i = 0; i < count; ++i) {
        TokenPlace place = begin;
        place.position += i;
        if (i % kQueryTile == 0)
          tiles.push_back({place, int32_t(places.size()), std::min(kQueryTile, count - i)});
        places.push_back(place);
      }
    }
    const DeviceArray<QueryTile> there(tiles);
    attend_prefilling(call(), there.get(), int(tiles.size()), stream_->get());
    stream_->wait();
    const std::vector<Bf16> got = to_host(context_);
    for (size_t i = 0; i < places.size(); ++i) check(int(i), places[i], got);
  }
}

}  // namespace
}  // namespace prune::gpu
