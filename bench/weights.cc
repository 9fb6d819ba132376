#include "bench/weights.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace prune::bench {
namespace {

// Sorted distinct numbers below `range`, each kept with probability `density`.
template <class Random>
void append_subset(int64_t range, double density, Random& random, std::vector<int32_t>& chosen) {
  const auto threshold = static_cast<uint32_t>(density * 4294967295.0);
  for (int64_t i = 0; i < range; ++i) {
    if (random() <= threshold) chosen.push_back(static_cast<int32_t>(i));
  }
}

template <class View>
View view_of(const TestWeights& weights) {
  View view;
  view.rows = weights.places.shape.rows;
  view.cols = weights.places.shape.cols;
  view.type = weights.type;
  view.values = weights.values.data();
  return view;
}

// Which blocks of each row of blocks hold a weight.
std::vector<std::vector<char>> blocks_with_weights(const Places& places, Block block) {
  std::vector<std::vector<char>> used(static_cast<size_t>(places.shape.rows / block.rows),
                                      std::vector<char>(static_cast<size_t>(places.shape.cols / block.cols)));
  for (int64_t r = 0; r < places.shape.rows; ++r) {
    for (int64_t i = places.indptr[r]; i < places.indptr[r + 1]; ++i)
      used[r / block.rows][places.columns[i] / block.cols] = 1;
  }
  return used;
}

Places places_of_blocks(const Shape& shape, Block block, const std::vector<std::vector<char>>& used) {
  Places places{shape, {0}, {}};
  for (int64_t r = 0; r < shape.rows; ++r) {
    const std::vector<char>& row = used[r / block.rows];
    for (size_t b = 0; b < row.size(); ++b) {
      for (int32_t j = 0; row[b] != 0 && j < block.cols; ++j)
        places.columns.push_back(static_cast<int32_t>(b) * block.cols + j);
    }
    places.indptr.push_back(static_cast<int64_t>(places.columns.size()));
  }
  return places;
}

}  // namespace

Places all_places(const Shape& shape) {
  Places places{shape, {0}, {}};
  for (int64_t r = 1; r <= shape.rows; ++r) places.indptr.push_back(r * shape.cols);
  return places;
}

Places random_places(const Shape& shape, double density) {
  std::mt19937 random(17);
  Places places{shape, {0}, {}};
  places.columns.reserve(static_cast<size_t>(density * 1.01 * static_cast<double>(shape.rows * shape.cols)));
  for (int64_t r = 0; r < shape.rows; ++r) {
    append_subset(shape.cols, density, random, places.columns);
    places.indptr.push_back(static_cast<int64_t>(places.columns.size()));
  }
  return places;
}

Places random_group_places(const Shape& shape, int32_t keep, int32_t group) {
  std::minstd_rand random(11);
  Places places{shape, {0}, {}};
  for (int64_t r = 0; r < shape.rows; ++r) {
    for (int64_t g = 0; g < shape.cols; g += group) {
      for (int32_t j = 0, left = keep; j < group && left > 0; ++j) {
        // Of the group - j columns from here on `left` are chosen, all choices alike.
        if (static_cast<int32_t>((random() >> 8) % static_cast<uint32_t>(group - j)) >= left) continue;
        places.columns.push_back(static_cast<int32_t>(g) + j);
        --left;
      }
    }
    places.indptr.push_back(static_cast<int64_t>(places.columns.size()));
  }
  return places;
}

Places random_block_places(const Shape& shape, Block block, double density) {
  std::mt19937 random(31);
  std::vector<std::vector<char>> used;
  std::vector<int32_t> kept;
  for (int64_t r = 0; r < shape.rows / block.rows; ++r) {
    kept.clear();
    append_subset(shape.cols / block.cols, density, random, kept);
    used.emplace_back(static_cast<size_t>(shape.cols / block.cols));
    for (const int32_t b : kept) used.back()[b] = 1;
  }
  return places_of_blocks(shape, block, used);
}

