#include "kernels/sparse/spmm_relative/decode_relative.h"

#include <algorithm>

#include "kernels/sparse/cuda/gathered_x.h"
#include "kernels/sparse/cuda/launch.h"
#include "kernels/sparse/cuda/ptx.h"

namespace prune::kernels::cuda {
namespace {

// Vectors that a lane has on their way to registers: what these allow without spilling.
template <int kTokens>
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kAhead = 2;
#else
constexpr int kAhead = kTokens <= 2 ? 4 : 2;
#endif
constexpr int kZeros = 21;  // units that what fills up the last vectors can reach

struct Arguments {
  const uint32_t* starts;
  const uint16_t* lengths;
  const uint4* values;
  const uint32_t* codes;
  GatheredX x;
  void* y;
  int64_t y_stride;
  RowShares rows;
};

// Eight entries of a lane, on their way from memory.
struct Entries {
  uint4 values;
  uint32_t codes;

  __device__ void load(const Arguments& args, uint32_t at) {
    values = ptx::load_once(args.values + at);
    codes = __ldg(args.codes + at);
  }
};

// What eight codes say: the units that they pass, bytewise.
struct Passed {
  uint32_t odd;        // up to and with entry 2i + 1 in byte i
  uint32_t even;       // up to and with entry 2i
  uint32_t no_weight;  // bit 4k of entry k

  __device__ explicit Passed(uint32_t codes) {
    uint32_t all = codes & codes >> 1;
    no_weight = all & all >> 2 & 0x11111111;
    codes -= no_weight;
    const uint32_t second = codes >> 4 & 0x0f0f0f0f;
    odd = ((codes & 0x0f0f0f0f) + second + 0x02020202) * 0x01010101;
    even = odd - second - 0x01010101;
  }
  __device__ uint32_t all() const { return odd >> 24; }
};

// What one of a row's lanes takes: every kParts-th vector of one list.
template <int kLanes, int kLists>
class Lane {
 public:
  static constexpr int kParts = kLanes / kLists;

  __device__ Lane(const Arguments& args, int row, int end) {
    if (row >= end) return;
    at_ = __ldg(args.starts + row);
    left_ = int(__ldg(args.lengths + row * kLists + list())) - own() / kLists;
  }
  __device__ static int own() { return int(threadIdx.x) & (kLanes - 1); }
  __device__ static int list() { return own() % kLists; }

  // The vectors of a row lie as its lanes take them, one each while their lists last: with one list, lane
  // after lane to its end.
  __device__ void fetch(const Arguments& args, Entries& to) {
    if constexpr (kLists == 1) {
      if (left_ > 0) to.load(args, at_ + uint32_t(own()));
      at_ += kLanes;
    } else {
      uint32_t all = __ballot_sync(~0u, left_ > 0);
      if constexpr (kLanes < 32) all = all >> (threadIdx.x & 31 & ~(kLanes - 1)) & ((1u << kLanes) - 1);
      if (left_ > 0) to.load(args, at_ + uint32_t(__popc(all & ((1u << own()) - 1))));
      at_ += uint32_t(__popc(all));
    }
    left_ -= kParts;
  }
  // Whether the fetch so many before the next one brought a vector.
  __device__ bool brought(int before) const { return left_ + before * kParts > 0; }

