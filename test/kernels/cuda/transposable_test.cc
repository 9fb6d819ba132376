// Transposable masks against a search of all 90 choices in double precision.
#include "kernels/sparse/cuda/transposable.h"

#include <algorithm>

#include "kernels/sparse/cuda/pack24.h"
#include "test/kernels/cuda/check.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

std::vector<uint32_t> all_choices() {
  std::vector<uint32_t> choices;
  for (uint32_t mask = 0; mask < 1u << 16; ++mask) {
    bool good = true;
    for (int i = 0; i < 4; ++i) {
      good &= std::popcount(mask >> (4 * i) & 0xf) == 2;
      good &= std::popcount(mask >> i & 0x1111) == 2;
    }
    if (good) choices.push_back(mask);
  }
  return choices;
}

struct Tile {
  uint32_t mask;
  double kept;
  double best;
};

template <class T>
struct Masked {
  int rows, cols, stride;
  std::vector<uint16_t> weights, pruned;
  std::vector<uint8_t> bits;

  bool kept(int r, int c) const { return bits[size_t(r) * (cols / 8) + c / 8] >> (c % 8) & 1; }
  Tile tile(int row, int col, const std::vector<uint32_t>& choices) const {
    Tile t{0, 0, 0};
    double w[16];
    for (int i = 0; i < 16; ++i) {
      const int r = row + i / 4, c = col + i % 4;
      w[i] = std::fabs(to_double<T>(weights[size_t(r) * stride + c]));
      if (!kept(r, c)) continue;
      t.mask |= 1u << i;
      t.kept += w[i];
    }
    for (const uint32_t choice : choices) {
      double sum = 0;
      for (int i = 0; i < 16; ++i) sum += choice >> i & 1 ? w[i] : 0;
      t.best = std::max(t.best, sum);
    }
    return t;
  }
};

template <class T>
Masked<T> masked(int rows, int cols, const std::vector<uint16_t>& weights, int stride) {
  const Element element = __is_same(T, __half) ? Element::kF16 : Element::kBf16;
  const DeviceArray<uint16_t> from(weights);
  DeviceArray<uint16_t> pruned(weights.size());
  DeviceArray<uint8_t> bits(size_t(rows) * (cols / 8));
  bits.fill_bytes(0xff), pruned.fill_bytes(0xa5);
  const Status status =
      transposable_mask(element, rows, cols, from.get(), stride, bits.get(), pruned.get(), nullptr);
  check(status.ok(), std::string("transposable_mask: ") + describe(status));
  Masked<T> m{rows, cols, stride, weights, pruned.host(), bits.host()};
  // Again, without the weights, and in place.
  DeviceArray<uint8_t> again(m.bits.size());
  check(transposable_mask(element, rows, cols, from.get(), stride, again.get(), nullptr, nullptr).ok(),
        "mask alone");
  check(again.host() == m.bits, "a second run differs");
  check(transposable_mask(element, rows, cols, from.get(), stride, again.get(), from.get(), nullptr).ok(),
        "in place");
  bool same = true;
  const std::vector<uint16_t> in_place = from.host();
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c)
      same &= in_place[size_t(r) * stride + c] == m.pruned[size_t(r) * stride + c];
  check(same, "pruning in place differs");
  return m;
}

// Both the pruned matrix and its transpose have groups of at most two.
template <class T>
void packs_both_ways(const Masked<T>& m) {
  if (m.cols % 64 != 0 || m.rows % 64 != 0) return;
  for (const bool transpose : {false, true}) {
    const int rows = transpose ? m.cols : m.rows, cols = transpose ? m.rows : m.cols;
    std::vector<uint16_t> dense(size_t(rows) * cols);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < cols; ++c)
        dense[size_t(r) * cols + c] =
            transpose ? m.pruned[size_t(c) * m.stride + r] : m.pruned[size_t(r) * m.stride + c];
    const DeviceArray<uint16_t> from(dense);
    DeviceArray<uint8_t> stream(stream_bytes24(Weight24::k16, rows, cols));
    DeviceArray<uint64_t> refused(1);
    check(pack24_dense(Choose24::kExact, rows, cols, from.get(), cols, stream.get(), refused.get(), nullptr)
              .ok(),
          "pack24_dense");
    check(refused.host()[0] == ~uint64_t(0),
          transpose ? "the transpose is not 2:4" : "the matrix is not 2:4");
  }
}

template <class T>
void mask_is_best(int rows, int cols, bool coarse, Random& random) {
  const int stride = cols + 4;
  std::vector<uint16_t> weights(size_t(rows) * stride, 0xa5a5);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      const double w = random.uniform();
      weights[size_t(r) * stride + c] = bits_of(from_double<T>(coarse ? std::round(2 * w) : w));
    }
  }
  const Masked<T> m = masked<T>(rows, cols, weights, stride);
  const std::vector<uint32_t> choices = all_choices();
  check(choices.size() == 90, "there are 90 choices");
  int illegal = 0, worse = 0, changed = 0;
  for (int row = 0; row < rows; row += 4) {
    for (int col = 0; col < cols; col += 4) {
      const Tile t = m.tile(row, col, choices);
      illegal += std::find(choices.begin(), choices.end(), t.mask) == choices.end();
      worse += t.kept < t.best * (1 - 1e-6);
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < stride; ++c) {
      const size_t at = size_t(r) * stride + c;
      changed += m.pruned[at] != (c >= cols ? 0xa5a5 : m.kept(r, c) ? weights[at] : 0);
    }
  }
  const std::string label = std::to_string(rows) + "x" + std::to_string(cols);
  check(illegal == 0, label + ": " + std::to_string(illegal) + " tiles are not 2:4 both ways");
  check(worse == 0, label + ": " + std::to_string(worse) + " tiles are not the best");
  check(changed == 0, label + ": " + std::to_string(changed) + " pruned weights are wrong");
  packs_both_ways(m);
}

// NaN and infinity stay, two a row and column.
template <class T>
void special_values() {
  std::vector<uint16_t> weights(4 * 8, bits_of(from_double<T>(0.5)));
  for (int i = 0; i < 4; ++i) weights[size_t(i) * 8 + i] = bits_of(from_double<T>(i % 2 ? NAN : -INFINITY));
  const Masked<T> m = masked<T>(4, 8, weights, 8);
  for (int i = 0; i < 4; ++i) check(m.kept(i, i), "a NaN or an infinity is pruned");
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 12);
  uint8_t* p = bytes.get();
  check(transposable_mask(Element::kBf16, 6, 8, p, 8, p, nullptr, nullptr).reason == Reason::kShape,
        "6 rows are refused");
  check(transposable_mask(Element::kBf16, 4, 12, p, 12, p, nullptr, nullptr).reason == Reason::kShape,
        "12 columns are refused");
  check(transposable_mask(Element::kBf16, 4, 8, p + 2, 8, p, nullptr, nullptr).reason == Reason::kAlignment,
        "misaligned weights are refused");
}

template <class T>
void all(Random& random, bool quick) {
  mask_is_best<T>(4, 8, false, random);
  mask_is_best<T>(68, 72, false, random);
  mask_is_best<T>(128, 192, true, random);  // many equal magnitudes and zeros
  if (!quick) mask_is_best<T>(1024, 1032, false, random);
  special_values<T>();
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  return run_test("transposable_test", 31, argc, argv, [](Random& random, bool quick) {
    all<__nv_bfloat16>(random, quick);
    all<__half>(random, quick);
    refusals();
  });
}
