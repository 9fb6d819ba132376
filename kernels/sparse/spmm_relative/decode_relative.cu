#include "kernels/sparse/spmm_relative/decode_relative.h"

#include <algorithm>

#include "kernels/sparse/cuda/gathered_x.h"
#include "kernels/sparse/cuda/ptx.h"

namespace prune::kernels::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kZeros = 7 * 15;  // columns that the codes which fill up a row can reach

struct Arguments {
  const uint32_t* starts;
  const uint4* values;
  const uint32_t* codes;
  GatheredX x;
  void* y;
  int64_t y_stride;
  int rows;
};

// Eight entries of a lane, on their way from memory.
struct Entries {
  uint4 values;
  uint32_t codes;

  // Past the end of the row the codes move nothing.
  __device__ void load(const Arguments& args, uint32_t at, uint32_t end) {
    if (at >= end) return;
    values = ptx::load_once(args.values + at);
    codes = __ldg(args.codes + at);
  }
};

// What eight codes say: the columns that they pass, bytewise.
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

// sums += the lane's entries times x, which begins, for the lane, at `address`, a column's bytes before.
template <class T, int kTokens, bool kFinite>
__device__ inline void add_entries(float (&sums)[kTokens], const uint4& values, const Passed& passed,
                                   uint32_t address) {
  const uint32_t value[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t bytes = uint32_t(2 * kTokens) << (8 * i);
    const auto even = Column<kTokens>::load(__dp4a(passed.even, bytes, address));
    const auto odd = Column<kTokens>::load(__dp4a(passed.odd, bytes, address));
    if (kFinite || !(passed.no_weight >> (8 * i) & 1)) even.template add<T>(sums, lower<T>(value[i]));
    if (kFinite || !(passed.no_weight >> (8 * i + 4) & 1)) odd.template add<T>(sums, upper<T>(value[i]));
  }
}

// Sums over the lanes before, of kLanes.
template <int kLanes>
__device__ inline uint32_t scan(uint32_t sum, int lane) {
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) {
    const uint32_t left = __shfl_up_sync(~0u, sum, step, kLanes);
    if ((lane & (kLanes - 1)) >= step) sum += left;
  }
  return sum;
}

template <class T, int kTokens, int kLanes, bool kFinite>
__device__ inline void multiply_rows(const Arguments& args, uint32_t x, int token0, int row, int end,
                                     Entries (&e)[4], uint2 range) {
  constexpr int kStep = kWarps * (32 / kLanes);
  const int lane = threadIdx.x & 31, own = lane & (kLanes - 1);
  const auto range_of = [&](int r) {
    return r < end ? uint2{__ldg(args.starts + r), __ldg(args.starts + r + 1)} : uint2{0, 0};
  };
  const auto fetch = [&](Entries& to, const uint2& r, int step) {
    to.load(args, r.x + uint32_t(step * kLanes + own), r.y);
  };
  uint2 next = range_of(row + kStep);
  for (; __any_sync(~0u, row < end); row += kStep) {
    float sums[kTokens] = {};
    uint32_t passed = x - 2 * kTokens;  // address of the column before
    while (__any_sync(~0u, range.x < range.y)) {
#pragma unroll
      for (int half = 0; half < 4; half += 2) {
        const bool here0 = range.x + uint32_t(half * kLanes + own) < range.y,
                   here1 = range.x + uint32_t(half * kLanes + kLanes + own) < range.y;
        const Passed p0(e[half].codes), p1(e[half + 1].codes);
        const uint32_t all = (here0 ? p0.all() : 0) | (here1 ? p1.all() << 16 : 0);
        const uint32_t to = scan<kLanes>(all, lane), before = to - all,
                       total = __shfl_sync(~0u, to, kLanes - 1, kLanes);
        const uint32_t second = passed + (total & 0xffff) * (2 * kTokens);
        if (here0)
          add_entries<T, kTokens, kFinite>(sums, e[half].values, p0,
                                           passed + (before & 0xffff) * (2 * kTokens));
        if (here1)
          add_entries<T, kTokens, kFinite>(sums, e[half + 1].values, p1,
                                           second + (before >> 16) * (2 * kTokens));
        passed = second + (total >> 16) * (2 * kTokens);
        fetch(e[half], range, 4 + half);
        fetch(e[half + 1], range, 5 + half);
      }
      range.x += 4 * kLanes;
    }
    range = next;
#pragma unroll
    for (int i = 0; i < 4; ++i) fetch(e[i], range, i);
    next = range_of(row + 2 * kStep);
#pragma unroll
    for (int n = 0; n < kTokens; ++n) {
#pragma unroll
      for (int step = kLanes / 2; step > 0; step /= 2) sums[n] += __shfl_xor_sync(~0u, sums[n], step);
      if (own == n && token0 + n < args.x.tokens && row < end)
        static_cast<T*>(args.y)[(token0 + n) * args.y_stride + row] = T(sums[n]);
    }
  }
}

