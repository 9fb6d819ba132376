// The pruned weights that a case multiplies with, once for all packed formats, and how each format holds
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bench/case.h"
#include "kernels/sparse/weights.h"

namespace prune::bench {

// The places of the weights that stay, row by row with ascending columns: row r has those from indptr[r] on.
struct Places {
  Shape shape;
  std::vector<int64_t> indptr = {0};
  std::vector<int32_t> columns;  // empty where all weights stay

  int64_t count() const { return indptr.back(); }
  int64_t column(int64_t place) const { return columns.empty() ? place % shape.cols : columns[place]; }
};

struct Block {
  int32_t rows, cols;
};

Places all_places(const Shape& shape);
Places random_places(const Shape& shape, double density);
// Every group keeps a random choice, as pruning real weights does.
Places random_group_places(const Shape& shape, int32_t keep, int32_t group);
Places random_block_places(const Shape& shape, Block block, double density);

// Places of a real mask as a format wants them: groups with fewer weights than `keep` filled up with zeros of
// the file, blocks that hold any weight filled. Nothing where the mask is not of that pattern: a group with
// more weights, or blocks that would hold a tenth more zeros than weights.
std::optional<Places> as_groups(const Places& places, int32_t keep, int32_t group);
std::optional<Places> as_blocks(const Places& places, Block block);

// values: one for each place, in the same order, never zero.
struct TestWeights {
  Places places;
  WeightType type = WeightType::kF32;
  std::vector<char> values;

  double value(int64_t place) const;
};
TestWeights with_random_values(Places places, WeightType type);

// The formats; each refers to the weights' own values where the format has them in the same order.
struct PackedNm {
  std::vector<uint8_t> indices;
  kernels::NmWeights view;
};
PackedNm pack_nm(const TestWeights& weights, int32_t keep, int32_t group);

struct PackedBitmask {
  std::vector<uint8_t> bitmask;
  kernels::BitmaskWeights view;
};
PackedBitmask pack_bitmask(const TestWeights& weights);

struct PackedCsr {
  kernels::CsrWeights view;
};
PackedCsr as_csr(const TestWeights& weights);

struct PackedBsr {
  std::vector<char> values;
  std::vector<int32_t> indices;
  std::vector<int64_t> indptr;
  kernels::BsrWeights view;
};
PackedBsr pack_bsr(const TestWeights& weights, Block block);

// [rows, cols] with zeros in place, as floats.
std::vector<float> dense_floats(const TestWeights& weights);

}  // namespace prune::bench
