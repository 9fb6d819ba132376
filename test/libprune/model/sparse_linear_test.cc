#include "libprune/model/sparse_linear.h"

#include <cmath>
#include <random>
#include <string>
#include <thread>

#include <nlohmann/json.hpp>

#include "libprune/model/bf16.h"
#include "libprune/model/pack_checkpoint.h"
#include "libprune/model/tuning.h"
#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::TempFolder;

// Exact in bf16, and so are the products: every way of summing gives the same but for the order.
Matrix<float> random_x(Index n, Index cols, std::mt19937& rng) {
  Matrix<float> x(n, cols);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = float(int(rng() % 65) - 32) / 8;
  return x;
}

template <class T>
void expect_forward(const SparseLinear& layer, const Matrix<T>& w, const std::vector<float>& bias, Index n,
                    std::mt19937& rng) {
  const Matrix<float> x = random_x(n, w.cols() + 3, rng);
  Matrix<float> y = Matrix<float>::Constant(n, w.rows() + 2, -77);
  layer.forward(x.data(), x.cols(), y.data(), y.cols(), n);
  for (Index i = 0; i < n; ++i) {
    for (Index r = 0; r < w.rows(); ++r) {
      double sum = bias[size_t(r)], terms = std::abs(sum);
      for (Index k = 0; k < w.cols(); ++k) {
        const double term = double(x(i, k)) * double(float(w(r, k)));
        sum += term;
        terms += std::abs(term);
      }
      ASSERT_NEAR(y(i, r), sum, terms * double(w.cols() + 2) * std::ldexp(1.0, -24))
          << layer.kernel_name(n) << ", row " << i << ", output " << r;
    }
    for (Index r = w.rows(); r < y.cols(); ++r) ASSERT_EQ(y(i, r), -77);
  }
}

std::vector<float> some_bias(Index rows) {
  std::vector<float> bias;
  for (Index r = 0; r < rows; ++r) bias.push_back(float(r % 5) - 2);
  return bias;
}

template <class T>
class SparseLinearOf : public ::testing::Test {
 protected:
  // Every way of a packed weight gives the product, and few rows take the memory of one copy.
  void expect_packed(Index rows, Index cols, const Pattern& pattern, double sparsity,
                     const PackOptions& options) {
    Matrix<T> w = testing::small_weights<T>(rows, cols, rng_);
    apply(select_magnitude(w, pattern, sparsity), w);
    const TempFolder folder;
    testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
    pack_checkpoint(Checkpoint(folder / "in.safetensors"), options, folder / "packed.safetensors", {}, {});
    const Checkpoint checkpoint(folder / "packed.safetensors");
    const PackedCheckpoint packed(checkpoint);
    const PackedWeight& weight = packed.weights().at(0);
    const Matrix<T> stored = packed.unpack<T>(weight);
    const std::vector<float> bias = some_bias(rows);
    for (const bool second_layout : {false, true}) {
      const SparseLinear layer(packed, weight, bias.data(),
                               {.second_layout = second_layout, .dense_from = 20});
      for (const Index n : {1, 3, 19, 20, 50}) expect_forward(layer, stored, bias, n, rng_);
    }
    const SparseLinear later(packed, weight, bias.data(), {.dense_from = 20, .check_at_first_use = true});
    for (const Index n : {3, 50}) expect_forward(later, stored, bias, n, rng_);
  }
  std::mt19937 rng_{testing::test_seed()};
};
using SparseLinearTypes = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(SparseLinearOf, SparseLinearTypes);

TYPED_TEST(SparseLinearOf, EveryPackedFormat) {
  this->expect_packed(48, 64, NM{2, 4}, 0.5, {.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}});
  this->expect_packed(7, 36, NM{2, 4}, 0.5, {.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}});
  this->expect_packed(33, 77, Unstructured{}, 0.6, {.request = {.format = PackedFormat::kBitmask}});
  this->expect_packed(33, 77, Unstructured{}, 0.9, {.request = {.format = PackedFormat::kCsr}});
  this->expect_packed(33, 77, Unstructured{}, 0.9, {.request = {.format = PackedFormat::kWindows}});
  this->expect_packed(64, 96, Block{16, 16}, 0.5,
                      {.request = {.format = PackedFormat::kBsr, .pattern = Block{16, 16}}});
}

