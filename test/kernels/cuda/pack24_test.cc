// pack and unpack of 2:4 matrices on the device: bit for bit, and what is refused.
#include "test/kernels/cuda/matrix24.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

constexpr uint64_t kNone = ~uint64_t(0);
const char* name_of(Weight24 weight) {
  return weight == Weight24::k16     ? "16"
         : weight == Weight24::kInt8 ? "int8"
         : weight == Weight24::kInt4 ? "int4"
                                     : "8x8";
}

std::string label(const char* what, Weight24 weight, int rows, int cols) {
  return std::string(what) + " " + name_of(weight) + " " + std::to_string(rows) + "x" + std::to_string(cols);
}

void neutral_round_trip(Weight24 weight, int rows, int cols, Random& random) {
  const HostMatrix24 m = random_matrix24<__nv_bfloat16>(weight, rows, cols, random);
  const PackedMatrix24 packed(m);
  check(packed.refused == kNone, label("accepted", weight, rows, cols));
  DeviceArray<uint8_t> values(m.values.size()), indices(m.indices.size());
  DeviceArray<uint16_t> scales(m.scales.size());
  values.fill_bytes(0xa5), indices.fill_bytes(0xa5), scales.fill_bytes(0xa5);
  check(
      unpack24(weight, rows, cols, packed.stream.get(), {values.get(), indices.get(), scales.get()}, nullptr)
          .ok(),
      label("unpack24", weight, rows, cols));
  check(values.host() == m.values, label("values", weight, rows, cols));
  check(indices.host() == m.indices, label("indices", weight, rows, cols));
  if (weight == Weight24::kInt4) check(scales.host() == m.scales, label("scales", weight, rows, cols));
}

// The dense matrix that a neutral one stands for.
std::vector<uint16_t> dense_of(const HostMatrix24& m, int stride) {
  std::vector<uint16_t> dense(size_t(m.rows) * stride, 0x7fc1);
  for (int r = 0; r < m.rows; ++r) {
    for (int g = 0; g < m.cols / 4; ++g) {
      uint16_t* group = &dense[size_t(r) * stride + 4 * g];
      for (int j = 0; j < 4; ++j) group[j] = 0;
      uint16_t pair[2];
      __builtin_memcpy(pair, &m.values[size_t(r) * m.cols + g * 4], 4);
      group[m.nibble(r, g) & 3] = pair[0], group[m.nibble(r, g) >> 2] = pair[1];
    }
  }
  return dense;
}

void dense_round_trip(int rows, int cols, int stride, Random& random) {
  const HostMatrix24 m = random_matrix24<__nv_bfloat16>(Weight24::k16, rows, cols, random);
  const std::vector<uint16_t> dense = dense_of(m, stride);
  const DeviceArray<uint16_t> from(dense);
  DeviceArray<uint16_t> to(dense.size());
  DeviceArray<uint8_t> stream(stream_bytes24(Weight24::k16, rows, cols)), again(stream.size());
  DeviceArray<uint64_t> refused(1);
  for (const Choose24 choose : {Choose24::kExact, Choose24::kMagnitude}) {
    stream.fill_bytes(0xff);
    check(pack24_dense(choose, rows, cols, from.get(), stride, stream.get(), refused.get(), nullptr).ok(),
          "pack24_dense");
    check(refused.host()[0] == kNone, label("dense accepted", Weight24::k16, rows, cols));
    cuda(cudaMemcpy(to.get(), from.get(), dense.size() * 2, cudaMemcpyDeviceToDevice));
    check(unpack24_dense(rows, cols, stream.get(), to.get(), stride, nullptr).ok(), "unpack24_dense");
    std::vector<uint16_t> expected = dense, got = to.host();
    // By magnitude -0 and +0 tie: a -0 may give way to a zero of a lower column.
    if (choose == Choose24::kMagnitude) {
      for (std::vector<uint16_t>* v : {&expected, &got}) {
        for (uint16_t& bits : *v) bits = bits == 0x8000 ? 0 : bits;
      }
    }
    check(got == expected, label(choose == Choose24::kExact ? "dense round trip" : "magnitude round trip",
                                 Weight24::k16, rows, cols));
  }
  // What was unpacked to the neutral format packs to the same stream: every nibble is legal.
  DeviceArray<uint8_t> values(size_t(rows) * cols), indices(size_t(rows) * cols / 8);
  check(
      unpack24(Weight24::k16, rows, cols, stream.get(), {values.get(), indices.get(), nullptr}, nullptr).ok(),
      "unpack24");
  check(pack24(Weight24::k16, rows, cols, {values.get(), indices.get(), nullptr}, again.get(), refused.get(),
               nullptr)
            .ok(),
        "pack24");
  check(refused.host()[0] == kNone, label("legal nibbles", Weight24::k16, rows, cols));
  check(again.host() == stream.host(), label("same stream", Weight24::k16, rows, cols));
}

