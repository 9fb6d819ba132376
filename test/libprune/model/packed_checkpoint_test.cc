#include "libprune/model/packed_checkpoint.h"

#include <cmath>
#include <functional>
#include <optional>

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::list_of;
using testing::refusal;
using testing::TempFolder;
using testing::tensor_of;
using testing::TestTensor;

// A packed file of one weight, to be damaged.
struct PackedFile {
  nlohmann::json layout;
  std::optional<std::string> layout_text;  // in place of the layout
  std::vector<TestTensor> tensors;

  nlohmann::json& entry() { return layout.at("w.weight"); }
  TestTensor& tensor(const std::string& suffix) {
    for (TestTensor& t : tensors) {
      if (t.name == "w.weight." + suffix) return t;
    }
    throw std::runtime_error("no component " + suffix);
  }
  // Element `at` of a component.
  template <class T>
  void set(const std::string& suffix, size_t at, T value) {
    std::memcpy(tensor(suffix).bytes.data() + at * sizeof(T), &value, sizeof value);
  }
  void remove(const std::string& suffix) {
    std::erase_if(tensors, [&](const TestTensor& t) { return t.name == "w.weight." + suffix; });
  }
  std::string bytes() const {
    const nlohmann::ordered_json metadata = {
        {"format", "pt"}, {"prune.version", "1"}, {"prune.layout", layout_text.value_or(layout.dump())}};
    return testing::file_of(tensors, metadata.dump());
  }
};

// [2, 12] in 2:4: three nibbles a row, half a byte spare.
PackedFile nm_file() {
  return {{{"w.weight", {{"format", "nm"}, {"pattern", "2:4"}, {"dtype", "F32"}, {"shape", {2, 12}}}}},
          {},
          {tensor_of<float>("w.weight.values", Matrix<float>{{1, 2, 3, 4, 5, 6}, {7, 8, 9, 10, 11, 12}}),
           {"w.weight.indices", "U8", {2, 2}, std::string("\x4E\x09\xD8\x0C", 4)}}};
}
const Matrix<float> kNmDense{{0, 0, 1, 2, 3, 4, 0, 0, 0, 5, 6, 0}, {7, 0, 8, 0, 0, 9, 0, 10, 11, 0, 0, 12}};

// [2, 10]: six spare bits a row.
PackedFile bitmask_file() {
  return {{{"w.weight", {{"format", "bitmask"}, {"dtype", "F32"}, {"shape", {2, 10}}}}},
          {},
          {list_of<float>("w.weight.values", {1, 2, 3}),
           {"w.weight.bitmask", "U8", {2, 2}, std::string("\x81\x00\x00\x02", 4)},
           list_of<int64_t>("w.weight.row_offsets", {0, 2, 3})}};
}
const Matrix<float> kBitmaskDense{{1, 0, 0, 0, 0, 0, 0, 2, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 3}};

PackedFile csr_file() {
  return {{{"w.weight", {{"format", "csr"}, {"dtype", "F32"}, {"shape", {3, 4}}}}},
          {},
          {list_of<float>("w.weight.values", {1, 2, 3}), list_of<int32_t>("w.weight.indices", {0, 3, 2}),
           list_of<int64_t>("w.weight.indptr", {0, 2, 2, 3})}};
}
const Matrix<float> kCsrDense{{1, 0, 0, 2}, {0, 0, 0, 0}, {0, 0, 3, 0}};

PackedFile bsr_file() {
  return {{{"w.weight", {{"format", "bsr"}, {"pattern", "2x2"}, {"dtype", "F32"}, {"shape", {4, 6}}}}},
          {},
          {{"w.weight.values",
            "F32",
            {3, 2, 2},
            list_of<float>("", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).bytes},
           list_of<int32_t>("w.weight.indices", {0, 2, 1}),
           list_of<int64_t>("w.weight.indptr", {0, 2, 3})}};
}
const Matrix<float> kBsrDense{
    {1, 2, 0, 0, 5, 6}, {3, 4, 0, 0, 7, 8}, {0, 0, 9, 10, 0, 0}, {0, 0, 11, 12, 0, 0}};

