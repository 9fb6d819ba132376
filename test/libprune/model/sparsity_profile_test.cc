#include "libprune/model/sparsity_profile.h"

#include <random>

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

template <class T>
class Profile : public ::testing::Test {
 protected:
  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(Profile, testing::AllTypes);

// Whether no group of M holds more than N that `counts`.
template <class T, class Counts>
bool keeps_to(const Matrix<T>& w, NM nm, Counts counts) {
  if (w.cols() % nm.group != 0) return false;
  for (Index i = 0; i < w.rows(); ++i) {
    for (Index j = 0; j < w.cols(); j += nm.group) {
      int found = 0;
      for (Index k = 0; k < nm.group; ++k) found += counts(w(i, j + k));
      if (found > nm.keep) return false;
    }
  }
  return true;
}

template <class T, class Counts>
std::optional<NM> sparsest(const Matrix<T>& w, Counts counts) {
  for (const NM nm : {NM{1, 8}, NM{1, 4}, NM{2, 8}, NM{2, 4}, NM{4, 8}}) {
    if (keeps_to(w, nm, counts)) return nm;
  }
  return std::nullopt;
}

template <class T>
bool is_stored(const T& value) {
  return testing::bits_of(value) != 0;
}

template <class T>
int64_t count_blocks(const Matrix<T>& w, Block block) {
  int64_t count = 0;
  for (Index top = 0; top < w.rows(); top += block.rows) {
    for (Index left = 0; left < w.cols(); left += block.cols) {
      bool any = false;
      for (Index i = top; i < top + block.rows; ++i) {
        for (Index j = left; j < left + block.cols; ++j) any |= is_stored(w(i, j));
      }
      count += any;
    }
  }
  return count;
}

template <class T>
void expect_profile(const Matrix<T>& w) {
  const auto is_not_zero = [](const T& value) { return testing::value_of(value) != 0; };
  int64_t zeros = 0, stored = 0, nans = 0;
  for (Index i = 0; i < w.size(); ++i) {
    zeros += testing::value_of(w.data()[i]) == 0;
    stored += is_stored(w.data()[i]);
    nans += std::isnan(testing::value_of(w.data()[i]));
  }
  const SparsityProfile found = profile<T>(view(w));
  EXPECT_EQ(found.out, w.rows());
  EXPECT_EQ(found.in, w.cols());
  EXPECT_EQ(found.zeros, zeros);
  EXPECT_EQ(found.stored, stored);
  EXPECT_EQ(found.nans, nans);
  EXPECT_EQ(found.nm, sparsest(w, is_not_zero));
  EXPECT_EQ(found.stored_nm, sparsest(w, is_stored<T>));
  size_t sizes = 0;
  for (const Block block : kBlockCandidates)
    sizes += w.rows() % block.rows == 0 && w.cols() % block.cols == 0;
  EXPECT_EQ(found.blocks.size(), sizes);
  for (const auto& [block, count] : found.blocks)
    EXPECT_EQ(count, count_blocks(w, block)) << to_string(Pattern(block));
}

TYPED_TEST(Profile, CountsEveryPattern) {
  using T = TypeParam;
  for (const auto& [rows, cols] : {std::pair(1, 1), std::pair(3, 7), std::pair(16, 64), std::pair(64, 128),
                                   std::pair(20, 72), std::pair(0, 8), std::pair(4, 0)}) {
    Matrix<T> w = testing::small_weights<T>(rows, cols, this->rng_);
    expect_profile(w);
    for (const NM nm : {NM{1, 8}, NM{1, 4}, NM{2, 8}, NM{2, 4}, NM{4, 8}, NM{3, 4}}) {
      if (cols % nm.group != 0) continue;
      Matrix<T> pruned = w;
      apply(select_magnitude(pruned, nm, 1.0 - double(nm.keep) / nm.group), pruned);
      expect_profile(pruned);
    }
    if (rows % 16 == 0 && cols % 16 == 0) {
      apply(select_magnitude(w, Block{16, 16}, 0.5), w);
      expect_profile(w);
    }
  }
}

TYPED_TEST(Profile, CountsNans) {
  using T = TypeParam;
  Matrix<T> w = testing::small_weights<T>(4, 16, this->rng_);
  w(1, 2) = testing::quiet_nan<T>();
  w(3, 15) = testing::quiet_nan<T>(true);
  EXPECT_EQ(profile<T>(view(w)).nans, 2);
  expect_profile(w);
}

TYPED_TEST(Profile, OneStrayWeightBreaksAPattern) {
  using T = TypeParam;
  Matrix<T> w = detail::zeros<T>(1, 128);
  for (Index j = 0; j < 128; j += 4) w(0, j) = w(0, j + 3) = testing::exactly<T>(1);
  EXPECT_EQ(profile<T>(view(w)).nm, (NM{2, 4}));
  w(0, 126) = testing::exactly<T>(1);
  EXPECT_EQ(profile<T>(view(w)).nm, std::nullopt);
  w(0, 126) = testing::exactly<T>(-0.0);
  EXPECT_EQ(profile<T>(view(w)).nm, (NM{2, 4}));
  EXPECT_EQ(profile<T>(view(w)).stored_nm, std::nullopt);
}

TYPED_TEST(Profile, OtherBlockSizesOnRequest) {
  using T = TypeParam;
  const Matrix<T> w = testing::small_weights<T>(6, 10, this->rng_);
  const Block sizes[] = {{3, 5}, {2, 2}, {4, 4}};
  const SparsityProfile found = profile<T>(view(w), sizes);
  ASSERT_EQ(found.blocks.size(), 2u);
  EXPECT_EQ(found.blocks[0].first, (Block{3, 5}));
  EXPECT_EQ(found.blocks[0].second, count_blocks(w, {3, 5}));
  EXPECT_EQ(found.blocks[1].second, count_blocks(w, {2, 2}));
}

TYPED_TEST(Profile, LikelyPattern) {
  using T = TypeParam;
  const T one = testing::exactly<T>(1), more = testing::exactly<T>(1.5);
  Matrix<T> dense(64, 64);
  dense.setConstant(one);
  const auto likely = [](const Matrix<T>& w) { return profile<T>(view(w)).likely_pattern(); };
  const auto pruned_to = [&](const Pattern& pattern, double sparsity) {
    Matrix<T> w = dense;
    for (Index i = 0; i < w.size(); ++i) w.data()[i] = this->rng_() % 2 ? one : more;
    apply(select_magnitude(w, pattern, sparsity), w);
    return w;
  };
  EXPECT_EQ(likely(dense), Pattern(Unstructured{}));
  EXPECT_EQ(likely(pruned_to(NM{2, 4}, 0.5)), Pattern(NM{2, 4}));
  EXPECT_EQ(likely(pruned_to(NM{1, 4}, 0.75)), Pattern(NM{1, 4}));
  EXPECT_EQ(likely(pruned_to(NM{4, 8}, 0.5)), Pattern(NM{4, 8}));
  EXPECT_EQ(likely(pruned_to(Block{16, 16}, 0.5)), Pattern(Block{16, 16}));
  EXPECT_EQ(likely(pruned_to(Block{8, 8}, 0.5)), Pattern(Block{8, 8}));
  EXPECT_EQ(likely(pruned_to(Unstructured{}, 0.3)), Pattern(Unstructured{}));
  Matrix<T> one_zero = dense;
  one_zero(3, 3) = testing::exactly<T>(0);
  EXPECT_EQ(likely(one_zero), Pattern(Unstructured{}));
  one_zero(3, 3) = testing::exactly<T>(-0.0);
  EXPECT_EQ(likely(one_zero), Pattern(Unstructured{}));
}

}  // namespace
}  // namespace prune
