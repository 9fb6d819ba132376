// Relative-index decode against sums in double precision, and its packing bit for bit.
#include "kernels/sparse/spmm_relative/decode_relative.h"

#include <algorithm>
#include <optional>

#include "test/kernels/cuda/sparse_rows.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

struct DeviceRelative {
  DeviceArray<uint32_t> starts;
  DeviceArray<uint16_t> lengths;
  std::optional<DeviceArray<uint8_t>> values;
  std::optional<DeviceArray<uint32_t>> codes;
  MatrixRelative matrix;

  DeviceRelative(const SparseRows& m, int lists)
      : starts(size_t(m.rows) + 1),
        lengths(size_t(m.rows) * lists),
        matrix{m.rows, m.cols, lists, starts.get(), lengths.get()} {
    const DeviceArray<uint16_t> neutral(m.values);
    const DeviceArray<int32_t> indices(m.columns);
    const DeviceArray<int64_t> indptr(m.offsets);
    const NeutralCsr<const void, const int32_t> from{neutral.get(), indices.get(), indptr.get()};
    starts.fill_bytes(0xff), lengths.fill_bytes(0xff);
    check(count_relative(from, matrix, nullptr).ok(), "count_relative");
    const std::vector<uint32_t> places = starts.host();
    check(std::all_of(places.begin(), places.end(), [](uint32_t at) { return at % kRelativeLine == 0; }),
          "a row begins within a line");
    const uint32_t vectors = places[size_t(m.rows)];
    check(vectors >= m.values.size() / 8, "count_relative counts too few vectors");
    values.emplace(size_t(vectors) * 16), codes.emplace(size_t(vectors));
    values->fill_bytes(0xff), codes->fill_bytes(0xa5);
    matrix.values = values->get(), matrix.codes = codes->get();
    check(pack_relative(from, matrix, nullptr).ok(), "pack_relative");
    unpacks_to(m, [&](const auto& to) { return unpack_relative(matrix, to, nullptr); });
  }
};

template <class T>
void all_shapes(Random& random, bool quick) {
  struct Shape {
    int rows, cols;
  };
  // 50,000 columns leave room for two tokens a block.
  const std::vector<Shape> shapes =
      quick ? std::vector<Shape>{{40, 258}, {300, 1030}}
            : std::vector<Shape>{{1, 2},      {16, 126},    {131, 258}, {5000, 1030},
                                 {3000, 130}, {300, 14338}, {33, 50000}};
  for (const Shape& shape : shapes) {
    for (const double density : {0.0, 0.01, 0.1, 0.2, 0.5, 0.9}) {
      const SparseRows m = random_rows<T>(shape.rows, shape.cols, density, random);
      const DeviceRelative one(m, 1), eight(m, 8);
      for (const int tokens : quick ? std::vector<int>{1, 5} : std::vector<int>{1, 2, 3, 6, 7, 8}) {
        const DeviceRelative& packed = random.below(4) < (tokens > 2 ? 1 : 2) ? one : eight;
        const int lanes = tokens == 2 ? plan_decode_relative(packed.matrix, 132) : 8 << random.below(3);
        product_is_right<T>(
            m, Absent::kSkipped, tokens, tokens == 7 || tokens == 1, random,
            [&](const ProductCall& call) { return decode_relative(packed.matrix, lanes, call); });
      }
    }
  }
}

void columns_of_bitmasks(Random& random) {
  for (const int cols : {8, 264, 1032}) {
    const SparseRows m = random_rows<__half>(37, cols, 0.4, random);
    const DeviceArray<uint8_t> bitmask(m.bitmask());
    const DeviceArray<int64_t> offsets(m.offsets);
    DeviceArray<int32_t> indices(m.columns.size());
    indices.fill_bytes(0xff);
    check(list_columns(bitmask.get(), m.rows, cols, offsets.get(), indices.get(), nullptr).ok(),
          "list_columns");
    check(indices.host() == m.columns, "columns of a bitmask differ");
  }
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 18);
  const MatrixRelative m{64, 64, 8, nullptr, nullptr, bytes.get(), nullptr};
  const ProductCall call{Element::kBf16, 1, bytes.get(), 64, bytes.get(), 64, false, nullptr};
  MatrixRelative odd = m, wide = m, few = m;
  odd.cols = 63, wide.cols = 65536, few.lists = 2;
  ProductCall many = call, misaligned = call, wide_call = call;
  many.tokens = 9, misaligned.x = bytes.get() + 2, wide_call.x_stride = 65536;
  check(decode_relative(odd, 32, call).reason == Reason::kShape, "63 columns are refused");
  check(decode_relative(wide, 32, wide_call).reason == Reason::kShape, "65536 columns are refused");
  check(decode_relative(few, 32, call).reason == Reason::kShape, "2 lists a row are refused");
  check(decode_relative(m, 32, many).reason == Reason::kShape, "9 tokens are refused");
  check(decode_relative(m, 32, misaligned).reason == Reason::kAlignment, "a misaligned x is refused");
  check(decode_relative(m, 4, call).reason == Reason::kPlan, "4 lanes a row are refused");
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  return run_test("decode_relative_test", 29, argc, argv, [](Random& random, bool quick) {
    all_shapes<__nv_bfloat16>(random, quick);
    all_shapes<__half>(random, quick);
    columns_of_bitmasks(random);
    refusals();
  });
}
