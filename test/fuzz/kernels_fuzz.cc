// Any weights in any packed format: the kernels of every instruction set compute what the generic ones do.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "kernels/sparse/plan.h"
#include "test/kernels/packing.h"

namespace {

using namespace prune::kernels;

// Bytes of the input, zeros from its end on.
struct Bytes {
  const uint8_t* data;
  size_t left;
  uint32_t next() { return left == 0 ? 0 : (--left, *data++); }
};

// A shape, a type, a share of weights that stay and a seed; whether arrays may be multiplied where they lie,
// and X be rounded to int8.
struct Choice {
  TestMatrix weights;
  int64_t n;
  bool in_place, int8_inputs;
};

Choice choose(Bytes& bytes, const Sparsity& s) {
  const auto type = static_cast<WeightType>(bytes.next() % 4);
  const int64_t rows = (1 + bytes.next() % 40 / s.block_rows) * s.block_rows;
  const int64_t step = s.group > 0 ? s.group : s.block_cols;
  const int64_t cols = (1 + (bytes.next() + 256 * (bytes.next() % 2)) / step) * step;
  const int64_t n = 1 + bytes.next() % 40;
  std::mt19937 rng(bytes.next() + 256 * bytes.next());
  const uint32_t ways = bytes.next();
  return {random_matrix(rows, cols, type, s, rng), n, (ways & 1) != 0, (ways & 2) != 0};
}

// What each element of a row of X may be off by in kernels that round it to whole 127ths of the largest: half
// of one, and a little for the division.
double largest_rounding(const float* x, int64_t cols) {
  double largest = 0;
  for (int64_t k = 0; k < cols; ++k) largest = std::max<double>(largest, std::abs(x[k]));
  return largest / 253;
}

std::vector<float> run(const Plan& plan, const std::vector<float>& x, int64_t n) {
  std::vector<float> y(static_cast<size_t>(n * plan.rows()), std::nanf(""));
  plan.run({x.data(), plan.cols(), y.data(), plan.rows(), n});
  return y;
}

template <class View>
void compare(const Choice& choice, const View& view) {
  const TestMatrix& m = choice.weights;
  std::mt19937 rng(static_cast<uint32_t>(choice.n));
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(choice.n * m.cols));
  for (float& value : x) value = normal(rng);
  const std::vector<float> wanted = run(prepare(view, {.isa = isa::kGeneric}), x, choice.n);
  for (const uint32_t isa :
       {uint32_t{isa::kAvx2}, isa::kAvx2 | isa::kAvx512, isa::kAvx2 | isa::kAvx512 | isa::kAvx512Bf16}) {
    if (!isa::runs_on(isa, isa::detected())) continue;
    const Plan plan =
        prepare(view, {.isa = isa, .in_place = choice.in_place, .int8_inputs = choice.int8_inputs});
    const std::vector<float> got = run(plan, x, choice.n);
    const double relative = isa::runs_on(isa::kAvx512Bf16, isa) ? 0x1p-8 : 1e-5;
    const bool rounds =
        std::string_view(plan.kernel_name(choice.n)).find("_bytes_") != std::string_view::npos;
    for (int64_t i = 0; i < choice.n; ++i) {
      const float* row = x.data() + i * m.cols;
      const double off = rounds ? largest_rounding(row, m.cols) / relative : 0;
      for (int64_t r = 0; r < m.rows; ++r) {
        double magnitude = 0;
        for (int64_t k = 0; k < m.cols; ++k)
          magnitude += std::abs(double{m.at(r, k)}) * (std::abs(double{row[k]}) + off);
        if (!m.scales.empty()) magnitude *= m.scales[r];
        const size_t at = static_cast<size_t>(i * m.rows + r);
        if (!(std::abs(double{got[at]} - wanted[at]) <= relative * magnitude + 1e-30)) std::abort();
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes{data, size};
  const uint32_t format = bytes.next() % 5;
  const double density = bytes.next() / 255.0;
  if (format == 0) {
    constexpr std::pair<int32_t, int32_t> kPatterns[] = {{2, 4}, {1, 4}, {4, 8}, {3, 5}, {31, 32}};
    const auto [keep, group] = kPatterns[bytes.next() % 5];
    const Choice choice = choose(bytes, {.keep = keep, .group = group});
    compare(choice, PackedNm(choice.weights, keep, group).view);
  } else if (format == 3) {
    constexpr std::pair<int32_t, int32_t> kBlocks[] = {{1, 16}, {4, 1},   {4, 4},   {8, 8},  {16, 1},
                                                       {3, 5},  {16, 16}, {32, 32}, {12, 2}, {64, 64}};
    const auto [rows, cols] = kBlocks[bytes.next() % 10];
    const Choice choice = choose(bytes, {.density = density, .block_rows = rows, .block_cols = cols});
    compare(choice, PackedBsr(choice.weights, rows, cols).view);
  } else {
    Choice choice = choose(bytes, {.density = density});
    if (format == 1) compare(choice, PackedBitmask(choice.weights).view);
    if (format == 2) compare(choice, PackedCsr(choice.weights).view);
    choice.in_place |= format == 4;
    if (format == 4) compare(choice, PackedWindows(choice.weights, 1 + choice.n % 4).view);
  }
  return 0;
}
