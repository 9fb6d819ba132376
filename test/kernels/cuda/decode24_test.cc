// 2:4 decode against sums in double precision.
#include <algorithm>

#include "kernels/sparse/spmm_nm/decode24_layout.h"
#include "test/kernels/cuda/reference24.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

std::string to_string(const DecodePlan& p) {
  char text[160];
  std::snprintf(text, sizeof text, "clusters %d x %d x %d, warps %d x %d, depth %d x %d, panels %d of %d",
                p.clusters, p.split, p.share, p.row_warps, p.col_warps, p.depth, p.copy, p.panels,
                p.panel_tiles);
  return text;
}

struct Extent {
  bool quick;     // fewer shapes and plans
  bool resident;  // only plans whose blocks hold all their panels of x at once: compute-sanitizer's racecheck
                  // never comes back from a kernel that fills one again
};

bool is_resident(const DecodePlan& plan, int cols) {
  const int tiles = (cols + 127) / 128, of_block = (tiles + plan.split - 1) / plan.split;
  return plan.panels * plan.panel_tiles >= of_block;
}

// Plans of every kind: the planner's best, a spread of its candidates, and x in a ring of the smallest
// panels.
std::vector<DecodePlan> plans_to_test(const DecodeShape& shape, const DeviceLimits& limits,
                                      const Extent& extent) {
  const size_t spread = extent.quick ? 2 : 10;
  const std::vector<DecodePlan> candidates = decode_candidates(shape, limits);
  std::vector<DecodePlan> plans;
  const size_t step = std::max<size_t>(1, candidates.size() / spread);
  for (size_t i = 0; i < candidates.size(); i += step) plans.push_back(candidates[i]);
  for (const int split : {1, 2}) {
    for (const int share : {1, 4}) {
      if (split > (shape.cols + 127) / 128 || share > shape.tokens) continue;
      plans.push_back({3, split, share, 2, 2, 2, 1, 2, 3});
      if (shape.weight == Weight24::kInt4) plans.push_back({3, split, share, 2, 2, 2, 2, 2, 3, 2});
    }
  }
  if (extent.resident) std::erase_if(plans, [&](const auto& plan) { return !is_resident(plan, shape.cols); });
  return plans;
}

template <class T>
void decode_is_right(Weight24 weight, int rows, int cols, int tokens, bool special, const Extent& extent,
                     const DeviceLimits& limits, Random& random) {
  const HostMatrix24 m = random_matrix24<T>(weight, rows, cols, random);
  const PackedMatrix24 packed(m);
  const int x_stride = cols + 8, y_stride = rows + 3;
  const std::vector<uint16_t> x = random_x<T>(tokens, cols, x_stride, special, random);
  const Expected expected = reference<T>(m, x, x_stride, tokens);
  const DeviceArray<uint16_t> x_device(x);
  DeviceArray<uint16_t> y(size_t(tokens) * y_stride);
  const Matrix24 matrix{weight, rows, cols, packed.stream.get(), packed.row_scales.get()};
  ProductCall call{__is_same(T, __half) ? Element::kF16 : Element::kBf16,
                   tokens,
                   x_device.get(),
                   x_stride,
                   y.get(),
                   y_stride,
                   false,
                   nullptr};
  const std::vector<DecodePlan> plans = plans_to_test({weight, rows, cols, tokens}, limits, extent);
  check(plans.size() > 1 || extent.resident, "there are plans");
  for (const DecodePlan& plan : plans) {
    const std::string label = std::string(__is_same(T, __half) ? "f16" : "bf16") + " weight " +
                              std::to_string(int(weight)) + " " + std::to_string(rows) + "x" +
                              std::to_string(cols) + " tokens " + std::to_string(tokens) + " (" +
                              to_string(plan) + ")";
    y.fill_bytes(0xa5);
    const Status status = decode24(matrix, plan, call);
    if (!check(status.ok(), label + ": " + describe(status))) continue;
    const std::vector<uint16_t> got = y.host();
    const int wrong = count_wrong<T>(got, y_stride, expected, rows, tokens);
    check(wrong == 0, label + ": " + std::to_string(wrong) + " outputs are wrong");
    y.fill_bytes(0xa5);
    check(decode24(matrix, plan, call).ok(), label);
    check(y.host() == got, label + ": a second run differs");
  }
}

