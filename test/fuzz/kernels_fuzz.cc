// Any weights in any packed format: the kernels of every instruction set compute what the generic ones do.
#include <cmath>
#include <cstdint>
#include <cstdlib>
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

// A shape, a type, a share of weights that stay and a seed.
struct Choice {
  TestMatrix weights;
  int64_t n;
};

Choice choose(Bytes& bytes, const Sparsity& s) {
  const auto type = static_cast<WeightType>(bytes.next() % 4);
  const int64_t rows = (1 + bytes.next() % 40 / s.block_rows) * s.block_rows;
  const int64_t step = s.group > 0 ? s.group : s.block_cols;
  const int64_t cols = (1 + (bytes.next() + 256 * (bytes.next() % 2)) / step) * step;
  const int64_t n = 1 + bytes.next() % 40;
  std::mt19937 rng(bytes.next() + 256 * bytes.next());
  return {random_matrix(rows, cols, type, s, rng), n};
}

// One product, or an empty vector where the instruction set is not there.
template <class View>
std::vector<float> run(const View& view, const std::vector<float>& x, int64_t n, uint32_t isa,
                       bool in_place) {
  if (!isa::runs_on(isa, isa::detected())) return {};
  std::vector<float> y(static_cast<size_t>(n * view.rows), std::nanf(""));
  prepare(view, {.isa = isa, .in_place = in_place}).run({x.data(), view.cols, y.data(), view.rows, n});
  return y;
}

template <class View>
void compare(const Choice& choice, const View& view, bool in_place = false) {
  const TestMatrix& m = choice.weights;
  std::mt19937 rng(static_cast<uint32_t>(choice.n));
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(choice.n * m.cols));
  for (float& value : x) value = normal(rng);
  const std::vector<float> wanted = run(view, x, choice.n, isa::kGeneric, false);
  for (const uint32_t isa :
       {uint32_t{isa::kAvx2}, isa::kAvx2 | isa::kAvx512, isa::kAvx2 | isa::kAvx512 | isa::kAvx512Bf16}) {
    const std::vector<float> got = run(view, x, choice.n, isa, in_place);
    const double relative = isa::runs_on(isa::kAvx512Bf16, isa) ? 0x1p-8 : 1e-5;
    for (size_t at = 0; at < got.size(); ++at) {
      const int64_t i = static_cast<int64_t>(at) / m.rows, r = static_cast<int64_t>(at) % m.rows;
      double magnitude = 0;
      for (int64_t k = 0; k < m.cols; ++k) magnitude += std::abs(double{m.at(r, k)} * x[i * m.cols + k]);
      if (!m.scales.empty()) magnitude *= m.scales[r];
      if (!(std::abs(double{got[at]} - wanted[at]) <= relative * magnitude + 1e-30)) std::abort();
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
    const Choice choice = choose(bytes, {.density = density});
    if (format == 1) compare(choice, PackedBitmask(choice.weights).view);
    if (format == 2) compare(choice, PackedCsr(choice.weights).view);
    if (format == 4) compare(choice, PackedWindows(choice.weights, 1 + choice.n % 4).view, true);
  }
  return 0;
}
