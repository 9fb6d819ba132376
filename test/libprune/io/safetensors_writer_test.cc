#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "libprune/io/safetensors.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

using testing::counting_bytes;
using ::testing::HasSubstr;
using testing::read_file;
using testing::safetensors;
using testing::TempFolder;
using testing::write_file;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

template <class F>
std::string refusal(ErrorKind kind, F f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  return "accepted";
}

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  // What a file of these bytes becomes when it is written anew with the same data.
  std::string rewritten(const std::string& model_bytes) {
    write_file(folder_ / "model", model_bytes);
    const SafetensorsFile model(folder_ / "model");
    SafetensorsWriter writer(folder_ / "out", model);
    for (size_t i = 0; i < model.tensors().size(); ++i) writer.write(i, 0, model.data(model.tensors()[i]));
    writer.finish();
    EXPECT_EQ(writer.file_size(), std::filesystem::file_size(folder_ / "out"));
    return read_file(folder_ / "out");
  }

  TempFolder folder_;
};

TEST_F(SafetensorsWriterTest, writes_these_bytes_for_a_new_layout) {
  SafetensorsWriter writer(folder_ / "out", {{"w", DType::kBF16, {1, 2}, 0, 0}, {"b", DType::kU8, {}, 0, 0}},
                           {});
  writer.write(1, 0, bytes_of("E"));
  writer.write(0, 2, bytes_of("CD"));
  writer.write(0, 0, bytes_of("AB"));
  writer.finish();
  EXPECT_EQ(read_file(folder_ / "out"),
            std::string("\x90\0\0\0\0\0\0\0", 8) +
                R"({"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},)"
                R"("b":{"dtype":"U8","shape":[],"data_offsets":[4,5]}}     )"
                "ABCDE");
}

TEST_F(SafetensorsWriterTest, writes_these_bytes_for_no_tensors) {
  SafetensorsWriter writer(folder_ / "out", {}, {{"k", "\"\n\u00e9"}, {"format", "mlx"}});
  writer.finish();
  EXPECT_EQ(read_file(folder_ / "out"),
            std::string("\x30\0\0\0\0\0\0\0", 8) +
                "{\"__metadata__\":{\"k\":\"\\\"\\n\u00e9\",\"format\":\"mlx\"}}  ");
}

TEST_F(SafetensorsWriterTest, repeats_a_model_byte_for_byte) {
  const std::string entry = R"("b":{"shape":[1],"data_offsets":[2,3],"dtype":"U8","extra":[1]} , )"
                            R"("a":{"dtype":"F4","shape":[2,2],"data_offsets":[0,2]})";
  const std::string model =
      safetensors("\t{ \"__metadata__\":{\"format\":\"pt\"}," + entry + "}   \n", "xyz");
  EXPECT_EQ(rewritten(model), model);
}

TEST_F(SafetensorsWriterTest, adds_the_format_that_readers_ask_for) {
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]})";
  const std::string b = R"("b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const auto golden = [&](std::string metadata, size_t size) {
    std::string json = "{\"__metadata__\":" + metadata + "," + a + "," + b + "}";
    EXPECT_LE(json.size(), size);
    json.resize(size, ' ');
    return safetensors(json, "xyz");
  };
  EXPECT_EQ(rewritten(safetensors("{" + a + "," + b + "}", "xyz")), golden(R"({"format":"pt"})", 136));
  EXPECT_EQ(rewritten(safetensors("{" + a + ",\"__metadata__\":{\"k\":\"v\"}," + b + "}", "xyz")),
            golden(R"({"k":"v","format":"pt"})", 144));
}

TEST_F(SafetensorsWriterTest, keeps_the_data_in_its_place_when_the_padding_allows) {
  std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  json.resize(4096 - 8, ' ');
  const std::string out = rewritten(safetensors(json, "x"));
  EXPECT_EQ(out.size(), 4097u);
  EXPECT_EQ(out.back(), 'x');
}

TEST_F(SafetensorsWriterTest, reads_back_what_it_wrote) {
  std::vector<TensorInfo> tensors;
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    tensors.push_back({std::string(name(dtype)), dtype, {4, i % 3}, 0, 0});
  }
  SafetensorsWriter writer(folder_ / "out", tensors, {{"k", "v"}});
  for (size_t i = 0; i < tensors.size(); ++i) {
    writer.write(i, 0, bytes_of(counting_bytes(writer.tensors()[i].size_bytes())));
  }
  writer.finish();
  const SafetensorsFile file(folder_ / "out");
  EXPECT_EQ(file.data_start() % 8, 0u);
  EXPECT_EQ(file.metadata(), (Metadata{{"k", "v"}, {"format", "pt"}}));
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors()[i].name, tensors[i].name);
    EXPECT_EQ(file.tensors()[i].dtype, tensors[i].dtype);
    EXPECT_EQ(file.tensors()[i].shape, tensors[i].shape);
    const auto data = file.data(file.tensors()[i]);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), data.size()),
              counting_bytes(data.size()));
  }
}