TYPED_TEST(SparseLinearOf, WeightsAndAMask) {
  const Matrix<TypeParam> w = testing::small_weights<TypeParam>(40, 52, this->rng_);
  const std::vector<float> bias = some_bias(40);
  for (const Pattern& pattern : {Pattern(NM{2, 4}), Pattern(Unstructured{}), Pattern(Block{4, 4})}) {
    const Mask mask = select_magnitude(w, pattern, 0.5);
    Matrix<TypeParam> kept = w;
    apply(mask, kept);
    for (const int64_t dense_from : {SparseLinear::kNever, int64_t{20}, int64_t{1}}) {
      SparseLinear layer(view(w), mask, nullptr, {.dense_from = 1});
      layer = SparseLinear(view(w), mask, bias.data(), {.dense_from = dense_from});  // a layer may be moved
      EXPECT_EQ(layer.dense_from(), dense_from);
      EXPECT_EQ(layer.out(), 40);
      EXPECT_EQ(layer.in(), 52);
      for (const Index n : {1, 9, 19, 20, 40}) expect_forward(layer, kept, bias, n, this->rng_);
    }
  }
  EXPECT_EQ(testing::refusal(ErrorKind::kUsage, "the mask has another shape",
                             [&] { SparseLinear(view(w), Mask(40, 51)); }),
            "");
}

TEST(SparseLinear, Int8TakesTheSameWays) {
  std::mt19937 rng(testing::test_seed());
  Matrix<float> w = testing::small_weights<float>(32, 64, rng);
  apply(select_magnitude(w, NM{2, 4}, 0.5), w);
  // Powers of two times whole numbers up to 127: what is rounded stays exact.
  w.col(0).setConstant(127.0F / 64);
  apply(select_magnitude(w, NM{2, 4}, 0.5), w);
  const TempFolder folder;
  testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
  pack_checkpoint(Checkpoint(folder / "in.safetensors"),
                  {.request = {.format = PackedFormat::kNm}, .values = StoredValues::kInt8},
                  folder / "packed.safetensors", {}, {});
  const Checkpoint checkpoint(folder / "packed.safetensors");
  const PackedCheckpoint packed(checkpoint);
  const Matrix<float> stored = packed.unpack<float>(packed.weights()[0]);
  const SparseLinear layer(packed, packed.weights()[0], some_bias(32).data(), {.dense_from = 20});
  for (const Index n : {1, 8, 20}) expect_forward(layer, stored, some_bias(32), n, rng);
}

