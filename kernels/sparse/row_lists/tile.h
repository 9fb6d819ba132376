// The algorithm of row_lists/kernel.h, against a vector type V of simd/ and a way to read inputs:
//   Inputs::kPerEntry   inputs of an entry
//   Inputs::kVectors    vectors that one load yields
//   Inputs::load        those vectors of an entry's inputs, from vector v of their rows of the panel
//   Inputs::multiply    acc + x * w
// 2 rows x NV vectors of accumulators stay in registers over the lists of one pair and block.
#pragma once

#include <cstdint>

#include "kernels/sparse/row_lists/kernel.h"
#include "kernels/sparse/simd/panel.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

// An input of an entry is a row of floats.
template <class V>
struct FloatInputs {
  using Reg = typename V::Reg;
  static constexpr int kPerEntry = 1;
  static constexpr int kVectors = 1;

  static PRUNE_INLINE void load(const char* const (&rows)[1], int v, Reg (&x)[1]) {
    x[0] = V::load(reinterpret_cast<const float*>(rows[0]) + v * V::kWidth);
  }
  static PRUNE_INLINE Reg multiply(Reg x, Reg w, Reg acc) { return V::fma(w, x, acc); }
};

// What is asked for before it is read comes no nearer than the second-level cache where a block's panel fills
// the first one (InHalves: see isa::works_in_halves()).
template <bool InHalves>
PRUNE_INLINE void ask_for(const void* p, int64_t bytes) {
  if constexpr (InHalves)
    prefetch_second_level(p, bytes);
  else
    prefetch_behind(p, bytes);
}

template <class V, class Inputs, int NV, bool InHalves>
struct PairTile {
  using Reg = typename V::Reg;
  // Few columns make few sums: the two entries of a step then go to sums of their own, or each would wait for
  // the one before.
  static constexpr int kSets = NV <= 4 ? 2 : 1;
  static constexpr int kPerEntry = Inputs::kPerEntry;
  static constexpr int kEntryBits = 16 * kPerEntry;

  // The rows of the panel that the lowest offsets of a word point to.
  struct Rows {
    const char* at[kPerEntry];
    PRUNE_INLINE Rows(const char* panel, uint64_t offsets) {
      for (int i = 0; i < kPerEntry; ++i) at[i] = panel + static_cast<uint16_t>(offsets >> 16 * i);
    }
  };

  Reg acc[kSets][2][NV];
  const uint16_t* offsets;
  const float* values;

  PRUNE_INLINE void begin(bool first, const float* row0, const float* row1) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      acc[0][0][v] = first ? V::zero() : V::load(row0 + v * V::kWidth);
      acc[0][1][v] = first ? V::zero() : V::load(row1 + v * V::kWidth);
      if constexpr (kSets == 2) acc[1][0][v] = acc[1][1][v] = V::zero();
    }
  }

  PRUNE_INLINE void end(float* row0, float* row1) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      if constexpr (kSets == 2) {
        acc[0][0][v] = V::add(acc[0][0][v], acc[1][0][v]);
        acc[0][1][v] = V::add(acc[0][1][v], acc[1][1][v]);
      }
      V::store(row0 + v * V::kWidth, acc[0][0][v]);
      V::store(row1 + v * V::kWidth, acc[0][1][v]);
    }
  }

  // Four offsets in one load: a load of sixteen bits takes as much of the processor as one of a vector.
  static PRUNE_INLINE uint64_t load_offsets(const uint16_t* p) {
    uint64_t word;
    __builtin_memcpy(&word, p, sizeof word);
    __asm__("" : "+r"(word));
    return word;
  }

  // The inputs of one entry for both rows.
  template <int Set>
  PRUNE_INLINE void multiply_both(const char* panel, uint64_t offsets, Reg w0, Reg w1) {
    const Rows rows(panel, offsets);
#pragma GCC unroll 8
    for (int v = 0; v < NV; v += Inputs::kVectors) {
      Reg x[Inputs::kVectors];
      Inputs::load(rows.at, v, x);
      for (int i = 0; i < Inputs::kVectors; ++i) {
        V::keep(x[i]);
        acc[Set][0][v + i] = Inputs::multiply(x[i], w0, acc[Set][0][v + i]);
        acc[Set][1][v + i] = Inputs::multiply(x[i], w1, acc[Set][1][v + i]);
      }
    }
  }

  // The inputs of one entry for one row.
  template <int Set, int Row>
  PRUNE_INLINE void multiply_one(const char* panel, uint64_t offsets, Reg w) {
    const Rows rows(panel, offsets);
#pragma GCC unroll 8
    for (int v = 0; v < NV; v += Inputs::kVectors) {
      Reg x[Inputs::kVectors];
      Inputs::load(rows.at, v, x);
      for (int i = 0; i < Inputs::kVectors; ++i) {
        acc[Set][Row][v + i] = Inputs::multiply(x[i], w, acc[Set][Row][v + i]);
      }
    }
  }

  // The values and offsets of so many steps, some pairs before they are read.
  PRUNE_INLINE void prefetch(int shared, int single) const {
    for (int i = 0; i < shared + single; i += 4) ask_for<InHalves>(values + 4 * i, kBytesAhead);
    for (int i = 0; i < shared + 2 * single; i += 16 / kPerEntry)
      ask_for<InHalves>(offsets + 2 * kPerEntry * i, kBytesAhead);
  }

  PRUNE_INLINE void run_shared(const char* panel, int steps) {
    for (; steps != 0; --steps, offsets += 2 * kPerEntry, values += 4) {
      const auto w = V::load_four(values);
      const uint64_t word = load_offsets(offsets);
      multiply_both<0>(panel, word, V::template spread<0>(w), V::template spread<1>(w));
      multiply_both<kSets - 1>(panel, word >> kEntryBits, V::template spread<2>(w), V::template spread<3>(w));
    }
  }

  PRUNE_INLINE void run_single(const char* panel, int steps) {
    for (; steps != 0; --steps, offsets += 4 * kPerEntry, values += 4) {
      const auto w = V::load_four(values);
      const uint64_t word = load_offsets(offsets);
      // Of entries of two inputs, a word holds two.
      const uint64_t next = kPerEntry == 1 ? word >> 32 : load_offsets(offsets + 4);
      multiply_one<0, 0>(panel, word, V::template spread<0>(w));
      multiply_one<0, 1>(panel, word >> kEntryBits, V::template spread<1>(w));
      multiply_one<kSets - 1, 0>(panel, next, V::template spread<2>(w));
      multiply_one<kSets - 1, 1>(panel, next >> kEntryBits, V::template spread<3>(w));
    }
  }
};