// The CSR weight above with int8 values: scales 0.5, 0 and 2.
PackedFile int8_file() {
  return {
      {{"w.weight", {{"format", "csr"}, {"values", "int8"}, {"dtype", "F32"}, {"shape", {3, 4}}}}},
      {},
      {list_of<int8_t>("w.weight.values", {1, -127, 3}), list_of<int32_t>("w.weight.indices", {0, 3, 2}),
       list_of<int64_t>("w.weight.indptr", {0, 2, 2, 3}), list_of<float>("w.weight.scales", {0.5F, 0, 2})}};
}
const Matrix<float> kInt8Dense{{0.5F, 0, 0, -63.5F}, {0, 0, 0, 0}, {0, 0, 6, 0}};

// A row of 40 columns, three of them stored, of which the last is in a group of 32 of its own.
PackedFile group_file() {
  nlohmann::json entry = {{"format", "csr"}, {"values", "int8"}, {"scale_group", 32}, {"dtype", "F32"}};
  entry["shape"] = {1, 40};
  return {{{"w.weight", entry}},
          {},
          {list_of<int8_t>("w.weight.values", {1, -127, 3}),
           list_of<int32_t>("w.weight.indices", {0, 31, 32}),
           list_of<int64_t>("w.weight.indptr", {0, 3}),
           {"w.weight.scales", "F32", {1, 2}, list_of<float>("", {0.5F, 2}).bytes}}};
}
Matrix<float> group_dense() {
  Matrix<float> w = Matrix<float>::Zero(1, 40);
  w(0, 0) = 0.5F, w(0, 31) = -63.5F, w(0, 32) = 6;
  return w;
}

// The rows of PackedBytes.Windows in packed_test.cc.
PackedFile windows_file() {
  nlohmann::json entry = {{"format", "windows"}, {"steps", 1}, {"dtype", "F32"}};
  entry["shape"] = {2, 70};
  std::vector<float> values(68);
  std::string columns(64, '\0');
  values[0] = 1, columns[0] = 3;
  values[32] = 3, values[64] = 2;
  values[17] = 4, columns[17] = 31;
  return {{{"w.weight", entry}},
          {},
          {list_of<float>("w.weight.values", values),
           {"w.weight.columns", "U8", {64}, columns},
           {"w.weight.tail_columns", "U16", {4}, std::string("\x09\0\0\0\0\0\0\0", 8)},
           list_of<int32_t>("w.weight.tail_counts", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})}};
}
Matrix<float> windows_dense() {
  Matrix<float> w = Matrix<float>::Zero(2, 70);
  w(0, 3) = 1, w(0, 9) = 2, w(0, 64) = 3, w(1, 63) = 4;
  return w;
}

// Opens, checks and unpacks everything.
Matrix<float> open_and_unpack(const PackedFile& file) {
  const TempFolder folder;
  testing::write_file(folder / "model.safetensors", file.bytes());
  const Checkpoint checkpoint(folder.path());
  const PackedCheckpoint packed(checkpoint);
  for (const PackedWeight& weight : packed.weights()) packed.check(weight);
  return packed.unpack<float>(packed.weights().at(0));
}

TEST(PackedCheckpoint, UnpacksByHand) {
  EXPECT_TRUE(testing::same_bits(open_and_unpack(nm_file()), kNmDense));
  EXPECT_TRUE(testing::same_bits(open_and_unpack(bitmask_file()), kBitmaskDense));
  EXPECT_TRUE(testing::same_bits(open_and_unpack(csr_file()), kCsrDense));
  EXPECT_TRUE(testing::same_bits(open_and_unpack(bsr_file()), kBsrDense));
  EXPECT_TRUE(testing::same_bits(open_and_unpack(int8_file()), kInt8Dense));
  EXPECT_TRUE(testing::same_bits(open_and_unpack(group_file()), group_dense()));
  EXPECT_TRUE(testing::same_bits(open_and_unpack(windows_file()), windows_dense()));
}

TEST(PackedCheckpoint, KeptWeightsAreNoEmptyPlaces) {
  const TempFolder folder;
  testing::write_file(folder / "model.safetensors", windows_file().bytes());
  const Checkpoint checkpoint(folder.path());
  const PackedCheckpoint packed(checkpoint);
  EXPECT_EQ(packed.stored(packed.weights()[0]), 68);
  EXPECT_EQ(packed.kept(packed.weights()[0]), 4);
}

