#include "libprune/io/scratch.h"

#include <filesystem>
#include <numeric>

#include "test/libprune/include/values.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

TEST(Scratch, WhatDoesNotFitGoesToAFileWithoutAName) {
  testing::TempFolder folder;
  Scratch scratch(1 << 20, folder.path());
  const std::span<int32_t> inside = scratch.take_array<int32_t>(1 << 17);
  EXPECT_EQ(scratch.spilled(), 0U);
  const std::span<int32_t> outside = scratch.take_array<int32_t>(1 << 18);
  EXPECT_EQ(scratch.spilled(), uint64_t(1) << 20);
  EXPECT_EQ(scratch.take_array<int32_t>(1 << 17).size(), size_t(1) << 17);
  EXPECT_EQ(scratch.spilled(), uint64_t(1) << 20);  // what fits still gets memory
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(inside[12345], 0);
  EXPECT_EQ(outside[12345], 0);
}

TEST(Scratch, ValuesStayWhenPagesGo) {
  testing::TempFolder folder;
  Scratch scratch(0, folder.path());
  const std::span<int32_t> values = scratch.take_array<int32_t>(100'000);
  std::iota(values.begin(), values.end(), 0);
  scratch.done_with(std::as_bytes(values.subspan(7, 50'000)));
  scratch.done_with(std::as_bytes(values));
  for (int32_t i = 0; i < 100'000; ++i) ASSERT_EQ(values[size_t(i)], i);
}

TEST(Scratch, FilesOnDemand) {
  testing::TempFolder folder;
  Scratch scratch(1 << 20, folder.path());
  const std::span<std::byte> bytes = scratch.take_in_file(10'000);
  EXPECT_EQ(scratch.spilled(), 10'000U);
  bytes[9'999] = std::byte(7);
  scratch.done_with(bytes);
  EXPECT_EQ(bytes[9'999], std::byte(7));
  scratch.clear();
  EXPECT_EQ(scratch.spilled(), 0U);
  EXPECT_EQ(scratch.take(1 << 20).size(), size_t(1) << 20);
  EXPECT_EQ(scratch.spilled(), 0U);
}

TEST(Scratch, FaultsAreWords) {
  testing::TempFolder folder;
  Scratch nowhere(0, folder / "missing");
  EXPECT_EQ(testing::refusal(ErrorKind::kRuntime, "temporary file in", [&] { nowhere.take(10); }), "");
  Scratch small(0, folder.path());
  EXPECT_EQ(testing::refusal(ErrorKind::kRuntime, "reserving", [&] { small.take(uint64_t(1) << 60); }), "");
  EXPECT_TRUE(small.take(0).empty());
}

}  // namespace
}  // namespace prune
