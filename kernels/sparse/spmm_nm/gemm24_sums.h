// How the sums of the many-token 2:4 product leave a warp group: to y, or through the other blocks of the
// cluster. Device code, sm_90a.
#pragma once

#include "kernels/sparse/cuda/group_sums.h"
#include "kernels/sparse/spmm_nm/gemm24_compute.h"
#include "kernels/sparse/spmm_nm/gemm24_feed.h"

namespace prune::kernels::cuda {
namespace {

// Sums times the scales of their rows.
template <int kTokens>
__device__ inline void scale_rows(const Finish& finish, GroupSums<kTokens>& sums, int row) {
  const float upper = row < finish.rows ? finish.row_scales[row] : 0.0f,
              lower = row + 8 < finish.rows ? finish.row_scales[row + 8] : 0.0f;
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) sums[i] *= i & 2 ? lower : upper;
}

// What of an epilogue is worth doing to sums where they are (Finish::is_light), rows g and g + 8 a lane.
template <int kTokens>
__device__ inline void finish_in_registers(const Finish& finish, GroupSums<kTokens>& sums, int row, int token,
                                           int lane) {
  const Epilogue& e = finish.epilogue;
  if (finish.row_scales) scale_rows<kTokens>(finish, sums, row);
  if (e.token_scales) {
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int n = token + 8 * j + 2 * (lane & 3) + c;
        const float scale = n < finish.tokens ? e.token_scales[n] : 0.0f;
        sums[4 * j + c] *= scale, sums[4 * j + 2 + c] *= scale;
      }
    }
  }
  if (e.bias) {
    const float upper = row < finish.rows ? e.bias[row] : 0.0f,
                lower = row + 8 < finish.rows ? e.bias[row + 8] : 0.0f;
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[i] += i & 2 ? lower : upper;
  }
  if (e.activation == Activation::kRelu) {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[i] = relu(sums[i]);
  } else if (e.activation == Activation::kSilu) {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[i] = silu(sums[i]);
  }
}

// Asks the L2 for a warp group's part of the residual, 64 rows by kTokens tokens, long before it is needed.
template <int kTokens>
__device__ inline void prefetch_residual(const Finish& finish, int row, int token, int thread) {
  const Epilogue& e = finish.epilogue;
  if (!e.residual || row >= finish.rows) return;
  for (int n = token + thread; n < min(token + kTokens, finish.tokens); n += 128) {
    const int64_t at = n * e.residual_stride + row;
    ptx::prefetch(static_cast<const uint8_t*>(e.residual) + at * (e.single ? 4 : 2));
    if (e.single && row + 32 < finish.rows) ptx::prefetch(static_cast<const float*>(e.residual) + at + 32);
  }
}

// A warp group's 64 rows by kTokens tokens to y with everything that the epilogue asks for. They pass through
// `buffer`, [kStoreTokens][64 rows], where 16 lanes find the rows of a token side by side. Rows are swapped
// there, eight with eight, so that no bank is met twice.
template <int kTokens>
__device__ void finish_sums(const Finish& finish, const GroupSums<kTokens>& sums, float* buffer, int row,
                            int token, int group, int warp, int lane) {
  constexpr int kSteps = kStoreTokens<kTokens> / 8, kPieces = kTokens / (8 * kSteps);
  const int g = lane >> 2, t = lane & 3, mine = 2 * warp + (lane >> 4);  // of eight tokens
  float* to = buffer + 2 * t * 64;
  const int upper = (16 * warp + g) ^ 8 * t, lower = upper ^ 8;
  const float* from = buffer + mine * 64 + 4 * (lane & 15);
  const FourRows rows(finish, row + 4 * ((lane & 15) ^ 2 * warp));
  const auto token_of = [&](int piece, int step) { return token + (piece * kSteps + step) * 8 + mine; };
  FourRows::Operands operands[kSteps];
#pragma unroll
  for (int j = 0; j < kSteps; ++j) operands[j] = rows.fetch(token_of(0, j));
#pragma unroll 1
  for (int piece = 0; piece < kPieces; ++piece) {
    FourRows::Operands next[kSteps];  // on their way while this piece is at work
    if (piece + 1 < kPieces) {
#pragma unroll
      for (int j = 0; j < kSteps; ++j) next[j] = rows.fetch(token_of(piece + 1, j));
    }
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (p != piece) continue;
#pragma unroll
      for (int j = 0; j < kSteps; ++j) {
        const float* d = sums + (p * kSteps + j) * 4;
        to[j * 512 + upper] = d[0], to[j * 512 + 64 + upper] = d[1];
        to[j * 512 + lower] = d[2], to[j * 512 + 64 + lower] = d[3];
      }
    }
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
#pragma unroll
    for (int j = 0; j < kSteps; ++j) {
      float v[4];
      load_4(from + j * 512, v);
      rows.store(v, token_of(piece, j), operands[j]);
      operands[j] = next[j];
    }
  }
}