TEST(PackedCheckpoint, DescribesItsWeights) {
  const TempFolder folder;
  PackedFile file = bsr_file();
  file.entry()["dense_order"] = "in_out";
  file.tensors.push_back(list_of<float>("norm.weight", {1}));
  testing::write_file(folder / "model.safetensors", file.bytes());
  const Checkpoint checkpoint(folder.path());
  EXPECT_TRUE(PackedCheckpoint::is_packed(checkpoint));
  const PackedCheckpoint packed(checkpoint);
  ASSERT_EQ(packed.weights().size(), 1u);
  const PackedWeight& weight = packed.weights()[0];
  EXPECT_EQ(weight.tensor, "w.weight");
  EXPECT_EQ(weight.dtype, DType::kF32);
  EXPECT_EQ(weight.block, (Block{2, 2}));
  EXPECT_EQ(weight.dense_shape(), (std::vector<int64_t>{6, 4}));
  EXPECT_EQ(weight.dense_bytes(), 4u * 6 * 4);
  EXPECT_EQ(format_in_words(weight), "bsr 2x2");
  EXPECT_EQ(packed.stored(weight), 3);
  EXPECT_EQ(packed.bytes(weight), 12u * 4 + 3 * 4 + 3 * 8);
  EXPECT_EQ(packed.find("w.weight"), &weight);
  EXPECT_EQ(packed.find("w.weight.values"), nullptr);
  EXPECT_EQ(packed.owner("w.weight.indptr"), &weight);
  EXPECT_EQ(packed.owner("norm.weight"), nullptr);
  EXPECT_EQ(layout_json(packed.weights()), file.layout);

  testing::write_file(folder / "plain.safetensors", testing::file_of({}));
  EXPECT_FALSE(PackedCheckpoint::is_packed(Checkpoint(folder / "plain.safetensors")));
}

TEST(PackedCheckpoint, FormatsByName) {
  for (const PackedFormat format : {PackedFormat::kNm, PackedFormat::kBitmask, PackedFormat::kCsr,
                                    PackedFormat::kBsr, PackedFormat::kWindows})
    EXPECT_EQ(parse_packed_format(name(format)), format);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "expected smallest, auto, nm, bitmask, csr, bsr or windows",
                    [] { parse_packed_format("coo"); }),
            "");
}

// --- damage

struct Damage {
  const char* label;
  PackedFile (*file)();
  std::function<void(PackedFile&)> inflict;
  const char* message;
  bool names_weight = true;
};

std::ostream& operator<<(std::ostream& out, const Damage& damage) { return out << damage.label; }

