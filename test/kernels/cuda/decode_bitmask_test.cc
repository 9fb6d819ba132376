// Bitmask decode against sums in double precision, and its packing bit for bit.
#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"

#include "test/kernels/cuda/sparse_rows.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

struct DeviceBitmask {
  DeviceArray<uint8_t> masks, values;
  DeviceArray<uint32_t> starts;
  MatrixBitmask matrix;

  explicit DeviceBitmask(const SparseRows& m)
      : masks(size_t(bitmask_panels(m.rows, m.cols)) * 256),
        values(bitmask_value_bytes(m.rows, m.cols, int64_t(m.values.size()))),
        starts(size_t(bitmask_panels(m.rows, m.cols)) + 1),
        matrix{m.rows, m.cols, 0, masks.get(), starts.get(), values.get()} {
    const std::vector<uint8_t> bits = m.bitmask();
    const DeviceArray<uint8_t> bitmask(bits);
    const DeviceArray<uint16_t> neutral(m.values);
    const DeviceArray<int64_t> offsets(m.offsets);
    DeviceArray<int> most(1);
    masks.fill_bytes(0xff), values.fill_bytes(0xff), starts.fill_bytes(0xff);
    check(pack_bitmask({neutral.get(), bitmask.get(), offsets.get()}, matrix, most.get(), nullptr).ok(),
          "pack_bitmask");
    matrix.most = most.host()[0];
    DeviceArray<uint8_t> bits_back(bits.size());
    DeviceArray<uint16_t> values_back(m.values.size());
    bits_back.fill_bytes(0xff), values_back.fill_bytes(0xff);
    check(unpack_bitmask(matrix, {values_back.get(), bits_back.get(), offsets.get()}, nullptr).ok(),
          "unpack_bitmask");
    check(bits_back.host() == bits, "unpacked bits differ from what was packed");
    check(values_back.host() == m.values, "unpacked values differ from what was packed");
  }
};

template <class T>
void all_shapes(Random& random, bool quick) {
  struct Shape {
    int rows, cols;
  };
  const std::vector<Shape> shapes =
      quick ? std::vector<Shape>{{40, 280}, {17, 1040}}
            : std::vector<Shape>{{1, 16}, {16, 128}, {40, 272}, {1000, 1040}, {96, 14352}, {4096, 512}};
  for (const Shape& shape : shapes) {
    for (const double density : {0.0, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0}) {
      const SparseRows m = random_rows<T>(shape.rows, shape.cols, density, random);
      const DeviceBitmask packed(m);
      for (const int tokens : quick ? std::vector<int>{3, 16} : std::vector<int>{1, 2, 7, 8, 9, 16}) {
        const std::vector<DecodeBitmaskPlan> plans = decode_bitmask_candidates();
        const DecodeBitmaskPlan plan = tokens == 8 ? plan_decode_bitmask(packed.matrix, tokens, 132)
                                                   : plans[size_t(random.below(int(plans.size())))];
        product_is_right<T>(m, Absent::kZero, tokens, tokens == 7, random, [&](const ProductCall& call) {
          return decode_bitmask(packed.matrix, plan, call);
        });
      }
    }
  }
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 16);
  const MatrixBitmask m{64, 64, 8, bytes.get(), nullptr, bytes.get()};
  const ProductCall call{Element::kBf16, 1, bytes.get(), 64, bytes.get(), 64, false, nullptr};
  MatrixBitmask odd = m, full = m;
  const DecodeBitmaskPlan plan{1, 4};
  odd.cols = 60, full.most = 2049;
  ProductCall many = call, misaligned = call;
  many.tokens = 17, misaligned.x = bytes.get() + 2;
  check(decode_bitmask(odd, plan, call).reason == Reason::kShape, "60 columns are refused");
  check(decode_bitmask(full, plan, call).reason == Reason::kShape, "2049 values of a panel are refused");
  check(decode_bitmask(m, plan, many).reason == Reason::kShape, "17 tokens are refused");
  check(decode_bitmask(m, plan, misaligned).reason == Reason::kAlignment, "a misaligned x is refused");
  check(decode_bitmask(m, {4, 6}, call).reason == Reason::kPlan, "24 warps are refused");
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  return run_test("decode_bitmask_test", 19, argc, argv, [](Random& random, bool quick) {
    all_shapes<__nv_bfloat16>(random, quick);
    all_shapes<__half>(random, quick);
    refusals();
  });
}
