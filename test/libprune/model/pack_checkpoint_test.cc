#include "libprune/model/pack_checkpoint.h"

#include <optional>
#include <random>

#include "libprune/model/format_speed.h"
#include "libprune/model/tuning.h"
#include "libprune/model/unpack_checkpoint.h"
#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::refusal;
using testing::TempFolder;
using testing::tensor_of;
using testing::TestTensor;
using testing::transposed;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";

PackReport pack(const std::filesystem::path& from, const std::filesystem::path& to,
                const PackOptions& options = {}) {
  return pack_checkpoint(Checkpoint(from), options, to, {}, {});
}
PackReport unpack_to(const std::filesystem::path& from, const std::filesystem::path& to) {
  return unpack_checkpoint(Checkpoint(from), to, {}, 0, {});
}

// A way to pack, and weights that it takes.
struct Way {
  const char* label;
  PackOptions options;
  Pattern pruned_to;
  double sparsity;
};

const Way kWays[] = {
    {"nm found", {.request = {.format = PackedFormat::kNm}}, NM{2, 4}, 0.5},
    {"nm 2:4", {.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}}, NM{2, 4}, 0.5},
    {"nm 4:8", {.request = {.format = PackedFormat::kNm, .pattern = NM{4, 8}}}, NM{4, 8}, 0.5},
    {"nm 3:5", {.request = {.format = PackedFormat::kNm, .pattern = NM{3, 5}}}, NM{3, 5}, 0.4},
    {"bitmask", {.request = {.format = PackedFormat::kBitmask}}, Unstructured{}, 0.5},
    {"csr", {.request = {.format = PackedFormat::kCsr}}, Unstructured{}, 0.9},
    {"windows", {.request = {.format = PackedFormat::kWindows}}, Unstructured{}, 0.9},
    {"bsr found", {.request = {.format = PackedFormat::kBsr}}, Block{4, 4}, 0.5},
    {"bsr 5x10", {.request = {.format = PackedFormat::kBsr, .pattern = Block{5, 10}}}, Block{5, 10}, 0.5},
    {"auto", {}, NM{2, 4}, 0.5},
};

template <class T>
class PackCheckpoint : public ::testing::Test {
 protected:
  // Random bits, -0 among those that stay.
  Matrix<T> pruned(Index rows, Index cols, const Pattern& pattern, double sparsity) {
    Matrix<T> w = testing::random_matrix<T>(rows, cols, rng_);
    const T negative_zero = testing::exactly<T>(-0.0);
    for (Index i = 0; i < w.size(); i += 3) w.data()[i] = negative_zero;
    apply(select_magnitude(w, pattern, sparsity), w);
    return w;
  }
  std::vector<TestTensor> others() {
    return {tensor_of("lm_head.weight", testing::random_matrix<T>(3, 5, rng_)),
            testing::list_of<int64_t>("ids", {1, -2, 3}),
            {"model.layers.7.mlp.up_proj.weight", "F32", {0, 7}, ""},
            {"scalar", "U8", {}, "x"}};
  }