// Nothing is measured or laid out: what runs depends on format, type and processor alone.
TEST(SparseLinear, ForManyRows) {
  std::mt19937 rng(testing::test_seed());
  const auto has = [](uint32_t needs) { return kernels::isa::runs_on(needs, kernels::isa::supported()); };
  const bool in_halves = has(kernels::isa::kAvx512 | kernels::isa::kAvx512Bf16);
  // Whether a sparse kernel is taken where inputs are rounded, and where they are not.
  struct Case {
    Pattern pattern;
    double sparsity;
    FormatRequest request;
    bool rounded, in_floats;
  };
  for (const auto& [pattern, sparsity, request, rounded, in_floats] :
       {Case{NM{2, 4}, 0.5, {.format = PackedFormat::kNm}, true, true},
        {NM{1, 4}, 0.75, {.format = PackedFormat::kNm}, true, true},
        {Block{16, 16}, 0.5, {.format = PackedFormat::kBsr, .pattern = Block{16, 16}}, true, true},
        {Block{16, 5}, 0.5, {.format = PackedFormat::kBsr, .pattern = Block{16, 5}}, false, true},
        {Unstructured{}, 0.4, {.format = PackedFormat::kBitmask}, false, false},
        {Unstructured{}, 0.5, {.format = PackedFormat::kBitmask}, false, true},
        {Unstructured{}, 0.75, {.format = PackedFormat::kBitmask}, true, true},
        {Unstructured{}, 0.6, {.format = PackedFormat::kWindows}, false, false},
        {Unstructured{}, 0.9, {.format = PackedFormat::kWindows}, true, true},
        {Unstructured{}, 0.4, {.format = PackedFormat::kCsr}, false, false},
        {Unstructured{}, 0.5, {.format = PackedFormat::kCsr}, false, true},
        {Unstructured{}, 0.75, {.format = PackedFormat::kCsr}, true, true}}) {
    Matrix<bf16> w = testing::small_weights<bf16>(32, 80, rng);
    apply(select_magnitude(w, pattern, sparsity), w);
    const TempFolder folder;
    testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
    pack_checkpoint(Checkpoint(folder / "in.safetensors"), {.request = request},
                    folder / "packed.safetensors", {}, {});
    const Checkpoint checkpoint(folder / "packed.safetensors");
    const PackedCheckpoint packed(checkpoint);
    for (const Rounding rounding : {Rounding::kBf16, Rounding::kNone}) {
      const SparseLinear layer(packed, packed.weights().at(0), some_bias(32).data(),
                               {.rounding = rounding, .for_many_rows = true});
      for (const Index n : {1, 8, 40}) expect_forward(layer, w, some_bias(32), n, rng);
      const bool rounds = rounding == Rounding::kBf16 && has_bf16_products();
      const bool is_sparse = rounds ? rounded && in_halves : in_floats && has(kernels::isa::kAvx2);
      EXPECT_EQ(layer.dense_from(), is_sparse ? SparseLinear::kNever : 1);
      EXPECT_EQ(std::string_view(layer.kernel_name(512)) != "dense", is_sparse)
          << format_in_words(packed.weights()[0]) << ": " << layer.kernel_name(512);
    }
  }
}

// Inputs that bf16 does not hold are rounded where the dense product of the same weights would round them.
TEST(SparseLinear, ForManyRowsRoundsAsTheDenseProductDoes) {
  std::mt19937 rng(testing::test_seed());
  std::normal_distribution<float> normal;
  for (const auto& [pattern, request] :
       {std::pair{Pattern(NM{2, 4}), FormatRequest{.format = PackedFormat::kNm}},
        {Pattern(NM{4, 8}), {.format = PackedFormat::kNm}},
        {Pattern(Block{16, 16}), {.format = PackedFormat::kBsr, .pattern = Block{16, 16}}},
        {Pattern(Unstructured{}), {.format = PackedFormat::kBitmask}},
        {Pattern(Unstructured{}), {.format = PackedFormat::kCsr}}}) {
    Matrix<float> w = testing::small_weights<float>(32, 144, rng);
    const double sparsity = std::holds_alternative<Unstructured>(pattern) ? 0.75 : 0.5;
    apply(select_magnitude(w, pattern, sparsity), w);
    for (const auto& [values, group] :
         {std::pair{StoredValues::kPlain, Index{0}}, {StoredValues::kInt8, 0}, {StoredValues::kInt8, 32}}) {
      const TempFolder folder;
      testing::write_file(folder / "in.safetensors",
                          testing::file_of({testing::tensor_of("dense.weight", w)}));
      pack_checkpoint(Checkpoint(folder / "in.safetensors"),
                      {.request = request, .values = values, .scale_group = group},
                      folder / "packed.safetensors", {}, {});
      const Checkpoint checkpoint(folder / "packed.safetensors");
      const PackedCheckpoint packed(checkpoint);
      const Matrix<float> stored = packed.unpack<float>(packed.weights().at(0));
      for (const Rounding rounding : {Rounding::kBf16, Rounding::kNone}) {
        const SparseLinear layer(packed, packed.weights()[0], nullptr,
                                 {.rounding = rounding, .for_many_rows = true});
        Matrix<float> x(40, 144), y(40, 32);
        for (Index i = 0; i < x.size(); ++i) x.data()[i] = normal(rng);
        layer.forward(x.data(), 144, y.data(), 32, 40);
        const Matrix<float> exact = x * stored.transpose();
        const double error = double((y - exact).norm() / exact.norm());
        const bool rounds =
            rounding == Rounding::kBf16 && values == StoredValues::kInt8 && has_bf16_products();
        EXPECT_LT(error, rounds ? 0.01 : 2e-6) << layer.kernel_name(40);
        EXPECT_EQ(error > 1e-4, rounds) << layer.kernel_name(40);
      }
    }
  }
}

