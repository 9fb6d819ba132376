// The parts of the program that need no process: suggestions, lists of words, small files, threads.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

#include <prune/error.h>

#include "apps/prune/command_line.h"
#include "apps/prune/terminal.h"
#include "apps/prune/text_file.h"
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

}  // namespace
}  // namespace prune::app
