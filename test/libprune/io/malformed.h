// Models that must be refused: files and folders as an attacker, a broken download or a careless tool may
// leave them. Each case lists the files to make, what to open, and a part of the one line that must come
// back.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "test/libprune/io/files.h"

namespace prune::testing {

struct Ingredient {
  enum Kind { kFile, kFolder, kFifo, kLink };
  std::string path;
  std::string content;  // bytes of a file, target of a link
  Kind kind = kFile;
  uint64_t size = 0;  // when larger than the content: the file is extended to it with a hole
};

struct MalformedCase {
  std::string name;  // letters, digits and underscores
  std::vector<Ingredient> ingredients;
  std::string opened;   // relative path; empty for the folder itself
  std::string file;     // the file that the message has to name
  std::string message;  // what it has to say
};

inline std::ostream& operator<<(std::ostream& out, const MalformedCase& c) { return out << c.name; }

// Makes the files of `c` in the empty folder `folder` and returns the path to open.
inline std::filesystem::path build(const MalformedCase& c, const std::filesystem::path& folder) {
  for (const Ingredient& part : c.ingredients) {
    const std::filesystem::path path = folder / part.path;
    switch (part.kind) {
      case Ingredient::kFile:
        write_file(path, part.content);
        if (part.size > part.content.size()) std::filesystem::resize_file(path, part.size);
        break;
      case Ingredient::kFolder:
        std::filesystem::create_directories(path);
        break;
      case Ingredient::kFifo:
        if (::mkfifo(path.c_str(), 0600) != 0) throw std::runtime_error("cannot make a FIFO");
        break;
      case Ingredient::kLink:
        std::filesystem::create_symlink(part.content, path);
        break;
    }
  }
  return c.opened.empty() ? folder : folder / c.opened;
}

namespace malformed {

inline std::string repeated(std::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

// A case of one file, opened by its name.
inline MalformedCase file_case(std::string name, std::string bytes, std::string message, uint64_t size = 0) {
  return {std::move(name),
          {{"model.safetensors", std::move(bytes), Ingredient::kFile, size}},
          "model.safetensors",
          "model.safetensors",
          std::move(message)};
}

// A case of one header in front of the right amount of data.
inline MalformedCase header_case(std::string name, std::string_view json, size_t data_size,
                                 std::string message) {
  return file_case(std::move(name), safetensors(json, counting_bytes(data_size)), std::move(message));
}

// One tensor 'a' with these three fields.
inline MalformedCase tensor_case(std::string name, std::string_view dtype, std::string_view shape,
                                 std::string_view offsets, size_t data_size, std::string message) {
  std::string json = R"({"a":{"dtype":)";
  json.append(dtype)
      .append(R"(,"shape":)")
      .append(shape)
      .append(R"(,"data_offsets":)")
      .append(offsets)
      .append("}}");
  return header_case(std::move(name), json, data_size, "tensor 'a': " + message);
}

// Two tensors of four bytes each, with these byte ranges.
inline MalformedCase range_case(std::string name, std::string_view first, std::string_view second,
                                size_t data_size, std::string message) {
  std::string json = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)";
  json.append(first)
      .append(R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)")
      .append(second)
      .append("}}");
  return header_case(std::move(name), json, data_size, std::move(message));
}

inline const std::string kGoodA = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
inline const std::string kGoodFile = safetensors("{" + kGoodA + "}", "ab");
inline const std::string kOtherFile =
    safetensors(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "c");

inline void add_length_cases(std::vector<MalformedCase>& cases) {
  const std::string whole = kGoodFile;
  cases.push_back(file_case("empty_file", "", "this one has 0 bytes: truncated?"));
  cases.push_back(file_case("one_byte", whole.substr(0, 1), "this one has 1 byte: truncated?"));
  cases.push_back(file_case("length_cut", whole.substr(0, 7), "this one has 7 bytes: truncated?"));
  cases.push_back(file_case("header_missing", whole.substr(0, 8), "a header of 53 bytes does not fit"));
  cases.push_back(file_case("header_cut_at_start", whole.substr(0, 9), "a header of 53 bytes does not fit"));
  cases.push_back(file_case("header_cut_in_name", whole.substr(0, 11), "a header of 53 bytes does not fit"));
  cases.push_back(file_case("header_cut_in_dtype", whole.substr(0, 24), "a header of 53 bytes does not fit"));
  cases.push_back(file_case("header_cut_in_shape", whole.substr(0, 36), "a header of 53 bytes does not fit"));
  cases.push_back(
      file_case("header_cut_in_offsets", whole.substr(0, 58), "a header of 53 bytes does not fit"));
  cases.push_back(
      file_case("header_cut_before_brace", whole.substr(0, 60), "a header of 53 bytes does not fit"));
  cases.push_back(
      file_case("data_missing", whole.substr(0, 61), "the tensors need 2 bytes of data, the file has 0"));
  cases.push_back(
      file_case("data_cut", whole.substr(0, 62), "the tensors need 2 bytes of data, the file has 1"));
  cases.push_back(file_case("byte_after_the_data", whole + "x", "goes on for 1 byte after the last tensor"));
  cases.push_back(
      file_case("data_without_tensors", safetensors("{}", "x"), "goes on for 1 byte after the last tensor"));
  cases.push_back(file_case("length_zero", little_endian(0) + "{}", "not JSON at line 1, column 1"));
  cases.push_back(file_case("length_one_too_large", little_endian(54) + whole.substr(8),
                            "not JSON at line 1, column 54"));
  cases.push_back(
      file_case("length_one_too_small", little_endian(52) + whole.substr(8), "not JSON at line 1"));
  cases.push_back(file_case("length_2_to_63", little_endian(uint64_t{1} << 63) + "{}", "exceeds the limit"));
  cases.push_back(
      file_case("length_2_to_64_less_1", little_endian(~uint64_t{0}) + "{}", "exceeds the limit"));
  cases.push_back(
      file_case("length_wraps_around", little_endian(~uint64_t{0} - 7) + "{}", "exceeds the limit"));
  cases.push_back(file_case("header_of_100_mb_and_1", little_endian(100'000'001) + "{}",
                            "header length 100000001 exceeds the limit of 100000000 bytes", 100'000'001 + 8));
  cases.push_back(
      file_case("big_endian_length", std::string("\0\0\0\0\0\0\0\x02{}", 10), "exceeds the limit"));
  cases.push_back(file_case("git_lfs_pointer",
                            "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n",
                            "a Git LFS pointer in place of the file"));
  cases.push_back(file_case("zip_archive", "PK\x03\x04\x14\x08\x08\x08garbage", "exceeds the limit"));
  cases.push_back(file_case("gguf", std::string("GGUF\x03\0\0\0\0\0\0\0", 12), "exceeds the limit"));
}

inline void add_text_cases(std::vector<MalformedCase>& cases) {
  cases.push_back(header_case("name_not_utf8", "{\"\xFF\":{}}", 0, "not UTF-8 at line 1, column 3 (byte 3)"));
  cases.push_back(header_case("name_overlong_utf8", "{\"\xC0\x80\":{}}", 0, "not UTF-8"));
  cases.push_back(header_case("name_cut_utf8", "{\"\xE2\x82\":{}}", 0, "not UTF-8"));
  cases.push_back(header_case("name_surrogate_bytes", "{\"\xED\xA0\x80\":{}}", 0, "not UTF-8"));
  cases.push_back(header_case("name_surrogate_escape", R"({"\ud800":{}})", 0, "not JSON"));
  cases.push_back(header_case("name_raw_newline", "{\"a\nb\":{}}", 0, "not JSON at line 1"));
  cases.push_back(header_case("byte_order_mark", "\xEF\xBB\xBF{}", 0, "byte order mark"));
  cases.push_back(
      header_case("zero_padding", std::string("{}\0\0\0\0\0\0", 8), 0, "a zero byte at line 1, column 3"));
  cases.push_back(header_case("utf16", std::string("{\0}\0", 4), 0, "a zero byte"));
  cases.push_back(header_case("only_spaces", "        ", 0, "not JSON"));
  cases.push_back(header_case("root_array", "[]", 0, "the header must be a JSON object"));
  cases.push_back(header_case("root_string", R"("{}")", 0, "the header must be a JSON object"));
  cases.push_back(header_case("root_number", "17", 0, "the header must be a JSON object"));
  cases.push_back(header_case("root_null", "null", 0, "the header must be a JSON object"));
  cases.push_back(header_case("not_closed", "{" + kGoodA, 2, "not JSON"));
  cases.push_back(header_case("two_objects", "{}{}", 0, "not JSON at line 1, column 3"));
  cases.push_back(header_case("text_after_object", "{} x", 0, "not JSON at line 1, column 4"));
  cases.push_back(header_case("trailing_comma", "{" + kGoodA + ",}", 2, "not JSON"));
  cases.push_back(header_case("comment", "{/* a */}", 0, "not JSON"));
  cases.push_back(header_case("single_quotes", "{'a':{}}", 0, "not JSON"));
  cases.push_back(header_case("fault_on_line_3", "{\n\n  oops}", 0, "not JSON at line 3, column 3"));
  cases.push_back(
      header_case("depth_bomb_at_root", repeated("[", 1'000'000), 0, "the header must be a JSON object"));
  cases.push_back(header_case("depth_bomb_of_objects", repeated(R"({"a":)", 1'000'000), 0, "levels deep"));
  cases.push_back(header_case("depth_bomb_in_unknown_field", R"({"a":{"x":)" + repeated("[", 1'000'000), 0,
                              "tensor 'a': JSON nested more than 128 levels deep"));
  cases.push_back(header_case("number_beyond_double", R"({"a":{"x":1e999}})", 0, "beyond double precision"));
}

inline void add_entry_cases(std::vector<MalformedCase>& cases) {
  const std::string must_be_object = "tensor 'a': must be an object with dtype, shape and data_offsets";
  cases.push_back(header_case("entry_null", R"({"a":null})", 0, must_be_object));
  cases.push_back(header_case("entry_number", R"({"a":1})", 0, must_be_object));
  cases.push_back(header_case("entry_bool", R"({"a":true})", 0, must_be_object));
  cases.push_back(header_case("entry_string", R"({"a":"U8"})", 0, must_be_object));
  cases.push_back(header_case("entry_array", R"({"a":["U8",[2],[0,2]]})", 2, must_be_object));
  cases.push_back(header_case("entry_empty", R"({"a":{}})", 0, "tensor 'a': has no dtype"));
  cases.push_back(header_case("no_dtype", R"({"a":{"shape":[2],"data_offsets":[0,2]}})", 2, "has no dtype"));
  cases.push_back(header_case("no_shape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "has no shape"));
  cases.push_back(header_case("no_offsets", R"({"a":{"dtype":"U8","shape":[2]}})", 2, "has no data_offsets"));
  cases.push_back(header_case("dtype_twice",
                              R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0,
                              "tensor 'a': dtype appears twice"));
  cases.push_back(header_case("shape_twice",
                              R"({"a":{"dtype":"U8","shape":[],"shape":[0],"data_offsets":[0,0]}})", 0,
                              "tensor 'a': shape appears twice"));
  cases.push_back(
      header_case("name_twice", "{" + kGoodA + "," + kGoodA + "}", 2, "tensor 'a' appears twice"));
  cases.push_back(header_case("name_twice_in_other_spelling",
                              "{" + kGoodA + R"(,"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                              2, "tensor 'a' appears twice"));
  cases.push_back(
      header_case("metadata_twice", R"({"__metadata__":{},"__metadata__":{}})", 0, "appears twice"));
  cases.push_back(header_case("metadata_key_twice", R"({"__metadata__":{"k":"1","k":"2"}})", 0,
                              "__metadata__ key 'k' appears twice"));
  const std::string must_map = "__metadata__ must map strings to strings";
  cases.push_back(header_case("metadata_array", R"({"__metadata__":["pt"]})", 0, must_map));
  cases.push_back(header_case("metadata_string", R"({"__metadata__":"pt"})", 0, must_map));
  cases.push_back(header_case("metadata_of_number", R"({"__metadata__":{"k":1}})", 0, must_map));
  cases.push_back(header_case("metadata_of_null", R"({"__metadata__":{"k":null}})", 0, must_map));
  cases.push_back(header_case("metadata_of_object", R"({"__metadata__":{"k":{}}})", 0, must_map));
  cases.push_back(header_case("hostile_name", R"({"a\n\u001b[2J\u202e":{}})", 0,
                              R"(tensor 'a\n\x1b[2J\u202e': has no dtype)"));
  cases.push_back(
      header_case("long_name", std::string("{\"") + repeated("n", 5'000'000) + "\":{}}", 0, "nnn...nnn"));
}

inline void add_dtype_and_shape_cases(std::vector<MalformedCase>& cases) {
  cases.push_back(tensor_case("dtype_lower_case", R"("bf16")", "[2]", "[0,4]", 4, "unknown dtype 'bf16'"));
  cases.push_back(
      tensor_case("dtype_of_torch", R"("F8_E4M3FN")", "[2]", "[0,2]", 2, "unknown dtype 'F8_E4M3FN'"));
  cases.push_back(tensor_case("dtype_empty", R"("")", "[2]", "[0,2]", 2, "unknown dtype ''"));
  cases.push_back(tensor_case("dtype_with_space", R"("U8 ")", "[2]", "[0,2]", 2, "unknown dtype 'U8 '"));
  cases.push_back(tensor_case("dtype_number", "8", "[2]", "[0,2]", 2, "dtype must be a string"));
  cases.push_back(tensor_case("dtype_list", R"(["U8"])", "[2]", "[0,2]", 2, "dtype must be a string"));
  const std::string bad_shape = "shape must be a list of non-negative integers";
  cases.push_back(tensor_case("shape_negative", R"("U8")", "[-2]", "[0,2]", 2, bad_shape));
  cases.push_back(tensor_case("shape_minus_zero", R"("U8")", "[-0]", "[0,0]", 0, bad_shape));
  cases.push_back(tensor_case("shape_fraction", R"("U8")", "[2.0]", "[0,2]", 2, bad_shape));
  cases.push_back(tensor_case("shape_exponent", R"("U8")", "[1e1]", "[0,10]", 10, bad_shape));
  cases.push_back(tensor_case("shape_text", R"("U8")", R"(["2"])", "[0,2]", 2, bad_shape));
  cases.push_back(tensor_case("shape_number", R"("U8")", "2", "[0,2]", 2, bad_shape));
  cases.push_back(tensor_case("shape_null", R"("U8")", "null", "[0,1]", 1, bad_shape));
  cases.push_back(tensor_case("shape_nested", R"("U8")", "[[2]]", "[0,2]", 2, bad_shape));
  cases.push_back(tensor_case("shape_object", R"("U8")", "{}", "[0,1]", 1, bad_shape));
  cases.push_back(tensor_case("extent_2_to_63", R"("U8")", "[9223372036854775808]", "[0,2]", 2,
                              "extent 9223372036854775808 overflows 63 bits"));
  cases.push_back(tensor_case("extent_2_to_64", R"("U8")", "[18446744073709551616]", "[0,2]", 2, bad_shape));
  cases.push_back(tensor_case("product_overflows", R"("U8")", "[4294967296,4294967296]", "[0,0]", 0,
                              "shape [4294967296, 4294967296] of U8 overflows 64 bits"));
  cases.push_back(tensor_case("product_overflows_before_zero", R"("U8")", "[9223372036854775807,2,0]",
                              "[0,0]", 0, "shape [9223372036854775807, 2, 0] of U8 overflows 64 bits"));
  cases.push_back(tensor_case("bits_overflow", R"("F64")", "[9223372036854775807]", "[0,8]", 8,
                              "shape [9223372036854775807] of F64 overflows 64 bits"));
  cases.push_back(tensor_case("bytes_wrap_to_the_right_size", R"("F64")", "[2305843009213693953]", "[0,8]", 8,
                              "shape [2305843009213693953] of F64 overflows 64 bits"));
  cases.push_back(tensor_case("rank_65", R"("U8")", std::string("[") + repeated("1,", 64) + "1]", "[0,1]", 1,
                              "more than 64 dimensions"));
  cases.push_back(tensor_case("f4_half_byte", R"("F4")", "[3]", "[0,2]", 2,
                              "shape [3] of F4 overflows 64 bits or does not fill whole bytes"));
  cases.push_back(tensor_case("f6_half_byte", R"("F6_E2M3")", "[2]", "[0,2]", 2,
                              "shape [2] of F6_E2M3 overflows 64 bits or does not fill whole bytes"));
}

inline void add_offset_cases(std::vector<MalformedCase>& cases) {
  const std::string bad_pair = "data_offsets must be two non-negative integers";
  cases.push_back(tensor_case("offsets_empty", R"("U8")", "[0]", "[]", 0, bad_pair));
  cases.push_back(tensor_case("offsets_one", R"("U8")", "[2]", "[2]", 2, bad_pair));
  cases.push_back(tensor_case("offsets_three", R"("U8")", "[2]", "[0,2,2]", 2, bad_pair));
  cases.push_back(tensor_case("offsets_negative", R"("U8")", "[2]", "[-2,0]", 2, bad_pair));
  cases.push_back(tensor_case("offsets_fraction", R"("U8")", "[2]", "[0,2.0]", 2, bad_pair));
  cases.push_back(tensor_case("offsets_text", R"("U8")", "[2]", R"(["0","2"])", 2, bad_pair));
  cases.push_back(tensor_case("offsets_number", R"("U8")", "[2]", "2", 2, bad_pair));
  cases.push_back(tensor_case("offsets_nested", R"("U8")", "[2]", "[[0,2]]", 2, bad_pair));
  cases.push_back(tensor_case("offset_2_to_64", R"("U8")", "[2]", "[0,18446744073709551616]", 2, bad_pair));
  cases.push_back(
      tensor_case("end_before_begin", R"("U8")", "[2]", "[2,0]", 2, "bytes [2, 0) end before they begin"));
  cases.push_back(tensor_case("end_before_begin_by_wrapping", R"("U8")", "[2]", "[18446744073709551615,1]", 2,
                              "bytes [18446744073709551615, 1) end before they begin"));
  cases.push_back(tensor_case("range_too_short", R"("BF16")", "[8, 9]", "[0,128]", 128,
                              "bytes [0, 128) do not match shape [8, 9] of BF16 (144 bytes)"));
  cases.push_back(tensor_case("range_too_long", R"("U8")", "[2]", "[0,3]", 3,
                              "bytes [0, 3) do not match shape [2] of U8 (2 bytes)"));
  cases.push_back(tensor_case("rank_0_of_two_bytes", R"("U8")", "[]", "[0,2]", 2,
                              "bytes [0, 2) do not match shape [] of U8 (1 byte)"));
  cases.push_back(tensor_case("zero_extent_with_bytes", R"("U8")", "[4,0]", "[0,4]", 4,
                              "bytes [0, 4) do not match shape [4, 0]"));
  cases.push_back(tensor_case("range_beyond_the_file", R"("U8")", "[4611686018427387904]",
                              "[0,4611686018427387904]", 2,
                              "shape [4611686018427387904] of U8 overflows 64 bits"));
  cases.push_back(header_case(
      "data_of_2_to_60_bytes",
      R"({"a":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}})", 2,
      "the tensors need 1152921504606846976 bytes of data, the file has 2"));
  cases.push_back(tensor_case("hole_at_start", R"("U8")", "[2]", "[2,4]", 4,
                              "bytes [2, 4) leave a hole of 2 bytes before them"));
  cases.push_back(tensor_case("hole_at_start_near_2_to_64", R"("U8")", "[1]",
                              "[18446744073709551614,18446744073709551615]", 1,
                              "bytes [18446744073709551614, 18446744073709551615) leave a hole of"));
  cases.push_back(
      range_case("hole_between", "[0,4]", "[5,9]", 9, "tensor 'b': bytes [5, 9) leave a hole of 1 byte"));
  cases.push_back(
      range_case("hole_in_json_order", "[8,12]", "[0,4]", 12, "tensor 'a': bytes [8, 12) leave a hole"));
  cases.push_back(
      range_case("overlap", "[0,4]", "[3,7]", 7, "tensor 'b': bytes [3, 7) overlap those of tensor 'a'"));
  cases.push_back(range_case("same_range", "[0,4]", "[0,4]", 4, "overlap those of tensor"));
  cases.push_back(range_case("alignment_gap", "[0,4]", "[8,12]", 12, "leave a hole of 4 bytes"));
  cases.push_back(header_case("empty_tensor_inside_another",
                              R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                              R"("b":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})",
                              4, "tensor 'b': bytes [2, 2) overlap"));
}

inline void add_kind_cases(std::vector<MalformedCase>& cases) {
  using K = Ingredient;
  const std::string name = "model.safetensors";
  cases.push_back({"missing", {}, name, name, "cannot be read: no such file or directory"});
  cases.push_back({"fifo_as_model", {{name, "", K::kFifo}}, name, name, "is a FIFO, not a regular file"});
  cases.push_back(
      {"dangling_link", {{name, "nowhere", K::kLink}}, name, name, "a link to a file that does not exist"});
  cases.push_back({"link_to_itself", {{name, name, K::kLink}}, name, name, "cannot be read"});
  cases.push_back({"device", {{name, "/dev/null", K::kLink}}, name, name, "is a device, not a regular file"});
  cases.push_back({"file_name_of_two_lines", {{"a\nb", "x"}}, "a\nb", R"(a\nb)", "truncated?"});
  cases.push_back(
      {"file_as_folder", {{name, kGoodFile}}, name + "/x", name + "/x", "cannot be read: not a directory"});
  cases.push_back(
      {"folder_in_folder", {{name, "", K::kFolder}}, "", name, "is a folder, not a regular file"});
  cases.push_back({"fifo_in_folder", {{name, "", K::kFifo}}, "", name, "is a FIFO, not a regular file"});
  cases.push_back(
      {"dangling_link_in_folder", {{name, "../../blobs/0", K::kLink}}, "", name, "does not exist"});
  cases.push_back({"tokenizer_fifo",
                   {{name, kGoodFile}, {"tokenizer.json", "", K::kFifo}},
                   "",
                   "tokenizer.json",
                   "is no regular file and cannot be copied"});
  cases.push_back({"tokenizer_dangling",
                   {{name, kGoodFile}, {"tokenizer.json", "nowhere", K::kLink}},
                   "",
                   "tokenizer.json",
                   "a link to a file that does not exist"});
  cases.push_back({"folder_loop",
                   {{name, kGoodFile}, {"up", ".", K::kLink}},
                   "",
                   "up",
                   "a link to a folder that it lies in"});
}

inline MalformedCase index_case(std::string name, std::string index, std::string message,
                                std::string file = "model.safetensors.index.json") {
  return {std::move(name),
          {{"model.safetensors.index.json", std::move(index)},
           {"x.safetensors", kGoodFile},
           {"y.safetensors", kOtherFile}},
          "",
          std::move(file),
          std::move(message)};
}

inline MalformedCase config_case(std::string name, std::string config, std::string message,
                                 uint64_t size = 0) {
  return {std::move(name),
          {{"config.json", std::move(config), Ingredient::kFile, size}, {"model.safetensors", kGoodFile}},
          "",
          "config.json",
          std::move(message)};
}

// An index that sends tensor 'a' to `shard`, which is written as it stands between quotation marks.
inline MalformedCase shard_name_case(std::string name, std::string_view shard) {
  std::string index = R"({"weight_map":{"a":")";
  index.append(shard).append(R"("}})");
  return index_case(std::move(name), std::move(index), "is not a plain file name");
}

inline void add_index_cases(std::vector<MalformedCase>& cases) {
  using K = Ingredient;
  const std::string no_map = "has no weight_map from tensors to shards";
  cases.push_back(index_case("index_empty", "", "not JSON at line 1"));
  cases.push_back(index_case("index_not_json", "{weight_map}", "not JSON at line 1, column 2"));
  cases.push_back(index_case("index_cut", R"({"weight_map":{"a":"x.saf)", "not JSON"));
  cases.push_back(index_case("index_array", "[]", no_map));
  cases.push_back(index_case("index_without_map", R"({"metadata":{}})", no_map));
  cases.push_back(index_case("index_map_array", R"({"weight_map":["x.safetensors"]})", no_map));
  cases.push_back(index_case("index_map_empty", R"({"weight_map":{}})", no_map));
  cases.push_back(index_case("index_map_null", R"({"weight_map":null})", no_map));
  cases.push_back(
      index_case("index_shard_number", R"({"weight_map":{"a":1}})", "shard of tensor 'a' must be a string"));
  cases.push_back(
      index_case("index_depth_bomb", repeated("[", 1'000'000), "nested more than 128 levels deep"));
  cases.push_back(index_case("index_key_twice", R"({"weight_map":{"a":"x.safetensors","a":"y.safetensors"}})",
                             "key 'a' appears twice in one object"));
  cases.push_back(index_case("index_missing_shard",
                             R"({"weight_map":{"a":"x.safetensors","z":"z.safetensors"}})",
                             "shard 'z.safetensors' does not exist"));
  cases.push_back(index_case("index_extra_tensor",
                             R"({"weight_map":{"a":"x.safetensors","z":"x.safetensors"}})",
                             "tensor 'z' is not in shard 'x.safetensors'"));
  cases.push_back(index_case("index_wrong_shard",
                             R"({"weight_map":{"a":"y.safetensors","b":"x.safetensors"}})",
                             "tensor 'a' is said to be in shard 'y.safetensors', but is in 'x.safetensors'"));
  cases.push_back(index_case("index_lacks_tensor", R"({"weight_map":{"a":"y.safetensors"}})",
                             "tensor 'a' is not in shard"));
  cases.push_back(
      {"shard_holds_more_than_index",
       {{"model.safetensors.index.json", R"({"weight_map":{"a":"x.safetensors"}})"},
        {"x.safetensors",
         safetensors("{" + kGoodA + R"(,"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]}})", "abc")}},
       "",
       "x.safetensors",
       "tensor 'b' is not in the index"});
  cases.push_back(
      {"tensor_in_two_shards",
       {{"model.safetensors.index.json", R"({"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})"},
        {"x.safetensors", kGoodFile},
        {"y.safetensors", kGoodFile}},
       "",
       "y.safetensors",
       "tensor 'a' is in 'x.safetensors' too"});
  cases.push_back(
      {"second_shard_cut",
       {{"model.safetensors.index.json", R"({"weight_map":{"a":"x.safetensors","b":"y.safetensors"}})"},
        {"x.safetensors", kGoodFile},
        {"y.safetensors", kOtherFile.substr(0, kOtherFile.size() - 1)}},
       "",
       "y.safetensors",
       "the tensors need 1 byte of data, the file has 0"});
  cases.push_back({"index_and_model",
                   {{"model.safetensors.index.json", R"({"weight_map":{"a":"x.safetensors"}})"},
                    {"x.safetensors", kGoodFile},
                    {"model.safetensors", kOtherFile}},
                   "",
                   "",
                   "holds both model.safetensors and an index of other shards"});
  cases.push_back({"index_fifo",
                   {{"model.safetensors.index.json", "", K::kFifo}},
                   "",
                   "model.safetensors.index.json",
                   "is a FIFO"});
  cases.push_back({"index_folder",
                   {{"model.safetensors.index.json", "", K::kFolder}},
                   "",
                   "model.safetensors.index.json",
                   "is a folder"});
  cases.push_back(shard_name_case("shard_parent", "../x.safetensors"));
  cases.push_back(shard_name_case("shard_absolute", "/etc/passwd"));
  cases.push_back(shard_name_case("shard_subfolder", "sub/x.safetensors"));
  cases.push_back(shard_name_case("shard_escaped_slash", R"(..\u002fx.safetensors)"));
  cases.push_back(shard_name_case("shard_backslash", R"(..\\x.safetensors)"));
  cases.push_back(shard_name_case("shard_dots", ".."));
  cases.push_back(shard_name_case("shard_dot", "."));
  cases.push_back(shard_name_case("shard_empty", ""));
  cases.push_back(shard_name_case("shard_with_zero", R"(x.safetensors\u0000)"));
}

inline void add_folder_cases(std::vector<MalformedCase>& cases) {
  using K = Ingredient;
  cases.push_back({"folder_empty", {}, "", "", "no safetensors file: not a model folder"});
  cases.push_back({"folder_of_pytorch_files",
                   {{"pytorch_model.bin", "PK"}},
                   "",
                   "",
                   "no safetensors file, but 'pytorch_model.bin': convert the weights"});
  cases.push_back(
      {"two_files_without_index",
       {{"x.safetensors", kGoodFile}, {"y.safetensors", kOtherFile}},
       "",
       "",
       "2 safetensors files ('x.safetensors', 'y.safetensors') without model.safetensors.index.json"});
  cases.push_back(config_case("config_empty", "", "not JSON at line 1"));
  cases.push_back(config_case("config_not_json", "model_type: llama\n", "not JSON at line 1, column 1"));
  cases.push_back(config_case("config_cut", R"({"model_type":"llama",)", "not JSON"));
  cases.push_back(config_case("config_array", "[1]", "must be a JSON object"));
  cases.push_back(config_case("config_string", R"("llama")", "must be a JSON object"));
  cases.push_back(config_case("config_key_twice", R"({"a":1,"b":{"c":1,"c":2}})", "key 'c' appears twice"));
  cases.push_back(config_case("config_not_utf8", "{\"a\":\"\xFF\"}", "not UTF-8 at line 1, column 7"));
  cases.push_back(config_case("config_byte_order_mark", "\xEF\xBB\xBF{}", "byte order mark"));
  cases.push_back(config_case("config_zero_byte", std::string("{}\0", 3), "a zero byte"));
  cases.push_back(config_case("config_depth_bomb", repeated(R"({"a":)", 1'000'000), "levels deep"));
  cases.push_back(
      config_case("config_of_100_mb_and_1", "{}", "more than the limit of 100000000", 100'000'001));
  cases.push_back({"config_fifo",
                   {{"config.json", "", K::kFifo}, {"model.safetensors", kGoodFile}},
                   "",
                   "config.json",
                   "is a FIFO"});
  cases.push_back({"config_folder",
                   {{"config.json", "", K::kFolder}, {"model.safetensors", kGoodFile}},
                   "",
                   "config.json",
                   "is a folder"});
  cases.push_back({"config_dangling",
                   {{"config.json", "nowhere", K::kLink}, {"model.safetensors", kGoodFile}},
                   "",
                   "config.json",
                   "does not exist"});
}

}  // namespace malformed

inline std::vector<MalformedCase> malformed_cases() {
  std::vector<MalformedCase> cases;
  malformed::add_length_cases(cases);
  malformed::add_text_cases(cases);
  malformed::add_entry_cases(cases);
  malformed::add_dtype_and_shape_cases(cases);
  malformed::add_offset_cases(cases);
  malformed::add_kind_cases(cases);
  malformed::add_index_cases(cases);
  malformed::add_folder_cases(cases);
  return cases;
}

}  // namespace prune::testing