// What inputs lose is half a step of their row's largest; a kernel that rounds nothing would lose less.
TEST(SparseLinear, Int8InputsAreAskedFor) {
  std::mt19937 rng(testing::test_seed());
  const Matrix<float> w = testing::small_weights<float>(32, 64, rng);
  const TempFolder folder;
  testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
  pack_checkpoint(
      Checkpoint(folder / "in.safetensors"),
      {.request = {.format = PackedFormat::kBsr, .pattern = Block{16, 16}}, .values = StoredValues::kInt8},
      folder / "packed.safetensors", {}, {});
  const Checkpoint checkpoint(folder / "packed.safetensors");
  const PackedCheckpoint packed(checkpoint);
  const auto error = [&](Rounding rounding, bool int8_inputs) {
    const SparseLinear layer(packed, packed.weights()[0], nullptr,
                             {.rounding = rounding, .int8_inputs = int8_inputs, .dense_from = 1000});
    std::mt19937 same(7);
    std::normal_distribution<float> normal;
    Matrix<float> x(40, 64), y(40, 32);
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = normal(same);
    layer.forward(x.data(), 64, y.data(), 32, 40);
    const Matrix<float> exact = x * packed.unpack<float>(packed.weights()[0]).transpose();
    return double((y - exact).norm() / exact.norm());
  };
  const double exact = error(Rounding::kNone, true), rounded = error(Rounding::kBf16, true);
  EXPECT_LT(exact, 1e-6);
  EXPECT_LT(rounded, 0.01);
  const uint32_t needs = kernels::isa::kAvx512 | kernels::isa::kAvx512Bf16;
  if (kernels::isa::runs_on(needs, kernels::isa::supported())) {
    EXPECT_GT(rounded, 1.5 * error(Rounding::kBf16, false));
  }
}

// A scale of a power of two for each group, so that bf16 holds what is rounded.
TEST(SparseLinear, ScalesOfGroupsTakeTheSameWays) {
  std::mt19937 rng(testing::test_seed());
  for (const auto& [pattern, request] :
       {std::pair{Pattern(NM{2, 4}), FormatRequest{.format = PackedFormat::kNm}},
        {Pattern(Unstructured{}), {.format = PackedFormat::kBitmask}},
        {Pattern(Unstructured{}), {.format = PackedFormat::kCsr}},
        {Pattern(Unstructured{}), {.format = PackedFormat::kWindows}},
        {Pattern(Block{16, 16}), {.format = PackedFormat::kBsr, .pattern = Block{16, 16}}}}) {
    Matrix<float> w = testing::small_weights<float>(32, 144, rng);
    for (Index i = 0; i < w.rows(); ++i) {
      for (Index j = 0; j < w.cols(); ++j) {
        const float scale = std::ldexp(1.0F, int((i + j / 32) % 3) - 6);
        w(i, j) = (j % 32 < 2 ? 127.0F : float(int(rng() % 253) - 126)) * scale;
      }
    }
    apply(select_magnitude(w, pattern, 0.5), w);
    const TempFolder folder;
    testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
    pack_checkpoint(Checkpoint(folder / "in.safetensors"),
                    {.request = request, .values = StoredValues::kInt8, .scale_group = 32},
                    folder / "packed.safetensors", {}, {});
    const Checkpoint checkpoint(folder / "packed.safetensors");
    const PackedCheckpoint packed(checkpoint);
    const Matrix<float> stored = packed.unpack<float>(packed.weights().at(0));
    for (const Rounding rounding : {Rounding::kBf16, Rounding::kNone}) {
      const SparseLinear layer(packed, packed.weights()[0], some_bias(32).data(),
                               {.rounding = rounding, .dense_from = 20});
      for (const Index n : {1, 8, 20}) expect_forward(layer, stored, some_bias(32), n, rng);
    }
  }
}