  TempFolder folder_;
  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(PackCheckpoint, testing::AllTypes);

TYPED_TEST(PackCheckpoint, UnpackingGivesTheFolderBackByteForByte) {
  using T = TypeParam;
  for (const Way& way : kWays) {
    for (const bool turned : {false, true}) {
      const TempFolder folder;
      const auto stored = [&](const Matrix<T>& w) { return turned ? transposed(w) : w; };
      std::vector<TestTensor> tensors = this->others();
      tensors.push_back(tensor_of(turned ? "h.0.mlp.c_fc.weight" : kUp,
                                  stored(this->pruned(20, 40, way.pruned_to, way.sparsity))));
      tensors.push_back(testing::list_of<float>("between", {1, 2}));
      tensors.push_back(tensor_of(turned ? "h.0.mlp.c_proj.weight" : kDown,
                                  stored(this->pruned(40, 120, way.pruned_to, way.sparsity))));
      testing::write_model(folder / "in", turned ? "gpt2" : "llama", tensors);
      const PackReport report = pack(folder / "in", folder / "packed", way.options);
      EXPECT_TRUE(PackedCheckpoint::is_packed(Checkpoint(folder / "packed")));
      EXPECT_EQ(report.tensors.size(), 2u);
      EXPECT_NE(report.tensors[0].format, "dense") << way.label;
      EXPECT_NE(testing::folder_difference(folder / "in", folder / "packed"), "");
      unpack_to(folder / "packed", folder / "out");
      EXPECT_EQ(testing::folder_difference(folder / "in", folder / "out"), "")
          << way.label << (turned ? " turned" : "");
    }
  }
}

TYPED_TEST(PackCheckpoint, ShardsAndTheirIndexComeBack) {
  using T = TypeParam;
  const std::filesystem::path in = this->folder_ / "in";
  testing::write_shards(
      in, "llama",
      {{tensor_of(kUp, this->pruned(16, 64, NM{2, 4}, 0.5)), testing::list_of<float>("a", {1})},
       {testing::list_of<float>("b", {2})},
       {tensor_of(kDown, this->pruned(32, 64, Block{16, 16}, 0.5)), {"c", "BOOL", {1}, "\1"}}});
  pack(in, this->folder_ / "packed");
  const Checkpoint packed(this->folder_ / "packed");  // index and shards agree, or this throws
  EXPECT_EQ(packed.shards().size(), 3u);
  EXPECT_TRUE(packed.find(std::string(kUp) + ".values"));
  EXPECT_EQ(packed.index().at("metadata").at("total_size"), packed.tensor_bytes());
  unpack_to(this->folder_ / "packed", this->folder_ / "out");
  EXPECT_EQ(testing::folder_difference(in, this->folder_ / "out"), "");
  static_assert(sizeof(T) > 0);
}

TYPED_TEST(PackCheckpoint, MisalignedWeightsKeepTheirBits) {
  using T = TypeParam;
  const Matrix<T> up = this->pruned(16, 64, NM{2, 4}, 0.5);
  const Matrix<T> down = this->pruned(16, 64, Unstructured{}, 0.8);
  testing::write_model(this->folder_ / "in", "llama", {tensor_of(kUp, up), tensor_of(kDown, down)}, 1);
  pack(this->folder_ / "in", this->folder_ / "packed");
  unpack_to(this->folder_ / "packed", this->folder_ / "out");
  const Checkpoint out(this->folder_ / "out");
  EXPECT_TRUE(testing::same_bits(testing::matrix_in<T>(out, kUp), up));
  EXPECT_TRUE(testing::same_bits(testing::matrix_in<T>(out, kDown), down));
}

TYPED_TEST(PackCheckpoint, PrunedNegativeZerosSurviveTheChoiceOfAPattern) {
  using T = TypeParam;
  Matrix<T> w = detail::zeros<T>(8, 16);
  for (Index i = 0; i < w.size(); ++i)
    w.data()[i] = testing::exactly<T>(i % 8 < 2 ? -0.0 : i % 8 == 7 ? 1.0 : 0.0);
  testing::write_model(this->folder_ / "in", "llama", {tensor_of(kUp, w)});  // by value 1:8, by bits 2:4
  const PackReport report =
      pack(this->folder_ / "in", this->folder_ / "packed", {.request = {.format = PackedFormat::kNm}});
  EXPECT_EQ(report.tensors[0].format, "nm 2:4");
  EXPECT_EQ(report.tensors[0].lost_signs, 0);
  unpack_to(this->folder_ / "packed", this->folder_ / "out");
  EXPECT_EQ(testing::folder_difference(this->folder_ / "in", this->folder_ / "out"), "");
}

// What a multiplication with a mask leaves: -0 wherever a negative weight was. The pattern is worth more than
// the sign.
TYPED_TEST(PackCheckpoint, SurplusNegativeZerosLoseTheirSignAlone) {
  using T = TypeParam;
  Matrix<T> w = detail::zeros<T>(4, 16);
  for (Index i = 0; i < w.size(); ++i) w.data()[i] = testing::exactly<T>(i % 4 < 2 ? 1.0 : -0.0);
  testing::write_model(this->folder_ / "in", "llama", {tensor_of(kUp, w)});
  const PackReport report =
      pack(this->folder_ / "in", this->folder_ / "packed", {.request = {.format = PackedFormat::kNm}});
  EXPECT_EQ(report.tensors[0].format, "nm 2:4");
  EXPECT_EQ(report.tensors[0].lost_signs, 4 * 16 / 2);
  EXPECT_EQ(
      pack(this->folder_ / "in", this->folder_ / "mask", {.request = {.format = PackedFormat::kBitmask}})
          .tensors[0]
          .lost_signs,
      0);
  unpack_to(this->folder_ / "packed", this->folder_ / "out");
  for (Index i = 0; i < w.size(); ++i) w.data()[i] = testing::exactly<T>(i % 4 < 2 ? 1.0 : 0.0);
  EXPECT_TRUE(testing::same_bits(testing::matrix_in<T>(Checkpoint(this->folder_ / "out"), kUp), w));
}

// --- the file as docs/formats.md has it

std::string packed_metadata(const std::string& layout) {
  return nlohmann::ordered_json{{"format", "pt"}, {"prune.version", "1"}, {"prune.layout", layout}}.dump();
}

TEST(PackedFile, NmByHand) {
  const TempFolder folder;
  Matrix<float> w(2, 8);
  w << 0, 5, 0, -7, 1, 0, 0, 2,  //
      3, 4, 0, 0, 0, 0, 6, 0;
  const TestTensor norm = testing::list_of<float>("model.norm.weight", {1, 2});
  testing::write_model(folder / "in", "llama", {tensor_of(kUp, w), norm});
  pack(folder / "in", folder / "packed", {.request = {.format = PackedFormat::kNm}});
  const std::string name = kUp;
  EXPECT_EQ(
      testing::read_file(folder / "packed/model.safetensors"),
      testing::file_of({tensor_of<float>(name + ".values", Matrix<float>{{5, -7, 1, 2}, {3, 4, 0, 6}}),
                        {name + ".indices", "U8", {2, 1}, "\xCD\x84"},
                        norm},
                       packed_metadata(R"({")" + name +
                                       R"(":{"dtype":"F32","format":"nm","pattern":"2:4","shape":[2,8]}})"),
                       0, {0, 2, 1}));
  EXPECT_EQ(testing::read_file(folder / "packed/config.json"), testing::read_file(folder / "in/config.json"));
}