std::vector<Damage> damage_to_values() {
  return {
      {"nm_equal_indices", nm_file, [](auto& f) { f.set("indices", 0, '\x45'); },
       "row 0, group 0: index 1 does not ascend"},
      {"nm_descending_indices", nm_file, [](auto& f) { f.set("indices", 2, '\x18'); },
       "row 1, group 1: index 0 does not ascend"},
      {"nm_stray_bits", nm_file, [](auto& f) { f.set("indices", 1, '\x49'); },
       "row 0: bits behind the last index"},
      {"bitmask_bit_too_many", bitmask_file, [](auto& f) { f.set("bitmask", 0, '\x83'); },
       "row 0: 3 bits are set, 2 values"},
      {"bitmask_bit_too_few", bitmask_file, [](auto& f) { f.set("bitmask", 3, '\x00'); },
       "row 1: 0 bits are set, 1 values"},
      {"bitmask_stray_bits", bitmask_file, [](auto& f) { f.set("bitmask", 3, '\x04'); },
       "row 1: bits behind the last column"},
      {"bitmask_first_offset", bitmask_file, [](auto& f) { f.template set<int64_t>("row_offsets", 0, 1); },
       "row_offsets[0] is not 0"},
      {"bitmask_descending_offsets", bitmask_file,
       [](auto& f) { f.template set<int64_t>("row_offsets", 1, 4); }, "row_offsets[2] is below"},
      {"bitmask_negative_offset", bitmask_file,
       [](auto& f) { f.template set<int64_t>("row_offsets", 1, INT64_MIN); }, "row_offsets[1] is below"},
      {"bitmask_last_offset", bitmask_file, [](auto& f) { f.template set<int64_t>("row_offsets", 2, 4); },
       "the last of row_offsets is 4, not the 3"},
      {"csr_index_too_large", csr_file, [](auto& f) { f.set("indices", 1, 4); },
       "indices[1] is 4, out of 0..3"},
      {"csr_index_negative", csr_file, [](auto& f) { f.set("indices", 0, -1); },
       "indices[0] is -1, out of 0..3"},
      {"csr_index_repeated", csr_file, [](auto& f) { f.set("indices", 1, 0); }, "indices[1] does not ascend"},
      {"csr_index_descending", csr_file, [](auto& f) { f.set("indices", 0, 3), f.set("indices", 1, 1); },
       "indices[1] does not ascend"},
      {"csr_first_offset", csr_file, [](auto& f) { f.template set<int64_t>("indptr", 0, -1); },
       "indptr[0] is not 0"},
      {"csr_descending_offsets", csr_file, [](auto& f) { f.template set<int64_t>("indptr", 1, 3); },
       "indptr[2] is below"},
      {"csr_huge_offset", csr_file, [](auto& f) { f.template set<int64_t>("indptr", 3, INT64_MAX); },
       "the last of indptr is 9223372036854775807"},
      {"csr_last_offset", csr_file, [](auto& f) { f.template set<int64_t>("indptr", 3, 2); },
       "the last of indptr is 2, not the 3"},
      {"bsr_index_too_large", bsr_file, [](auto& f) { f.set("indices", 1, 3); },
       "indices[1] is 3, out of 0..2"},
      {"bsr_index_repeated", bsr_file, [](auto& f) { f.set("indices", 1, 0); }, "indices[1] does not ascend"},
      {"bsr_last_offset", bsr_file, [](auto& f) { f.template set<int64_t>("indptr", 2, 2); },
       "the last of indptr is 2, not the 3"},
      {"windows_column", windows_file, [](auto& f) { f.set("columns", 0, '\x20'); },
       "rows 0 to 1: a column is beyond its window"},
      {"windows_behind_the_matrix", windows_file, [](auto& f) { f.set("columns", 32, '\x06'); },
       "rows 0 to 1: a weight is behind the last column"},
      {"windows_no_such_row", windows_file, [](auto& f) { f.set("values", 5, 1.0F); },
       "rows 0 to 1: a weight is in a row behind the last"},
      {"windows_tail_column", windows_file, [](auto& f) { f.template set<uint16_t>("tail_columns", 0, 70); },
       "rows 0 to 1: a column of the tail is out of range"},
      {"windows_weight_twice", windows_file, [](auto& f) { f.template set<uint16_t>("tail_columns", 0, 3); },
       "rows 0 to 1: columns of the tail do not ascend, or are not behind"},
      {"windows_tail_negative", windows_file, [](auto& f) { f.template set<int32_t>("tail_counts", 1, -1); },
       "a row's tail is negative"},
      {"windows_tail_too_long", windows_file, [](auto& f) { f.template set<int32_t>("tail_counts", 0, 5); },
       "tails do not add up to the values"},
      {"windows_uncounted_value", windows_file, [](auto& f) { f.set("values", 65, 5.0F); },
       "tails end with weights that no row counts"},
      {"windows_uncounted_column", windows_file,
       [](auto& f) { f.template set<uint16_t>("tail_columns", 3, 9); },
       "tails end with weights that no row counts"},
      {"windows_tail_of_no_row", windows_file, [](auto& f) { f.template set<int32_t>("tail_counts", 2, 1); },
       "a row's tail is negative, longer than a row, or of no row"},
      {"scale_nan", int8_file, [](auto& f) { f.set("scales", 1, std::nanf("")); },
       "scales[1] is negative or not finite"},
      {"scale_infinite", int8_file, [](auto& f) { f.set("scales", 0, HUGE_VALF); },
       "scales[0] is negative or not finite"},
      {"scale_of_a_group_nan", group_file, [](auto& f) { f.set("scales", 1, std::nanf("")); },
       "scales[1] is negative or not finite"},
      {"scale_negative", int8_file, [](auto& f) { f.set("scales", 2, -1.0F); },
       "scales[2] is negative or not finite"},
  };
}