// Changes one byte of a tensor of a file.
void damage(const std::filesystem::path& path, const std::string& tensor, uint64_t place, char value) {
  const Checkpoint checkpoint(path);
  const std::span<const std::byte> bytes = checkpoint.shards()[0].data(*checkpoint.shards()[0].find(tensor));
  std::string file = testing::read_file(path);
  file.at(size_t(bytes.data() - checkpoint.shards()[0].map().bytes().data()) + place) = value;
  std::filesystem::remove(path);  // the map keeps what it has
  testing::write_file(path, file);
}

struct PlaceAtFault {
  FormatRequest request;
  double sparsity;
  const char* part;  // of the packed weight; byte `place` becomes `value`
  uint64_t place;
  char value;
  const char* message;
  uint32_t multiplied_in_place;  // what it takes for a few rows of X; 0: checked or laid out by any processor
};

class PlacesAtFault : public ::testing::TestWithParam<PlaceAtFault> {
 protected:
  PlacesAtFault() {
    const PlaceAtFault& fault = GetParam();
    std::mt19937 rng(testing::test_seed());
    Matrix<bf16> w = testing::small_weights<bf16>(48, 64, rng);
    const Pattern pattern = fault.request.format == PackedFormat::kBsr  ? Pattern(Block{16, 16})
                            : fault.request.format == PackedFormat::kNm ? Pattern(NM{2, 4})
                                                                        : Pattern(Unstructured{});
    apply(select_magnitude(w, pattern, fault.sparsity), w);
    const std::filesystem::path file = folder_ / "packed.safetensors";
    testing::write_file(folder_ / "in.safetensors",
                        testing::file_of({testing::tensor_of("dense.weight", w)}));
    pack_checkpoint(Checkpoint(folder_ / "in.safetensors"), {.request = fault.request}, file, {}, {});
    damage(file, std::string("dense.weight.") + fault.part, fault.place, fault.value);
    checkpoint_.emplace(file);
    packed_.emplace(*checkpoint_);
  }

  SparseLinear make(SparseLinearOptions options) const {
    return SparseLinear(*packed_, packed_->weights().at(0), nullptr, options);
  }
  // Both threads are refused, again and again, and nothing is written.
  void expect_refusals(const SparseLinear& layer, int64_t n) const {
    const std::vector<float> x(9 * 64, 1.0F);
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        std::vector<float> y(9 * 48, -77);
        for (int i = 0; i < 2; ++i) {
          EXPECT_EQ(testing::refusal(ErrorKind::kInput, GetParam().message,
                                     [&] { layer.forward(x.data(), 64, y.data(), 48, n); }),
                    "");
        }
        EXPECT_EQ(y, std::vector<float>(9 * 48, -77));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  TempFolder folder_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<PackedCheckpoint> packed_;
};

TEST_P(PlacesAtFault, AreSeenByTheConstructor) {
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, GetParam().message, [&] { make({.dense_from = 20}); }), "");
}