TEST(PackedFile, Conv1DByHand) {
  const TempFolder folder;
  Matrix<float> w(2, 4);  // [out, in]
  w << 0, 5, 0, -7,       //
      3, 0, 0, 4;
  testing::write_model(folder / "in", "gpt2", {tensor_of("h.0.mlp.c_fc.weight", transposed(w))});
  pack(folder / "in", folder / "packed", {.request = {.format = PackedFormat::kCsr}});
  const std::string name = "h.0.mlp.c_fc.weight";
  EXPECT_EQ(testing::read_file(folder / "packed/model.safetensors"),
            testing::file_of(
                {testing::list_of<float>(name + ".values", {5, -7, 3, 4}),
                 testing::list_of<int32_t>(name + ".indices", {1, 3, 0, 3}),
                 testing::list_of<int64_t>(name + ".indptr", {0, 2, 4})},
                packed_metadata(R"({")" + name +
                                R"(":{"dense_order":"in_out","dtype":"F32","format":"csr","shape":[2,4]}})"),
                0, {2, 0, 1}));
}

TEST(PackedFile, BitmaskAndBsrByHand) {
  const TempFolder folder;
  Matrix<float> w(2, 6);
  w << 0, 0, 0, 0, 1, 2,  //
      0, 0, 0, 0, 3, 0;
  testing::write_model(folder / "in", "llama", {tensor_of(kUp, w)});
  const std::string name = kUp;
  pack(folder / "in", folder / "mask", {.request = {.format = PackedFormat::kBitmask}});
  EXPECT_EQ(testing::read_file(folder / "mask/model.safetensors"),
            testing::file_of(
                {testing::list_of<float>(name + ".values", {1, 2, 3}),
                 {name + ".bitmask", "U8", {2, 1}, "\x30\x10"},
                 testing::list_of<int64_t>(name + ".row_offsets", {0, 2, 3})},
                packed_metadata(R"({")" + name + R"(":{"dtype":"F32","format":"bitmask","shape":[2,6]}})"), 0,
                {2, 0, 1}));
  pack(folder / "in", folder / "blocks", {.request = {.format = PackedFormat::kBsr, .pattern = Block{1, 2}}});
  EXPECT_EQ(
      testing::read_file(folder / "blocks/model.safetensors"),
      testing::file_of({{name + ".values", "F32", {2, 1, 2}, testing::list_of<float>("", {1, 2, 3, 0}).bytes},
                        testing::list_of<int32_t>(name + ".indices", {2, 2}),
                        testing::list_of<int64_t>(name + ".indptr", {0, 1, 2})},
                       packed_metadata(R"({")" + name +
                                       R"(":{"dtype":"F32","format":"bsr","pattern":"1x2","shape":[2,6]}})"),
                       0, {2, 0, 1}));
}