std::vector<Damage> damage_to_tensors() {
  const char* shape = "has not the type and shape of its format";
  std::vector<Damage> list = {
      {"values_missing", csr_file, [](auto& f) { f.remove("values"); }, "its 'values' is missing"},
      {"indices_missing", csr_file, [](auto& f) { f.remove("indices"); }, "its 'indices' is missing"},
      {"indptr_missing", csr_file, [](auto& f) { f.remove("indptr"); }, "its 'indptr' is missing"},
      {"bitmask_missing", bitmask_file, [](auto& f) { f.remove("bitmask"); }, "its 'bitmask' is missing"},
      {"nm_indices_missing", nm_file, [](auto& f) { f.remove("indices"); }, "its 'indices' is missing"},
      {"scales_missing", int8_file, [](auto& f) { f.remove("scales"); }, "its 'scales' is missing"},
      {"scales_of_another_shape", int8_file,
       [](auto& f) {
         f.tensor("scales").shape = {3, 1};
       },
       shape},
      {"scales_of_rows_for_groups", group_file, [](auto& f) { f.tensor("scales").shape = {2}; }, shape},
      {"scales_of_groups_for_rows", group_file, [](auto& f) { f.entry().erase("scale_group"); }, shape},
      {"scales_of_larger_groups", group_file, [](auto& f) { f.entry()["scale_group"] = 64; }, shape},
      {"scales_of_another_type", int8_file, [](auto& f) { f.tensor("scales").dtype = "I32"; }, shape},
      {"int8_values_of_another_type", int8_file, [](auto& f) { f.tensor("values").dtype = "U8"; }, shape},
      {"values_of_another_type", csr_file, [](auto& f) { f.tensor("values").dtype = "I32"; }, shape},
      {"indices_of_another_type", csr_file, [](auto& f) { f.tensor("indices").dtype = "F32"; }, shape},
      {"indptr_of_another_type", csr_file, [](auto& f) { f.tensor("indptr").dtype = "F64"; }, shape},
      {"bitmask_of_another_type", bitmask_file, [](auto& f) { f.tensor("bitmask").dtype = "I8"; }, shape},
      {"values_turned", nm_file,
       [](auto& f) {
         f.tensor("values").shape = {6, 2};
       },
       shape},
      {"values_flat", nm_file, [](auto& f) { f.tensor("values").shape = {12}; }, shape},
      {"values_scalar", csr_file,
       [](auto& f) {
         f.tensor("values") = {"w.weight.values", "F32", {}, "1234"};
       },
       shape},
      {"blocks_turned", bsr_file,
       [](auto& f) {
         f.tensor("values").shape = {3, 4, 1};
       },
       shape},
      {"indices_too_few", csr_file,
       [](auto& f) {
         f.tensor("indices") = list_of<int32_t>("w.weight.indices", {0, 3});
       },
       shape},
      {"indptr_too_short", csr_file,
       [](auto& f) {
         f.tensor("indptr") = list_of<int64_t>("w.weight.indptr", {0, 2, 3});
       },
       shape},
      {"indptr_empty", csr_file,
       [](auto& f) { f.tensor("indptr") = list_of<int64_t>("w.weight.indptr", {}); }, shape},
      {"bitmask_too_narrow", bitmask_file,
       [](auto& f) {
         f.tensor("bitmask") = {"w.weight.bitmask", "U8", {2, 1}, "ab"};
       },
       shape},
      {"windows_columns_missing", windows_file, [](auto& f) { f.remove("columns"); },
       "its 'columns' is missing"},
      {"windows_fewer_values", windows_file,
       [](auto& f) { f.tensor("values") = list_of<float>("w.weight.values", {1}); }, shape},
      {"windows_more_steps", windows_file, [](auto& f) { f.entry()["steps"] = 2; }, shape},
      {"dense_and_packed", csr_file, [](auto& f) { f.tensors.push_back(list_of<float>("w.weight", {1})); },
       "is there dense and packed"},
  };
  return list;
}