template <class V, class Inputs, int NV, int Stride, int BlockBytes, bool InHalves>
void multiply_lists(const ListStream& stream, const void* panel, float* tile) {
  PairTile<V, Inputs, NV, InHalves> state;
  state.offsets = stream.offsets;
  state.values = static_cast<const float*>(stream.values);
  const ListPair* pair = stream.pairs;
  const int64_t share = BlockBytes / (stream.pair_count * 64) * 64 + 64;
  for (int64_t b = 0; b < stream.blocks; ++b) {
    const char* block_panel = static_cast<const char*>(panel) + b * BlockBytes;
    for (int64_t i = 0; i < stream.pair_count; ++i, ++pair) {
      float* row0 = tile + pair->rows[0] * Stride;
      float* row1 = tile + pair->rows[1] * Stride;
      // A share of the next block's panel comes nearer while this one is worked on.
      for (int64_t at = 0; at < share; at += 64) ask_for<InHalves>(block_panel, BlockBytes + i * share + at);
      state.prefetch(pair->shared, pair->single);
      state.begin(b == 0, row0, row1);
      state.run_shared(block_panel, pair->shared);
      state.run_single(block_panel, pair->single);
      state.end(row0, row1);
    }
  }
}

// Picks the code for the number of vectors that the columns fill, from MaxNV down.
template <class V, class Inputs, int MaxNV, int NV, int BlockBytes, bool InHalves>
void multiply_columns(const ListStream& stream, const void* panel, int64_t columns, float* tile) {
  constexpr int kFewer = NV - Inputs::kVectors;
  if constexpr (kFewer > 0) {
    if (columns <= kFewer * V::kWidth) {
      return multiply_columns<V, Inputs, MaxNV, kFewer, BlockBytes, InHalves>(stream, panel, columns, tile);
    }
  }
  multiply_lists<V, Inputs, NV, MaxNV * V::kWidth, BlockBytes, InHalves>(stream, panel, tile);
}

template <class V, class Inputs, int NV, int K, bool InHalves = false>
constexpr RowListsKernel make_row_lists_kernel(const char* name, const PanelCode& panel, double densest) {
  constexpr int kRowBytes = NV * V::kWidth * 4 / Inputs::kPerEntry;
  static_assert(K <= kMostBlockInputs && K * kRowBytes <= 65536, "offsets are 16 bits");
  static_assert(K / (2 * Inputs::kPerEntry) < 256, "list lengths are 8 bits");
  return {.name = name,
          .bf16 = Inputs::kPerEntry == 2,
          .densest = densest,
          .in_halves = InHalves,
          .block_inputs = K,
          .panel = panel,
          .multiply = multiply_columns<V, Inputs, NV, NV, K * kRowBytes, InHalves>};
}

// Floats, NV vectors wide.
template <class V, int NV, int K, bool InHalves = false>
constexpr RowListsKernel make_float_lists_kernel(const char* name, double densest) {
  return make_row_lists_kernel<V, FloatInputs<V>, NV, K, InHalves>(name, make_panel_code<V, NV * V::kWidth>(),
                                                                   densest);
}

}  // namespace
}  // namespace prune::kernels