// --- what is chosen, and what is refused

class PackChoice : public ::testing::Test {
 protected:
  // Packs one bf16 weight without asking for a format.
  PackedTensorReport chosen(const Matrix<bf16>& w, const PackOptions& options = {}) {
    std::filesystem::remove_all(folder_ / "in");
    std::filesystem::remove_all(folder_ / "out");
    testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, w)});
    const PackReport report = pack(folder_ / "in", folder_ / "out", options);
    EXPECT_EQ(report.model_bytes, std::filesystem::file_size(folder_ / "in/model.safetensors"));
    EXPECT_EQ(report.packed_model_bytes, std::filesystem::file_size(folder_ / "out/model.safetensors"));
    EXPECT_EQ(report.tensors.at(0).packed_bytes, Checkpoint(folder_ / "out").tensor_bytes());
    EXPECT_EQ(report.tensors.at(0).dense_bytes, Checkpoint(folder_ / "in").tensor_bytes());
    return report.tensors.at(0);
  }
  Matrix<bf16> weights(Index rows, Index cols) {
    Matrix<bf16> w(rows, cols);
    for (Index i = 0; i < w.size(); ++i) w.data()[i] = bf16(float(1 + rng_() % 100));
    return w;
  }
  Matrix<bf16> pruned(Index rows, Index cols, const Pattern& pattern, double sparsity) {
    Matrix<bf16> w = weights(rows, cols);
    apply(select_magnitude(w, pattern, sparsity), w);
    return w;
  }
  Matrix<bf16> pruned(const Pattern& pattern, double sparsity) { return pruned(64, 128, pattern, sparsity); }

  TempFolder folder_;
  std::mt19937 rng_{testing::test_seed()};
};

// By times that are planted: nothing here depends on the machine.
TEST_F(PackChoice, TheFastest) {
  const Matrix<bf16> w = pruned(NM{2, 4}, 0.5);
  PackedWeight nm;
  nm.out = 64;
  nm.in = 128;
  nm.nm = NM{2, 4};
  PackedWeight bitmask = nm;
  bitmask.format = PackedFormat::kBitmask;
  const auto chosen_with = [&](int64_t nm_time, int64_t bitmask_time, int64_t dense_time) {
    TuningTable table{std::filesystem::path()};
    table.get(row_time_key({nm, 0}), [&] { return nm_time; });
    table.get(row_time_key({bitmask, 64 * 64}), [&] { return bitmask_time; });
    table.get(dense_row_time_key(nm), [&] { return dense_time; });
    return chosen(w, {.fastest_by = &table});
  };
  EXPECT_EQ(chosen_with(100, 200, 300).format, "nm 2:4");
  EXPECT_EQ(chosen_with(200, 100, 300).format, "bitmask");
  // The larger form must be clearly faster, the smaller one need not be.
  EXPECT_EQ(chosen_with(100, 95, 300).format, "nm 2:4");
  const PackedTensorReport dense = chosen_with(20000, 30000, 10000);
  EXPECT_EQ(dense.format, "dense");
  EXPECT_EQ(dense.reason,
            "dense is as fast or faster on this machine: 10 us for one row, the best packed form 20 us");
}

