#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "libprune/io/safetensors.h"
#include "libprune/io/safetensors_header.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

using testing::counting_bytes;
using testing::safetensors;
using testing::TempFolder;
using testing::write_file;

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class SafetensorsFileTest : public ::testing::Test {
 protected:
  SafetensorsFile open(const std::string& bytes) {
    write_file(folder_ / "f", bytes);
    return SafetensorsFile(folder_ / "f");
  }

  TempFolder folder_;
};

TEST_F(SafetensorsFileTest, reads_names_types_shapes_and_data) {
  const std::string json = R"({"__metadata__":{"format":"pt","note":"\u00e9\n"},)"
                           R"("w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
                           R"("b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})";
  const std::string data = counting_bytes(20);
  const SafetensorsFile file = open(safetensors(json, data));
  ASSERT_EQ(file.tensors().size(), 2u);
  const TensorInfo& w = file.tensors()[0];
  EXPECT_EQ(w.name, "w");
  EXPECT_EQ(w.dtype, DType::kBF16);
  EXPECT_EQ(w.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(w.numel(), 6);
  EXPECT_EQ(w.size_bytes(), 12u);
  EXPECT_EQ(text(file.data(w)), data.substr(0, 12));
  EXPECT_EQ(text(file.data(*file.find("b"))), data.substr(12));
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.header_json(), json);
  EXPECT_EQ(file.data_start(), 8 + json.size());
  EXPECT_EQ(file.file_size(), 8 + json.size() + 20);
  EXPECT_TRUE(file.has_metadata());
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}, {"note", "\u00e9\n"}}));
  EXPECT_EQ(*file.find_metadata("format"), "pt");
  EXPECT_EQ(file.find_metadata("other"), nullptr);
}