template <class T, int kTokens, int kLanes>
__global__ void __launch_bounds__(kThreads, 1) decode_relative_kernel(const Arguments args) {
  extern __shared__ __align__(16) uint8_t storage[];
  const int lane = threadIdx.x & 31, token0 = int(blockIdx.y) * kTokens;
  const int end = int(int64_t(args.rows) * (blockIdx.x + 1) / gridDim.x);
  const int row = int(int64_t(args.rows) * blockIdx.x / gridDim.x) + int(threadIdx.x) / kLanes;
  const uint2 range = row < end ? uint2{__ldg(args.starts + row), __ldg(args.starts + row + 1)} : uint2{0, 0};
  Entries entries[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i)
    entries[i].load(args, range.x + uint32_t(i * kLanes + (lane & (kLanes - 1))), range.y);
#if __CUDA_ARCH__ >= 900
  ptx::launch_dependents();
  ptx::wait_for_prerequisites();
#endif
  const bool found = bring_x<T, kTokens, kZeros>(args.x, token0, storage);
  const uint32_t x = ptx::shared_address(storage);
  if (__syncthreads_or(found)) {
    multiply_rows<T, kTokens, kLanes, false>(args, x, token0, row, end, entries, range);
  } else {
    multiply_rows<T, kTokens, kLanes, true>(args, x, token0, row, end, entries, range);
  }
}

bool shape_fits(const MatrixRelative& m) {
  return m.rows >= 1 && m.cols >= 2 && m.cols <= 65534 && m.cols % 2 == 0;
}
int shared_bytes(int cols, int tokens) { return (cols + kZeros + 1) * tokens * 2; }

using Kernel = void (*)(Arguments);
template <class T, int kLanes>
Kernel kernel_for(int tokens) {
  if (tokens == 1) return decode_relative_kernel<T, 1, kLanes>;
  if (tokens == 2) return decode_relative_kernel<T, 2, kLanes>;
  return tokens == 4 ? decode_relative_kernel<T, 4, kLanes> : decode_relative_kernel<T, 8, kLanes>;
}
template <class T>
Kernel kernel_for(int tokens, int lanes) {
  return lanes == 8    ? kernel_for<T, 8>(tokens)
         : lanes == 16 ? kernel_for<T, 16>(tokens)
                       : kernel_for<T, 32>(tokens);
}

struct Device {
  int processors;
  int shared;
};
Status current_device(Device* device) {
  int index = 0;
  Status s = from_cuda(cudaGetDevice(&index));
  if (s.ok())
    s = from_cuda(cudaDeviceGetAttribute(&device->processors, cudaDevAttrMultiProcessorCount, index));
  if (s.ok())
    s = from_cuda(cudaDeviceGetAttribute(&device->shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index));
  return s;
}

}  // namespace

// Few lanes have less to add up over lanes, but need many rows; by measurement on an H200
// (decode_relative_bench --sweep).
int plan_decode_relative(const MatrixRelative& matrix, int multiprocessors) {
  const int rows = matrix.rows / multiprocessors;
  return rows >= 96 ? 8 : rows >= 48 || matrix.cols <= 8192 ? 16 : 32;
}

Status decode_relative(const MatrixRelative& matrix, int lanes, const ProductCall& call) {
  if (!shape_fits(matrix) || call.tokens < 1 || call.tokens > kMaxDecodeRelativeTokens ||
      call.x_stride < matrix.cols || call.y_stride < matrix.rows) {
    return {Reason::kShape};
  }
  if (!aligned16(matrix.values) || !aligned16(call.x) || call.x_stride % 8 != 0) return {Reason::kAlignment};
  if (lanes != 8 && lanes != 16 && lanes != 32) return {Reason::kPlan};
  Device device;
  Status s = current_device(&device);
  if (!s.ok()) return s;
  int tokens = 1;
  while (tokens < call.tokens && shared_bytes(matrix.cols, 2 * tokens) <= device.shared) tokens *= 2;
  const int shared = shared_bytes(matrix.cols, tokens);
  if (shared > device.shared) return {Reason::kDevice};
  const Kernel kernel = call.element == Element::kF16 ? kernel_for<__half>(tokens, lanes)
                                                      : kernel_for<__nv_bfloat16>(tokens, lanes);
  s = from_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  if (!s.ok()) return s;
  const Arguments args{matrix.starts, static_cast<const uint4*>(matrix.values),
                       matrix.codes,  {call.x, call.x_stride, matrix.cols, call.tokens},
                       call.y,        call.y_stride,
                       matrix.rows};
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim =
      dim3(unsigned(std::min(device.processors, matrix.rows)), unsigned((call.tokens + tokens - 1) / tokens));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = size_t(shared);
  config.stream = call.stream;
  config.attrs = &attribute;
  config.numAttrs = call.overlap_previous ? 1 : 0;
  return from_cuda(cudaLaunchKernelEx(&config, kernel, args));
}

}  // namespace prune::kernels::cuda
