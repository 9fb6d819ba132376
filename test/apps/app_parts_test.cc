// The parts of the program that need no process: suggestions, lists of words, small files, threads.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <filesystem>
#include <string>
#include <thread>

#include <prune/error.h>

#include "apps/prune/command_line.h"
#include "apps/prune/terminal.h"
#include "apps/prune/text_file.h"
#include "apps/prune/threads.h"
#include "test/libprune/io/files.h"

namespace prune::app {
namespace {

namespace fs = std::filesystem;
using prune::testing::read_file;
using prune::testing::TempFolder;
using prune::testing::write_file;

TEST(Nearest, KnowsTyposAndBeginnings) {
  const std::vector<std::string> options = {"--sparsity", "--scope", "--json", "--threads"};
  EXPECT_EQ(nearest("--spars", options), "--sparsity");
  EXPECT_EQ(nearest("--js", options), "--json");
  EXPECT_EQ(nearest("--tread", options), "--threads");
  EXPECT_EQ(nearest("--", options), std::nullopt);
  EXPECT_EQ(nearest("--frobnicate", options), std::nullopt);
}

TEST(JoinDistinct, TellsWordsFromPartsOfWords) {
  EXPECT_EQ(join_distinct({"nm 12:14", "nm 2:4", "nm 12:14", "dense"}), "nm 12:14, nm 2:4, dense");
  EXPECT_EQ(join_distinct({"gate_up_proj", "up_proj"}, " "), "gate_up_proj up_proj");
  EXPECT_EQ(join_distinct({}), "");
}

TEST(TextFile, ReplacesFilesAndWritesWhereLinksLead) {
  const TempFolder folder;
  write_file(folder / "report", "old and longer");
  fs::create_symlink("report", folder / "link");
  fs::create_symlink("new", folder / "dangling");
  for (const char* name : {"link", "dangling"}) {
    require_writable(folder / name);
    write_text_file(folder / name, "text");
    EXPECT_TRUE(fs::is_symlink(folder / name));
  }
  EXPECT_EQ(read_file(folder / "report"), "text");
  EXPECT_EQ(read_file(folder / "new"), "text");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 4);
}

TEST(TextFile, WritesThroughAFifo) {
  const TempFolder folder;
  const fs::path fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::string got;
  std::jthread reader([&] {
    const int fd = ::open(fifo.c_str(), O_RDONLY);
    char piece[64];
    for (ssize_t n; (n = ::read(fd, piece, sizeof piece)) > 0;) got.append(piece, size_t(n));
    ::close(fd);
  });
  require_writable(fifo);
  write_text_file(fifo, "text");
  reader.join();
  EXPECT_EQ(got, "text");
  EXPECT_TRUE(fs::is_fifo(fifo));
}

// What is open already is written where it stands, whatever the text of its link in /proc says.
TEST(TextFile, WritesThroughDescriptors) {
  const TempFolder folder;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const int log = ::open((folder / "log").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::write(log, "first ", 6), 6);
  fs::create_symlink("/proc/self/fd/" + std::to_string(log), folder / "link");
  for (const fs::path& path : {fs::path("/dev/fd/" + std::to_string(ends[1])), folder / "link"}) {
    require_writable(path);
    write_text_file(path, "text");
  }
  char got[8] = {};
  EXPECT_EQ(::read(ends[0], got, sizeof got), 4);
  EXPECT_STREQ(got, "text");
  EXPECT_EQ(::write(log, " last", 5), 5);
  EXPECT_EQ(read_file(folder / "log"), "first text last");
  EXPECT_THROW(require_writable("/dev/fd/" + std::to_string(ends[0])), Error);  // open for reading
  for (const int fd : {ends[0], ends[1], log}) ::close(fd);
  EXPECT_THROW(require_writable("/dev/fd/" + std::to_string(log)), Error);
}

TEST(TextFile, TakesTheLongestNameAndRefusesALongerOne) {
  const TempFolder folder;
  const fs::path longest = folder / std::string(NAME_MAX, 'r');
  require_writable(longest);
  write_text_file(longest, "text");
  EXPECT_EQ(read_file(longest), "text");
  EXPECT_THROW(require_writable(folder / std::string(NAME_MAX + 1, 'r')), Error);
}

TEST(TextFile, SaysWhyADeviceTakesNothing) {
  const TempFolder folder;
  fs::create_symlink("/dev/full", folder / "device");  // not itself: a mistake would replace it
  require_writable(folder / "device");
  try {
    write_text_file(folder / "device", "text");
    FAIL() << "written";
  } catch (const Error& fault) {
    EXPECT_EQ(fault.what(), (folder / "device").native() + ": can't be written: no space left on device");
  }
}

TEST(TextFile, RefusesLoopsAndFolders) {
  const TempFolder folder;
  fs::create_symlink("loop", folder / "loop");
  fs::create_directory_symlink(".", folder / "folder");
  EXPECT_THROW(require_writable(folder / "loop"), Error);
  EXPECT_THROW(require_writable(folder / "folder"), Error);
}

TEST(RequireThreads, StartsThemAndLeavesNone) {
  const auto threads_now = [] { return std::distance(fs::directory_iterator("/proc/self/task"), {}); };
  const auto before = threads_now();
  require_threads(1);
  require_threads(9);
  EXPECT_EQ(threads_now(), before);
  EXPECT_THROW(require_threads(kMostThreads + 1), Error);
}

}  // namespace
}  // namespace prune::app
