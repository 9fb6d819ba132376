// Random block-sparse weights on the host.
#pragma once

#include "test/kernels/cuda/product_check.h"

namespace prune::test {

struct HostBsr {
  int rows, cols, block_rows, block_cols;
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr{0};
  std::vector<uint16_t> values;
};

// `density` of the blocks, at random; some block rows are empty.
template <class T>
HostBsr random_bsr(int rows, int cols, int block_rows, int block_cols, double density, Random& random) {
  HostBsr m{rows, cols, block_rows, block_cols, {}, {0}, {}};
  for (int r = 0; r < rows / block_rows; ++r) {
    const bool empty = r % 5 == 3 && density < 1;
    for (int c = 0; c < cols / block_cols; ++c) {
      if (!empty && (random.uniform() + 1) / 2 < density) m.indices.push_back(c);
    }
    m.indptr.push_back(int64_t(m.indices.size()));
  }
  m.values.resize(m.indices.size() * size_t(block_rows) * block_cols);
  for (uint16_t& v : m.values) v = bits_of(from_double<T>(random.uniform()));
  return m;
}

// Products in double precision. In every `height` rows by 16 columns in which a block lies, what no block
// covers counts as zeros.
template <class T>
Expected reference(const HostBsr& m, int height, const std::vector<uint16_t>& x, int stride, int tokens) {
  const int slabs = m.cols / 16;
  std::vector<bool> looked_at(size_t((m.rows + height - 1) / height) * slabs);
  std::vector<double> dense(size_t(m.rows) * m.cols);
  for (int r = 0; r < m.rows; ++r) {
    for (int64_t b = m.indptr[r / m.block_rows]; b < m.indptr[r / m.block_rows + 1]; ++b) {
      const uint16_t* w = &m.values[(size_t(b) * m.block_rows + r % m.block_rows) * m.block_cols];
      for (int c = 0; c < m.block_cols; ++c) {
        const int col = m.indices[b] * m.block_cols + c;
        dense[size_t(r) * m.cols + col] = to_double<T>(w[c]);
        looked_at[size_t(r / height) * slabs + col / 16] = true;
      }
    }
  }
  const std::vector<double> columns = columns_of<T>(x, stride, m.cols, tokens);
  Expected e{std::vector<double>(size_t(tokens) * m.rows), std::vector<double>(size_t(tokens) * m.rows)};
#pragma omp parallel for
  for (int r = 0; r < m.rows; ++r) {
    std::vector<Kept> row;
    for (int k = 0; k < m.cols; ++k) {
      if (looked_at[size_t(r / height) * slabs + k / 16]) row.push_back({dense[size_t(r) * m.cols + k], k});
    }
    for (int n = 0; n < tokens; n += kTogether)
      add_row(row, &columns[size_t(n) * m.cols], r, m.rows, n, tokens, e);
  }
  return e;
}

template <class T>
std::string label_of(const HostBsr& m, int tokens) {
  return name_of<T>() + std::to_string(m.rows) + "x" + std::to_string(m.cols) + " blocks " +
         std::to_string(m.block_rows) + "x" + std::to_string(m.block_cols) + ", " +
         std::to_string(m.indices.size()) + " of them, tokens " + std::to_string(tokens);
}

}  // namespace prune::test
