// Every kernel that an ARM64 processor has against sums in double precision, at few sizes, as emulators are
// slow. Prints what is wrong; exits with the number of products that are.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/sparse/plain/plain.h"
#include "kernels/sparse/plan.h"
#include "test/kernels/kernel_lists.h"
#include "test/kernels/packing.h"

namespace prune::kernels {
namespace {

std::mt19937 rng(1);
int failures = 0, products = 0;

bool contains(const char* text, const char* part) { return std::strstr(text, part) != nullptr; }

// Row lists and tiles of blocks take every type, the others that of their name.
std::vector<WeightType> types_of(const char* kernel) {
  if (contains(kernel, "row_lists") || contains(kernel, "bsr_tile"))
    return {WeightType::kF32, WeightType::kBf16, WeightType::kI8};
  return {contains(kernel, "_bf16_")  ? WeightType::kBf16
          : contains(kernel, "_i8_")  ? WeightType::kI8
          : contains(kernel, "_f16_") ? WeightType::kF16
                                      : WeightType::kF32};
}

void fail(const char* kernel, const TestMatrix& m, int64_t n, const char* what) {
  ++failures;
  std::printf("%s, %ld x %ld, n = %ld: %s\n", kernel, static_cast<long>(m.rows), static_cast<long>(m.cols),
              static_cast<long>(n), what);
}

// X and Y a little off alignment and with gaps, which Y must keep.
void check(const Plan& plan, const char* kernel, const TestMatrix& m, int64_t n) {
  constexpr float kMark = 12345;
  const int64_t ldx = m.cols + 3, ldy = m.rows + 5;
  std::vector<float> x(1 + n * ldx), y(1 + n * ldy, kMark), bias(m.rows);
  std::normal_distribution<float> normal;
  for (float& value : x) value = normal(rng);
  for (float& value : bias) value = normal(rng);
  if (std::string(plan.kernel_name(n)) != kernel) return fail(kernel, m, n, plan.kernel_name(n));
  plan.run({x.data() + 1, ldx, y.data() + 1, ldy, n, bias.data()});
  ++products;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < m.rows; ++r) {
      double sum = bias[r], size = std::abs(bias[r]);
      for (int64_t k = 0; k < m.cols; ++k) {
        const double product = double{m.scale(r, k)} * m.at(r, k) * x[1 + i * ldx + k];
        sum += product;
        size += std::abs(product);
      }
      // Not a number is no closer.
      if (!(std::abs(y[1 + i * ldy + r] - sum) <= 1e-5 * size)) return fail(kernel, m, n, "wrong sum");
    }
    for (int64_t r = m.rows; r < ldy && (i + 1 < n || r + 1 < ldy); ++r) {
      if (y[1 + i * ldy + r] != kMark) return fail(kernel, m, n, "wrote past a row");
    }
  }
}

template <class Packed>
void check_all(const KernelLine& kernel, const TestMatrix& m, const Packed& packed) {
  PrepareOptions options;
  options.kernel = kernel.name;
  const Plan plan = prepare(packed.view, options);
  for (const int64_t n : {1, 2, 3, 7, 33, 50}) check(plan, kernel.name, m, n);
}

template <class Kernels, class Check>
void for_every(const Kernels& kernels, Check check_type) {
  for (const KernelLine& kernel : kernels) {
    if (!isa::runs_on(kernel.needs, isa::supported())) continue;
    for (const WeightType type : types_of(kernel.name)) check_type(kernel, type);
  }
}

void check_unstructured() {
  for_every(kNm24Kernels, [](const KernelLine& kernel, WeightType type) {
    for (const auto& [rows, cols] : {std::pair{1, 4}, {18, 60}, {5, 1100}}) {
      const TestMatrix m = random_matrix(rows, cols, type, {.keep = 2, .group = 4}, rng);
      check_all(kernel, m, PackedNm(m, 2, 4));
    }
  });
  for (const double density : {0.0, 0.4, 1.0}) {
    for_every(kBitmaskKernels, [&](const KernelLine& kernel, WeightType type) {
      const TestMatrix m = random_matrix(18, 101, type, {.density = density}, rng);
      check_all(kernel, m, PackedBitmask(m));
    });
    for_every(kRowListsKernels, [&](const KernelLine& kernel, WeightType type) {
      const TestMatrix m = random_matrix(131, 301, type, {.density = density}, rng);
      check_all(kernel, m, PackedCsr(m));
    });
  }
}

void check_blocks_and_dense() {
  for_every(kBsrKernels, [](const KernelLine& kernel, WeightType type) {
    for (const auto& [rows, cols] : {std::pair{4, 1}, {16, 16}, {8, 7}}) {
      if (contains(kernel.name, "tile8") && rows % 8 != 0) continue;
      const TestMatrix m = random_matrix(rows * (1 + 70 / rows), cols * 9, type,
                                         {.density = 0.4, .block_rows = rows, .block_cols = cols}, rng);
      check_all(kernel, m, PackedBsr(m, rows, cols));
    }
  });
  for_every(kGemvKernels, [](const KernelLine& kernel, WeightType type) {
    const TestMatrix m = random_matrix(19, 101, type, {.density = 0.9}, rng);
    check_all(kernel, m, PackedDense(m));
  });
  for_every(kPlainKernels, [](const KernelLine& kernel, WeightType type) {
    const TestMatrix m = random_matrix(19, 101, type, {.density = 0.9}, rng);
    PrepareOptions options;
    options.kernel = kernel.name;
    const PackedDense packed(m);
    for (const int64_t n : {1, 3, 8}) check(prepare_plain(packed.view, options), kernel.name, m, n);
  });
}

}  // namespace
}  // namespace prune::kernels

int main() {
  using namespace prune::kernels;
  check_unstructured();
  check_blocks_and_dense();
  std::printf("%s: %d products, %d wrong\n", isa::level_name(isa::supported()), products, failures);
  return failures == 0 && products > 0 ? 0 : 1;
}