// What is not in the table is measured once, and kept.
TEST_F(PackChoice, MeasuresWhatIsMissing) {
  const Matrix<bf16> w = pruned(64, 128, Block{16, 16}, 0.75);
  PackedWeight weight;
  weight.out = 64;
  weight.in = 128;
  TuningTable table{std::filesystem::path()};
  // Of another run, which does not compare with the times that are to be measured.
  constexpr int64_t kStale = int64_t{1} << 60;
  table.put({{dense_row_time_key(weight), kStale}});
  const PackedTensorReport first = chosen(w, {.values = StoredValues::kInt8, .fastest_by = &table});
  EXPECT_EQ(chosen(w, {.values = StoredValues::kInt8, .fastest_by = &table}).format, first.format);
  const std::optional<int64_t> dense = table.find(dense_row_time_key(weight));
  ASSERT_TRUE(dense.has_value());
  EXPECT_GT(*dense, 0);
  EXPECT_LT(*dense, kStale);
}

TEST_F(PackChoice, TheSmallestThatHolds) {
  EXPECT_EQ(chosen(pruned(NM{2, 4}, 0.5)).format, "nm 2:4");
  EXPECT_EQ(chosen(pruned(NM{1, 4}, 0.75)).format, "nm 1:4");
  EXPECT_EQ(chosen(pruned(Block{16, 16}, 0.5)).format, "bsr 16x16");
  EXPECT_EQ(chosen(pruned(Unstructured{}, 0.6)).format, "bitmask");
  EXPECT_EQ(chosen(pruned(7, 1031, Unstructured{}, 0.99)).format, "windows 0");
  EXPECT_EQ(chosen(pruned(40, 1024, Unstructured{}, 0.96)).format, "windows 1");
  EXPECT_EQ(chosen(pruned(3, 65537, Unstructured{}, 0.99)).format, "csr");
}

TEST_F(PackChoice, DenseWhereNothingIsSmaller) {
  const PackedTensorReport dense = chosen(weights(64, 128));
  EXPECT_EQ(dense.format, "dense");
  EXPECT_EQ(dense.reason, "no packed form is smaller");
  EXPECT_EQ(dense.packed_bytes, dense.dense_bytes);
  EXPECT_EQ(dense.zeros, 0);
  unpack_to(folder_ / "out", folder_ / "again");  // a packed folder without packed weights
  EXPECT_EQ(testing::folder_difference(folder_ / "in", folder_ / "again"), "");
}

TEST_F(PackChoice, IncludeAndExclude) {
  testing::write_model(folder_ / "in", "llama",
                       {tensor_of(kUp, pruned(NM{2, 4}, 0.5)), tensor_of(kDown, pruned(NM{2, 4}, 0.5)),
                        tensor_of("lm_head.weight", pruned(NM{2, 4}, 0.5))});
  const auto names = [&](const PackOptions& options) {
    const TempFolder out;
    std::vector<std::string> packed;
    for (const auto& t : pack(folder_ / "in", out / "x", options).tensors) packed.push_back(t.name);
    return packed;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(names({}), ElementsAre(kUp, kDown));
  EXPECT_THAT(names({.include = {"lm_head"}}), ElementsAre("lm_head.weight"));
  EXPECT_THAT(names({.exclude = {"*up*"}}), ElementsAre(kDown));
  EXPECT_EQ(
      refusal(ErrorKind::kInput, "leave no weight matrix to pack", [&] { names({.include = {"nothing"}}); }),
      "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "no weight matrix to pack", [&] { names({.exclude = {"*"}}); }), "");
}

TEST_F(PackChoice, RefusesWhatDoesNotFitByName) {
  Matrix<bf16> w = pruned(NM{2, 4}, 0.5);
  for (Index j = 8; j < 11; ++j) w(3, j) = bf16(1.0f);
  testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, w)});
  const std::string place = std::string("model.safetensors: tensor '") + kUp + "'";
  const auto refused = [&](const std::string& text, const PackOptions& options) {
    const std::string fault =
        refusal(ErrorKind::kInput, place + text, [&] { pack(folder_ / "in", folder_ / "out", options); });
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
    return fault;
  };
  EXPECT_EQ(
      refused(": row 3, columns 8 to 11: ", {.request = {.format = PackedFormat::kNm, .pattern = NM{2, 4}}}),
      "");
  EXPECT_EQ(refused(" does not fit format nm:", {.request = {.format = PackedFormat::kNm}}), "");
  EXPECT_EQ(refused(" does not fit format nm with pattern 3:5",
                    {.request = {.format = PackedFormat::kNm, .pattern = NM{3, 5}}}),
            "");
  EXPECT_EQ(refused(" does not fit format bsr with pattern 7x7",
                    {.request = {.format = PackedFormat::kBsr, .pattern = Block{7, 7}}}),
            "");
}

