// Every kernel, over a grid of sizes, densities and batches.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/sparse/plain/plain.h"
#include "test/kernels/kernel_grid.h"
#include "test/kernels/kernel_test.h"

namespace prune::kernels {
namespace {

class AnyKernelTest : public KernelTest {
 protected:
  // Weights of so many sixteenths of their places; of 2:4, of which as many keep zeros.
  TestMatrix matrix(int sixteenths, int64_t rows, int64_t cols, const Sparsity& unit) {
    Sparsity sparsity = unit;
    sparsity.density = sixteenths / 16.0;
    TestMatrix m = random_matrix(rows, cols, type_, sparsity, rng_);
    if (unit.block_rows > 1 || unit.group > 0) return m;
    // Rows without and with all weights, beside others.
    for (int64_t k = 0; k < cols; ++k) {
      m.weights[k] = 0;
      if (rows > 2) m.weights[2 * cols + k] = k % 2 == 0 ? 1.0F : -3.0F;
    }
    return m;
  }
  static bool named(const char* part) { return contains(GetParam().name, part); }

  // What lies where it is may begin anywhere that its type allows.
  template <class Packed>
  void check_packed(const TestMatrix& m, const Packed& packed, const std::vector<int64_t>& batches) {
    auto view = packed.view;
    const int64_t weight = weight_bytes(view.type);
    const std::vector<char> values = moved(view.values, packed.values.size() * weight, weight);
    std::vector<char> places;
    if (options_.in_place) view.values = values.data() + weight;
    if constexpr (std::is_same_v<Packed, PackedNm>) {
      places = moved(view.indices, static_cast<int64_t>(packed.indices.size()), 1);
      if (options_.in_place) view.indices = reinterpret_cast<const uint8_t*>(places.data() + 1);
    } else if constexpr (std::is_same_v<Packed, PackedBitmask>) {
      places = moved(view.bitmask, static_cast<int64_t>(packed.bitmask.size()), 1);
      if (options_.in_place) view.bitmask = reinterpret_cast<const uint8_t*>(places.data() + 1);
    } else if constexpr (std::is_same_v<Packed, PackedCsr>) {
      places = moved(view.indices, static_cast<int64_t>(packed.indices.size() * sizeof(int32_t)), 4);
      if (options_.in_place) view.indices = reinterpret_cast<const int32_t*>(places.data() + 4);
    }
    ASSERT_NO_FATAL_FAILURE(check_all(m, view, batches));
    ASSERT_NO_FATAL_FAILURE(check_integers(m, view, batches.front()));
  }
  static std::vector<char> moved(const void* from, int64_t bytes, int64_t by) {
    std::vector<char> copy(static_cast<size_t>(bytes + by));
    if (bytes > 0) std::memcpy(copy.data() + by, from, static_cast<size_t>(bytes));
    return copy;
  }

  // rows and cols say about how large.
  void check_size(int sixteenths, int64_t rows, int64_t cols, const std::vector<int64_t>& batches) {
    const std::string name = GetParam().name;
    if (named("bsr")) return check_blocks(sixteenths, rows, cols, batches);
    if (named("nm24")) {
      TestMatrix m = matrix(sixteenths, rows, (cols + 3) / 4 * 4, {.keep = 2, .group = 4});
      return check_sparse24(sixteenths, m, batches);
    }
    const TestMatrix m = matrix(sixteenths, rows, cols, {});
    if (named("bitmask")) return check_packed(m, PackedBitmask(m), batches);
    if (named("windows") && sixteenths % 2 == 0) {
      options_.in_place = true;
      return check_packed(m, PackedWindows(m, sixteenths / 4), batches);
    }
    if (named("gemv")) return check_packed(m, PackedDense(m), batches);
    if (named("plain")) return check_plain(m, batches);
    options_.in_place = options_.in_place && named("csr_");
    check_packed(m, PackedCsr(m), batches);
  }

  void check_blocks(int sixteenths, int64_t rows, int64_t cols, const std::vector<int64_t>& batches) {
    Sparsity unit{.block_rows = strip_rows_of(GetParam().name),
                  .block_cols = std::max(4, inputs_together_in(GetParam().name))};
    if (named("in_place"))
      unit = {.block_rows = 2 + sixteenths % 9 * 2, .block_cols = sixteenths % 2 == 0 ? 16 : 32};
    const TestMatrix m = matrix(sixteenths, (rows / unit.block_rows + 1) * unit.block_rows,
                                (cols / unit.block_cols + 1) * unit.block_cols, unit);
    check_packed(m, PackedBsr(m, unit.block_rows, unit.block_cols), batches);
  }

  void check_sparse24(int sixteenths, TestMatrix& m, const std::vector<int64_t>& batches) {
    PackedNm packed(m, 2, 4);
    packed.values = TypedValues(m.type);
    std::uniform_int_distribution<int> places(0, 15);
    for (float& weight : m.weights) {
      if (weight == 0) continue;
      if (places(rng_) >= sixteenths) weight = 0;
      packed.values.push(weight);
    }
    packed.values.end();
    packed.view.values = packed.values.data();
    check_packed(m, packed, batches);
  }

  void check_plain(const TestMatrix& m, const std::vector<int64_t>& batches) {
    const PackedDense packed(m);
    const Plan plan = prepare_plain(packed.view, options_);
    for (const int64_t n : batches)
      ASSERT_NO_FATAL_FAILURE(check(plan, m, n, bound_of(GetParam().name), rng_));
  }

  WeightType type_ = WeightType::kF32;
};

TEST_P(AnyKernelTest, EveryDensityAndBatch) {
  std::vector<WeightType> types = types_of(GetParam().name);
  // What a kernel takes beside its own type is widened on the way in.
  if (!is_grid_full()) types.resize(1);
  const std::vector<GridPoint> points = kernel_grid();
  for (const WeightType type : types) {
    for (const bool in_place : ways_to_hold()) {
      for (const GridPoint& point : points) {
        type_ = type;
        options_.in_place = in_place;
        SCOPED_TRACE(testing::Message() << point.sixteenths << " of 16 stay");
        ASSERT_NO_FATAL_FAILURE(check_size(point.sixteenths, point.rows, point.cols, point.batches));
      }
    }
  }
}

std::vector<KernelLine> all_kernels() {
  std::vector<KernelLine> all;
  const auto add = [&](const auto& lines) { all.insert(all.end(), std::begin(lines), std::end(lines)); };
  add(kNm24Kernels);
  add(kBitmaskKernels);
  add(kInPlaceKernels);
  add(kStagedKernels);
  add(kCsrKernels);
  add(kGemvKernels);
  add(kWindowsKernels);
  add(kBsrKernels);
  add(kRowListsKernels);
  add(kPatternListsKernels);
  add(kPlainKernels);
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, AnyKernelTest, testing::ValuesIn(all_kernels()), kernel_of);

}  // namespace
}  // namespace prune::kernels
