#include "test/libprune/io/malformed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "libprune/io/checkpoint.h"
#include "prune/error.h"

namespace prune {
namespace {

using ::testing::HasSubstr;
using ::testing::Lt;
using testing::malformed_cases;
using testing::MalformedCase;
using testing::TempFolder;

class Malformed : public ::testing::TestWithParam<MalformedCase> {};

// What the program does before it writes anything.
void open_and_list(const std::filesystem::path& path) {
  const Checkpoint checkpoint(path);
  checkpoint.other_files();
}

TEST_P(Malformed, is_refused_in_one_line_that_names_file_and_fault) {
  const TempFolder folder;
  const std::filesystem::path opened = build(GetParam(), folder.path());
  try {
    open_and_list(opened);
    FAIL() << "was accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(message, HasSubstr(GetParam().message));
    const std::filesystem::path file = GetParam().file.empty() ? folder.path() : folder / GetParam().file;
    EXPECT_TRUE(message.starts_with(file.native() + ": ")) << message;
    EXPECT_TRUE(std::none_of(message.begin(), message.end(), [](unsigned char c) { return c < 0x20; }))
        << message;
    EXPECT_THAT(message.size(), Lt(1000u));
  }
}

std::string case_name(const ::testing::TestParamInfo<MalformedCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(All, Malformed, ::testing::ValuesIn(malformed_cases()), case_name);

TEST(MalformedCases, are_many_and_distinct) {
  std::set<std::string> names;
  for (const MalformedCase& c : malformed_cases()) EXPECT_TRUE(names.insert(c.name).second) << c.name;
  EXPECT_GE(names.size(), 60u);
}

}  // namespace
}  // namespace prune
