// Which way to cut a 2:4 product of many tokens: how wide a tile of tokens, how many blocks share x, and how
// many split the columns.
#include <algorithm>

#include "kernels/sparse/spmm_nm/gemm24.h"
#include "kernels/sparse/spmm_nm/gemm24_layout.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kMaxCluster = 8;
constexpr int kMaxMeasuredSplit = 4;  // finer ones are for matrices that one round of them holds
constexpr double kNever = 1e30;

// Clusters of `size` blocks that run at once. A cluster lies within one of the device's processor groups of
// 16 or 18, which the limits show for powers of two; sizes between lose no more than the next power.
int clusters_at_once(const DeviceLimits& limits, int size) {
  const int log = size <= 1 ? 0 : size <= 2 ? 1 : size <= 4 ? 2 : 3, power = 1 << log;
  return std::max(1, size == power ? limits.clusters[log] : limits.clusters[log] * power / size);
}

// How much of x's bytes counts as memory's: most come from the L2. With one tile of tokens, or two, all
// blocks read the same columns of x at a time, and the L2 serves them almost as one.
double share_of_x(const DecodeShape& shape, const GemmPlan& plan) {
  return plan.tile_tokens >= 128 && shape.tokens <= 256 ? 0.13 : 0.3156;
}

// Of the time of a column tile, where four blocks share x: the fewer bytes leave the L2, and fewer blocks run
// at once (120 of 132), the faster each multiplies. Elsewhere two have most of that.
double share_of_time(const DecodeShape& shape, const GemmPlan& plan) {
  if (plan.share < 4) return 1;
  if (shape.tokens > 256) return 0.95;
  return plan.tile_tokens >= 128 && shape.tokens <= 128 ? 0.98 : 1;
}

// Microseconds, roughly, beyond what every launch costs: rounds of output tiles, in each the column tiles of
// a block, which take what multiplying takes or what memory allows. Fitted to all candidates at five shapes
// with 64, 128, 256 and 1024 tokens in bfloat16 and up to 256 in int8 and int4, to what is shared up to 8192,
// and to three shapes with eight bits on both sides, measured on an H200: the first choice is within 0.2% of
// the best on average, 4% at worst.
double estimate(const DecodeShape& shape, const DeviceLimits& limits, const GemmPlan& plan) {
  const int tiles_k = int(tiles_along24(shape.cols, tile_cols24(shape.weight))),
            cluster = plan.share * plan.split;
  const int outputs =
      int(tiles_along24(shape.rows, kGemmRows * plan.share) * tiles_along24(shape.tokens, plan.tile_tokens));
  const int at_once = std::min(outputs, clusters_at_once(limits, cluster));
  const int rounds = (outputs + at_once - 1) / at_once;
  if (plan.split > kMaxMeasuredSplit && rounds > 1) return kNever;
  const int tiles = rounds * ((tiles_k + plan.split - 1) / plan.split);
  const double multiply = 0.3266 + 0.003097 * plan.tile_tokens;
  const double x_bytes = 2.0 * kGemmXRowBytes * plan.tile_tokens / plan.share;
  const double memory = (kGemmRowTiles * tile_bytes24(shape.weight) + share_of_x(shape, plan) * x_bytes) *
                        at_once * cluster / 4.297e6;
  const double round = plan.split == 1          ? 0.057
                       : plan.tile_tokens <= 64 ? 3.353 + 0.00443 * plan.tile_tokens  // sums on their way
                                                : 1.621 + 0.04531 * plan.tile_tokens;
  return tiles * share_of_time(shape, plan) * std::max(multiply, memory) + rounds * round +
         (plan.split > 1 ? 0.11 : 0) + (plan.share > 1 ? 0.6 : 0);
}

}  // namespace

std::vector<GemmPlan> gemm_candidates(const DecodeShape& shape) {
  std::vector<GemmPlan> plans;
  const int tiles_k = int(tiles_along24(shape.cols, tile_cols24(shape.weight)));
  int widest = 256;
  while (widest > 16 && widest / 2 >= shape.tokens) widest /= 2;
  for (const int tile : {widest, widest / 2}) {
    for (int share = 1; tile >= 16 && share <= 4 && 8 * share <= tile; share *= 2) {
      for (int split = 1; share * split <= kMaxCluster && split <= tiles_k; ++split)
        plans.push_back({tile, share, split});
    }
  }
  return plans;
}

GemmPlan plan_gemm24(const DecodeShape& shape, const DeviceLimits& limits) {
  GemmPlan best{16, 1, 1};
  double least = kNever;
  for (const GemmPlan& plan : gemm_candidates(shape)) {
    const double time = estimate(shape, limits, plan);
    if (time < least) least = time, best = plan;
  }
  return best;
}

}  // namespace prune::kernels::cuda
