// Which way to cut a 2:4 decode. The candidates differ in how many blocks and warps share a row (more: finer
// balance, more sums to exchange) and in how much shared memory they take.
#include <algorithm>

#include "kernels/sparse/spmm_nm/decode24_layout.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kPanelTiles = 4;
constexpr int kMaxDepth = 8;          // in tiles
constexpr int kMinSharedTokens = 16;  // below, x is too small to be worth a multicast
constexpr int kPrefetchBytes = 128 << 10;

int divide_up(int a, int b) { return (a + b - 1) / b; }

// How x is held within `budget` bytes: whole, or a ring of small panels.
void plan_panels(const DecodeShape& shape, int tiles, int budget, DecodePlan& plan) {
  plan.panel_tiles = std::min(kPanelTiles, tiles);
  plan.panels = divide_up(tiles, plan.panel_tiles);
  const auto bytes = [&] { return plan.panels * shape.tokens * (plan.panel_tiles * kTileCols24 * 2 + 16); };
  if (bytes() <= budget) return;
  plan.panel_tiles = std::max(1, std::min(2, tiles));
  plan.panels = 3;
  if (bytes() > budget) plan.panels = 2;
  if (bytes() > budget) plan.panel_tiles = 1;
}

// Fills in rounds and memory; false when the cut is no use.
bool complete(const DecodeShape& shape, int max_clusters, int shared_bytes, DecodePlan& plan) {
  const int tiles_k = int(tiles_along24(shape.cols, kTileCols24));
  const int row_tiles = int(tiles_along24(shape.rows, kTileRows24));
  const int tiles = divide_up(tiles_k, plan.split), warps = plan.row_warps * plan.col_warps;
  const int copy_bytes = tile_bytes24(shape.weight) * plan.copy + 8, copies = divide_up(tiles, plan.copy);
  if (plan.col_warps > copies) return false;
  const int groups = divide_up(row_tiles, plan.row_warps * plan.share),
            rounds = divide_up(groups, max_clusters);
  plan.clusters = divide_up(groups, rounds);
  plan.depth = 2;
  const int exchange = 2 * DecodeLayout(shape.weight, shape.tokens, plan).exchange_bytes;
  plan_panels(shape, tiles, shared_bytes - exchange - warps * plan.depth * copy_bytes - 512, plan);
  const int most = std::min(kMaxDepth / plan.copy, rounds * divide_up(copies, plan.col_warps));
  while (plan.depth < most && decode_shared_bytes(shape, plan) + warps * copy_bytes <= shared_bytes)
    ++plan.depth;
  // Worth it where x takes its time to arrive and weights are long; elsewhere the rings alone keep memory
  // busy.
  if (shape.weight == Weight24::k16 && shape.tokens >= 8 && shape.tokens <= 16) {
    const int bytes = plan.row_warps * tile_bytes24(shape.weight);
    plan.prefetch =
        std::max(0, std::min(kPrefetchBytes / bytes, rounds * tiles - plan.depth * plan.col_warps));
  }
  return decode_shared_bytes(shape, plan) <= shared_bytes &&
         decode_plan_fits(shape.weight, shape.cols, shape.tokens, plan);
}

// What estimate() counts with, in microseconds and bytes a microsecond.
struct Costs {
  double bandwidth, in_flight;   // of memory, and the bytes on their way from which on it is reached
  double imbalance;              // share of the weights' time that the busiest block alone determines
  double tile, token;            // a warp's work on a tile, and more for each token
  double warps;                  // that work side by side without slowing one another down
  double x_all, x_block;         // at which x reaches all blocks, and each
  double share;                  // of x among blocks
  double exchange, split, warp;  // of sums: each, and more for each block and warp that has some
  double large;                  // of a block with more than half of the shared memory
  double flood, flooded;  // of a million bytes on their way beyond so many: what comes first comes later
};
constexpr Costs k16Bits{7.7e6, 5.37e6, 0.369, 0.187, 0.0334, 11,     1.89e6, 21.1e3,
                        0.132, 0.151,  0.382, 0.268, 0.109,  0.0746, 5.9e6};
constexpr Costs kFewerBits{3.52e6, 3.72e6, 0.274, 0.233,  0.00399, 9.6,   4.75e6, 30.1e3,
                           0.463,  0.646,  0.111, 0.0961, 0.403,   0.108, 5.32e6};
constexpr Costs kFewerBitsOf32Tokens{4.5e6, 5.2e6, 0.2,  0.241, 0.0054, 11, 2.1e6, 40e3,
                                     0.5,   0.15,  0.17, 0.09,  0.23,   0,  0};

// The bandwidth that copies of one tile of int4, 1600 bytes, reach, as a share of that of two.
// Fitted up to 16 tokens, where the sweep of int4 stops; with more it is the same number, unfitted.
constexpr double kShortCopies = 0.92;

