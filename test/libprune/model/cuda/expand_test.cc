// Relative indices made dense again, bit for bit.
#include "libprune/model/cuda/expand.h"

#include <algorithm>
#include <set>

#include "test/libprune/model/cuda/device.h"

namespace prune::gpu {
namespace {

using kernels::cuda::MatrixRelative;
using testing::to_host;

class ExpandRelative : public testing::OnDevice {};

constexpr int kWidestSpan = 8192;  // columns that a warp makes at a time, at most

// CSR, and the same dense.
struct Rows {
  int cols;
  std::vector<int64_t> offsets{0};
  std::vector<int32_t> columns;
  std::vector<uint16_t> values, dense;

  explicit Rows(int width) : cols(width) {}
  int count() const { return int(offsets.size()) - 1; }
  // So many weights from `first` on, as far as there are columns, of `step` or fewer one.
  void add(int weights, int first, int step, std::mt19937& random) {
    dense.resize(dense.size() + size_t(cols));
    uint16_t* row = &dense[dense.size() - size_t(cols)];
    for (int column = first; weights > 0 && column < cols; --weights) {
      columns.push_back(column);
      values.push_back(row[column] = uint16_t(1 + random() % 0xfff0));
      column += 1 + int(random() % unsigned(step));
    }
    offsets.push_back(int64_t(columns.size()));
  }
};

// Of no weights, of 1 to 17 vectors, whole and not, at the begin and over the end of the first span; all
// columns, the last one alone, and none in the last row.
Rows some_rows(int cols) {
  std::mt19937 random(5);
  Rows rows(cols);
  for (const int first : {0, std::max(0, std::min(cols, kWidestSpan) - 60)}) {
    for (int vectors = 0; vectors <= 17; ++vectors) {
      for (const int spare : {0, 3}) rows.add(8 * vectors - spare, first, 3, random);
    }
  }
  rows.add(cols, 0, 1, random);
  rows.add(1, cols - 1, 1, random);
  rows.add(0, 0, 1, random);
  return rows;
}

// Packed into memory full of ones and of codes that look like weights.
struct PackedRows {
  DeviceArray<uint32_t> starts;
  DeviceArray<uint16_t> lengths, values;
  DeviceArray<uint32_t> codes;
  MatrixRelative matrix;

  explicit PackedRows(const Rows& rows) : starts(size_t(rows.count()) + 1), lengths(size_t(rows.count())) {
    const DeviceArray<uint16_t> neutral(rows.values);
    const DeviceArray<int32_t> indices(rows.columns);
    const DeviceArray<int64_t> indptr(rows.offsets);
    const kernels::cuda::NeutralCsr<const void, const int32_t> from{neutral.get(), indices.get(),
                                                                    indptr.get()};
    matrix = {rows.count(), rows.cols, 1, starts.get(), lengths.get()};
    must(count_relative(from, matrix, nullptr));
    const size_t vectors = to_host(starts).back();
    values = DeviceArray<uint16_t>(8 * vectors), codes = DeviceArray<uint32_t>(vectors);
    cuda(cudaMemset(values.get(), 0xff, values.bytes()));
    cuda(cudaMemset(codes.get(), 0xa5, codes.bytes()));
    matrix.values = values.get(), matrix.codes = codes.get();
    must(pack_relative(from, matrix, nullptr));
    cuda(cudaDeviceSynchronize());
  }
};

// What the format says (decode_relative.h), with rows that end where their lengths say or where the next ones
// begin.
std::vector<uint16_t> expand_on_host(const PackedRows& packed, bool by_lengths) {
  const std::vector<uint32_t> starts = to_host(packed.starts), codes = to_host(packed.codes);
  const std::vector<uint16_t> lengths = to_host(packed.lengths), values = to_host(packed.values);
  const auto cols = size_t(packed.matrix.cols);
  std::vector<uint16_t> dense(lengths.size() * cols);
  for (size_t row = 0; row < lengths.size(); ++row) {
    const size_t end = by_lengths ? starts[row] + lengths[row] : starts[row + 1];
    size_t column = 0;
    for (size_t entry = 8 * size_t(starts[row]); entry < 8 * end; ++entry) {
      const uint32_t code = codes[entry / 8] >> (4 * (entry % 8)) & 15;
      column += code;
      if (code == 15) continue;
      if (column < cols) dense[row * cols + column] = values[entry];
      ++column;
    }
  }
  return dense;
}

TEST_F(ExpandRelative, RowsEndWhereTheirLengthsSay) {
  for (const int cols : {8, 264, 2048, 2056, 4096, 4104, 8192, 8200, 16392}) {
    SCOPED_TRACE(cols);
    const Rows rows = some_rows(cols);
    const PackedRows packed(rows);
    ASSERT_TRUE(expand_on_host(packed, true) == rows.dense);
    if (cols >= 264) {
      std::set<int> left;
      for (const uint16_t length : to_host(packed.lengths)) left.insert(length % 8);
      ASSERT_EQ(left.size(), 8U) << "rows of every length modulo a line";
      // What no row has is seen where it is taken for weights.
      ASSERT_FALSE(expand_on_host(packed, false) == rows.dense);
    }
    const DeviceArray<uint16_t> dense(rows.dense.size());
    cuda(cudaMemset(dense.get(), 0x5a, dense.bytes()));
    expand_relative(packed.matrix, dense.get(), stream_->get());
    stream_->wait();
    const std::vector<uint16_t> got = to_host(dense);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], rows.dense[i]) << "row " << i / size_t(cols) << ", column " << i % size_t(cols);
  }
}

}  // namespace
}  // namespace prune::gpu
