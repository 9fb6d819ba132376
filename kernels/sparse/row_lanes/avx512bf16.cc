//     a step of 64 inputs     x[64 s] .. x[64 s + 63]                one row of X, a register
//     a quad                  four weights of each of 16 rows        what they keep of eight inputs
//     permute (vpermb)        byte 4 r + i  <-  x[64 s + lane of weight i of row r]
//     multiply-add            acc[r] += four weights * four inputs   (vpdpbusd)
//
// Sums of a row of X are sixteen neighbours of a row of Y: nothing is transposed but W, once.

#include "kernels/sparse/row_lanes/kernel.h"
#include "kernels/sparse/simd/byte_panel.h"
#include "kernels/sparse/simd/lane_tile.h"
#include "kernels/sparse/simd/prefetch.h"

namespace prune::kernels {
namespace {

constexpr int64_t kTileColumns = 16;  // whose sums are in registers together
constexpr int64_t kPanelColumns = 128;
constexpr int64_t kStepInputs = 64;  // of a register
constexpr int64_t kBlockSteps = 4;   // whose weights stay in the first-level cache for all columns
constexpr int64_t kBlockInputs = kBlockSteps * kStepInputs;
constexpr int64_t kStepQuads = kStepInputs / 8;
constexpr int64_t kBlockQuads = kBlockSteps * kStepQuads;

// What sixteen rows keep of a block: four weights of each for every quad, and their indices, a byte for each.
struct alignas(64) LaneBlock {
  int8_t weights[kBlockQuads][kLaneRows][4];
  uint32_t indices[kBlockQuads / 4][kLaneRows];
};
// Of the quads of such a block: which of a step's inputs the weights meet.
using BlockLanes = uint8_t[kBlockQuads][kLaneRows * 4];

// Where in 64 bits, of two rows, each of the four indices of a quad is; and how far from the step's first
// input its group begins.
struct LaneTables {
  alignas(64) uint8_t shifts[4][64];  // by the byte of 32 bits in which the indices are
  alignas(64) uint8_t groups[kStepQuads][64];
  constexpr LaneTables() : shifts(), groups() {
    for (int b = 0; b < 64; ++b) {
      for (int s = 0; s < 4; ++s) shifts[s][b] = static_cast<uint8_t>(b % 8 / 4 * 32 + 8 * s + b % 4 * 2);
      for (int q = 0; q < kStepQuads; ++q) groups[q][b] = static_cast<uint8_t>(8 * q + b % 4 / 2 * 4);
    }
  }
};
constexpr LaneTables kLaneTables;

struct LaneFormat {
  static constexpr int64_t kChunkRows = 64;
  static constexpr Cut kCut = {.chunk_rows = kChunkRows, .segment_blocks = int64_t{1} << 32};
  static constexpr int64_t kStateBytes = kChunkRows * sizeof(int32_t);  // where every row's sums begin

  static int64_t groups_of(int64_t rows) { return (rows + kLaneRows - 1) / kLaneRows; }
  static int64_t staged_bytes(int64_t rows, int64_t blocks) {
    return kStateBytes + blocks * groups_of(rows) * int64_t{sizeof(LaneBlock)};
  }