void magnitude_keeps_the_two_largest(Random& random) {
  const int rows = 77, cols = 320;
  std::vector<uint16_t> dense(rows * cols), expected(dense.size(), 0);
  for (uint16_t& bits : dense)
    bits = uint16_t(random.below(5) * 0x10 + (random.below(2) << 15));  // many ties
  for (size_t i = 0; i < dense.size(); i += 4) {
    for (int j = 0; j < 4; ++j) {
      int before = 0;
      for (int k = 0; k < 4; ++k) {
        const int a = dense[i + k] & 0x7fff, b = dense[i + j] & 0x7fff;
        before += a > b || (a == b && k < j);
      }
      if (before < 2) expected[i + j] = dense[i + j];
    }
  }
  const DeviceArray<uint16_t> from(dense);
  DeviceArray<uint16_t> to(dense.size());
  DeviceArray<uint8_t> stream(stream_bytes24(Weight24::k16, rows, cols));
  DeviceArray<uint64_t> refused(1);
  check(pack24_dense(Choose24::kMagnitude, rows, cols, from.get(), cols, stream.get(), refused.get(), nullptr)
            .ok(),
        "magnitude");
  check(unpack24_dense(rows, cols, stream.get(), to.get(), cols, nullptr).ok(), "magnitude unpack");
  check(to.host() == expected, "magnitude keeps the two largest, ties to the lower column");
}

void refusals(Random& random) {
  const int rows = 40, cols = 192;
  HostMatrix24 m = random_matrix24<__nv_bfloat16>(Weight24::k16, rows, cols, random);
  for (const uint8_t illegal : {0, 1, 2, 3, 5, 6, 7, 10, 11, 15}) {
    HostMatrix24 broken = m;
    const int row = random.below(rows), group = random.below(cols / 4),
              later = random.below(rows - row) + row;
    for (const int r : {row, later}) {
      const int g = r == row ? group : cols / 4 - 1;
      uint8_t& byte = broken.indices[size_t(r) * (cols / 8) + g / 2];
      byte = g & 1 ? uint8_t((byte & 0x0f) | illegal << 4) : uint8_t((byte & 0xf0) | illegal);
    }
    check(PackedMatrix24(broken).refused == uint64_t(row) * cols + 4 * group,
          "illegal nibble " + std::to_string(illegal));
  }
  std::vector<uint16_t> dense = dense_of(m, cols);
  for (int j = 0; j < 4; ++j) dense[17 * cols + 100 + j] = j == 1 ? 0x8000 : 0x3f80;  // three ones and a -0
  const DeviceArray<uint16_t> from(dense);
  DeviceArray<uint8_t> stream(stream_bytes24(Weight24::k16, rows, cols));
  DeviceArray<uint64_t> refused(1);
  check(
      pack24_dense(Choose24::kExact, rows, cols, from.get(), cols, stream.get(), refused.get(), nullptr).ok(),
      "refusal runs");
  check(refused.host()[0] == uint64_t(17 * cols + 100), "three non-zeros are refused with their position");
  check(pack24_dense(Choose24::kMagnitude, rows, cols, from.get(), cols, stream.get(), refused.get(), nullptr)
            .ok(),
        "magnitude runs");
  check(refused.host()[0] == kNone, "by magnitude nothing is refused");
  check(pack24_dense(Choose24::kExact, rows, 96, from.get(), cols, stream.get(), refused.get(), nullptr)
                .reason == Reason::kShape,
        "columns off 64");
  check(pack24_dense(Choose24::kExact, rows, 64, from.get() + 1, cols, stream.get(), refused.get(), nullptr)
                .reason == Reason::kAlignment,
        "misaligned input");
}

}  // namespace
}  // namespace prune::test

int main() {
  using namespace prune::test;
  cuda(cudaFree(nullptr));
  Random random(1);
  for (const Weight24 weight : {Weight24::k16, Weight24::kInt8, Weight24::kInt4, Weight24::kInt8x8}) {
    for (const int rows : {1, 8, 32, 33, 200}) {
      for (const int cols : {64, 128, 192, 1088}) neutral_round_trip(weight, rows, cols, random);
    }
  }
  for (const int rows : {1, 31, 64, 200}) {
    for (const int cols : {64, 128, 576}) dense_round_trip(rows, cols, cols + (rows & 1 ? 12 : 0), random);
  }
  magnitude_keeps_the_two_largest(random);
  refusals(random);
  return report("pack24_test");
}
