// Block-sparse decode against sums in double precision, and its packing bit for bit.
#include "kernels/sparse/spmm_bsr/decode_bsr.h"

#include "test/kernels/cuda/host_bsr.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

struct DeviceBsr {
  DeviceArray<int32_t> indices;
  DeviceArray<int64_t> indptr;
  DeviceArray<uint16_t> fragments;
  MatrixBsr matrix;

  explicit DeviceBsr(const HostBsr& m) : indices(m.indices), indptr(m.indptr), fragments(m.values.size()) {
    matrix = {m.rows, m.cols, m.block_rows, m.block_cols, indices.get(), indptr.get(), fragments.get()};
    const DeviceArray<uint16_t> values(m.values);
    fragments.fill_bytes(0xff);
    check(pack_bsr(matrix, values.get(), fragments.get(), nullptr).ok(), "pack_bsr");
    DeviceArray<uint16_t> back(m.values.size());
    back.fill_bytes(0xff);
    check(unpack_bsr(matrix, back.get(), nullptr).ok(), "unpack_bsr");
    check(back.host() == m.values, "unpacked blocks differ from what was packed");
  }
};

template <class T>
void decode_is_right(const HostBsr& m, int tokens, bool special, Random& random) {
  const DeviceBsr packed(m);
  const int x_stride = m.cols + 8;
  const std::vector<uint16_t> x = random_x<T>(tokens, m.cols, x_stride, special, random);
  product_is_right<T>({x, x_stride, m.rows, m.rows + 3, tokens}, reference<T>(m, 1, x, x_stride, tokens),
                      label_of<T>(m, tokens),
                      [&](const ProductCall& call) { return decode_bsr(packed.matrix, call); });
}

// x is NaN wherever no block of the first block row looks: nothing of it may reach those rows.
void absent_blocks_are_not_read(Random& random) {
  HostBsr m{32, 128, 32, 32, {1}, {0, 1}, {}};
  m.values.assign(32 * 32, bits_of(from_double<__nv_bfloat16>(0.5)));
  const DeviceBsr packed(m);
  std::vector<uint16_t> x(128, bits_of(from_double<__nv_bfloat16>(NAN)));
  for (int k = 32; k < 64; ++k) x[k] = bits_of(from_double<__nv_bfloat16>(random.uniform()));
  const DeviceArray<uint16_t> x_device(x);
  DeviceArray<uint16_t> y(32);
  const ProductCall call{Element::kBf16, 1, x_device.get(), 128, y.get(), 32, false, nullptr};
  check(decode_bsr(packed.matrix, call).ok(), "one block");
  for (const uint16_t v : y.host()) check(!std::isnan(to_double<__nv_bfloat16>(v)), "NaN of an absent block");
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 16);
  MatrixBsr m{64, 64, 32, 32, nullptr, nullptr, bytes.get()};
  const ProductCall call{Element::kBf16, 1, bytes.get(), 64, bytes.get(), 64, false, nullptr};
  MatrixBsr odd = m, ragged = m;
  odd.block_cols = 48, ragged.rows = 80;
  ProductCall many = call, misaligned = call;
  many.tokens = 17, misaligned.x = bytes.get() + 2;
  check(decode_bsr(odd, call).reason == Reason::kShape, "blocks of 48 are refused");
  check(decode_bsr(ragged, call).reason == Reason::kShape, "rows off the block are refused");
  check(decode_bsr(m, many).reason == Reason::kShape, "17 tokens are refused");
  check(decode_bsr(m, misaligned).reason == Reason::kAlignment, "a misaligned x is refused");
}

template <class T>
void all_blocks(Random& random, bool quick) {
  const std::vector<int> blocks = quick ? std::vector<int>{16, 64} : std::vector<int>{16, 32, 64, 128};
  for (const int block_rows : blocks) {
    for (const int block_cols : blocks) {
      for (const double density : {0.0, 0.1, 0.5, 1.0}) {
        const int rows = 6 * 128, cols = quick ? 256 : 1152;
        const HostBsr m = random_bsr<T>(rows, cols, block_rows, block_cols, density, random);
        for (const int tokens : quick ? std::vector<int>{3, 16} : std::vector<int>{1, 7, 8, 9, 16})
          decode_is_right<T>(m, tokens, tokens == 7, random);
      }
    }
  }
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  return run_test("decode_bsr_test", 17, argc, argv, [](Random& random, bool quick) {
    all_blocks<__nv_bfloat16>(random, quick);
    all_blocks<__half>(random, quick);
    absent_blocks_are_not_read(random);
    refusals();
  });
}
