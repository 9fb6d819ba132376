// Random 2:4 matrices in the neutral format, with everything that a group can hold.
#pragma once

#include "kernels/sparse/cuda/pack24.h"
#include "test/kernels/cuda/check.h"

namespace prune::test {

using kernels::cuda::Neutral24;
using kernels::cuda::Weight24;

inline constexpr uint8_t kLegalNibbles[6] = {4, 8, 9, 12, 13, 14};

struct HostMatrix24 {
  Weight24 weight;
  int rows;
  int cols;
  std::vector<uint8_t> values;  // bytes of the neutral format
  std::vector<uint8_t> indices;
  std::vector<uint16_t> scales;   // int4
  std::vector<float> row_scales;  // 8-bit

  int value_bytes_per_row() const {
    return weight == Weight24::k16 ? cols : weight == Weight24::kInt4 ? cols / 4 : cols / 2;
  }
  int scales_per_row() const { return (cols + 127) / 128; }

  uint8_t nibble(int row, int group) const {
    return indices[size_t(row) * (cols / 8) + group / 2] >> (4 * (group & 1)) & 15;
  }
  // Kept value number `which` of a group, scaled.
  template <class T>
  double value(int row, int group, int which) const {
    const uint8_t* bytes = values.data() + size_t(row) * value_bytes_per_row();
    if (weight == Weight24::k16) {
      uint16_t bits;
      __builtin_memcpy(&bits, bytes + (group * 2 + which) * 2, 2);
      return to_double<T>(bits);
    }
    if (weight != Weight24::kInt4) {
      const uint8_t byte = bytes[group * 2 + which];
      const double v = weight == Weight24::kFp8x8 ? to_double<__nv_fp8_e4m3>(byte) : double(int8_t(byte));
      return v * double(row_scales[row]);
    }
    const int q = (bytes[group] >> (4 * which) & 15) - 8;
    return q * to_double<__nv_bfloat16>(scales[size_t(row) * scales_per_row() + group / 32]);
  }
};

// Floating-point matrices hold groups with two, one and no non-zeros, and -0.
template <class T>
HostMatrix24 random_matrix24(Weight24 weight, int rows, int cols, Random& random) {
  HostMatrix24 m{weight, rows, cols, {}, {}, {}, {}};
  m.values.resize(size_t(rows) * m.value_bytes_per_row());
  m.indices.resize(size_t(rows) * (cols / 8));
  for (uint8_t& byte : m.indices)
    byte = uint8_t(kLegalNibbles[random.below(6)] | kLegalNibbles[random.below(6)] << 4);
  if (weight == Weight24::k16) {
    for (size_t i = 0; i < m.values.size(); i += 2) {
      const int kind = random.below(16);
      const uint16_t bits = kind == 0 ? 0 : kind == 1 ? 0x8000 : bits_of(from_double<T>(random.uniform()));
      __builtin_memcpy(&m.values[i], &bits, 2);
    }
  } else {
    for (uint8_t& byte : m.values) byte = uint8_t(random.bits());
    if (weight == Weight24::kFp8x8) {
      for (uint8_t& byte : m.values) {
        const int kind = byte & 15;
        byte = kind == 0 ? 0 : kind == 1 ? 0x80 : bits_of(from_double<__nv_fp8_e4m3>(random.uniform()));
      }
    }
    for (int i = 0; i < rows; ++i) m.row_scales.push_back(float(0.01 + 0.005 * random.uniform()));
    for (int i = 0; i < rows * m.scales_per_row(); ++i) {
      m.scales.push_back(bits_of(from_double<__nv_bfloat16>(0.1 + 0.05 * random.uniform())));
    }
  }
  return m;
}

// A matrix on the device, packed.
struct PackedMatrix24 {
  DeviceArray<uint8_t> stream;
  DeviceArray<float> row_scales;
  uint64_t refused;

  explicit PackedMatrix24(const HostMatrix24& m)
      : stream(kernels::cuda::stream_bytes24(m.weight, m.rows, m.cols)), row_scales(m.row_scales) {
    const DeviceArray<uint8_t> values(m.values), indices(m.indices);
    const DeviceArray<uint16_t> scales(m.scales);
    DeviceArray<uint64_t> first(1);
    stream.fill_bytes(0xff);
    const kernels::cuda::Status status =
        kernels::cuda::pack24(m.weight, m.rows, m.cols, {values.get(), indices.get(), scales.get()},
                              stream.get(), first.get(), nullptr);
    check(status.ok(), std::string("pack24: ") + describe(status));
    refused = first.host()[0];
  }
};

}  // namespace prune::test
