#include "libprune/model/packed_kernels.h"

#include <cmath>
#include <random>

#include "libprune/model/pack_checkpoint.h"
#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::TempFolder;

// Y = X W^T + bias in double, and how large the terms were: rounding errors scale with it.
struct Product {
  Matrix<double> y;
  Matrix<double> terms;
};

template <class T>
Product reference_product(const Matrix<float>& x, const Matrix<T>& w, const std::vector<float>& bias) {
  Product p{Matrix<double>::Zero(x.rows(), w.rows()), Matrix<double>::Zero(x.rows(), w.rows())};
  for (Index i = 0; i < x.rows(); ++i) {
    for (Index r = 0; r < w.rows(); ++r) {
      double sum = bias[size_t(r)], terms = std::abs(sum);
      for (Index k = 0; k < w.cols(); ++k) {
        const double term = double(x(i, k)) * testing::value_of(w(r, k));
        sum += term;
        terms += std::abs(term);
      }
      p.y(i, r) = sum;
      p.terms(i, r) = terms;
    }
  }
  return p;
}

// Values with eight bits of mantissa: exact as bf16, so that kernels which round X lose nothing.
Matrix<float> random_x(Index n, Index cols, std::mt19937& rng) {
  Matrix<float> x(n, cols);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = float(int(rng() % 255) - 127) / 64;
  return x;
}

template <class T>
Matrix<T> pruned_weights(Index rows, Index cols, const Pattern& pattern, double sparsity, std::mt19937& rng) {
  Matrix<T> w = testing::small_weights<T>(rows, cols, rng);
  apply(select_magnitude(w, pattern, sparsity), w);
  return w;
}

// `rounding`: by what share of itself a weight may differ.
template <class T>
void expect_product(const kernels::Plan& plan, const Matrix<T>& w, std::mt19937& rng, double rounding = 0) {
  ASSERT_EQ(plan.rows(), w.rows());
  ASSERT_EQ(plan.cols(), w.cols());
  std::vector<float> bias(size_t(w.rows()));
  for (float& b : bias) b = float(int(rng() % 9) - 4);
  for (const Index n : {1, 2, 8, 9, 33}) {
    const Matrix<float> x = random_x(n, w.cols(), rng);
    Matrix<float> y = Matrix<float>::Constant(n, w.rows() + 3, -77);  // rows lie apart
    plan.run({x.data(), x.cols(), y.data(), y.cols(), n, bias.data()});
    const Product expected = reference_product(x, w, bias);
    for (Index i = 0; i < n; ++i) {
      for (Index r = 0; r < w.rows(); ++r) {
        const double bound = expected.terms(i, r) * (double(w.cols() + 2) * std::ldexp(1.0, -24) + rounding);
        ASSERT_NEAR(y(i, r), expected.y(i, r), bound)
            << plan.kernel_name(n) << ", row " << i << ", output " << r;
      }
      for (Index r = w.rows(); r < y.cols(); ++r) ASSERT_EQ(y(i, r), -77) << plan.kernel_name(n);
    }
  }
}

template <class T>
class PackedKernels : public ::testing::Test {
 protected:
  // Packs `w`, opens the packed file and multiplies with what prepare() makes of it.
  void expect_packed_product(const Matrix<T>& w, const PackOptions& options) {
    const TempFolder folder;
    testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
    pack_checkpoint(Checkpoint(folder / "in.safetensors"), options, folder / "packed.safetensors", {}, {});
    const Checkpoint checkpoint(folder / "packed.safetensors");
    const PackedCheckpoint packed(checkpoint);
    ASSERT_EQ(packed.weights().size(), 1u);
    for (const kernels::Use use : {kernels::Use::kAny, kernels::Use::kFewRows, kernels::Use::kManyRows}) {
      SCOPED_TRACE(format_in_words(packed.weights()[0]));
      expect_product(prepare(packed, packed.weights()[0], {.use = use}), w, rng_);
    }
  }

  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(PackedKernels, testing::AllTypes);

TYPED_TEST(PackedKernels, EveryFormatMultiplies) {
  using T = TypeParam;
  const auto w = [&](Index rows, Index cols, const Pattern& pattern, double sparsity) {
    return pruned_weights<T>(rows, cols, pattern, sparsity, this->rng_);
  };
  this->expect_packed_product(w(48, 256, NM{2, 4}, 0.5),
                              {.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}});
  this->expect_packed_product(w(5, 20, NM{2, 4}, 0.5),
                              {.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}});
  this->expect_packed_product(w(33, 64, NM{4, 8}, 0.5),
                              {.request = {.format = PackedFormat::kNm, .pattern = NM{4, 8}}});
  this->expect_packed_product(w(33, 60, NM{1, 3}, 2.0 / 3),
                              {.request = {.format = PackedFormat::kNm, .pattern = NM{1, 3}}});
  this->expect_packed_product(w(33, 77, Unstructured{}, 0.6),
                              {.request = {.format = PackedFormat::kBitmask}});
  this->expect_packed_product(w(33, 77, Unstructured{}, 0.9), {.request = {.format = PackedFormat::kCsr}});
  this->expect_packed_product(w(33, 77, Unstructured{}, 0.9),
                              {.request = {.format = PackedFormat::kWindows}});
  this->expect_packed_product(w(64, 96, Block{16, 16}, 0.5),
                              {.request = {.format = PackedFormat::kBsr, .pattern = Block{16, 16}}});
  this->expect_packed_product(w(30, 35, Block{3, 5}, 0.5),
                              {.request = {.format = PackedFormat::kBsr, .pattern = Block{3, 5}}});
}

