// 2:4 products of many tokens against sums in double precision.
#include "kernels/sparse/spmm_nm/gemm24.h"
#include "test/kernels/cuda/reference24.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

template <class T>
void product_is_right(int rows, int cols, int tokens, bool special, Random& random) {
  const HostMatrix24 m = random_matrix24<T>(Weight24::k16, rows, cols, random);
  const PackedMatrix24 packed(m);
  const int x_stride = cols + 8, y_stride = rows + 16;
  const std::vector<uint16_t> x = random_x<T>(tokens, cols, x_stride, special, random);
  const Expected expected = reference<T>(m, x, x_stride, tokens);
  const DeviceArray<uint16_t> x_device(x);
  DeviceArray<uint16_t> y(size_t(tokens) * y_stride);
  const Matrix24 matrix{Weight24::k16, rows, cols, packed.stream.get(), nullptr};
  const GemmCall call{__is_same(T, __half) ? Element::kF16 : Element::kBf16,
                      tokens,
                      x_device.get(),
                      x_stride,
                      y.get(),
                      y_stride,
                      nullptr};
  for (const int tile : {128, 256}) {
    for (const int cluster : {1, 2, 4}) {
      const std::string label = std::string(__is_same(T, __half) ? "f16 " : "bf16 ") + std::to_string(rows) +
                                "x" + std::to_string(cols) + " tokens " + std::to_string(tokens) + " tile " +
                                std::to_string(tile) + " cluster " + std::to_string(cluster);
      y.fill_bytes(0xa5);
      const Status status = gemm24(matrix, {tile, cluster}, call);
      if (!check(status.ok(), label + ": " + describe(status))) continue;
      const std::vector<uint16_t> got = y.host();
      const int wrong = count_wrong<T>(got, y_stride, expected, rows, tokens);
      check(wrong == 0, label + ": " + std::to_string(wrong) + " outputs are wrong");
      y.fill_bytes(0xa5);
      check(gemm24(matrix, {tile, cluster}, call).ok(), label);
      check(y.host() == got, label + ": a second run differs");
    }
  }
}

template <class T>
void all_sizes(Random& random, bool quick) {
  struct Size {
    int rows, cols;
  };
  const std::vector<Size> sizes =
      quick ? std::vector<Size>{{200, 192}}
            : std::vector<Size>{{8, 64}, {128, 128}, {200, 192}, {520, 1088}, {1544, 2048}};
  const std::vector<int> tokens =
      quick ? std::vector<int>{130} : std::vector<int>{1, 8, 127, 128, 130, 256, 300, 600};
  for (const Size& size : sizes) {
    for (const int n : tokens) product_is_right<T>(size.rows, size.cols, n, (n & 2) != 0, random);
  }
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 20);
  const Matrix24 matrix{Weight24::k16, 64, 128, bytes.get(), nullptr};
  const GemmCall call{Element::kBf16, 16, bytes.get(), 128, bytes.get() + 65536, 64, nullptr};
  const auto reason = [](Matrix24 m, GemmPlan plan, GemmCall c) { return gemm24(m, plan, c).reason; };
  Matrix24 odd_rows = matrix, odd_cols = matrix, bytes_only = matrix;
  odd_rows.rows = 60, odd_cols.cols = 96, bytes_only.weight = Weight24::kInt8;
  GemmCall misaligned = call;
  misaligned.y = bytes.get() + 65538;
  check(reason(odd_rows, {}, call) == Reason::kShape, "rows off 8 are refused");
  check(reason(odd_cols, {}, call) == Reason::kShape, "columns off 64 are refused");
  check(reason(bytes_only, {}, call) == Reason::kShape, "int8 weights are refused");
  check(reason(matrix, {}, misaligned) == Reason::kAlignment, "a misaligned y is refused");
  check(reason(matrix, {64, 2}, call) == Reason::kPlan, "an unknown tile is refused");
}

}  // namespace
}  // namespace prune::test

// With "quick": fewer sizes, for runs under a sanitizer.
int main(int argc, char** argv) {
  using namespace prune::test;
  cuda(cudaFree(nullptr));
  int device = 0, major = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major != 9) {
    std::printf("skipped: these kernels need compute capability 9.0\n");
    return 77;
  }
  const bool quick = argc > 1 && std::string(argv[1]) == "quick";
  Random random(11);
  all_sizes<__nv_bfloat16>(random, quick);
  all_sizes<__half>(random, quick);
  refusals();
  return report("gemm24_test");
}
