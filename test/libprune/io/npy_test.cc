#include "libprune/io/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "prune/error.h"
#include "test/libprune/io/npy_files.h"

namespace prune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::npy;
using testing::npy_header;

NpyArray parse(const std::string& file) {
  return parse_npy({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "ids.npy");
}

std::string refusal(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "not refused";
}

TEST(Npy, ReadsWhatNumpyWrites) {
  // numpy.save("ids.npy", numpy.array([1, 256], "<u2")), byte for byte.
  const std::string file = std::string("\x93NUMPY\x01\x00v\x00", 10) +
                           "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }" +
                           std::string(60, ' ') + "\n" + std::string("\x01\x00\x00\x01", 4);
  const NpyArray array = parse(file);
  EXPECT_EQ(array.dtype, DType::kU16);
  EXPECT_THAT(array.shape, ElementsAre(2));
  EXPECT_THAT(array.data, ElementsAre(std::byte{1}, std::byte{0}, std::byte{0}, std::byte{1}));
}

TEST(Npy, ReadsEveryVersionAndShape) {
  for (const int version : {1, 2, 3}) {
    EXPECT_THAT(parse(npy("<i4", "(2, 3)", std::string(24, '\0'), version)).shape, ElementsAre(2, 3));
  }
  EXPECT_THAT(parse(npy("|u1", "()", "a")).shape, IsEmpty());
  EXPECT_THAT(parse(npy("<i8", "(0,)", "")).data, IsEmpty());
  EXPECT_THAT(parse(npy("<i8", "(0, 9223372036854775807, 3)", "")).data, IsEmpty());
  EXPECT_THAT(parse(npy_header("{'shape':(1,),'fortran_order':False,'descr':'|i1'}") + "a").shape,
              ElementsAre(1));
}

TEST(Npy, RefusesOtherFiles) {
  EXPECT_THAT(refusal(""), HasSubstr("ids.npy: not a .npy file"));
  EXPECT_THAT(refusal("PK\x03\x04"), HasSubstr("not a .npy file"));
  const std::string whole = npy("<u2", "(1,)", "ab");
  for (size_t size = 6; size < whole.size() - 2; ++size) {
    EXPECT_THAT(refusal(whole.substr(0, size)), HasSubstr("cut off in its header")) << size;
  }
  EXPECT_THAT(refusal(npy("<u2", "(1,)", "ab", 4)), HasSubstr("versions 1.0, 2.0 and 3.0"));
}

TEST(Npy, RefusesTheWrongAmountOfData) {
  EXPECT_THAT(refusal(npy("<u2", "(2,)", "abc")), HasSubstr("promises 4 bytes of data, the file has 3"));
  EXPECT_THAT(refusal(npy("<u2", "(2,)", "abcde")), HasSubstr("promises 4 bytes of data, the file has 5"));
  EXPECT_THAT(refusal(npy("<u2", "(9223372036854775807, 9223372036854775807)", "ab")),
              HasSubstr("more than 2^64 bytes"));
  EXPECT_THAT(refusal(npy("<u2", "(9223372036854775808,)", "ab")), HasSubstr("an extent beyond 64 bits"));
}

TEST(Npy, RefusesOtherElements) {
  for (const char* descr : {">u2", "<f4", "|O", "|b1", "<U3", "u2"}) {
    EXPECT_THAT(refusal(npy(descr, "(1,)", "ab")), HasSubstr("only little-endian integers are read"));
  }
  EXPECT_THAT(refusal(npy_header("{'descr': '<u2', 'fortran_order': True, 'shape': (1,), }") + "ab"),
              HasSubstr("Fortran order"));
}

TEST(Npy, RefusesOtherDictionaries) {
  for (const char* header : {
           "",
           "{}",
           "{'descr': '<u2', 'shape': (1,)}",
           "{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (1,)}",
           "{'descr': '<u2', 'fortran_order': False, 'shape': (1,), 'more': 1}",
           "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (1,)}",
           "{'descr': '<u2', 'fortran_order': 0, 'shape': (1,)}",
           "{'descr': '<u2', 'fortran_order': False, 'shape': (1)}",
           "{'descr': '<u2', 'fortran_order': False, 'shape': (-1,)}",
           "{'descr': '<u2', 'fortran_order': False, 'shape': [1]}",
           "{'descr': '<u2', 'fortran_order': False, 'shape': (1,)} + x",
           "{'descr': '<u2' 'fortran_order': False, 'shape': (1,)}",
           "{'descr': '<u2', 'fortran_order': False, 'shape': (1,)",
       }) {
    EXPECT_THAT(refusal(npy_header(header) + "ab"), HasSubstr("not a header that NumPy writes")) << header;
  }
}

}  // namespace
}  // namespace prune