std::vector<Damage> damage_to_layout() {
  const auto text = [](const char* replacement) {
    return [replacement](PackedFile& f) { f.layout_text = replacement; };
  };
  const auto field = [](const char* key, nlohmann::json value) {
    return [key, value](PackedFile& f) { f.entry()[key] = value; };
  };
  const auto without = [](const char* key) { return [key](PackedFile& f) { f.entry().erase(key); }; };
  return {
      {"layout_empty", csr_file, text(""), "prune.layout: not JSON", false},
      {"layout_not_json", csr_file, text("{w.weight}"), "prune.layout: not JSON", false},
      {"layout_array", csr_file, text("[]"), "prune.layout is not a JSON object", false},
      {"layout_key_twice", csr_file,
       text(
           R"({"w.weight":{"format":"csr","dtype":"F32","shape":[3,4]},"w.weight":{"format":"csr","dtype":"F32","shape":[1,1]}})"),
       "key 'w.weight' appears twice"},
      {"layout_depth_bomb", csr_file, [](auto& f) { f.layout_text = std::string(100'000, '['); },
       "levels deep", false},
      {"entry_null", csr_file, [](auto& f) { f.entry() = nullptr; }, "its entry is not an object"},
      {"format_missing", csr_file, without("format"), "no text at 'format'"},
      {"format_number", csr_file, field("format", 3), "no text at 'format'"},
      {"format_unknown", csr_file, field("format", "coo\n\x1b[2J"), R"(format 'coo\n\x1b[2J' is not known)"},
      {"dtype_missing", csr_file, without("dtype"), "no text at 'dtype'"},
      {"dtype_unknown", csr_file, field("dtype", "F33"), "its dtype holds no weights"},
      {"dtype_of_no_weights", csr_file, field("dtype", "I64"), "its dtype holds no weights"},
      {"dtype_of_fewer_bits", csr_file, field("dtype", "F4"), "its dtype holds no weights"},
      {"shape_missing", csr_file, without("shape"), "its shape is not [out, in]"},
      {"shape_number", csr_file, field("shape", 12), "its shape is not [out, in]"},
      {"shape_of_three", csr_file, field("shape", {1, 3, 4}), "its shape is not [out, in]"},
      {"shape_negative", csr_file, field("shape", {-3, 4}), "an extent is not a whole number"},
      {"shape_fraction", csr_file, field("shape", {3, 4.0}), "an extent is not a whole number"},
      {"shape_text", csr_file, field("shape", {"3", 4}), "an extent is not a whole number"},
      {"shape_without_rows", csr_file, field("shape", {0, 4}), "its shape holds no weights"},
      {"shape_without_columns", csr_file, field("shape", {3, 0}), "its shape holds no weights"},
      {"shape_beyond_int", csr_file, field("shape", {3, 2147483648}), "beyond 2^31 - 1"},
      {"shape_beyond_64_bits", csr_file, field("shape", {3, UINT64_MAX}), "beyond 2^31 - 1"},
      {"shape_huge", csr_file, field("shape", {2147483647, 2147483647}), "more than 2^48 weights"},
      {"shape_other", csr_file, field("shape", {4, 4}), "has not the type and shape of its format"},
      {"shape_narrower", csr_file, field("shape", {3, 3}), "indices[1] is 3, out of 0..2"},
      {"pattern_missing", nm_file, without("pattern"), "no text at 'pattern'"},
      {"pattern_not_one", nm_file, field("pattern", "2\n4"), R"(pattern '2\n4' is neither N:M nor RxC)"},
      {"pattern_out_of_range", nm_file, field("pattern", "4:4"), "pattern '4:4' is neither"},
      {"pattern_of_bsr", nm_file, field("pattern", "2x4"), "its pattern is not its format's"},
      {"pattern_of_nm", bsr_file, field("pattern", "2:4"), "its pattern is not its format's"},
      {"pattern_unstructured", nm_file, field("pattern", "unstructured"), "its pattern is not its format's"},
      {"pattern_does_not_divide", nm_file, field("pattern", "2:5"), "12 columns are not a multiple of 5"},
      {"pattern_other", nm_file, field("pattern", "1:4"), "has not the type and shape of its format"},
      {"block_does_not_divide", bsr_file, field("pattern", "3x2"), "4 rows are not a multiple of 3"},
      {"block_other", bsr_file, field("pattern", "2x3"), "has not the type and shape of its format"},
      {"values_unknown", csr_file, field("values", "plain"), "its values are of an unknown kind"},
      {"values_of_another_type", csr_file, field("values", "bf16"),
       "has not the type and shape of its format"},
      {"values_wider_than_the_weight", csr_file,
       [](auto& f) { f.entry()["values"] = "f16", f.entry()["dtype"] = "F8_E4M3"; },
       "its values are wider than its dtype"},
      {"steps_missing", windows_file, without("steps"), "its steps are not 0 to 32"},
      {"steps_negative", windows_file, field("steps", -1), "its steps are not 0 to 32"},
      {"steps_beyond_a_window", windows_file, field("steps", 33), "its steps are not 0 to 32"},
      {"windows_too_wide", windows_file, field("shape", {2, 65537}), "more than 65536 columns"},
      {"dense_order_number", csr_file, field("dense_order", 1), "no text at 'dense_order'"},
      {"dense_order_unknown", csr_file, field("dense_order", "sideways"), "dense_order is neither"},
  };
}

class DamagedFile : public ::testing::TestWithParam<Damage> {};
const auto kLabel = [](const auto& test) { return std::string(test.param.label); };
INSTANTIATE_TEST_SUITE_P(Values, DamagedFile, ::testing::ValuesIn(damage_to_values()), kLabel);
INSTANTIATE_TEST_SUITE_P(Tensors, DamagedFile, ::testing::ValuesIn(damage_to_tensors()), kLabel);
INSTANTIATE_TEST_SUITE_P(Layout, DamagedFile, ::testing::ValuesIn(damage_to_layout()), kLabel);

TEST_P(DamagedFile, IsRefusedByName) {
  const Damage& damage = GetParam();
  PackedFile file = damage.file();
  EXPECT_NO_THROW(open_and_unpack(file));
  damage.inflict(file);
  EXPECT_EQ(refusal(ErrorKind::kInput, damage.message, [&] { open_and_unpack(file); }), "");
  EXPECT_EQ(refusal(ErrorKind::kInput, "model.safetensors: ", [&] { open_and_unpack(file); }), "");
  if (damage.names_weight) {
    EXPECT_EQ(refusal(ErrorKind::kInput, "'w.weight'", [&] { open_and_unpack(file); }), "");
  }
}

TEST(PackedCheckpoint, IndicesOutsideAGroupThatIsNoPowerOfTwo) {
  // 2:5: three bits an index, of which 5, 6 and 7 mean nothing.
  PackedFile file = {
      {{"w.weight", {{"format", "nm"}, {"pattern", "2:5"}, {"dtype", "F32"}, {"shape", {1, 5}}}}},
      {},
      {tensor_of<float>("w.weight.values", Matrix<float>{{1, 2}}),
       {"w.weight.indices", "U8", {1, 1}, "\x21"}}};
  EXPECT_TRUE(testing::same_bits(open_and_unpack(file), Matrix<float>{{0, 1, 0, 0, 2}}));
  file.set("indices", 0, '\x29');  // 1 and 5
  EXPECT_EQ(refusal(ErrorKind::kInput, "row 0, group 0: index 5 is outside the group",
                    [&] { open_and_unpack(file); }),
            "");
}

TEST(PackedCheckpoint, ComponentsMustBeInTheShardOfTheirLayout) {
  const TempFolder folder;
  const PackedFile file = csr_file();
  PackedFile without_values = file;
  without_values.remove("values");
  testing::write_file(folder / "a.safetensors", without_values.bytes());
  testing::write_file(folder / "b.safetensors", testing::file_of({file.tensors[0]}));
  testing::write_file(
      folder / "model.safetensors.index.json",
      R"({"weight_map":{"w.weight.indices":"a.safetensors","w.weight.indptr":"a.safetensors",)"
      R"("w.weight.values":"b.safetensors"}})");
  const Checkpoint checkpoint(folder.path());
  EXPECT_EQ(refusal(ErrorKind::kInput, "a.safetensors: packed tensor 'w.weight': its 'values' is missing",
                    [&] { PackedCheckpoint packed(checkpoint); }),
            "");
}

}  // namespace
}  // namespace prune
