#include "libprune/io/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "libprune/io/posix.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

using testing::counting_bytes;
using testing::TempFolder;
using testing::write_file;

std::string text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, shows_the_bytes_of_a_file) {
  const TempFolder folder;
  write_file(folder / "f", counting_bytes(10'000));
  const MappedFile file(folder / "f");
  EXPECT_EQ(text(file), counting_bytes(10'000));
  EXPECT_EQ(file.path(), folder / "f");
}

TEST(MappedFile, maps_an_empty_file_to_nothing) {
  const TempFolder folder;
  write_file(folder / "f", "");
  const MappedFile file(folder / "f");
  EXPECT_TRUE(file.bytes().empty());
  file.will_need(0, 1);
  file.done_with(0, 1);
}

TEST(MappedFile, follows_links) {
  const TempFolder folder;
  write_file(folder / "blob", "abc");
  std::filesystem::create_symlink("blob", folder / "link");
  EXPECT_EQ(text(MappedFile(folder / "link")), "abc");
}

TEST(MappedFile, moves) {
  const TempFolder folder;
  write_file(folder / "f", "first");
  write_file(folder / "g", "second");
  MappedFile file(folder / "f");
  MappedFile other(std::move(file));
  EXPECT_EQ(text(other), "first");
  other = MappedFile(folder / "g");
  EXPECT_EQ(text(other), "second");
  EXPECT_EQ(other.path(), folder / "g");
}

TEST(MappedFile, hints_change_nothing_that_is_read) {
  const TempFolder folder;
  const std::string bytes = counting_bytes(50'000);
  write_file(folder / "f", bytes);
  const MappedFile file(folder / "f");
  for (const size_t offset :
       {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{49'999}, size_t{50'000}, ~size_t{0}}) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{5000}, size_t{50'000}, ~size_t{0}}) {
      file.will_need(offset, size);
      file.done_with(offset, size);
    }
  }
  EXPECT_EQ(text(file), bytes);
}

// Pages of the range that are in this process's memory; the map must be of whole pages.
size_t resident_kib(const MappedFile& file) {
  std::ifstream maps("/proc/self/smaps");
  bool is_ours = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(file.path().native()) != std::string::npos) is_ours = true;
    if (is_ours && line.starts_with("Rss:")) return std::stoul(line.substr(4));
  }
  return 0;
}

TEST(MappedFile, done_with_frees_the_memory_of_a_stream) {
  const TempFolder folder;
  const size_t size = 4 << 20;
  write_file(folder / "f", counting_bytes(size));
  const MappedFile file(folder / "f");
  EXPECT_EQ(text(file).size(), size);  // touches every page
  ASSERT_GE(resident_kib(file), size / 1024);
  const size_t step = 100'001;  // odd on purpose: the pages at the seams must go too
  for (size_t at = 0; at < size; at += step) file.done_with(at, step);
  EXPECT_EQ(resident_kib(file), 0u);
}

TEST(MappedFile, lost_pages_that_are_written_on_are_named_as_such) {
  const TempFolder folder;
  write_file(folder / "f", counting_bytes(100'000));
  const MappedFile file(folder / "f");
  std::filesystem::resize_file(folder / "f", 4096);
  const FileDescriptor copy(::open((folder / "copy").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  try {
    write_all(copy.get(), 0, file.bytes(), folder / "copy");
    FAIL() << "written";
  } catch (const Error& fault) {
    EXPECT_EQ(fault.kind(), ErrorKind::kRuntime);
    EXPECT_EQ(fault.what(), std::string(kLostInput));
  }
}

}  // namespace
}  // namespace prune