TEST_P(PlacesAtFault, AreSeenByTheFirstProductWhereNothingReadsThemBefore) {
  const uint32_t needs = GetParam().multiplied_in_place;
  const bool waits = needs != 0 && kernels::isa::runs_on(needs, kernels::isa::supported());
  const SparseLinearOptions few{.dense_from = 20, .check_at_first_use = true};
  if (waits) {
    for (const int64_t n : {0, 1, 9}) expect_refusals(make(few), n);
  } else {
    EXPECT_EQ(testing::refusal(ErrorKind::kInput, GetParam().message, [&] { make(few); }), "");
  }
  // Dense products alone, and what eval takes, lay nothing out: all wait.
  expect_refusals(make({.dense_from = 1, .check_at_first_use = true}), 9);
  expect_refusals(make({.check_at_first_use = true, .for_many_rows = true}), 9);
}

INSTANTIATE_TEST_SUITE_P(
    Formats, PlacesAtFault,
    ::testing::Values(
        PlaceAtFault{{.format = PackedFormat::kNm, .pattern = NM{2, 4}},
                     0.5,
                     "indices",
                     17,
                     '\x55',
                     "does not ascend",
                     kernels::isa::kAvx2},
        PlaceAtFault{
            {.format = PackedFormat::kBitmask}, 0.5, "bitmask", 0, '\0', "bits are set", kernels::isa::kAvx2},
        PlaceAtFault{{.format = PackedFormat::kWindows},
                     0.5,
                     "columns",
                     3,
                     '\x7f',
                     "beyond its window",
                     kernels::isa::kAvx512},
        PlaceAtFault{
            {.format = PackedFormat::kCsr}, 0.92, "indices", 3, '\x7f', "out of 0..63", kernels::isa::kAvx2},
        PlaceAtFault{{.format = PackedFormat::kBsr, .pattern = Block{16, 16}},
                     0.5,
                     "indices",
                     3,
                     '\x7f',
                     "out of 0..3",
                     kernels::isa::kAvx2}));

TEST(SparseLinear, HoldsOneCopyAndThreadsShareIt) {
  std::mt19937 rng(testing::test_seed());
  Matrix<bf16> w = testing::small_weights<bf16>(256, 512, rng);
  const Mask mask = select_magnitude(w, NM{2, 4}, 0.5);
  const auto make = [&](bool second_layout, int64_t dense_from) {
    return SparseLinear(view(w), mask, nullptr, {.second_layout = second_layout, .dense_from = dense_from});
  };
  const SparseLinear one = make(false, SparseLinear::kNever), two = make(true, SparseLinear::kNever);
  const double dense = 256 * 512 * 2;
  EXPECT_LT(double(one.bytes()), 0.6 * dense);
  EXPECT_GT(two.bytes(), one.bytes());
  // For many rows the weights as they are beside the layout; for all nothing else.
  EXPECT_EQ(double(make(false, 20).bytes()), double(one.bytes()) + dense);
  EXPECT_EQ(double(make(false, 1).bytes()), dense);
  const Matrix<float> x = random_x(4, 512, rng);
  Matrix<float> expected(4, 256);
  one.forward(x.data(), 512, expected.data(), 256, 4);
  std::vector<Matrix<float>> results(3, Matrix<float>::Zero(4, 256));
  std::vector<std::thread> threads;
  for (auto& y : results) threads.emplace_back([&] { one.forward(x.data(), 512, y.data(), 256, 4); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& y : results) EXPECT_EQ(y, expected);
}

// --- the table

TEST(TuningTable, KeepsWhatWasMeasured) {
  const TempFolder folder;
  int measured = 0;
  const auto measure = [&] { return 10 + measured++; };
  {
    TuningTable table(folder / "cache", "machine");
    EXPECT_EQ(table.get("a", measure), 10);
    EXPECT_EQ(table.get("a", measure), 10);
    EXPECT_EQ(table.get("b", measure), 11);
  }
  EXPECT_EQ(TuningTable(folder / "cache", "machine").get("b", measure), 11);
  EXPECT_EQ(TuningTable(folder / "cache", "another machine").get("b", measure), 12);
  TuningTable table(folder / "cache", "machine");
  table.put({{"b 2", 20}, {"b", 21}});
  EXPECT_EQ(table.find("b"), 21);
  table.clear("b ");
  EXPECT_EQ(table.find("b 2"), std::nullopt);
  EXPECT_EQ(TuningTable(folder / "cache", "machine").find("b"), 21);
  table.clear();
  EXPECT_EQ(table.get("b", measure), 13);
}

TEST(TuningTable, IgnoresWhatIsDamaged) {
  const TempFolder folder;
  TuningTable written(folder.path(), "machine");
  written.put({{"a", 1}});
  const auto find = [&] { return TuningTable(folder.path(), "machine").find("a"); };
  EXPECT_EQ(find(), 1);
  const nlohmann::json good = nlohmann::json::parse(testing::read_file(written.file()));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = good;
    changed[key] = value;
    return changed.dump();
  };
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("7"),
        with("version", good.at("version").get<int>() - 1), with("machine", "x"),
        with("numbers", {{"a", "1"}}), with("numbers", nlohmann::json::array({1}))}) {
    testing::write_file(written.file(), text);
    EXPECT_EQ(find(), std::nullopt) << text;
    EXPECT_EQ(TuningTable(folder.path(), "machine").get("a", [] { return 5; }), 5) << text;
  }
  EXPECT_EQ(TuningTable({}, "machine").get("a", [] { return 6; }), 6);
  EXPECT_EQ(TuningTable("/proc/no such place", "machine").get("a", [] { return 7; }), 7);
}