TEST_F(SafetensorsFileTest, finds_names_after_a_move) {
  SafetensorsFile first = open(safetensors(R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", "x"));
  const SafetensorsFile second = std::move(first);
  ASSERT_NE(second.find("a"), nullptr);
  EXPECT_EQ(text(second.data(*second.find("a"))), "x");
}

TEST_F(SafetensorsFileTest, accepts_a_file_without_tensors) {
  const SafetensorsFile file = open(safetensors("{}"));
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_FALSE(file.has_metadata());
  EXPECT_TRUE(open(safetensors(R"({"__metadata__":{}})")).has_metadata());
  EXPECT_FALSE(open(safetensors(R"({"__metadata__":null})")).has_metadata());
}

TEST_F(SafetensorsFileTest, accepts_scalars_and_tensors_without_elements) {
  const SafetensorsFile file =
      open(safetensors(R"({"empty1":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                       R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                       R"("empty2":{"dtype":"BF16","shape":[3,0,9223372036854775807],"data_offsets":[4,4]},)"
                       R"("empty3":{"dtype":"U8","shape":[0,0],"data_offsets":[4,4]}})",
                       "abcd"));
  EXPECT_EQ(file.find("scalar")->numel(), 1);
  EXPECT_EQ(text(file.data(*file.find("scalar"))), "abcd");
  for (const char* name : {"empty1", "empty2", "empty3"}) {
    EXPECT_EQ(file.find(name)->numel(), 0) << name;
    EXPECT_TRUE(file.data(*file.find(name)).empty()) << name;
  }
}

TEST_F(SafetensorsFileTest, accepts_white_space_around_the_header) {
  const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  for (const std::string& json : {" \n\t\r{" + entry + "}", "{" + entry + "}  \n\t", "{ " + entry + " }"}) {
    EXPECT_EQ(text(open(safetensors(json, "x")).data({"a", DType::kU8, {1}, 0, 1})), "x") << json;
  }
}

TEST_F(SafetensorsFileTest, takes_the_data_in_the_order_of_the_offsets) {
  const SafetensorsFile file =
      open(safetensors(R"({"last":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},)"
                       R"("first":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("middle":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                       "abcde"));
  EXPECT_EQ(file.tensors()[0].name, "last");
  EXPECT_EQ(text(file.data(file.tensors()[0])), "de");
  EXPECT_EQ(text(file.data(file.tensors()[1])), "a");
  EXPECT_EQ(text(file.data(file.tensors()[2])), "bc");
}

TEST_F(SafetensorsFileTest, reads_data_at_every_misalignment) {
  for (size_t padding = 0; padding < 8; ++padding) {
    std::string json = R"({"w":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}})";
    json.append(padding, ' ');
    const double values[2] = {1.5, -2.25};
    std::string data(sizeof values, '\0');
    std::memcpy(data.data(), values, sizeof values);
    const SafetensorsFile file = open(safetensors(json, data));
    double read[2];
    std::memcpy(read, file.data(file.tensors()[0]).data(), sizeof read);
    EXPECT_EQ(read[0], 1.5);
    EXPECT_EQ(read[1], -2.25);
  }
}

TEST_F(SafetensorsFileTest, reads_every_dtype) {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    const auto size = static_cast<size_t>(4 * bits(dtype) / 8);
    const std::string json = safetensors_header_json({{"t", dtype, {2, 2}, 0, size}}, {});
    const SafetensorsFile file = open(safetensors(json, counting_bytes(size)));
    EXPECT_EQ(file.tensors()[0].dtype, dtype) << name(dtype);
    EXPECT_EQ(text(file.data(file.tensors()[0])), counting_bytes(size)) << name(dtype);
  }
}

TEST_F(SafetensorsFileTest, skips_fields_that_the_format_does_not_know) {
  const SafetensorsFile file = open(
      safetensors(R"({"a":{"x":{"dtype":"F32","shape":[[{}]]},"dtype":"U8","y":[1,-1,1.5,null,true,"s",[]],)"
                  R"("shape":[1],"z":null,"data_offsets":[0,1]}})",
                  "q"));
  EXPECT_EQ(file.tensors()[0].dtype, DType::kU8);
  EXPECT_EQ(file.tensors()[0].shape, std::vector<int64_t>{1});
}

TEST_F(SafetensorsFileTest, keeps_strange_names) {
  const SafetensorsFile file =
      open(safetensors(R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("a\u0000\n\"/..":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                       "xy"));
  EXPECT_EQ(text(file.data(*file.find(""))), "x");
  EXPECT_EQ(text(file.data(*file.find(std::string_view("a\0\n\"/..", 7)))), "y");
}

TEST_F(SafetensorsFileTest, takes_up_to_64_dimensions) {
  EXPECT_EQ(
      open(safetensors(safetensors_header_json({{"a", DType::kU8, std::vector<int64_t>(64, 1), 0, 1}}, {}),
                       "x"))
          .tensors()[0]
          .shape.size(),
      64u);
}

TEST(ParseSafetensorsHeader, takes_a_header_of_the_greatest_length) {
  std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  json.resize(SafetensorsFile::kMaxHeaderBytes, ' ');
  EXPECT_EQ(parse_safetensors_header(json, 1, "f").tensors.size(), 1u);
}

TEST(ParseSafetensorsHeader, takes_many_tensors) {
  std::vector<TensorInfo> tensors;
  for (uint64_t i = 0; i < 100'000; ++i)
    tensors.push_back({std::to_string(i), DType::kU8, {2}, 2 * i, 2 * i + 2});
  std::reverse(tensors.begin(), tensors.end());
  const SafetensorsHeader header =
      parse_safetensors_header(safetensors_header_json(tensors, {}), 200'000, "f");
  ASSERT_EQ(header.tensors.size(), tensors.size());
  EXPECT_EQ(header.tensors[0].name, "99999");
  EXPECT_EQ(header.tensors[99'999].end, 2u);
}

TEST(SizeInBytes, is_exact_or_nothing) {
  const auto size = [](DType dtype, std::vector<int64_t> shape) { return size_in_bytes(dtype, shape); };
  EXPECT_EQ(size(DType::kF32, {}), 4u);
  EXPECT_EQ(size(DType::kBF16, {3, 5}), 30u);
  EXPECT_EQ(size(DType::kF4, {3, 2}), 3u);
  EXPECT_EQ(size(DType::kF4, {3}), std::nullopt);
  EXPECT_EQ(size(DType::kF6E3M2, {4}), 3u);
  EXPECT_EQ(size(DType::kU8, {int64_t{1} << 60}), uint64_t{1} << 60);
  EXPECT_EQ(size(DType::kU8, {int64_t{1} << 61}), std::nullopt);  // 2^64 bits
  EXPECT_EQ(size(DType::kU8, {int64_t{1} << 62, 2, 0}), std::nullopt);
  EXPECT_EQ(size(DType::kU8, {0, int64_t{1} << 62, 2}), 0u);
  EXPECT_EQ(size(DType::kU8, {-1}), std::nullopt);
}

}  // namespace
}  // namespace prune