// The product is that of the rounded weights, which lie within half a step of the given ones.
TEST(PackedKernelsInt8, EveryFormatMultipliesRoundedWeights) {
  std::mt19937 rng(testing::test_seed());
  const std::pair<PackOptions, Matrix<float>> cases[] = {
      {{.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}},
       pruned_weights<float>(33, 64, NM{2, 4}, 0.5, rng)},
      {{.request = {.format = PackedFormat::kBitmask}},
       pruned_weights<float>(33, 77, Unstructured{}, 0.6, rng)},
      {{.request = {.format = PackedFormat::kCsr}}, pruned_weights<float>(33, 77, Unstructured{}, 0.9, rng)},
      {{.request = {.format = PackedFormat::kWindows}},
       pruned_weights<float>(33, 77, Unstructured{}, 0.9, rng)},
      {{.request = {.format = PackedFormat::kBsr, .pattern = Block{8, 4}}},
       pruned_weights<float>(32, 36, Block{8, 4}, 0.5, rng)}};
  for (const Index group : {0, 32})
    for (auto [options, w] : cases) {
      for (Index i = 0; i < w.size(); ++i) w.data()[i] *= 1 + float(rng() % 100) / 300;
      const TempFolder folder;
      testing::write_file(folder / "in.safetensors",
                          testing::file_of({testing::tensor_of("dense.weight", w)}));
      options.values = StoredValues::kInt8;
      options.scale_group = group;
      pack_checkpoint(Checkpoint(folder / "in.safetensors"), options, folder / "packed.safetensors", {}, {});
      const Checkpoint checkpoint(folder / "packed.safetensors");
      const PackedCheckpoint packed(checkpoint);
      ASSERT_EQ(packed.weights().size(), 1u);
      const PackedWeight& weight = packed.weights()[0];
      const Matrix<float> rounded = packed.unpack<float>(weight);
      const Index width = group == 0 ? w.cols() : group;
      for (Index r = 0; r < w.rows(); ++r) {
        for (Index c = 0; c < w.cols(); c += width) {
          const Index count = std::min(width, w.cols() - c);
          const auto wanted = w.row(r).segment(c, count);
          const float step = wanted.cwiseAbs().maxCoeff() / 127;
          EXPECT_LE((wanted - rounded.row(r).segment(c, count)).cwiseAbs().maxCoeff(), step * 0.5001F)
              << format_in_words(weight);
        }
      }
      // Many rows of X meet such products of scales and values as bf16.
      expect_product(prepare(packed, weight), rounded, rng, group == 0 ? 0 : 0x1p-9);
    }
}

// Each weight is rounded for itself, and multiplied as the float that it became.
TEST(PackedKernelsSixteenBits, EveryFormatMultipliesRoundedWeights) {
  std::mt19937 rng(testing::test_seed());
  for (const StoredValues values : {StoredValues::kBf16, StoredValues::kF16}) {
    for (const PackedFormat format : {PackedFormat::kNm, PackedFormat::kBitmask, PackedFormat::kWindows}) {
      const Matrix<float> w = pruned_weights<float>(33, 64, NM{2, 4}, 0.5, rng) / 3;
      const TempFolder folder;
      testing::write_file(folder / "in.safetensors",
                          testing::file_of({testing::tensor_of("dense.weight", w)}));
      pack_checkpoint(Checkpoint(folder / "in.safetensors"),
                      {.request = {.format = format}, .values = values}, folder / "packed.safetensors", {},
                      {});
      const Checkpoint checkpoint(folder / "packed.safetensors");
      const PackedCheckpoint packed(checkpoint);
      const PackedWeight& weight = packed.weights().at(0);
      SCOPED_TRACE(format_in_words(weight));
      EXPECT_EQ(weight.values, values);
      const Matrix<float> rounded = values == StoredValues::kBf16
                                        ? Matrix<float>(w.cast<bf16>().cast<float>())
                                        : Matrix<float>(w.cast<f16>().cast<float>());
      EXPECT_NE(rounded, w);
      ASSERT_EQ(packed.unpack<float>(weight), rounded);
      expect_product(prepare(packed, weight), rounded, rng, 0x1p-8);
    }
  }
}