std::optional<Places> as_groups(const Places& places, int32_t keep, int32_t group) {
  if (places.shape.cols % group != 0) return std::nullopt;
  Places filled{places.shape, {0}, {}};
  std::vector<char> stays(static_cast<size_t>(places.shape.cols));
  for (int64_t r = 0; r < places.shape.rows; ++r) {
    std::ranges::fill(stays, 0);
    for (int64_t i = places.indptr[r]; i < places.indptr[r + 1]; ++i) stays[places.columns[i]] = 1;
    for (auto at = stays.begin(); at != stays.end(); at += group) {
      const auto count = std::count(at, at + group, 1);
      if (count > keep) return std::nullopt;
      for (auto missing = keep - count, j = std::ptrdiff_t(0); missing > 0; ++j) {
        if (at[j] != 0) continue;
        at[j] = 1;
        --missing;
      }
    }
    for (int64_t k = 0; k < places.shape.cols; ++k) {
      if (stays[k] != 0) filled.columns.push_back(static_cast<int32_t>(k));
    }
    filled.indptr.push_back(static_cast<int64_t>(filled.columns.size()));
  }
  return filled;
}

std::optional<Places> as_blocks(const Places& places, Block block) {
  if (places.shape.rows % block.rows != 0 || places.shape.cols % block.cols != 0) return std::nullopt;
  Places filled = places_of_blocks(places.shape, block, blocks_with_weights(places, block));
  if (static_cast<double>(filled.count()) > 1.1 * static_cast<double>(places.count())) return std::nullopt;
  return filled;
}

double TestWeights::value(int64_t place) const {
  if (type == WeightType::kI8) return static_cast<double>(static_cast<int8_t>(values[place]));
  float value = 0;
  if (type == WeightType::kF16) {
    uint16_t half = 0;
    std::memcpy(&half, &values[place * 2], 2);
    return ((half & 0x8000) != 0 ? -0.5 : 0.5) * (1 + (half & 0x3ff) / 1024.0);  // see below
  }
  if (type == WeightType::kF32) std::memcpy(&value, &values[place * 4], 4);
  if (type == WeightType::kBf16) std::memcpy(reinterpret_cast<char*>(&value) + 2, &values[place * 2], 2);
  return static_cast<double>(value);
}

TestWeights with_random_values(Places places, WeightType type) {
  std::minstd_rand random(13);
  const int64_t count = places.count(), size = kernels::weight_bytes(type);
  TestWeights weights{std::move(places), type, std::vector<char>(static_cast<size_t>(count * size))};
  for (int64_t i = 0; i < count; ++i) {
    const auto r = static_cast<uint32_t>(random());
    // Floats of either sign between 0.5 and 1; int8 of either sign between 1 and 64.
    const uint32_t bits = 0x3f000000u | (r & 0x7fffffu) | (r & 0x800000u) << 8;
    char* to = &weights.values[i * size];
    if (type == WeightType::kF32) std::memcpy(to, &bits, 4);
    if (type == WeightType::kF16) {
      const auto half = static_cast<uint16_t>(0x3800u | (r & 0x3ffu) | (r & 0x8000u));
      std::memcpy(to, &half, 2);
    }
    if (type == WeightType::kBf16) std::memcpy(to, reinterpret_cast<const char*>(&bits) + 2, 2);
    if (type == WeightType::kI8)
      *to = static_cast<char>((r & 1) != 0 ? 1 + (r >> 1 & 63) : -1 - static_cast<int>(r >> 1 & 63));
  }
  return weights;
}

