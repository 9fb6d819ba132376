// 2:4 products of many tokens against sums in double precision.
#include "kernels/sparse/spmm_nm/gemm24.h"
#include "test/kernels/cuda/epilogue24.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

std::string to_string(const GemmPlan& p) {
  return "tile " + std::to_string(p.tile_tokens) + " share " + std::to_string(p.share) + " split " +
         std::to_string(p.split) + (p.fast_sums ? " fast sums" : "");
}

// Which cuts: all at small sizes; at larger ones some of the candidates for this number of tokens.
enum class Plans { kFew, kSpread, kEvery };

std::vector<GemmPlan> plans_to_test(const DecodeShape& shape, Plans which) {
  std::vector<GemmPlan> plans;
  if (which != Plans::kEvery) {
    const std::vector<GemmPlan> candidates = gemm_candidates(shape);
    for (size_t i = 0; i < candidates.size(); i += which == Plans::kFew ? 11 : 4)
      plans.push_back(candidates[i]);
    return plans;
  }
  for (const int tile : {16, 32, 64, 128, 256}) {
    for (const int share : {1, 2, 4}) {
      for (const int split : {1, 2, 3, 5, 8}) {
        if (share * split <= 8 && 8 * share <= tile &&
            split <= tiles_along24(shape.cols, tile_cols24(shape.weight)))
          plans.push_back({tile, share, split});
      }
    }
  }
  return plans;
}

// y's type where nothing else is asked for.
template <class T>
using Output = std::conditional_t<sizeof(T) == 2, T, __nv_bfloat16>;

// How far, as a share of the sum of magnitudes, sums may be off before they are rounded to y's type: single
// precision's order of additions, or what the tensor cores keep of 128 products of e4m3.
constexpr double kFastSumTolerance = 1.0 / 256;
template <class T>
constexpr double kSumTolerance = __is_same(T, __nv_fp8_e4m3) ? 1.0 / 1024 : 1.0 / (1 << 16);

// One product's operands on the host and the device, and what must come out.
template <class T>
class Product {
 public:
  Product(Weight24 weight, int rows, int cols, int tokens, bool special, Random& random)
      : m_(random_matrix24<Output<T>>(weight, rows, cols, random)),
        packed_(m_),
        x_stride_(cols + 16),
        tokens_(tokens),
        x_(random_x<T>(tokens, cols, x_stride_, special, random)),
        expected_(reference<T>(m_, x_, x_stride_, tokens)),
        x_device_(x_),
        operands_(rows, tokens, random),
        single_operands_(rows, tokens, random) {}

  // Right, alone and with one of the epilogues.
  template <class Run>
  void check_run(const std::string& name, const Run& run, double tolerance = kSumTolerance<T>) {
    check_output<Output<T>>(name, expected_, {}, tolerance, run);
    const EpilogueParts parts(epilogues++);
    if (parts.single) {
      check_output<float>(name + " " + parts.name(),
                          single_operands_.expected(parts, expected_, m_.rows, tokens_),
                          single_operands_.epilogue(parts), tolerance, run);
    } else {
      check_output<Output<T>>(name + " " + parts.name(),
                              operands_.expected(parts, expected_, m_.rows, tokens_),
                              operands_.epilogue(parts), tolerance, run);
    }
  }

 private:
  static inline int epilogues = 0;  // the next one's number
  static constexpr Element element() { return __is_same(T, __half) ? Element::kF16 : Element::kBf16; }

  // Right, and the same twice, the second time launched over the end of what ran before.
  template <class Y, class Run>
  void check_output(const std::string& name, const Expected& expected, const Epilogue& epilogue,
                    double sum_tolerance, const Run& run) {
    const Matrix24 matrix{m_.weight, m_.rows, m_.cols, packed_.stream.get(), packed_.row_scales.get()};
    const std::string label = std::string(kernels::cuda::Element::kF16 == element() ? "f16 " : "bf16 ") +
                              "weight " + std::to_string(int(m_.weight)) + " " + std::to_string(m_.rows) +
                              "x" + std::to_string(m_.cols) + " tokens " + std::to_string(tokens_) + " " +
                              name;
    const int y_stride = m_.rows + 16;
    DeviceArray<Bits<Y>> y(size_t(tokens_) * y_stride);
    ProductCall call{element(), tokens_, x_device_.get(), x_stride_, y.get(), y_stride, false, nullptr};
    y.fill_bytes(0xa5);
    const Status status = run(matrix, call, epilogue);
    if (!check(status.ok(), label + ": " + describe(status))) return;
    const std::vector<Bits<Y>> got = y.host();
    std::string where;
    const double tolerance = sum_tolerance + (sizeof(Y) == 2 ? kTolerance<Y> : 0);
    const int wrong = count_wrong<Y>(got, y_stride, expected, m_.rows, tokens_, &where, tolerance);
    check(wrong == 0, label + ": " + std::to_string(wrong) + " outputs are wrong" + where);
    y.fill_bytes(0xa5);
    call.overlap_previous = true;
    check(run(matrix, call, epilogue).ok(), label);
    check(y.host() == got, label + ": a second run differs");
  }

  HostMatrix24 m_;
  PackedMatrix24 packed_;
  int x_stride_;
  int tokens_;
  std::vector<Bits<T>> x_;
  Expected expected_;
  DeviceArray<Bits<T>> x_device_;
  EpilogueOperands<Output<T>> operands_;
  EpilogueOperands<float> single_operands_;
};