TEST_F(PackChoice, NamesTheColumnsThatWindowsHold) {
  const Matrix<bf16> wide = Matrix<bf16>::Zero(1, kMostWindowsColumns + 1);
  testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, wide)});
  EXPECT_EQ(refusal(ErrorKind::kInput, "of its 65537 columns windows hold at most 65536",
                    [&] {
                      pack(folder_ / "in", folder_ / "out", {.request = {.format = PackedFormat::kWindows}});
                    }),
            "");
}

TEST_F(PackChoice, RefusesAPatternOfAnotherFormat) {
  testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, pruned(NM{2, 4}, 0.5))});
  for (const PackOptions& options :
       {PackOptions{.request = {.pattern = NM{2, 4}}},
        PackOptions{.request = {.format = PackedFormat::kBsr, .pattern = NM{2, 4}}},
        PackOptions{.request = {.format = PackedFormat::kNm, .pattern = Block{4, 4}}},
        PackOptions{.request = {.format = PackedFormat::kCsr, .pattern = NM{2, 4}}},
        PackOptions{.request = {.format = PackedFormat::kNm, .pattern = Unstructured{}}}}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "goes with format nm",
                      [&] { pack(folder_ / "in", folder_ / "out", options); }),
              "");
  }
}

TEST_F(PackChoice, RefusesAPatternThatIsNone) {
  testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, pruned(NM{2, 4}, 0.5))});
  for (const PackOptions& options :
       {PackOptions{.request = {.format = PackedFormat::kNm, .pattern = NM{0, 0}}},
        PackOptions{.request = {.format = PackedFormat::kBsr, .pattern = Block{0, 4}}}}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "pattern " + to_string(*options.request.pattern) + ": ",
                      [&] { pack(folder_ / "in", folder_ / "out", options); }),
              "");
  }
}

TEST_F(PackChoice, NothingIsPackedTwiceOrUnpackedUnpacked) {
  testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, pruned(NM{2, 4}, 0.5))});
  pack(folder_ / "in", folder_ / "packed");
  EXPECT_EQ(refusal(ErrorKind::kInput, "packed: is packed already",
                    [&] { pack(folder_ / "packed", folder_ / "out"); }),
            "");
  EXPECT_EQ(
      refusal(ErrorKind::kInput, "in: is not packed", [&] { unpack_to(folder_ / "in", folder_ / "out"); }),
      "");
}

TEST_F(PackChoice, AFileAlone) {
  const std::vector<TestTensor> tensors = {tensor_of("dense.weight", pruned(NM{2, 4}, 0.5))};
  testing::write_file(folder_ / "in.safetensors", testing::file_of(tensors));
  pack(folder_ / "in.safetensors", folder_ / "packed.safetensors");
  unpack_to(folder_ / "packed.safetensors", folder_ / "out.safetensors");
  EXPECT_EQ(testing::read_file(folder_ / "out.safetensors"), testing::file_of(tensors));
}

TEST_F(PackChoice, ReportAsJson) {
  testing::write_model(folder_ / "in", "llama", {tensor_of(kUp, pruned(NM{2, 4}, 0.5))});
  const PackReport report = pack(folder_ / "in", folder_ / "out");
  const nlohmann::json json = to_json(report);
  EXPECT_EQ(json.at("model"), (folder_ / "in").native());
  EXPECT_EQ(json.at("packed_model_bytes"), report.packed_model_bytes);
  const nlohmann::json& tensor = json.at("tensors").at(0);
  EXPECT_EQ(tensor.at("name"), kUp);
  EXPECT_EQ(tensor.at("shape"), (nlohmann::json{64, 128}));
  EXPECT_EQ(tensor.at("zeros"), 64 * 64);
  EXPECT_EQ(tensor.at("format"), "nm 2:4");
  EXPECT_EQ(tensor.at("dense_bytes"), 64 * 128 * 2);
  EXPECT_EQ(tensor.at("packed_bytes"), 64 * 64 * 2 + 64 * 128 / 8);
}

}  // namespace
}  // namespace prune
