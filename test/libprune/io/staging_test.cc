#include "libprune/io/staging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "libprune/io/completion_mark.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::read_file;
using testing::TempFolder;
using testing::write_file;

const nlohmann::json kJob = {{"input", "m"}, {"sparsity", 0.5}};

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

class StagingTest : public ::testing::Test {
 protected:
  std::unique_ptr<Staging> stage(StagingOptions options = {}, const nlohmann::json& job = kJob) {
    return std::make_unique<Staging>(folder_ / "out", false, job, options);
  }
  void put(Staging& staging, const std::string& name, const std::string& bytes,
           const nlohmann::json& note = nullptr) {
    write_file(staging.path_for(name), bytes);
    staging.commit(name, note);
  }
  std::string refusal(ErrorKind kind, const fs::path& output, StagingOptions options = {},
                      bool single_file = false) {
    try {
      Staging(output, single_file, kJob, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    return "accepted";
  }
  // A folder that an earlier run might have made.
  void make_old_output() {
    write_file(folder_ / "out/model.safetensors", "old");
    write_file(folder_ / "out/extra.txt", "old");
  }

  TempFolder folder_;
};

TEST_F(StagingTest, shows_nothing_until_it_is_published) {
  const auto staging = stage();
  put(*staging, "a", "1");
  put(*staging, "sub/b", "2");
  EXPECT_THAT(names_in(folder_.path()), ElementsAre(".out.partial"));
  staging->publish();
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
  EXPECT_EQ(read_file(folder_ / "out/a"), "1");
  EXPECT_EQ(read_file(folder_ / "out/sub/b"), "2");
}

TEST_F(StagingTest, removes_everything_on_the_way_out) {
  {
    const auto staging = stage();
    put(*staging, "sub/a", "1");
    write_file(staging->path_for("b"), "half");
  }
  EXPECT_THAT(names_in(folder_.path()), IsEmpty());
}

TEST_F(StagingTest, publishes_a_single_file) {
  Staging staging(folder_ / "m.safetensors", true, kJob, {});
  put(staging, "m.safetensors", "1");
  staging.publish();
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("m.safetensors"));
  EXPECT_EQ(read_file(folder_ / "m.safetensors"), "1");
}

TEST_F(StagingTest, refuses_an_existing_output) {
  make_old_output();
  EXPECT_EQ(refusal(ErrorKind::kUsage, folder_ / "out"),
            (folder_ / "out").native() + ": exists already: name another output, or use --force");
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "out/model.safetensors", {}, true),
              HasSubstr("exists already"));
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "out", {.resume = true}), HasSubstr("exists already"));
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
}

TEST_F(StagingTest, replaces_an_output_by_force_and_only_when_published) {
  make_old_output();
  {
    const auto staging = stage({.force = true});
    put(*staging, "model.safetensors", "given up");
  }
  EXPECT_EQ(read_file(folder_ / "out/model.safetensors"), "old");
  const auto staging = stage({.force = true});
  put(*staging, "model.safetensors", "new");
  EXPECT_EQ(read_file(folder_ / "out/model.safetensors"), "old");
  staging->publish();
  EXPECT_EQ(read_file(folder_ / "out/model.safetensors"), "new");
  EXPECT_THAT(names_in(folder_ / "out"), ElementsAre("model.safetensors"));
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
}

TEST_F(StagingTest, replaces_a_single_file_by_force) {
  write_file(folder_ / "m.safetensors", "old");
  Staging staging(folder_ / "m.safetensors", true, kJob, {.force = true});
  put(staging, "m.safetensors", "new");
  staging.publish();
  EXPECT_EQ(read_file(folder_ / "m.safetensors"), "new");
}

TEST_F(StagingTest, force_makes_a_new_output_too) {
  const auto staging = stage({.force = true});
  put(*staging, "a", "1");
  staging->publish();
  EXPECT_THAT(names_in(folder_ / "out"), ElementsAre("a"));
}

TEST_F(StagingTest, force_spares_what_no_run_has_made) {
  write_file(folder_ / "home/letter.txt", "dear");
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "home", {.force = true}), HasSubstr("holds no model"));
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "home/letter.txt", {.force = true}),
              HasSubstr("is no folder"));
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "home", {.force = true}, true), HasSubstr("is no file"));
  EXPECT_THAT(refusal(ErrorKind::kUsage, "/proc", {.force = true}), HasSubstr("is a mount point"));
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("home"));
}

