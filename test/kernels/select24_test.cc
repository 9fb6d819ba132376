// 2:4 masks of every instruction set against prune::select_magnitude(), which tests of its own set against
// sorted magnitudes.
#include "kernels/sparse/select24/select24.h"

#include <cstring>
#include <iterator>
#include <random>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <prune/prune.h>

#include "kernels/sparse/select24/kernel.h"
#include "test/kernels/fenced_bytes.h"

namespace prune::kernels {
namespace {

std::vector<const Select24*> implementations() {
  std::vector<const Select24*> list;
#define PRUNE_SELECT24_KERNEL(name, needs) \
  if (isa::runs_on(needs, isa::supported())) list.push_back(&name);
#include "kernels/sparse/select24/kernels.inc"
#undef PRUNE_SELECT24_KERNEL
  return list;
}

template <class T>
class Select24Test : public ::testing::Test {
 protected:
  using Key = KeyOf<T>;
  using Bits = std::make_unsigned_t<Key>;
  static constexpr Bits kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  static constexpr Key kInfinity = FloatBits<T>::kInfinityKey;

  static uint32_t run(const Select24& kernel, const void* row, int64_t cols, uint64_t* words) {
    return (sizeof(T) == 4 ? kernel.floats : kernel.halves)(row, cols, words);
  }

  // The row at both ends of its page, by every kernel; the word behind the last one must stay.
  void expect_selected(const std::vector<Bits>& row) {
    const auto cols = static_cast<int64_t>(row.size());
    Matrix<T> weights(1, cols);
    std::memcpy(static_cast<void*>(weights.data()), row.data(), row.size() * sizeof(T));
    const Mask expected = select_magnitude(weights, NM{2, 4}, 0.5);
    const auto wanted = expected.row(0);
    Bits largest = 0;
    for (const Bits w : row) largest = std::max(largest, static_cast<Bits>(w & ~kSign));
    for (const Select24* kernel : implementations()) {
      for (std::byte* place : {page_.first(), page_.first() + 1, page_.last(row.size() * sizeof(T))}) {
        std::memcpy(place, row.data(), row.size() * sizeof(T));
        std::vector<uint64_t> words(wanted.size() + 1, kGuard);
        ASSERT_EQ(run(*kernel, place, cols, words.data()), largest) << kernel->name << ", " << cols;
        for (size_t i = 0; i < wanted.size(); ++i)
          ASSERT_EQ(words[i], wanted[i]) << kernel->name << ", " << cols << " columns, word " << i;
        ASSERT_EQ(words.back(), kGuard) << kernel->name;
      }
    }
  }

  static constexpr uint64_t kGuard = 0xa5a5a5a5a5a5a5a5u;
  FencedBytes page_;
  std::mt19937 rng_{11};
};

using Types = ::testing::Types<float, bf16, f16>;
TYPED_TEST_SUITE(Select24Test, Types);

// Finite values of all sizes, and values of few sizes: zeros and subnormals of both signs, neighbours,
// infinity.
TYPED_TEST(Select24Test, EverySizeOfRow) {
  using Bits = typename TestFixture::Bits;
  constexpr auto kInfinity = static_cast<Bits>(TestFixture::kInfinity);
  const Bits few[] = {0, 1, 2, Bits(kInfinity / 2), Bits(kInfinity / 2 + 1), Bits(kInfinity - 1), kInfinity};
  for (int64_t cols = 4; cols <= 300; cols += 4) {
    std::vector<Bits> any(static_cast<size_t>(cols)), ties(any.size());
    for (size_t j = 0; j < any.size(); ++j) {
      const Bits sign = this->rng_() % 2 == 0 ? TestFixture::kSign : Bits{0};
      any[j] = static_cast<Bits>(this->rng_() % (uint64_t{kInfinity} + 1) | sign);
      ties[j] = static_cast<Bits>(few[this->rng_() % std::size(few)] | sign);
    }
    this->expect_selected(any);
    this->expect_selected(ties);
    this->expect_selected(std::vector<Bits>(any.size(), kInfinity));
    this->expect_selected(std::vector<Bits>(any.size(), 0));
  }
}

// All orders and ties that four weights can have, at every place of a block.
TYPED_TEST(Select24Test, EveryOrderOfAGroup) {
  using Bits = typename TestFixture::Bits;
  std::vector<Bits> row;
  for (unsigned code = 0; code < 256; ++code) {
    for (unsigned i = 0; i < 4; ++i) row.push_back(static_cast<Bits>(code >> (2 * i) & 3));
  }
  for (int place = 0; place < 16; ++place) {
    row.insert(row.begin(), 4, Bits{0});
    this->expect_selected(row);
  }
}

// A NaN is never missed, wherever it stands.
TYPED_TEST(Select24Test, TellsOfNaN) {
  using Bits = typename TestFixture::Bits;
  for (const Select24* kernel : implementations()) {
    for (size_t j = 0; j < 140; ++j) {
      for (const Bits nan : {Bits(TestFixture::kInfinity + 1), Bits(~Bits{0})}) {
        std::vector<Bits> row(140, Bits{3});
        row[j] = nan;
        uint64_t words[3];
        EXPECT_EQ(this->run(*kernel, row.data(), 140, words), Bits(nan & ~TestFixture::kSign))
            << kernel->name;
      }
    }
  }
}

TEST(Select24Choice, IsTheBestOfTheInstructionSet) {
  EXPECT_EQ(select24(isa::kGeneric), nullptr);
  for (const Select24* kernel : implementations()) {
    const bool is_wide = kernel->name == std::string_view("select24_avx512");
    EXPECT_EQ(select24(is_wide ? isa::kAvx2 | isa::kAvx512 : isa::kAvx2), kernel);
  }
}

}  // namespace
}  // namespace prune::kernels