// One block's share of the sums of a cluster: pieces, 16 rows by 8 tokens, of `split` blocks, added up in
// order.
struct SharedPieces {
  const uint8_t* parts;  // [source][piece][lane] of 16 bytes
  int split;
  int most;   // pieces of a block
  int rank;   // whose share
  int row;    // the block's first
  int token;  // likewise

  __device__ int piece(int local) const { return local * split + rank; }
  __device__ int row_of(int local) const { return row + piece(local) % kGemmWarps * 16; }
  __device__ int token_of(int local) const { return token + piece(local) / kGemmWarps * 8; }

  // To a y of type Y, rounded and nothing else.
  template <class Y>
  __device__ void store(const Finish& finish, int local, int lane) const {
    const float4* from = reinterpret_cast<const float4*>(parts) + local * 32 + lane;
    float sum[4] = {};
    for (int source = 0; source < split; ++source) {
      const float4 part = from[source * most * 32];
      sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int r = row_of(local) + (lane >> 2) + 8 * (c >> 1),
                n = token_of(local) + 2 * (lane & 3) + (c & 1);
      if (r < finish.rows && n < finish.tokens)
        static_cast<Y*>(finish.y)[n * finish.y_stride + r] = Y(sum[c]);
    }
  }

  // With all that the epilogue asks for: a lane takes four rows of a token, the same place of four lanes'
  // parts.
  __device__ void finish(const Finish& finish, int local, int lane) const {
    const int t = lane & 3, n = lane >> 2;
    const float* from = reinterpret_cast<const float*>(parts) + local * 128 + (t & 1) * 64 + (n >> 1) * 4 +
                        (n & 1) + (t >> 1) * 2;
    const FourRows rows(finish, row_of(local) + 4 * t);
    const FourRows::Operands operands = rows.fetch(token_of(local) + n);
    float sum[4] = {};
    for (int source = 0; source < split; ++source) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += from[source * most * 128 + 16 * i];
    }
    rows.store(sum, token_of(local) + n, operands);
  }
};

// Says at `barrier` of every block on the same rows that this warp has come so far.
__device__ inline void tell_blocks(const Arguments& args, const Place& place, uint32_t barrier, int lane) {
  __syncwarp();
  if (lane < args.split) ptx::barrier_arrive_remote(barrier, (lane << args.log_share) + place.share_rank);
}

// Where blocks split the columns: every block gets its share of the sums of all, and
// writes it to y. Sums travel as asynchronous stores that count bytes at the receiver. Where they land in
// what was x, nobody sends before all have multiplied, and x comes back after the sums are taken; elsewhere
// nobody sends again before all have taken what came before.
template <Weight24 kWeight, class T, int kTokens>
__device__ void exchange_sums(const Arguments& args, const Place& place, const uint8_t* storage,
                              const GroupSums<kTokens>& sums, int row, int token, int warp, int lane,
                              bool is_first, uint32_t parity) {
  using L = GemmLayout<kWeight, kTokens>;
  const uint32_t shared = ptx::shared_address(storage);
  const int split = args.split, most_pieces = (kTokens + split - 1) / split;
  if constexpr (!L::kExchangeApart) {
    tell_blocks(args, place, shared + L::kReady, lane);
    ptx::barrier_wait(shared + L::kReady, parity);
  } else if (!is_first) {
    ptx::barrier_wait(shared + L::kReady, parity ^ 1);
  }
  const uint32_t mine = shared + L::kExchange + place.split_rank * most_pieces * 512 + lane * 16;
  int local = warp / split, to = warp - local * split;
  const int step = kGemmWarps / split, rest = kGemmWarps - step * split;
#pragma unroll
  for (int j = 0; j < kTokens / 8; ++j) {  // piece 8 j + warp is number `local` of block `to`
    const float part[4] = {sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]};
    ptx::store_remote(mine + local * 512, (to << args.log_share) + place.share_rank, part,
                      shared + L::kExchanged);
    local += step, to += rest;
    if (to >= split) to -= split, ++local;
  }
  const int pieces = (kTokens - place.split_rank + split - 1) / split;
  if (warp == 0 && lane == 0) ptx::barrier_expect(shared + L::kExchanged, uint32_t(split * pieces * 512));
  ptx::barrier_wait(shared + L::kExchanged, parity);
  const SharedPieces mine_of_all{storage + L::kExchange, split, most_pieces, place.split_rank, row, token};
  if (!args.plain) {
    for (local = warp; local < pieces; local += kGemmWarps) mine_of_all.finish(args.finish, local, lane);
  } else if (sizeof(T) == 2 ? __is_same(T, __half) : args.finish.half) {
    for (local = warp; local < pieces; local += kGemmWarps)
      mine_of_all.store<__half>(args.finish, local, lane);
  } else {
    for (local = warp; local < pieces; local += kGemmWarps)
      mine_of_all.store<__nv_bfloat16>(args.finish, local, lane);
  }
}

}  // namespace
}  // namespace prune::kernels::cuda