TEST_F(SafetensorsWriterTest, aligns_tensors_and_keeps_the_order_of_the_header) {
  const std::vector<TensorInfo> tensors{
      {"bytes", DType::kU8, {3}, 0, 0},    {"halves", DType::kBF16, {5}, 0, 0},
      {"words", DType::kI64, {2}, 0, 0},   {"empty", DType::kI64, {0}, 0, 0},
      {"others", DType::kBF16, {1}, 0, 0}, {"floats", DType::kF32, {3}, 0, 0}};
  SafetensorsWriter writer(folder_ / "out", tensors, {}, Placement::kAligned);
  for (size_t i = 0; i < tensors.size(); ++i)
    writer.write(i, 0, bytes_of(std::string(writer.tensors()[i].size_bytes(), static_cast<char>('a' + i))));
  writer.finish();
  const SafetensorsFile file(folder_ / "out");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = file.tensors()[i];
    EXPECT_EQ(tensor.name, tensors[i].name);
    EXPECT_EQ(tensor.begin % static_cast<uint64_t>(bits(tensor.dtype) / 8), 0u) << tensor.name;
    for (const std::byte b : file.data(tensor)) EXPECT_EQ(static_cast<char>(b), static_cast<char>('a' + i));
  }
  EXPECT_LT(file.find("halves")->begin, file.find("others")->begin);
}

TEST_F(SafetensorsWriterTest, takes_pieces_from_many_threads) {
  constexpr size_t kThreads = 4, kPieces = 64, kPiece = 1000;
  const std::string data = counting_bytes(kThreads * kPieces * kPiece);
  SafetensorsWriter writer(folder_ / "out", {{"w", DType::kU8, {static_cast<int64_t>(data.size())}, 0, 0}},
                           {});
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t piece = t; piece < kThreads * kPieces; piece += kThreads) {
        writer.write(0, piece * kPiece, bytes_of(data).subspan(piece * kPiece, kPiece));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  writer.finish();
  const std::string out = read_file(folder_ / "out");
  EXPECT_EQ(out.substr(out.size() - data.size()), data);
}

TEST_F(SafetensorsWriterTest, leaves_a_map_of_the_file_it_replaces_intact) {
  write_file(folder_ / "out", safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy"));
  const SafetensorsFile old(folder_ / "out");
  SafetensorsWriter writer(folder_ / "out", {}, {});
  writer.finish();
  EXPECT_EQ(static_cast<char>(old.data(old.tensors()[0])[1]), 'y');
}

TEST_F(SafetensorsWriterTest, refuses_layouts_that_cannot_be) {
  const auto refused = [&](std::vector<TensorInfo> tensors) {
    return refusal(ErrorKind::kUsage, [&] { SafetensorsWriter(folder_ / "out", tensors, {}); });
  };
  EXPECT_THAT(refused({{"a", DType::kU8, {1}, 0, 0}, {"a", DType::kU8, {1}, 0, 0}}),
              HasSubstr("'a': the name is there"));
  EXPECT_THAT(refused({{"__metadata__", DType::kU8, {1}, 0, 0}}), HasSubstr("the name is reserved"));
  EXPECT_THAT(refused({{"a", DType::kF4, {1}, 0, 0}}),
              HasSubstr("shape [1] of F4 overflows or does not fill"));
  EXPECT_THAT(refused({{"a", DType::kF64, {int64_t{1} << 62}, 0, 0}}), HasSubstr("overflows"));
  const TensorInfo huge{"a", DType::kF64, {int64_t{1} << 57}, 0, 0};
  std::vector<TensorInfo> many(8, huge);
  for (size_t i = 0; i < many.size(); ++i) many[i].name += std::to_string(i);
  EXPECT_THAT(refused(many), HasSubstr("'a7': shape [144115188075855872] of F64 overflows"));
  EXPECT_THAT(refused({{"\xFF", DType::kU8, {1}, 0, 0}}), HasSubstr("not UTF-8"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

TEST_F(SafetensorsWriterTest, refuses_bytes_outside_of_their_tensor) {
  SafetensorsWriter writer(folder_ / "out", {{"a", DType::kU8, {2}, 0, 0}, {"b", DType::kU8, {2}, 0, 0}}, {});
  const auto refused = [&](size_t index, uint64_t offset, const std::string& bytes) {
    return refusal(ErrorKind::kUsage, [&] { writer.write(index, offset, bytes_of(bytes)); });
  };
  EXPECT_THAT(refused(0, 0, "xyz"), HasSubstr("lie outside of tensor number 0"));
  EXPECT_THAT(refused(1, 2, "x"), HasSubstr("outside"));
  EXPECT_THAT(refused(1, ~uint64_t{0}, "xy"), HasSubstr("outside"));
  EXPECT_THAT(refused(2, 0, ""), HasSubstr("outside"));
}

TEST_F(SafetensorsWriterTest, does_not_finish_half_a_file) {
  SafetensorsWriter writer(folder_ / "out", {{"a", DType::kU8, {4}, 0, 0}}, {});
  writer.write(0, 0, bytes_of("abc"));
  EXPECT_THAT(refusal(ErrorKind::kUsage, [&] { writer.finish(); }),
              HasSubstr("3 bytes of tensors were written, 4 announced"));
  writer.write(0, 3, bytes_of("d"));
  writer.finish();
}

TEST_F(SafetensorsWriterTest, says_why_a_file_cannot_be_made) {
  EXPECT_EQ(refusal(ErrorKind::kRuntime, [&] { SafetensorsWriter(folder_ / "no/out", {}, {}); }),
            "no such file or directory while creating " + (folder_ / "no/out").native());
}

}  // namespace
}  // namespace prune