 private:
  uint32_t at_ = 0;  // of the row's next vectors
  int left_ = 0;     // vectors of the list from this lane's next one on
};

// Sums over a row's lanes of the same list, up to and with this one.
template <int kLanes, int kLists>
__device__ inline uint32_t scan(uint32_t sum) {
#pragma unroll
  for (int step = kLists; step < kLanes; step *= 2) {
    const uint32_t left = __shfl_up_sync(~0u, sum, step, kLanes);
    if ((int(threadIdx.x) & (kLanes - 1)) >= step) sum += left;
  }
  return sum;
}
template <int kLanes, int kLists>
__device__ inline uint32_t total(uint32_t scanned) {
  if constexpr (kLanes == kLists) return scanned;
  return __shfl_sync(~0u, scanned, kLanes - kLists + Lane<kLanes, kLists>::list(), kLanes);
}

// What the lanes of a row add up, each its own entries. Without kFinite the entries that have no weight do
// not touch x.
template <class T, int kTokens, int kLanes, int kLists, bool kFinite>
class LaneSums {
 public:
  // += this lane's entries times x; `address` is that of its list's column before the next.
  __device__ void add(bool is_there, const uint4& values, const Passed& passed, uint32_t address) {
    if (!is_there) return;
    const uint32_t value[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t unit = uint32_t(kLists * 2 * kTokens) << (8 * i);
      const auto even = Column<kTokens>::load(__dp4a(passed.even, unit, address));
      const auto odd = Column<kTokens>::load(__dp4a(passed.odd, unit, address));
      if (kFinite || !(passed.no_weight >> (8 * i) & 1)) even.template add<T>(sums_, lower<T>(value[i]));
      if (kFinite || !(passed.no_weight >> (8 * i + 4) & 1)) odd.template add<T>(sums_, upper<T>(value[i]));
    }
  }

  // To y.
  __device__ void store(const Arguments& args, int row, int end) const {
    const int own = int(threadIdx.x) & (kLanes - 1), token = int(blockIdx.y) * kTokens + own;
    float mine = 0;  // the sum of token `own`
#pragma unroll
    for (int n = 0; n < kTokens; ++n) {
      float sum = sums_[n];
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      mine = own == n ? sum : mine;
    }
    if (own < kTokens && token < args.x.tokens && row < end)
      static_cast<T*>(args.y)[token * args.y_stride + row] = T(mine);
  }

 private:
  float sums_[kTokens] = {};
};

// The same of eight tokens and eight lists by mma m16n8k16, where x is finite. Its operand B is x of an entry
// of sixteen lanes, as ldmatrix gathers it from the lanes' addresses, k = 0 to 7 from eight of them (an
// octet), 8 to 15 from the next. A has their values: in rows 0 to 7 those of the first octet, with zeros for
// the second, and in rows 8 to 15 the other way round. An octet's values stand in two of its eight rows, of
// even lanes in one, of odd lanes in the other; the sums of the other rows are those of some values with
// another octet's x, and nobody reads them.
template <class T, int kLanes>
class MatrixSums {
 public:
  __device__ void add(bool is_there, const uint4& values, const Passed& passed, uint32_t address) {
    const uint32_t value[4] = {values.x, values.y, values.z, values.w};
    // Lane 4g + t, of octet g / 2, has columns k = 2t and 2t + 1 of row g of A: what lane k of its octet has,
    // of the same parity as g.
    const uint32_t odd = threadIdx.x >> 2 & 1, from = (threadIdx.x & 24) + 2 * (threadIdx.x & 3) + odd;
    const uint32_t first = odd ? 0x1044 : 0x4410, second = odd ? 0x3244 : 0x4432;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t both = __shfl_sync(~0u, is_there ? value[i] : 0, from);
      add_entry(__byte_perm(both, 0, first), __dp4a(passed.even, kUnit << (8 * i), address));
      add_entry(__byte_perm(both, 0, second), __dp4a(passed.odd, kUnit << (8 * i), address));
    }
  }

  // To y. Lanes 8 e + t, and 8 e + 4 + t, have the sums of octet e's lanes for tokens 2t and 2t + 1.
  __device__ void store(const Arguments& args, int row, int end) const {
    const int octet = (threadIdx.x & 31) / 8, own = int(threadIdx.x) & (kLanes - 1);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float even = octet < 2 ? sums_[0][n] : sums_[1][n],
                  odd = octet < 2 ? sums_[0][2 + n] : sums_[1][2 + n];
      float sum = octet % 2 ? odd : even;
#pragma unroll
      for (int step = 4; step < kLanes; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
      const int token = int(blockIdx.y) * 8 + 2 * own + n;
      if (own < 4 && token < args.x.tokens && row < end)
        static_cast<T*>(args.y)[token * args.y_stride + row] = T(sum);
    }
  }