// What the table holds decides, for both ends of what a layer from weights and a mask can be.
TEST(SparseLinear, OfWeightsAndAMaskTakesTheFasterWay) {
  const TempFolder folder;
  TuningTable table(folder / "tuning");
  std::mt19937 rng(testing::test_seed());
  const Matrix<bf16> w = testing::small_weights<bf16>(256, 512, rng);
  const Mask full = select_magnitude(w, Unstructured{}, 0.0);
  const SparseLinear measured(view(w), full, nullptr, {.tuning = &table});
  const std::string key = [&] {
    const std::string text = testing::read_file(table.file());
    const size_t from = text.find("dense_from "), to = text.find(" in memory", from);
    return text.substr(from, to + 10 - from);
  }();
  EXPECT_EQ(table.find(key), measured.dense_from()) << key;
  for (const int64_t from : {int64_t{1}, int64_t{20}, SparseLinear::kNever}) {
    table.put({{key, from}});
    const SparseLinear layer(view(w), full, nullptr, {.tuning = &table});
    EXPECT_EQ(layer.dense_from(), from);
    const std::string_view kernel = layer.kernel_name(1);
    EXPECT_EQ(kernel.starts_with("plain_") && kernel.find("_bf16_") != kernel.npos, from == 1)
        << layer.kernel_name(1);
  }
}

TEST(SparseLinear, MeasuresOnce) {
  const TempFolder folder;
  std::mt19937 rng(testing::test_seed());
  Matrix<float> w = testing::small_weights<float>(32, 64, rng);
  apply(select_magnitude(w, NM{2, 4}, 0.5), w);
  testing::write_file(folder / "in.safetensors", testing::file_of({testing::tensor_of("dense.weight", w)}));
  pack_checkpoint(Checkpoint(folder / "in.safetensors"), {}, folder / "packed.safetensors", {}, {});
  const Checkpoint checkpoint(folder / "packed.safetensors");
  const PackedCheckpoint packed(checkpoint);
  TuningTable table(folder / "cache");
  const SparseLinear layer(packed, packed.weights()[0], nullptr, {.tuning = &table});
  const std::string first = testing::read_file(table.file());
  EXPECT_NE(first.find("dense_from nm 2:4"), std::string::npos);
  TuningTable again(folder / "cache");
  EXPECT_EQ(SparseLinear(packed, packed.weights()[0], nullptr, {.tuning = &again}).dense_from(),
            layer.dense_from());
  EXPECT_EQ(testing::read_file(table.file()), first);
}

}  // namespace
}  // namespace prune