PackedNm pack_nm(const TestWeights& weights, int32_t keep, int32_t group) {
  const int32_t bits = kernels::nm_index_bits(group);
  const int64_t row_bytes = kernels::nm_row_bytes(weights.places.shape.cols, keep, group);
  PackedNm packed{std::vector<uint8_t>(static_cast<size_t>(weights.places.shape.rows * row_bytes)),
                  view_of<kernels::NmWeights>(weights)};
  for (int64_t r = 0; r < weights.places.shape.rows; ++r) {
    int64_t bit = r * row_bytes * 8;
    for (int64_t i = weights.places.indptr[r]; i < weights.places.indptr[r + 1]; ++i) {
      const int32_t j = weights.places.columns[i] % group;
      for (int32_t b = 0; b < bits; ++b, ++bit)
        packed.indices[bit / 8] |= static_cast<uint8_t>((j >> b & 1) << bit % 8);
    }
  }
  packed.view.keep = keep;
  packed.view.group = group;
  packed.view.indices = packed.indices.data();
  return packed;
}

PackedBitmask pack_bitmask(const TestWeights& weights) {
  const int64_t row_bytes = (weights.places.shape.cols + 7) / 8;
  PackedBitmask packed{std::vector<uint8_t>(static_cast<size_t>(weights.places.shape.rows * row_bytes)),
                       view_of<kernels::BitmaskWeights>(weights)};
  for (int64_t r = 0; r < weights.places.shape.rows; ++r) {
    for (int64_t i = weights.places.indptr[r]; i < weights.places.indptr[r + 1]; ++i) {
      const int32_t k = weights.places.columns[i];
      packed.bitmask[r * row_bytes + k / 8] |= static_cast<uint8_t>(1 << k % 8);
    }
  }
  packed.view.bitmask = packed.bitmask.data();
  packed.view.row_offsets = weights.places.indptr.data();
  return packed;
}

PackedCsr as_csr(const TestWeights& weights) {
  PackedCsr packed{view_of<kernels::CsrWeights>(weights)};
  packed.view.indices = weights.places.columns.data();
  packed.view.indptr = weights.places.indptr.data();
  packed.view.values_count = weights.places.count();
  return packed;
}

PackedBsr pack_bsr(const TestWeights& weights, Block block) {
  const Places& places = weights.places;
  const int64_t size = kernels::weight_bytes(weights.type), block_bytes = size * block.rows * block.cols;
  PackedBsr packed{{}, {}, {0}, view_of<kernels::BsrWeights>(weights)};
  std::vector<int64_t> place_of(static_cast<size_t>(places.shape.cols / block.cols));
  const auto used = blocks_with_weights(places, block);
  for (size_t strip = 0; strip < used.size(); ++strip) {
    for (size_t b = 0; b < used[strip].size(); ++b) {
      place_of[b] = static_cast<int64_t>(packed.indices.size());
      if (used[strip][b] != 0) packed.indices.push_back(static_cast<int32_t>(b));
    }
    packed.indptr.push_back(static_cast<int64_t>(packed.indices.size()));
    packed.values.resize(packed.indices.size() * static_cast<size_t>(block_bytes));
    for (int64_t j = 0; j < block.rows; ++j) {
      const int64_t r = static_cast<int64_t>(strip) * block.rows + j;
      for (int64_t i = places.indptr[r]; i < places.indptr[r + 1]; ++i) {
        const int32_t k = places.columns[i];
        const int64_t to = place_of[k / block.cols] * block_bytes + (j * block.cols + k % block.cols) * size;
        std::memcpy(&packed.values[to], &weights.values[i * size], static_cast<size_t>(size));
      }
    }
  }
  packed.view.values = packed.values.data();
  packed.view.block_rows = block.rows;
  packed.view.block_cols = block.cols;
  packed.view.indices = packed.indices.data();
  packed.view.indptr = packed.indptr.data();
  return packed;
}

std::vector<float> dense_floats(const TestWeights& weights) {
  const Places& places = weights.places;
  std::vector<float> dense(static_cast<size_t>(places.shape.rows * places.shape.cols));
  for (int64_t r = 0; r < places.shape.rows; ++r) {
    for (int64_t i = places.indptr[r]; i < places.indptr[r + 1]; ++i)
      dense[r * places.shape.cols + places.column(i)] = static_cast<float>(weights.value(i));
  }
  return dense;
}

}  // namespace prune::bench