TEST(PackedKernelsInt8, WeightsThatAreNotFiniteAreRefused) {
  const TempFolder folder;
  const Matrix<float> w{{1, 0, 0, 2}, {0, 0, HUGE_VALF, 0}};
  testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
  const PackOptions options{.request = {.format = PackedFormat::kCsr}, .values = StoredValues::kInt8};
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, "row 1, column 2: a weight that is not finite",
                             [&] {
                               pack_checkpoint(Checkpoint(folder / "in.safetensors"), options,
                                               folder / "packed.safetensors", {}, {});
                             }),
            "");
}

TYPED_TEST(PackedKernels, NothingButZeros) {
  using T = TypeParam;
  const Matrix<T> zeros = detail::zeros<T>(16, 32);
  this->expect_packed_product(zeros, {.request = {.format = PackedFormat::kNm}});
  this->expect_packed_product(zeros, {.request = {.format = PackedFormat::kBitmask}});
  this->expect_packed_product(zeros, {.request = {.format = PackedFormat::kCsr}});
  this->expect_packed_product(zeros, {.request = {.format = PackedFormat::kBsr, .pattern = Block{4, 4}}});
}

TEST(PackedKernelsRefusal, DamagedWeightsAreRefused) {
  const TempFolder folder;
  testing::write_file(
      folder / "x.safetensors",
      testing::file_of(
          {testing::list_of<float>("w.values", {1}), testing::list_of<int32_t>("w.indices", {9}),
           testing::list_of<int64_t>("w.indptr", {0, 1})},
          nlohmann::json{{"format", "pt"},
                         {"prune.layout", R"({"w":{"format":"csr","dtype":"F32","shape":[1,4]}})"}}
              .dump()));
  const Checkpoint checkpoint(folder / "x.safetensors");
  const PackedCheckpoint packed(checkpoint);
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, "packed tensor 'w': indices[0] is 9",
                             [&] { prepare(packed, packed.weights()[0]); }),
            "");
}

// One row of X; the names are those of whatever this processor runs.
TEST(PackedKernelsTypes, KernelsHoldTheStoredTypeOrFloats) {
  std::mt19937 rng(testing::test_seed());
  const Matrix<float> w = pruned_weights<float>(33, 64, NM{2, 4}, 0.5, rng);
  for (const auto& [format, values, held] : {std::tuple{PackedFormat::kNm, StoredValues::kPlain, DType::kF32},
                                             {PackedFormat::kNm, StoredValues::kBf16, DType::kBF16},
                                             {PackedFormat::kNm, StoredValues::kF16, DType::kF16},
                                             {PackedFormat::kNm, StoredValues::kInt8, DType::kI8},
                                             {PackedFormat::kBitmask, StoredValues::kBf16, DType::kBF16},
                                             {PackedFormat::kBitmask, StoredValues::kF16, DType::kF32},
                                             {PackedFormat::kBitmask, StoredValues::kInt8, DType::kI8}}) {
    const TempFolder folder;
    testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
    pack_checkpoint(Checkpoint(folder / "in.safetensors"), {.request = {.format = format}, .values = values},
                    folder / "packed.safetensors", {}, {});
    const Checkpoint checkpoint(folder / "packed.safetensors");
    const PackedCheckpoint packed(checkpoint);
    const kernels::Plan plan = prepare(packed, packed.weights().at(0));
    EXPECT_EQ(held_dtype(plan.kernel_name(1)), held) << plan.kernel_name(1);
  }
  EXPECT_EQ(held_dtype("row_lanes_nm24_bytes_avx512bf16"), DType::kI8);
  EXPECT_EQ(held_dtype("row_lists_sparse_f32_avx512"), DType::kF32);
}

}  // namespace
}  // namespace prune