// Microseconds, roughly, on an H200: weights from memory, work on the tiles of one warp, x, exchanges. The
// costs are fitted to measurements of candidates, alone and overlapped (bench/gpu/decode24_bench --sweep):
// what matters is the order of the plans. Up to 16 tokens that were 16 to 250 candidates in each of 46 cases,
// alone: the first choice is within 1.5% of the best on average, 15% at worst.
double estimate(const DecodeShape& shape, const DeviceLimits& limits, const DecodePlan& plan) {
  const Costs& costs = shape.weight == Weight24::k16 ? k16Bits
                       : shape.tokens <= 16          ? kFewerBits
                                                     : kFewerBitsOf32Tokens;
  const int tiles_k = int(tiles_along24(shape.cols, kTileCols24));
  const int row_tiles = int(tiles_along24(shape.rows, kTileRows24));
  const int rounds = divide_up(row_tiles, plan.row_warps * plan.share * plan.clusters);
  const int tiles = divide_up(tiles_k, plan.split), warps = plan.row_warps * plan.col_warps;
  const int blocks = plan.clusters * plan.split * plan.share;

  const double in_flight = double(plan.depth) * plan.copy * warps * tile_bytes24(shape.weight) * blocks;
  const double short_copies = shape.weight == Weight24::kInt4 && plan.copy == 1 ? kShortCopies : 1;
  const double bandwidth = costs.bandwidth * short_copies * std::min(1.0, in_flight / costs.in_flight);
  const double busiest =
      double(rounds) * plan.row_warps * tiles * limits.clusters[0] / (double(row_tiles) * tiles_k);
  const double weights = double(stream_bytes24(shape.weight, shape.rows, shape.cols)) *
                         (1 - costs.imbalance + costs.imbalance * busiest) / bandwidth;

  const double work = double(rounds) * divide_up(divide_up(tiles, plan.copy), plan.col_warps) * plan.copy *
                      (costs.tile + costs.token * shape.tokens) * std::max(1.0, warps / costs.warps);

  const bool resident = divide_up(tiles, plan.panel_tiles) <= plan.panels;
  const double x_block = 2.0 * shape.tokens * tiles * kTileCols24 * (resident ? 1 : rounds);
  const double x = std::max(x_block * blocks / plan.share / costs.x_all, x_block / costs.x_block) +
                   (plan.share > 1 ? costs.share : 0);

  const bool combines = plan.split * plan.col_warps > 1;
  const int exchanges = combines ? rounds * std::max(1, decode_token_blocks(shape.tokens) / 2) : 0;
  const double exchange =
      exchanges * (costs.exchange + costs.split * plan.split + costs.warp * plan.col_warps);

  const double large = decode_shared_bytes(shape, plan) > limits.shared_bytes / 2 ? costs.large : 0;
  const double flood = costs.flood * std::max(0.0, in_flight - costs.flooded) * 1e-6;
  return weights + work + x + exchange + large + flood;
}

}  // namespace

int decode_shared_bytes(const DecodeShape& shape, const DecodePlan& plan) {
  return DecodeLayout(shape.weight, shape.tokens, plan).bytes();
}

std::vector<DecodePlan> decode_candidates(const DecodeShape& shape, const DeviceLimits& limits) {
  std::vector<std::pair<double, DecodePlan>> found;
  const int tiles_k = int(tiles_along24(shape.cols, kTileCols24));
  const int max_warps = decode_max_warps(shape.weight, decode_token_blocks(shape.tokens));
  const auto add_plan = [&](int log_split, int log_share, int col_warps, int row_warps, int copy) {
    for (const int shared_bytes : {limits.shared_bytes / 2 - 1024, limits.shared_bytes}) {
      DecodePlan plan;
      plan.split = 1 << log_split;
      plan.share = 1 << log_share;
      plan.row_warps = row_warps;
      plan.col_warps = col_warps;
      plan.copy = copy;
      if (complete(shape, limits.clusters[log_split + log_share], shared_bytes, plan)) {
        found.emplace_back(estimate(shape, limits, plan), plan);
      }
    }
  };
  const int most_copied = shape.weight == Weight24::kInt4 ? 2 : 1;
  const auto add_cut = [&](int log_split, int log_share) {
    for (int col_warps = 1; col_warps <= max_warps; ++col_warps) {
      for (int row_warps = 1; row_warps * col_warps <= max_warps; ++row_warps) {
        for (int copy = 1; copy <= most_copied; ++copy)
          add_plan(log_split, log_share, col_warps, row_warps, copy);
      }
    }
  };
  for (int log_split = 0; log_split < 4 && 1 << log_split <= tiles_k; ++log_split) {
    for (int log_share = 0; log_split + log_share < 4; ++log_share) {
      if (log_share == 0 || shape.tokens >= kMinSharedTokens) add_cut(log_split, log_share);
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<DecodePlan> plans;
  for (const auto& [time, plan] : found) plans.push_back(plan);
  return plans;
}

DecodePlan plan_decode24(const DecodeShape& shape, const DeviceLimits& limits) {
  const std::vector<DecodePlan> plans = decode_candidates(shape, limits);
  return plans.empty() ? DecodePlan{} : plans.front();
}

}  // namespace prune::kernels::cuda
