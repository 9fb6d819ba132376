// Which way to cut a 2:4 decode. The candidates differ in how many blocks and warps share a row (more: finer
// balance, more sums to exchange) and in how much shared memory they take (less: the next kernel of the
// stream can move in beside and prefetch).
#include <algorithm>

#include "kernels/sparse/spmm_nm/decode24_layout.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kPanelTiles = 4;
constexpr int kMaxDepth = 8;

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
  const int tiles_k = int(tiles_along24(shape.cols, kTileCols24)),
            row_tiles = int(tiles_along24(shape.rows, kTileRows24));
  const int tiles = divide_up(tiles_k, plan.cluster_size), warps = plan.row_warps * plan.col_warps;
  if (plan.col_warps > tiles) return false;
  const int groups = divide_up(row_tiles, plan.row_warps), rounds = divide_up(groups, max_clusters);
  plan.clusters = divide_up(groups, rounds);
  plan.depth = 2;
  plan_panels(shape, tiles, shared_bytes - DecodeLayout(shape.weight, shape.tokens, plan).exchange(2) - 4096,
              plan);
  const int most = std::min(kMaxDepth, rounds * divide_up(tiles, plan.col_warps));
  while (plan.depth < most &&
         decode_shared_bytes(shape, plan) + warps * (tile_bytes24(shape.weight) + 8) <= shared_bytes) {
    ++plan.depth;
  }
  return decode_shared_bytes(shape, plan) <= shared_bytes && decode_plan_fits(shape.cols, shape.tokens, plan);
}

// Microseconds, roughly, on an H200.
double estimate(const DecodeShape& shape, const DeviceLimits& limits, const DecodePlan& plan) {
  const int tiles_k = int(tiles_along24(shape.cols, kTileCols24)),
            row_tiles = int(tiles_along24(shape.rows, kTileRows24));
  const int groups = divide_up(row_tiles, plan.row_warps), rounds = divide_up(groups, plan.clusters);
  const int tiles = divide_up(tiles_k, plan.cluster_size), blocks = plan.clusters * plan.cluster_size;
  const double in_flight =
      double(plan.depth) * plan.row_warps * plan.col_warps * tile_bytes24(shape.weight) * blocks;
  const double bandwidth = 4.3e6 * std::min(1.0, in_flight / 6e6);
  const double share =
      double(rounds) * plan.row_warps * tiles * limits.clusters[0] / (double(row_tiles) * tiles_k);
  const bool resident = divide_up(tiles, plan.panel_tiles) <= plan.panels;
  const double x_bytes = 2.0 * shape.tokens * shape.cols * plan.clusters * (resident ? 1 : rounds);
  const double pieces = rounds * std::max(1, decode_token_blocks(shape.tokens) / 2);
  return double(stream_bytes24(shape.weight, shape.rows, shape.cols)) * (0.75 + 0.25 * share) / bandwidth +
         x_bytes / 5e6 + pieces * (0.2 + 0.02 * plan.cluster_size * plan.col_warps);
}

}  // namespace

int decode_shared_bytes(const DecodeShape& shape, const DecodePlan& plan) {
  return DecodeLayout(shape.weight, shape.tokens, plan).bytes();
}

std::vector<DecodePlan> decode_candidates(const DecodeShape& shape, const DeviceLimits& limits) {
  std::vector<std::pair<double, DecodePlan>> found;
  const int tiles_k = int(tiles_along24(shape.cols, kTileCols24)),
            max_warps = decode_max_warps(decode_token_blocks(shape.tokens));
  for (int log_size = 0; log_size < 4; ++log_size) {
    if (1 << log_size > tiles_k) break;
    for (int col_warps = 1; col_warps <= max_warps; col_warps *= 2) {
      for (int row_warps = 1; row_warps * col_warps <= max_warps; ++row_warps) {
        for (const int shared_bytes : {limits.shared_bytes / 2 - 1024, limits.shared_bytes}) {
          DecodePlan plan;
          plan.cluster_size = 1 << log_size;
          plan.row_warps = row_warps;
          plan.col_warps = col_warps;
          if (complete(shape, limits.clusters[log_size], shared_bytes, plan)) {
            found.emplace_back(estimate(shape, limits, plan), plan);
          }
        }
      }
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