TEST_F(StagingTest, never_replaces_the_input) {
  make_old_output();
  fs::create_directory_symlink("out", folder_ / "link");
  for (const char* output : {"out", "out/", "out/.", "link", "link/../out", "."}) {
    const StagingOptions options{.force = true, .input = folder_ / "out"};
    EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / output, options), HasSubstr("the output is the input"))
        << output;
  }
  const StagingOptions through_link{.force = true, .input = folder_ / "link"};
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "out", through_link),
              HasSubstr("the output is the input"));
  fs::create_hard_link(folder_ / "out/model.safetensors", folder_ / "twin");
  const StagingOptions file{.force = true, .input = folder_ / "out/model.safetensors"};
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "twin", file, true), HasSubstr("the output is the input"));
  EXPECT_EQ(read_file(folder_ / "out/model.safetensors"), "old");
}

// A later run would take it for a part of the model and copy it along.
TEST_F(StagingTest, refuses_an_output_inside_the_input) {
  make_old_output();
  fs::create_directory(folder_ / "out/sub");
  fs::create_directory_symlink("out/sub", folder_ / "link");
  for (const char* output : {"out/pruned", "out/sub/pruned", "link/pruned"}) {
    for (const bool resume : {false, true}) {
      const StagingOptions options{.resume = resume, .input = folder_ / "out"};
      EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / output, options), HasSubstr("lies inside the input"))
          << output;
    }
  }
}

TEST_F(StagingTest, tells_beforehand_what_it_would_refuse) {
  make_old_output();
  const auto refused = [&](const fs::path& output, StagingOptions options = {}) {
    try {
      check_output_place(output, false, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused(folder_ / "new"), "");
  EXPECT_EQ(refused(folder_ / "out", {.force = true}), "");
  EXPECT_EQ(refused(folder_ / "out", {.resume = true}), "");
  EXPECT_THAT(refused(folder_ / "out"), HasSubstr("exists already"));
  EXPECT_THAT(refused(folder_ / "no/where"), HasSubstr("no such folder"));
  EXPECT_THAT(refused(folder_ / "out", {.force = true, .input = folder_ / "out"}), HasSubstr("is the input"));
  EXPECT_THAT(refused(folder_ / "out/in", {.input = folder_ / "out"}), HasSubstr("inside the input"));
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
}

TEST_F(StagingTest, takes_relative_paths_and_trailing_slashes) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  for (const char* output : {"one", "two/", "./three", "one/../four//"}) {
    Staging staging(output, false, kJob, {});
    put(staging, "a", "1");
    staging.publish();
  }
  fs::current_path(before);
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("four", "one", "three", "two"));
}

TEST_F(StagingTest, builds_where_a_link_points) {
  fs::create_directory(folder_ / "disk");
  fs::create_directory_symlink("disk/model/", folder_ / "out");
  {
    const auto staging = std::make_unique<Staging>(folder_ / "out/", false, kJob, StagingOptions{});
    put(*staging, "model.safetensors", "1");
    EXPECT_THAT(names_in(folder_ / "disk"), ElementsAre(".model.partial"));
    staging->publish();
  }
  EXPECT_TRUE(fs::is_symlink(folder_ / "out"));
  EXPECT_EQ(read_file(folder_ / "disk/model/model.safetensors"), "1");
  const auto again = stage({.force = true});
  put(*again, "model.safetensors", "2");
  again->publish();
  EXPECT_TRUE(fs::is_symlink(folder_ / "out"));
  EXPECT_EQ(read_file(folder_ / "disk/model/model.safetensors"), "2");
}

TEST_F(StagingTest, refuses_places_that_are_not_there) {
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "no/out"), HasSubstr("no such folder: create it first"));
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "no/.."), HasSubstr("no such folder"));
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "loop"), HasSubstr("too many levels of symbolic links"));
}

TEST_F(StagingTest, refuses_a_place_that_cannot_be_written) {
  EXPECT_THAT(refusal(ErrorKind::kRuntime, "/proc/out"), HasSubstr("while creating /proc/.out.partial"));
}

TEST_F(StagingTest, lets_one_process_build_an_output) {
  const auto first = stage();
  put(*first, "a", "1");
  for (const bool resume : {false, true}) {
    EXPECT_THAT(refusal(ErrorKind::kRuntime, folder_ / "out", {.resume = resume}),
                HasSubstr("another process is building it"));
  }
  first->publish();
  EXPECT_EQ(read_file(folder_ / "out/a"), "1");
}

TEST_F(StagingTest, does_not_enter_a_folder_that_somebody_laid_in_its_way) {
  fs::create_directory(folder_ / "elsewhere");
  fs::create_directory_symlink("elsewhere", folder_ / ".out.partial");
  EXPECT_THAT(refusal(ErrorKind::kRuntime, folder_ / "out"), HasSubstr("is in the way"));
  EXPECT_THAT(names_in(folder_ / "elsewhere"), IsEmpty());
}

