// Dense weights where they lie, against a product in double precision.
#include "kernels/sparse/plain/plain.h"

#include <string_view>

#include <gtest/gtest.h>

#include "kernels/sparse/plain/kernel.h"
#include "test/kernels/packing.h"

namespace prune::kernels {
namespace {

struct KernelLine {
  const PlainKernel* kernel;
  uint32_t needs;
};

constexpr KernelLine kKernels[] = {
#define PRUNE_PLAIN_KERNEL(name, needs) {&name, needs},
#include "kernels/sparse/plain/kernels.inc"
#undef PRUNE_PLAIN_KERNEL
};

// Exactly the bytes of W, so that the address sanitizer sees reads past them.
TypedValues values_of(const TestMatrix& m) {
  TypedValues values(m.type);
  for (const float weight : m.weights) values.push(weight);
  return values;
}

// Y [n, rows] and what it must be, within relative * sum |a b|. Rows of Y are 5 further apart than long.
void expect_product(const Plan& plan, const TestMatrix& m, int64_t n, double relative, std::mt19937& rng) {
  SCOPED_TRACE(testing::Message() << plan.kernel_name(n) << " " << m.rows << " x " << m.cols
                                  << ", n = " << n);
  constexpr float kMark = 12345.0F;
  const int64_t ldy = m.rows + 5;
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n * m.cols)), bias(static_cast<size_t>(m.rows));
  std::vector<float> y(static_cast<size_t>(n * ldy), kMark);
  for (float& value : x) value = normal(rng);
  for (float& value : bias) value = normal(rng);
  plan.run({x.data(), m.cols, y.data(), ldy, n, bias.data()});
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < ldy; ++r) {
      const float got = y[size_t(i * ldy + r)];
      if (r >= m.rows) {
        ASSERT_EQ(got, kMark) << "wrote past the row";
        continue;
      }
      double sum = double(bias[size_t(r)]), magnitude = std::abs(sum);
      for (int64_t k = 0; k < m.cols; ++k) {
        const double product = double(m.at(r, k)) * double(x[size_t(i * m.cols + k)]);
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(double(got), sum, relative * magnitude) << "row " << i << ", output " << r;
    }
  }
}

class PlainKernelTest : public testing::TestWithParam<KernelLine> {};

TEST_P(PlainKernelTest, EqualsTheProduct) {
  const auto& [kernel, needs] = GetParam();
  if (!isa::runs_on(needs, isa::supported())) GTEST_SKIP() << "not on this processor";
  std::mt19937 rng(test_seed());
  const double relative = kernel->x_bytes == 2 ? 0x1p-8 : 1e-5;
  for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 31}, {4, 32}, {5, 33}, {8, 100}, {67, 129}}) {
    const TestMatrix m = random_matrix(rows, cols, kernel->type, {.density = 0.9}, rng);
    const TypedValues values = values_of(m);
    const Plan plan = prepare_plain({rows, cols, m.type, values.data(), nullptr}, {.kernel = kernel->name});
    ASSERT_STREQ(plan.kernel_name(1), kernel->name);
    for (const int64_t n : {1, 2, 3, 19}) ASSERT_NO_FATAL_FAILURE(expect_product(plan, m, n, relative, rng));
  }
}

INSTANTIATE_TEST_SUITE_P(All, PlainKernelTest, testing::ValuesIn(kKernels),
                         [](const auto& info) { return std::string(info.param.kernel->name); });

TEST(Plain, WithoutBf16InstructionsInputsAreNotRounded) {
  const float one = 1;
  const PrepareOptions exact{.isa = isa::supported() & ~uint32_t(isa::kAvx512Bf16)};
  const Plan plan = prepare_plain({1, 1, WeightType::kF32, &one, nullptr}, exact);
  const TypedValues values = values_of({1, 1, WeightType::kBf16, {1}, {}});
  const Plan widened = prepare_plain({1, 1, WeightType::kBf16, values.data(), nullptr}, exact);
  const float x = 1.0F + 0x1p-20F;
  for (const Plan* p : {&plan, &widened}) {
    float y = 0;
    p->run({&x, 1, &y, 1, 1});
    EXPECT_EQ(y, x) << p->kernel_name(1);
  }
}

}  // namespace
}  // namespace prune::kernels