template <class T>
void product_is_right(Weight24 weight, int rows, int cols, int tokens, bool special, Plans which,
                      Random& random) {
  Product<T> product(weight, rows, cols, tokens, special, random);
  for (GemmPlan plan : plans_to_test({weight, rows, cols, tokens}, which)) {
    const auto run = [&](const Matrix24& matrix, const ProductCall& call, const Epilogue& epilogue) {
      return gemm24(matrix, plan, call, epilogue);
    };
    product.check_run(to_string(plan), run);
    if (weight != Weight24::kFp8x8) continue;
    plan.fast_sums = true;
    product.check_run(to_string(plan), run, kFastSumTolerance);
  }
  if (weight != Weight24::k16 && weight != Weight24::kInt8x8) return;
  for (const int tile : {64, 128}) {
    product.check_run("mma.sp tile " + std::to_string(tile),
                      [&](const Matrix24& matrix, const ProductCall& call, const Epilogue& epilogue) {
                        return gemm24_mma(matrix, tile, call, epilogue);
                      });
  }
}

template <class T>
void all_sizes(Weight24 weight, Random& random, bool quick) {
  struct Size {
    int rows, cols;
    Plans plans;
  };
  const Plans small = __is_same(T, __half) ? Plans::kSpread : Plans::kEvery;  // half is as bfloat16
  const std::vector<Size> sizes = quick ? std::vector<Size>{{200, 576, Plans::kFew}}
                                        : std::vector<Size>{{8, 64, small},
                                                            {200, 1216, small},
                                                            {520, 1088, Plans::kSpread},
                                                            {1544, 4096, Plans::kSpread}};
  const std::vector<int> tokens =
      quick ? std::vector<int>{9, 130} : std::vector<int>{1, 8, 17, 64, 127, 130, 256, 300, 600};
  for (const Size& size : sizes) {
    for (const int n : tokens)
      product_is_right<T>(weight, size.rows, size.cols, n, (n & 2) != 0, size.plans, random);
  }
}

void all_types(Random& random, bool quick) {
  for (const Weight24 weight : {Weight24::k16, Weight24::kInt8, Weight24::kInt4}) {
    all_sizes<__nv_bfloat16>(weight, random, quick);
    if (!quick || weight == Weight24::k16) all_sizes<__half>(weight, random, quick);
  }
  all_sizes<int8_t>(Weight24::kInt8x8, random, quick);
  all_sizes<__nv_fp8_e4m3>(Weight24::kFp8x8, random, quick);
}

// More output tiles than clusters run at once: each walks over several, with sums exchanged between.
void several_tiles_a_cluster(Random& random) {
  product_is_right<__nv_bfloat16>(Weight24::k16, 8192, 2048, 40, false, Plans::kSpread, random);
  product_is_right<__nv_bfloat16>(Weight24::kInt4, 8192, 2048, 20, false, Plans::kSpread, random);
  product_is_right<__nv_bfloat16>(Weight24::kInt8, 2048, 2048, 700, false, Plans::kSpread, random);
  product_is_right<int8_t>(Weight24::kInt8x8, 8192, 2048, 70, false, Plans::kSpread, random);
  product_is_right<__nv_fp8_e4m3>(Weight24::kFp8x8, 8192, 2048, 300, false, Plans::kSpread, random);
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 20);
  const Matrix24 matrix{Weight24::k16, 64, 128, bytes.get(), nullptr};
  const ProductCall call{Element::kBf16, 16, bytes.get(), 128, bytes.get() + 65536, 64, false, nullptr};
  const auto reason = [](Matrix24 m, GemmPlan plan, ProductCall c) { return gemm24(m, plan, c).reason; };
  Matrix24 odd_rows = matrix, odd_cols = matrix, unscaled = matrix;
  odd_rows.rows = 60, odd_cols.cols = 96, unscaled.weight = Weight24::kInt8;
  ProductCall misaligned = call;
  misaligned.y = bytes.get() + 65538;
  check(reason(odd_rows, {}, call) == Reason::kShape, "rows off 8 are refused");
  check(reason(odd_cols, {}, call) == Reason::kShape, "columns off 64 are refused");
  check(reason(unscaled, {}, call) == Reason::kShape, "int8 weights without scales are refused");
  check(reason(matrix, {}, misaligned) == Reason::kAlignment, "a misaligned y is refused");
  check(reason(matrix, {48, 2, 1}, call) == Reason::kPlan, "an unknown tile is refused");
  check(reason(matrix, {64, 1, 2}, call) == Reason::kPlan, "a split into more than the tiles is refused");
  check(reason(matrix, {64, 4, 4}, call) == Reason::kPlan, "a cluster of sixteen is refused");
  Matrix24 fp8 = matrix;
  fp8.weight = Weight24::kFp8x8, fp8.row_scales = reinterpret_cast<const float*>(bytes.get());
  ProductCall odd_x = call;
  odd_x.x_stride = 136;
  check(reason(fp8, {}, odd_x) == Reason::kAlignment, "rows of x off 16 bytes are refused");
  check(gemm24_mma(fp8, 64, call).reason == Reason::kShape, "mma.sp has no e4m3 here");
  Epilogue residual;
  residual.residual = bytes.get(), residual.residual_stride = 56;
  check(gemm24(matrix, {}, call, residual).reason == Reason::kShape, "a residual narrower than y is refused");
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  cuda(cudaFree(nullptr));
  int device = 0, major = 0;
  cuda(cudaGetDevice(&device));
  cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major != 9) {
    std::printf("skipped: these kernels need compute capability 9.0\n");
    return 77;
  }
  return run_test("gemm24_test", 11, argc, argv, [](Random& random, bool quick) {
    all_types(random, quick);
    if (!quick) several_tiles_a_cluster(random);
    refusals();
  });
}