  static void stage(const Nm24Rows& w, const Blocks& blocks, void* staged) {
    auto* begins = static_cast<int32_t*>(staged);
    auto* staged_blocks = reinterpret_cast<LaneBlock*>(static_cast<char*>(staged) + kStateBytes);
    const int64_t groups = groups_of(w.rows);
    for (int64_t g = 0; g < groups; ++g) {
      __m512i sums = _mm512_setzero_si512();
      for (int64_t b = 0; b < blocks.count; ++b) {
        const int64_t first = (blocks.first + b) * kBlockInputs;
        for (int64_t k = first; k < first + kBlockInputs && k < w.cols; k += 2 * kStepInputs)
          stage_two_steps(w, g * kLaneRows, k, (k - first) / 8, staged_blocks[b * groups + g], sums);
      }
      _mm512_store_si512(begins + g * kLaneRows, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
    }
  }

  static void multiply(int64_t rows, int64_t cols, const Blocks& blocks, const void* staged,
                       const Panel& panel, float* tile, void* scratch) {
    const auto* begins = static_cast<const int32_t*>(staged);
    const auto* block = reinterpret_cast<const LaneBlock*>(static_cast<const char*>(staged) + kStateBytes);
    const auto* inputs = static_cast<const char*>(panel.data);
    auto* lanes = static_cast<BlockLanes*>(scratch);
    const int64_t groups = groups_of(rows), tiles = (panel.columns + kTileColumns - 1) / kTileColumns;
    const int64_t share = (groups * int64_t{sizeof(LaneBlock)} / tiles + 63) / 64 * 64;
    for (int64_t b = 0; b < blocks.count; ++b, block += groups, inputs += kPanelColumns * kBlockInputs) {
      const int64_t left = (cols - b * kBlockInputs + kStepInputs - 1) / kStepInputs;
      const int64_t steps = left < kBlockSteps ? left : kBlockSteps;
      const char* next = reinterpret_cast<const char*>(block + groups);
      for (int64_t g = 0; g < groups; ++g) find_lanes(block[g], steps, lanes[g]);
      for (int64_t t = 0; t < tiles; ++t) {
        // Weights are read once in a batch: a share of the next block's comes nearer.
        for (int64_t at = t * share; at < (t + 1) * share; at += 64) prefetch_second_level(next, at);
        for (int64_t g = 0; g < groups; ++g) {
          multiply_tile(block[g], lanes[g], steps, inputs + t * steps * kTileColumns * kStepInputs,
                        b == 0 ? begins + g * kLaneRows : nullptr,
                        tile + (g * kPanelColumns + t * kTileColumns) * kLaneRows);
        }
      }
    }
  }

 private:
  // Sixteen rows, or the last one again, from column k on, to the quads from `quad` on; adds kByteZero times
  // the weights to sums.
  static void stage_two_steps(const Nm24Rows& w, int64_t first, int64_t k, int64_t quad, LaneBlock& to,
                              __m512i& sums) {
    const int64_t left = w.cols - k, groups = (left < 2 * kStepInputs ? left : 2 * kStepInputs) / 4;
    const auto present = groups == 32 ? ~uint64_t{0} : (uint64_t{1} << 2 * groups) - 1;
    const auto marks = static_cast<__mmask16>((1u << (groups + 1) / 2) - 1);
    __m512 weights[kLaneRows], indices[kLaneRows];
    for (int64_t i = 0; i < kLaneRows; ++i) {
      const int64_t r = first + i < w.rows ? first + i : w.rows - 1;
      const char* values = static_cast<const char*>(w.values) + r * (w.cols / 2) + k / 2;
      weights[i] = _mm512_castsi512_ps(_mm512_maskz_loadu_epi8(present, values));
      indices[i] = _mm512_castsi512_ps(
          _mm512_castsi128_si512(_mm_maskz_loadu_epi8(marks, w.indices + r * w.index_bytes + k / 8)));
      // Strips of rows are too short to be foreseen.
      prefetch_behind(values, 2 * kStepInputs);
    }
    Avx512F32::transpose(weights);
    Avx512F32::transpose(indices);
    const __m512i zero = _mm512_set1_epi8(static_cast<char>(kByteZero));
    for (int64_t q = 0; q < 2 * kStepQuads; ++q) {
      _mm512_store_ps(to.weights[quad + q], weights[q]);
      sums = _mm512_dpbusd_epi32(sums, zero, _mm512_castps_si512(weights[q]));
    }
    for (int64_t i = 0; i < kStepQuads / 2; ++i) _mm512_store_ps(to.indices[quad / 4 + i], indices[i]);
  }

  static void find_lanes(const LaneBlock& block, int64_t steps, BlockLanes& lanes) {
    const __m512i three = _mm512_set1_epi8(3);
    for (int64_t q = 0; q < steps * kStepQuads; ++q) {
      const __m512i found = _mm512_multishift_epi64_epi8(_mm512_load_si512(kLaneTables.shifts[q % 4]),
                                                         _mm512_load_si512(block.indices[q / 4]));
      const __m512i group = _mm512_load_si512(kLaneTables.groups[q % kStepQuads]);
      _mm512_store_si512(lanes[q], _mm512_ternarylogic_epi32(found, three, group, 0xea));
    }
  }

  // Rows First to First + 3 of X. Written down, because gcc would load their inputs first and spill, or keep
  // a pointer to each; and four permutations before their products find more of their ports free than one by
  // one.
  template <int First>
  static PRUNE_INLINE void multiply_four(__m512i lanes, __m512i weights, const char* x, __m512i (&acc)[4]) {
    constexpr int64_t kAt = First * kStepInputs;
    __m512i a, b, c, d;
    __asm__(
        "vpermb %c[o0](%[x]), %[lanes], %[a]\n\tvpermb %c[o1](%[x]), %[lanes], %[b]\n\t"
        "vpermb %c[o2](%[x]), %[lanes], %[c]\n\tvpermb %c[o3](%[x]), %[lanes], %[d]\n\t"
        "vpdpbusd %[w], %[a], %[s0]\n\tvpdpbusd %[w], %[b], %[s1]\n\t"
        "vpdpbusd %[w], %[c], %[s2]\n\tvpdpbusd %[w], %[d], %[s3]"
        : [a] "=&v"(a), [b] "=&v"(b), [c] "=&v"(c), [d] "=&v"(d), [s0] "+v"(acc[0]), [s1] "+v"(acc[1]),
          [s2] "+v"(acc[2]), [s3] "+v"(acc[3])
        : [x] "r"(x), [o0] "i"(kAt), [o1] "i"(kAt + kStepInputs), [o2] "i"(kAt + 2 * kStepInputs),
          [o3] "i"(kAt + 3 * kStepInputs), [lanes] "v"(lanes), [w] "v"(weights),
          "m"(*reinterpret_cast<const char(*)[kTileColumns * kStepInputs]>(x)));
  }

  // x [steps][kTileColumns] registers; sums [kTileColumns][kLaneRows]. `begins`: of the first block.
  static void multiply_tile(const LaneBlock& block, const BlockLanes& of_quads, int64_t steps, const char* x,
                            const int32_t* begins, float* sums) {
    constexpr int kFours = 4;
    static_assert(kTileColumns == 4 * kFours);
    __m512i acc[kFours][4];
#pragma GCC unroll 8
    for (int i = 0; i < kFours; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        acc[i][j] =
            begins != nullptr ? _mm512_load_si512(begins) : _mm512_load_si512(sums + (4 * i + j) * kLaneRows);
    }
    for (int64_t s = 0; s < steps; ++s, x += kTileColumns * kStepInputs) {
#pragma GCC unroll 1
      for (int64_t q = s * kStepQuads; q < (s + 1) * kStepQuads; ++q) {
        const __m512i weights = _mm512_load_si512(block.weights[q]), lanes = _mm512_load_si512(of_quads[q]);
        multiply_four<0>(lanes, weights, x, acc[0]);
        multiply_four<4>(lanes, weights, x, acc[1]);
        multiply_four<8>(lanes, weights, x, acc[2]);
        multiply_four<12>(lanes, weights, x, acc[3]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kFours; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) _mm512_store_si512(sums + (4 * i + j) * kLaneRows, acc[i][j]);
    }
  }
};

// Of 256 inputs: panel[c / 16][step][c % 16][64], rows of X as bytes. Missing inputs meet weights of zero,
// missing columns become whatever.
void pack_byte_rows(const float* x, int64_t ldx, int64_t columns, int64_t depth, const float* steps,
                    void* packed) {
  const int64_t registers = (depth + kStepInputs - 1) / kStepInputs;
  for (int64_t c = 0; c < columns; ++c) {
    const float* row = x + c * ldx;
    char* to = static_cast<char*>(packed) +
               (c / kTileColumns * registers * kTileColumns + c % kTileColumns) * kStepInputs;
    const __m512 inverse = _mm512_set1_ps(1 / steps[c]);
    for (int64_t k = 0; k < depth; k += kStepInputs, to += kTileColumns * kStepInputs)
      _mm512_store_si512(to, round_bytes(row + k, depth - k, inverse));
  }
}

}  // namespace

constexpr StagedKernel<Nm24Rows> row_lanes_nm24_bytes_avx512bf16 = {
    .name = "row_lanes_nm24_bytes_avx512bf16",
    .type = WeightType::kI8,
    .in_bytes = true,
    .panel = {.vector_columns = kTileColumns,
              .panel_columns = kPanelColumns,
              .input_bytes = 1,
              .pack = pack_byte_rows,
              .store = store_lanes<IntegerLanes, kPanelColumns>,
              .find_step = find_byte_step,
              .inputs_together = kStepInputs},
    .block_inputs = kBlockInputs,
    .block_bytes = LaneFormat::kChunkRows / kLaneRows * int64_t{sizeof(BlockLanes)},
    .in_place = LaneFormat::kCut,
    .once = LaneFormat::kCut,
    .staged_bytes = LaneFormat::staged_bytes,
    .stage = LaneFormat::stage,
    .stage_scaled = nullptr,
    .multiply = LaneFormat::multiply};

}  // namespace prune::kernels