 private:
  static constexpr uint32_t kUnit = 8 * 2 * 8;  // bytes of eight columns

  __device__ void add_entry(uint32_t values, uint32_t address) {
    uint32_t x[4];  // of four octets
    ptx::load_matrix_x4_transposed(x, address);
    const uint4 a{values, 0, 0, values};
    ptx::mma_16x8x16<T>(sums_[0], a, uint2{x[0], x[1]});
    ptx::mma_16x8x16<T>(sums_[1], a, uint2{x[2], x[3]});
  }

  float sums_[2][4] = {};  // of two octets each
};

template <class T, int kTokens, int kLanes, int kLists, bool kFinite>
struct SumsFor {
  using Type = LaneSums<T, kTokens, kLanes, kLists, kFinite>;
};
template <class T, int kLanes>
struct SumsFor<T, 8, kLanes, 8, true> {
  using Type = MatrixSums<T, kLanes>;
};

template <class T, int kTokens, int kLanes, int kLists, bool kFinite>
__device__ inline void multiply_rows(const Arguments& args, uint32_t x, int row, int end,
                                     Lane<kLanes, kLists> lane, Entries (&e)[kAhead<kTokens>]) {
  constexpr int kFetched = kAhead<kTokens>, kStep = kGatherThreads / kLanes;
  constexpr uint32_t kUnit = kLists * 2 * kTokens;
  x += uint32_t(2 * kTokens * lane.list()) - kUnit;
  Lane<kLanes, kLists> next(args, row + kStep, end);
  for (; __any_sync(~0u, row < end); row += kStep) {
    typename SumsFor<T, kTokens, kLanes, kLists, kFinite>::Type sums;
    uint32_t passed = x;
    while (__any_sync(~0u, lane.brought(kFetched))) {
#pragma unroll
      for (int i = 0; i < kFetched; i += 2) {  // two vectors in one scan
        const bool first = lane.brought(kFetched), second = lane.brought(kFetched - 1);
        const Passed p0(first ? e[i].codes : 0), p1(second ? e[i + 1].codes : 0);
        const uint32_t own = (first ? p0.all() : 0) | (second ? p1.all() << 16 : 0);
        const uint32_t scanned = scan<kLanes, kLists>(own), before = scanned - own,
                       all = total<kLanes, kLists>(scanned);
        const uint32_t middle = passed + (all & 0xffff) * kUnit;
        sums.add(first, e[i].values, p0, first ? passed + (before & 0xffff) * kUnit : x);
        sums.add(second, e[i + 1].values, p1, second ? middle + (before >> 16) * kUnit : x);
        passed = middle + (all >> 16) * kUnit;
        lane.fetch(args, e[i]);
        lane.fetch(args, e[i + 1]);
      }
    }
    lane = next;
#pragma unroll
    for (int i = 0; i < kFetched; ++i) lane.fetch(args, e[i]);
    next = Lane<kLanes, kLists>(args, row + 2 * kStep, end);
    sums.store(args, row, end);
  }
}

template <class T, int kTokens, int kLanes, int kLists>
__global__ void __launch_bounds__(kGatherThreads, 1) decode_relative_kernel(const Arguments args) {
  extern __shared__ __align__(16) uint8_t storage[];
  const int end = args.rows.begin(int(blockIdx.x) + 1);
  const int row = args.rows.begin(int(blockIdx.x)) + int(threadIdx.x) / kLanes;
  Lane<kLanes, kLists> lane(args, row, end);
  SharedColumns<T, kTokens> columns(args.x, int(blockIdx.y) * kTokens);
  if (args.x.is_ready) columns.fetch();
  Entries entries[kAhead<kTokens>] = {};
#pragma unroll
  for (int i = 0; i < kAhead<kTokens>; ++i) lane.fetch(args, entries[i]);
#if __CUDA_ARCH__ >= 900
  ptx::launch_dependents();
  ptx::wait_for_prerequisites();
#endif
  if (!args.x.is_ready) columns.fetch();
  const bool found = columns.template store<kZeros * kLists>(storage);
  const uint32_t x = ptx::shared_address(storage);
  if (__syncthreads_or(found)) {
    multiply_rows<T, kTokens, kLanes, kLists, false>(args, x, row, end, lane, entries);
  } else {
    multiply_rows<T, kTokens, kLanes, kLists, true>(args, x, row, end, lane, entries);
  }
}

using Kernel = void (*)(Arguments);
template <class T, int kLanes, int kLists>
Kernel kernel_for(int tokens) {
  if (tokens == 1) return decode_relative_kernel<T, 1, kLanes, kLists>;
  if (tokens == 2) return decode_relative_kernel<T, 2, kLanes, kLists>;
  return tokens == 4 ? decode_relative_kernel<T, 4, kLanes, kLists>
                     : decode_relative_kernel<T, 8, kLanes, kLists>;
}
template <class T, int kLists>
Kernel kernel_for(int tokens, int lanes) {
  if (lanes == 8) return kernel_for<T, 8, kLists>(tokens);
  return lanes == 16 ? kernel_for<T, 16, kLists>(tokens) : kernel_for<T, 32, kLists>(tokens);
}
template <class T>
Kernel kernel_for(int tokens, int lanes, int lists) {
  return lists == 1 ? kernel_for<T, 1>(tokens, lanes) : kernel_for<T, 8>(tokens, lanes);
}

bool shape_fits(const MatrixRelative& m) {
  return m.rows >= 1 && m.cols >= 2 && m.cols <= 65534 && m.cols % 2 == 0 && (m.lists == 1 || m.lists == 8);
}

}  // namespace