TEST_F(StagingTest, refuses_names_that_leave_the_output) {
  const auto staging = stage();
  for (const char* name : {"", "/etc/x", "..", "../x", "a/../../x", "a/"}) {
    EXPECT_THROW(staging->path_for(name), Error) << name;
  }
}

TEST_F(StagingTest, does_not_overwrite_an_output_that_appears_meanwhile) {
  const auto staging = stage();
  put(*staging, "a", "1");
  make_old_output();
  EXPECT_THROW(staging->publish(), Error);
  EXPECT_EQ(read_file(folder_ / "out/model.safetensors"), "old");
}

TEST_F(StagingTest, copies_files_with_their_permissions) {
  write_file(folder_ / "from", testing::counting_bytes(100'000));
  ::chmod((folder_ / "from").c_str(), 0754);
  fs::create_symlink("from", folder_ / "link");
  write_file(folder_ / "empty", "");
  const auto staging = stage();
  staging->copy(folder_ / "link", "sub/to");
  staging->copy(folder_ / "empty", "empty");
  staging->publish();
  EXPECT_EQ(read_file(folder_ / "out/sub/to"), testing::counting_bytes(100'000));
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(folder_ / "out/sub/to")));
  EXPECT_EQ(static_cast<int>(fs::status(folder_ / "out/sub/to").permissions()), 0754);
  EXPECT_EQ(read_file(folder_ / "out/empty"), "");
}

TEST_F(StagingTest, resumes_the_same_job) {
  {
    const auto staging = stage({.resume = true});
    put(*staging, "a", "1", {{"zeros", 7}});
    put(*staging, "sub/b", "22");
    write_file(staging->path_for("c"), "half");
  }
  const auto staging = stage({.resume = true});
  EXPECT_TRUE(staging->is_done("a"));
  EXPECT_EQ(staging->note("a"), (nlohmann::json{{"zeros", 7}}));
  EXPECT_TRUE(staging->is_done("sub/b"));
  EXPECT_EQ(staging->note("sub/b"), nullptr);
  EXPECT_FALSE(staging->is_done("c"));
  put(*staging, "c", "333");
  staging->publish();
  EXPECT_EQ(read_file(folder_ / "out/a"), "1");
  EXPECT_EQ(read_file(folder_ / "out/sub/b"), "22");
  EXPECT_EQ(read_file(folder_ / "out/c"), "333");
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
}

TEST_F(StagingTest, takes_committed_files_back) {
  for (const char* again : {"one", "two"}) {
    auto staging = stage({.resume = true});
    put(*staging, "a", again);
    put(*staging, "b", again);
    staging->discard("b");
    EXPECT_FALSE(staging->is_done("b"));
    EXPECT_FALSE(fs::exists(staging->path_for("x").parent_path().parent_path() / "tree/b"));
  }
  auto staging = stage({.resume = true});
  EXPECT_TRUE(staging->is_done("a"));
  EXPECT_FALSE(staging->is_done("b"));
  staging->discard("a");
  put(*staging, "a", "new");
  staging.reset();
  EXPECT_TRUE(stage({.resume = true})->is_done("a"));
  stage({.resume = true})->publish();
  EXPECT_THAT(names_in(folder_ / "out"), ElementsAre("a"));
  EXPECT_EQ(read_file(folder_ / "out/a"), "new");
}

TEST_F(StagingTest, starts_anew_for_another_job_or_without_resume) {
  const auto leave_a = [&] {
    const auto staging = stage({.resume = true});
    put(*staging, "a", "1");
  };
  leave_a();
  EXPECT_FALSE(stage({.resume = true}, {{"input", "other"}})->is_done("a"));
  leave_a();
  EXPECT_FALSE(stage()->is_done("a"));
  EXPECT_THAT(names_in(folder_.path()), IsEmpty());
}

TEST_F(StagingTest, says_why_unfinished_work_is_discarded) {
  const auto note_of = [&](const nlohmann::json& job, bool damaged = false) {
    {
      const auto staging = stage({.resume = true});
      put(*staging, "a", "1");
    }
    if (damaged) write_file(folder_ / ".out.partial/journal", "{");
    std::string note;
    stage({.resume = true, .note = [&](const std::string& text) { note += text; }}, job);
    return note;
  };
  EXPECT_EQ(note_of(kJob), "");
  fs::remove_all(folder_ / ".out.partial");
  EXPECT_THAT(note_of({{"input", "n"}, {"sparsity", 0.5}}), HasSubstr("is discarded: input was \"m\""));
  EXPECT_THAT(note_of({{"input", "n"}, {"sparsity", 0.6}}), HasSubstr(": input was \"m\", sparsity was 0.5"));
  EXPECT_THAT(note_of({{"input", {1, 2}}, {"sparsity", 0.5}}), HasSubstr("input was \"m\""));
  EXPECT_THAT(note_of({{"input", "m"}, {"sparsity", 0.5}, {"new", {1}}}), HasSubstr("new changed"));
  EXPECT_THAT(note_of(kJob, true), HasSubstr("its journal is damaged"));
}

TEST_F(StagingTest, knows_an_output_that_the_same_job_completed) {
  {
    const auto staging = stage();
    put(*staging, "model.safetensors", "{}");
    put(*staging, "sub/b", "22");
    staging->publish();
  }
  if (!is_marked_complete(folder_ / "out", kJob)) GTEST_SKIP() << "the file system keeps no attributes";
  const StagingOptions resume{.resume = true};
  EXPECT_THROW(stage(resume), AlreadyComplete);
  EXPECT_THROW(stage({.force = true, .resume = true}), AlreadyComplete);
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
  EXPECT_THROW(stage(), Error) << "without resume";
  EXPECT_THROW(stage(resume, {{"input", "other"}}), Error);
  write_file(folder_ / "out/sub/b", "33");
  EXPECT_THROW(stage(resume), Error) << "changed since";
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
}

// Small files share their syncs; nothing is in the journal before it is on disk.
TEST_F(StagingTest, vouches_for_small_files_together_and_for_large_ones_at_once) {
  const auto vouched = [&] {
    const std::string journal = read_file(folder_ / ".out.partial/journal");
    return std::count(journal.begin(), journal.end(), '\n') - 1;
  };
  const auto staging = stage({.resume = true});
  for (int i = 0; i < 3; ++i) put(*staging, std::to_string(i), "small");
  EXPECT_EQ(vouched(), 0);
  EXPECT_TRUE(staging->is_done("0"));
  put(*staging, "large", std::string(size_t(4) << 20, 'x'));
  EXPECT_EQ(vouched(), 4);
  for (int i = 0; i < 100; ++i) put(*staging, "more" + std::to_string(i), "small");
  EXPECT_EQ(vouched(), 68);
}

TEST_F(StagingTest, an_interrupted_run_keeps_small_files_too) {
  {
    const auto staging = stage({.resume = true});
    for (int i = 0; i < 70; ++i) put(*staging, std::to_string(i), "small", i);
  }
  const auto staging = stage({.resume = true});
  for (int i = 0; i < 70; ++i) EXPECT_EQ(staging->note(std::to_string(i)), i);
}

TEST_F(StagingTest, redoes_files_that_the_journal_does_not_vouch_for) {
  {
    const auto staging = stage({.resume = true});
    for (const char* name : {"good", "cut", "gone"}) put(*staging, name, "12345");
  }
  const fs::path tree = folder_ / ".out.partial/tree";
  write_file(tree / "cut", "123");
  fs::remove(tree / "gone");
  write_file(tree / "stray", "x");
  const auto staging = stage({.resume = true});
  EXPECT_TRUE(staging->is_done("good"));
  EXPECT_FALSE(staging->is_done("cut"));
  EXPECT_FALSE(staging->is_done("gone"));
  staging->publish();
  EXPECT_THAT(names_in(folder_ / "out"), ElementsAre("good"));
}

TEST_F(StagingTest, survives_a_journal_cut_at_any_byte) {
  {
    const auto staging = stage({.resume = true});
    put(*staging, "a", "1", "note");
    put(*staging, "b", "2");
  }
  const fs::path partial = folder_ / ".out.partial";
  const std::string journal = read_file(partial / "journal");
  fs::copy(partial, folder_ / "saved", fs::copy_options::recursive);
  for (size_t size = 0; size <= journal.size(); ++size) {
    fs::remove_all(partial);
    fs::copy(folder_ / "saved", partial, fs::copy_options::recursive);
    write_file(partial / "journal", journal.substr(0, size));
    const auto staging = stage({.resume = true});
    EXPECT_EQ(staging->is_done("b"), size == journal.size()) << size;
    EXPECT_EQ(fs::exists(partial / "tree/a"), staging->is_done("a")) << size;
    if (!staging->is_done("a")) put(*staging, "a", "1");
    put(*staging, "b", "2");
  }
  const auto staging = stage({.resume = true});
  EXPECT_TRUE(staging->is_done("a"));
  EXPECT_TRUE(staging->is_done("b"));
}

TEST_F(StagingTest, puts_an_old_output_back_that_a_crash_left_aside) {
  write_file(folder_ / ".out.partial/old/model.safetensors", "old");
  EXPECT_THAT(refusal(ErrorKind::kUsage, folder_ / "out", {.resume = true}), HasSubstr("exists already"));
  EXPECT_EQ(read_file(folder_ / "out/model.safetensors"), "old");
  EXPECT_THAT(names_in(folder_.path()), ElementsAre("out"));
}

}  // namespace
}  // namespace prune
