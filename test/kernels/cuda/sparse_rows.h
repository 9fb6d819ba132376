// Random unstructured weights, row by row, and their products in double precision.
#pragma once

#include "kernels/sparse/spmm_csr/decode_csr.h"
#include "test/kernels/cuda/product_check.h"

namespace prune::test {

struct SparseRows {
  int rows;
  int cols;
  std::vector<int64_t> offsets{0};
  std::vector<int32_t> columns;
  std::vector<uint16_t> values;

  // [rows, cols / 8], column j bit j % 8 of byte j / 8.
  std::vector<uint8_t> bitmask() const {
    std::vector<uint8_t> bits(size_t(rows) * (cols / 8));
    for (int r = 0; r < rows; ++r) {
      for (int64_t i = offsets[r]; i < offsets[r + 1]; ++i) {
        uint8_t& byte = bits[size_t(r) * (cols / 8) + columns[i] / 8];
        byte = uint8_t(byte | 1 << columns[i] % 8);
      }
    }
    return bits;
  }
};

// `density` of the weights; one row in seven is empty, one full, and some weights are stored zeros of either
// sign.
template <class T>
SparseRows random_rows(int rows, int cols, double density, Random& random) {
  SparseRows m{rows, cols, {0}, {}, {}};
  for (int r = 0; r < rows; ++r) {
    const double here = r % 7 == 3 ? 0 : r % 7 == 5 ? 1 : density;
    for (int c = 0; c < cols; ++c) {
      if ((random.uniform() + 1) / 2 >= here) continue;
      const int kind = random.below(32);
      m.columns.push_back(c);
      m.values.push_back(kind == 0 ? 0 : kind == 1 ? 0x8000 : bits_of(from_double<T>(random.uniform())));
    }
    m.offsets.push_back(int64_t(m.columns.size()));
  }
  return m;
}

// `unpack(to)` gives back what was packed, bit for bit.
template <class Unpack>
void unpacks_to(const SparseRows& m, Unpack unpack) {
  const DeviceArray<int64_t> indptr(m.offsets);
  DeviceArray<uint16_t> values(m.values.size());
  DeviceArray<int32_t> indices(m.columns.size());
  values.fill_bytes(0xff), indices.fill_bytes(0xff);
  check(unpack(kernels::cuda::NeutralCsr<void, int32_t>{values.get(), indices.get(), indptr.get()}).ok(),
        "unpacking");
  check(values.host() == m.values, "unpacked values differ from what was packed");
  check(indices.host() == m.columns, "unpacked columns differ from what was packed");
}

enum class Absent {
  kSkipped,  // x is not looked at
  kZero,     // 0 * x, which is NaN where x is not finite
};

template <class T>
Expected reference(const SparseRows& m, Absent absent, const std::vector<uint16_t>& x, int stride,
                   int tokens) {
  Expected e{std::vector<double>(size_t(tokens) * m.rows), std::vector<double>(size_t(tokens) * m.rows)};
#pragma omp parallel for
  for (int r = 0; r < m.rows; ++r) {
    std::vector<double> row(size_t(m.cols), 0);
    std::vector<bool> stored(size_t(m.cols), absent == Absent::kZero);
    for (int64_t i = m.offsets[r]; i < m.offsets[r + 1]; ++i) {
      row[m.columns[i]] = to_double<T>(m.values[i]);
      stored[m.columns[i]] = true;
    }
    for (int n = 0; n < tokens; ++n) {
      for (int c = 0; c < m.cols; ++c) {
        if (!stored[c]) continue;
        const double product = row[c] * to_double<T>(x[size_t(n) * stride + c]);
        e.sum[size_t(n) * m.rows + r] += product;
        e.magnitude[size_t(n) * m.rows + r] += std::fabs(product);
      }
    }
  }
  return e;
}

// With special values in x where asked for.
template <class T, class Product>
void product_is_right(const SparseRows& m, Absent absent, int tokens, bool special, Random& random,
                      const Product& product) {
  const int x_stride = (m.cols + 15) / 8 * 8;
  const std::vector<uint16_t> x = random_x<T>(tokens, m.cols, x_stride, special, random);
  const std::string label = name_of<T>() + std::to_string(m.rows) + "x" + std::to_string(m.cols) + ", " +
                            std::to_string(m.columns.size()) + " weights, tokens " + std::to_string(tokens);
  product_is_right<T>({x, x_stride, m.rows, m.rows + 3, tokens}, reference<T>(m, absent, x, x_stride, tokens),
                      label, product);
}

}  // namespace prune::test