// A chain of layers, each reading what the one before wrote, gives the same bits whether or not their
// launches overlap.
void overlap_changes_nothing(const DeviceLimits& limits, Random& random) {
  const int size = 1024, tokens = 4, layers = 40;
  HostMatrix24 m = random_matrix24<__nv_bfloat16>(Weight24::k16, size, size, random);
  for (size_t i = 0; i < m.values.size(); i += 2) {
    const uint16_t bits = bits_of(from_double<__nv_bfloat16>(random.uniform() * 0.08));
    __builtin_memcpy(&m.values[i], &bits, 2);
  }
  const PackedMatrix24 packed(m);
  const DeviceArray<uint16_t> x(random_x<__nv_bfloat16>(tokens, size, size, false, random));
  DeviceArray<uint16_t> a(size_t(tokens) * size), b(a.size());
  const Matrix24 matrix{Weight24::k16, size, size, packed.stream.get(), nullptr};
  const DecodePlan plan = plan_decode24({Weight24::k16, size, size, tokens}, limits);
  std::vector<uint16_t> result[2];
  cudaStream_t stream;
  cuda(cudaStreamCreate(&stream));
  for (const bool overlap : {false, true}) {
    cuda(cudaMemcpyAsync(a.get(), x.get(), a.size() * 2, cudaMemcpyDeviceToDevice, stream));
    for (int i = 0; i < layers; ++i) {
      const ProductCall call{Element::kBf16, tokens, (i & 1 ? b : a).get(), size, (i & 1 ? a : b).get(), size,
                             overlap,        stream};
      check(decode24(matrix, plan, call).ok(), "a layer of the chain");
    }
    cuda(cudaStreamSynchronize(stream));
    result[overlap] = a.host();
  }
  cuda(cudaStreamDestroy(stream));
  check(result[0] == result[1], "overlapping launches change the result");
  check(std::any_of(result[0].begin(), result[0].end(), [](uint16_t v) { return (v & 0x7fff) != 0; }),
        "the chain has died out");
}

// Numbers of tiles that no copy of the weight brings, and pairs that two panels would share: each of a plan
// that is legal but for its copies.
void refuses_copies(const DeviceArray<uint8_t>& bytes, const ProductCall& call) {
  struct Case {
    Weight24 weight;
    int panel_tiles, copy;
  };
  for (const Case& c : {Case{Weight24::kInt4, 2, 0},
                        {Weight24::kInt4, 2, 3},
                        {Weight24::kInt4, 2, -1},
                        {Weight24::kInt4, 1, 2},
                        {Weight24::kInt4, 3, 2},
                        {Weight24::k16, 2, 2},
                        {Weight24::kInt8, 2, 2}}) {
    const std::string label = "weight " + std::to_string(int(c.weight)) + ", copies of " +
                              std::to_string(c.copy) + ", panels of " + std::to_string(c.panel_tiles);
    const Matrix24 matrix{c.weight, 64, 128, bytes.get(), reinterpret_cast<const float*>(bytes.get())};
    DecodePlan plan{1, 1, 1, 2, 2, 2, c.panel_tiles, 2, 0, 1};
    check(decode_plan_fits(c.weight, matrix.cols, call.tokens, plan), label + ": not legal without");
    plan.copy = c.copy;
    check(decode24(matrix, plan, call).reason == Reason::kPlan, label + " are not refused");
  }
  check(decode_plan_fits(Weight24::kInt4, 128, call.tokens, {1, 1, 1, 2, 2, 2, 2, 2, 0, 2}),
        "copies of two tiles of int4 are refused");
}

void refusals(const DeviceLimits& limits) {
  const DeviceArray<uint8_t> bytes(1 << 20);
  Matrix24 matrix{Weight24::k16, 64, 128, bytes.get(), nullptr};
  const DecodePlan plan = plan_decode24({Weight24::k16, 64, 128, 1}, limits);
  ProductCall call{Element::kBf16, 1, bytes.get(), 128, bytes.get() + 65536, 64, false, nullptr};
  ProductCall many = call;
  many.tokens = 65;
  check(decode24(matrix, plan, many).reason == Reason::kShape, "65 tokens are refused");
  ProductCall odd = call;
  odd.x = bytes.get() + 2;
  check(decode24(matrix, plan, odd).reason == Reason::kAlignment, "a misaligned x is refused");
  check(decode24(matrix, DecodePlan{}, call).reason == Reason::kPlan, "an empty plan is refused");
  refuses_copies(bytes, call);
  matrix.cols = 96;
  check(decode24(matrix, plan, call).reason == Reason::kShape, "columns off 64 are refused");
}

template <class T>
void all_sizes(const DeviceLimits& limits, Random& random, const Extent& extent) {
  struct Size {
    int rows, cols;
  };
  // Quickly too: nine tiles, of which one is left when pairs are copied.
  const std::vector<Size> sizes =
      extent.quick ? std::vector<Size>{{40, 192}, {264, 1088}}
                   : std::vector<Size>{{1, 64}, {8, 128}, {40, 192}, {264, 1024}, {1000, 4160}, {72, 14336}};
  const std::vector<int> tokens =
      extent.quick ? std::vector<int>{1, 17} : std::vector<int>{1, 2, 8, 9, 16, 17, 32, 33, 64};
  for (const Weight24 weight : {Weight24::k16, Weight24::kInt8, Weight24::kInt4}) {
    for (const Size& size : sizes) {
      for (const int n : tokens)
        decode_is_right<T>(weight, size.rows, size.cols, n, (n & 1) == 0, extent, limits, random);
    }
  }
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  cuda(cudaFree(nullptr));
  prune::kernels::cuda::DeviceLimits limits;
  const prune::kernels::cuda::Status status = prune::kernels::cuda::decode_limits(&limits);
  if (!status.ok()) {
    std::printf("skipped: %s\n", describe(status));
    return 77;
  }
  return run_test("decode24_test", 7, argc, argv, [&](Random& random, bool quick) {
    const Extent extent{quick, argc > 2 && std::string(argv[2]) == "resident"};
    all_sizes<__nv_bfloat16>(limits, random, extent);
    all_sizes<__half>(limits, random, extent);
    overlap_changes_nothing(limits, random);
    refusals(limits);
  });
}