// Few lanes have less to add up over lanes, but need many rows.
int plan_decode_relative(const MatrixRelative& matrix, int multiprocessors) {
  const int rows = matrix.rows / multiprocessors;
  return rows >= 96 ? 8 : rows >= 48 || matrix.cols <= 8192 ? 16 : 32;
}

Status decode_relative(const MatrixRelative& matrix, int lanes, const ProductCall& call) {
  if (!shape_fits(matrix) || call.tokens < 1 || call.tokens > kMaxDecodeRelativeTokens ||
      call.x_stride < matrix.cols || call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.values) || !aligned16(matrix.codes) || !aligned16(call.x) || call.x_stride % 8 != 0)
    return {Reason::kAlignment};
  if (lanes != 8 && lanes != 16 && lanes != 32) return {Reason::kPlan};
  Device device;
  if (const Status s = current_device(&device); !s.ok()) return s;
  const SharedX share(matrix.cols + kZeros * matrix.lists, call.tokens, device.shared_bytes);
  if (share.tokens == 0) return {Reason::kDevice};
  const Kernel kernel = call.element == Element::kF16
                            ? kernel_for<__half>(share.tokens, lanes, matrix.lists)
                            : kernel_for<__nv_bfloat16>(share.tokens, lanes, matrix.lists);
  const int row_blocks = std::min(device.multiprocessors, matrix.rows);
  const Arguments args{matrix.starts,
                       matrix.lengths,
                       static_cast<const uint4*>(matrix.values),
                       matrix.codes,
                       {call.x, call.x_stride, matrix.cols, call.tokens, !call.overlap_previous},
                       call.y,
                       call.y_stride,
                       RowShares(matrix.rows, row_blocks)};
  return launch(kernel, {share.blocks(call.tokens, row_blocks), kGatherThreads, share.bytes}, call, args);
}

}  // namespace prune::kernels::cuda
