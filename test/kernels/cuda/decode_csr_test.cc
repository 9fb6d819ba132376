// CSR decode against sums in double precision, and its packing bit for bit.
#include "kernels/sparse/spmm_csr/decode_csr.h"

#include "test/kernels/cuda/sparse_rows.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

struct DeviceCsr {
  DeviceArray<uint8_t> values, columns;
  DeviceArray<uint32_t> starts;
  MatrixCsr matrix;

  explicit DeviceCsr(const SparseRows& m)
      : values(csr_vector_bytes(m.rows, int64_t(m.values.size()))),
        columns(values.size()),
        starts(size_t(m.rows) + 1),
        matrix{m.rows, m.cols, starts.get(), values.get(), columns.get()} {
    const DeviceArray<uint16_t> neutral(m.values);
    const DeviceArray<int32_t> indices(m.columns);
    const DeviceArray<int64_t> indptr(m.offsets);
    values.fill_bytes(0xff), columns.fill_bytes(0xff), starts.fill_bytes(0xff);
    check(pack_csr({neutral.get(), indices.get(), indptr.get()}, matrix, nullptr).ok(), "pack_csr");
    unpacks_to(m, [&](const auto& to) { return unpack_csr(matrix, to, nullptr); });
  }
};

template <class T>
void all_shapes(Random& random, bool quick) {
  struct Shape {
    int rows, cols;
  };
  // 50,000 columns leave room for two tokens a block; of 140,000 rows a warp has more than it knows at once.
  const std::vector<Shape> shapes =
      quick ? std::vector<Shape>{{40, 258}, {300, 1030}}
            : std::vector<Shape>{{1, 2},       {16, 126},   {131, 258},  {5000, 1030},
                                 {300, 14338}, {33, 50000}, {140000, 34}};
  for (const Shape& shape : shapes) {
    for (const double density : {0.0, 0.01, 0.1, 0.5}) {
      const SparseRows m = random_rows<T>(shape.rows, shape.cols, density, random);
      const DeviceCsr packed(m);
      for (const int tokens : quick ? std::vector<int>{1, 5} : std::vector<int>{1, 2, 3, 7, 8, 16}) {
        product_is_right<T>(m, Absent::kSkipped, tokens, tokens == 7 || tokens == 1, random,
                            [&](const ProductCall& call) { return decode_csr(packed.matrix, call); });
      }
    }
  }
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 18);
  const MatrixCsr m{64, 64, nullptr, bytes.get(), bytes.get()};
  const ProductCall call{Element::kBf16, 1, bytes.get(), 64, bytes.get(), 64, false, nullptr};
  MatrixCsr odd = m, wide = m;
  odd.cols = 63, wide.cols = 65536;
  ProductCall many = call, misaligned = call, wide_call = call;
  many.tokens = 17, misaligned.x = bytes.get() + 2, wide_call.x_stride = 65536;
  check(decode_csr(odd, call).reason == Reason::kShape, "63 columns are refused");
  check(decode_csr(wide, wide_call).reason == Reason::kShape, "65536 columns are refused");
  check(decode_csr(m, many).reason == Reason::kShape, "17 tokens are refused");
  check(decode_csr(m, misaligned).reason == Reason::kAlignment, "a misaligned x is refused");
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  return run_test("decode_csr_test", 23, argc, argv, [](Random& random, bool quick) {
    all_shapes<__nv_bfloat16>(random, quick);
    all_shapes<__half>(random, quick);
    refusals();
  });
}
