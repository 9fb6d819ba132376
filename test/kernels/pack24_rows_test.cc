// 2:4 packed by every instruction set against prune::pack_nm(), which a test of its own sets against the
// definition of the format.
#include "kernels/sparse/pack24/pack24.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <prune/prune.h>

#include "kernels/sparse/pack24/kernel.h"
#include "libprune/model/pack24.h"
#include "test/kernels/fenced_bytes.h"

namespace prune::kernels {
namespace {

std::vector<const Pack24*> implementations() {
  std::vector<const Pack24*> list;
#define PRUNE_PACK24_KERNEL(name, needs) \
  if (isa::runs_on(needs, isa::supported())) list.push_back(&name);
#include "kernels/sparse/pack24/kernels.inc"
#undef PRUNE_PACK24_KERNEL
  return list;
}

template <class T>
class Pack24Test : public ::testing::Test {
 protected:
  using Bits = std::make_unsigned_t<KeyOf<T>>;
  static constexpr Bits kNegativeZero = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));

  static bool run(const Pack24& kernel, const void* row, int64_t cols, void* values, uint8_t* indices) {
    return (sizeof(T) == 4 ? kernel.floats : kernel.halves)(row, cols, values, indices);
  }

  // By every kernel, all three arrays at both ends of their pages.
  void expect_packed(const std::vector<Bits>& row) {
    const auto cols = static_cast<int64_t>(row.size());
    Matrix<T> weights(1, cols);
    std::memcpy(static_cast<void*>(weights.data()), row.data(), row.size() * sizeof(T));
    const NmPacked<T> wanted = pack_nm(weights, NM{2, 4});
    const size_t row_bytes = row.size() * sizeof(T), indices_bytes = wanted.indices.size();
    for (const Pack24* kernel : implementations()) {
      for (const bool at_end : {false, true}) {
        std::byte* from = at_end ? page_.last(row_bytes) : page_.first() + 1;
        std::byte* values = at_end ? values_.last(row_bytes / 2) : values_.first();
        std::byte* indices = at_end ? indices_.last(indices_bytes) : indices_.first();
        std::memcpy(from, row.data(), row_bytes);
        std::memset(values, 0xa5, row_bytes / 2);
        std::memset(indices, 0xa5, indices_bytes);
        ASSERT_TRUE(run(*kernel, from, cols, values, reinterpret_cast<uint8_t*>(indices))) << kernel->name;
        ASSERT_EQ(std::memcmp(values, wanted.values.data(), row_bytes / 2), 0)
            << kernel->name << ", " << cols;
        ASSERT_EQ(std::memcmp(indices, wanted.indices.data(), indices_bytes), 0)
            << kernel->name << ", " << cols;
      }
    }
  }

  // `count` weights of a group of four, each of any bits but zeros; elsewhere -0 or +0.
  void add_group(std::vector<Bits>& row, int count) {
    Bits group[4];
    for (Bits& w : group) w = this->rng_() % 4 == 0 ? kNegativeZero : Bits{0};
    const int first = int(this->rng_() % 4), step = this->rng_() % 2 == 0 ? 1 : 3;
    for (int i = 0; i < count; ++i) {
      Bits any = static_cast<Bits>(this->rng_());
      if ((any & ~kNegativeZero) == 0) any = 1;
      group[(first + step * i) % 4] = any;
    }
    row.insert(row.end(), group, group + 4);
  }

  FencedBytes page_, values_, indices_;
  std::mt19937 rng_{11};
};

using Types = ::testing::Types<float, bf16, f16>;
TYPED_TEST_SUITE(Pack24Test, Types);

TYPED_TEST(Pack24Test, EverySizeOfRow) {
  for (int64_t cols = 4; cols <= 300; cols += 4) {
    std::vector<typename TestFixture::Bits> full, any;
    for (int64_t g = 0; g < cols / 4; ++g) {
      this->add_group(full, 2);
      this->add_group(any, int(this->rng_() % 3));
    }
    this->expect_packed(full);
    this->expect_packed(any);
  }
}

// Every arrangement of a weight, -0 and +0 that 2:4 allows, at every place of a block.
TYPED_TEST(Pack24Test, EveryGroup) {
  using Bits = typename TestFixture::Bits;
  const Bits kinds[] = {0, TestFixture::kNegativeZero, 7};
  std::vector<Bits> row;
  for (unsigned code = 0; code < 81; ++code) {
    const unsigned digits[] = {code % 3, code / 3 % 3, code / 9 % 3, code / 27};
    if (std::count(digits, digits + 4, 2u) > 2) continue;
    for (const unsigned d : digits) row.push_back(kinds[d]);
  }
  for (int place = 0; place < 16; ++place) {
    row.insert(row.begin(), 4, Bits{0});
    this->expect_packed(row);
  }
}

// Three weights or four in any group.
TYPED_TEST(Pack24Test, RefusesAGroupThatIsTooFull) {
  using Bits = typename TestFixture::Bits;
  for (const Pack24* kernel : implementations()) {
    for (size_t group = 0; group < 35; ++group) {
      for (unsigned mask = 0; mask < 16; ++mask) {
        std::vector<Bits> row(140), values(70);
        uint8_t indices[18];
        for (size_t j = 0; j < 4; ++j) row[4 * group + j] = Bits(mask >> j & 1);
        EXPECT_EQ(this->run(*kernel, row.data(), 140, values.data(), indices), std::popcount(mask) <= 2)
            << kernel->name << ", group " << group;
      }
    }
  }
}

// Rows that lie apart, as of a part of a matrix; none; and what does not fit, with the same words.
TYPED_TEST(Pack24Test, IsThatOfTheHeaderForAWholeMatrix) {
  using T = TypeParam;
  Matrix<T> whole = Matrix<float>::Random(7, 96).template cast<T>();
  apply(select_magnitude(whole, NM{2, 4}, 0.5), whole);
  for (const Index rows : {0, 1, 7}) {
    for (const Index cols : {4, 72, 96}) {
      const ConstView<T> part(whole.data(), rows, cols, Eigen::OuterStride<>(96));
      const NmPacked<T> packed = prune::pack24(part), wanted = pack_nm(part, NM{2, 4});
      EXPECT_TRUE(std::ranges::equal(packed.values, wanted.values)) << rows << " x " << cols;
      EXPECT_EQ(packed.indices, wanted.indices) << rows << " x " << cols;
    }
  }
  const auto words = [](const auto& pack) -> std::string {
    try {
      pack();
      return "packed";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const auto expect_same_refusal = [&](const Matrix<T>& w) {
    const std::string wanted = words([&] { pack_nm(w, NM{2, 4}); });
    EXPECT_NE(wanted, "packed");
    EXPECT_EQ(words([&] { prune::pack24(view(std::as_const(w))); }), wanted);
  };
  Matrix<T> full = whole;
  for (Index j = 8; j < 12; ++j) full(5, j) = T(1.0F);
  expect_same_refusal(full);
  expect_same_refusal(Matrix<T>(whole.leftCols(6)));
}

TEST(Pack24Choice, IsTheBestOfTheInstructionSet) {
  EXPECT_EQ(pack24(isa::kGeneric), nullptr);
  for (const Pack24* kernel : implementations()) {
    const bool is_wide = kernel->name == std::string_view("pack24_avx512bf16");
    EXPECT_EQ(pack24(is_wide ? isa::kAvx2 | isa::kAvx512 | isa::kAvx512Bf16 : isa::kAvx2), kernel);
  }
}

}  // namespace
}  // namespace prune::kernels
