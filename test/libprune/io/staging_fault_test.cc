// Crashes, signals, full disks and file systems that cannot exchange folders, each in a process of its own.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <thread>

#include "libprune/io/safetensors.h"
#include "libprune/io/staging.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::TempFolder;
using testing::write_file;

const nlohmann::json kJob = {{"input", "m"}};
constexpr int kFiles = 8;

std::string name_of(int i) { return "sub" + std::to_string(i % 2) + "/file" + std::to_string(i); }
std::string bytes_of(int i) { return testing::counting_bytes(1000 * static_cast<size_t>(i + 1)); }

void run_job(
    const fs::path& output, StagingOptions options, const std::function<void()>& step = [] {}) {
  Staging staging(output, false, kJob, options);
  for (int i = 0; i < kFiles; ++i) {
    check_interrupted();
    step();
    if (staging.is_done(name_of(i))) continue;
    write_file(staging.path_for(name_of(i)), bytes_of(i));
    step();
    staging.commit(name_of(i));
  }
  step();
  write_file(staging.path_for("model.safetensors"), "new");
  staging.commit("model.safetensors");
  step();
  staging.publish();
}

bool is_new(const fs::path& output) {
  for (int i = 0; i < kFiles; ++i) {
    if (!fs::exists(output / name_of(i)) || read_file(output / name_of(i)) != bytes_of(i)) return false;
  }
  return read_file(output / "model.safetensors") == "new";
}

bool is_old(const fs::path& output) {
  return !fs::exists(output / name_of(0)) && read_file(output / "model.safetensors") == "old";
}

// Runs `body` in a child process and returns its wait status.
int in_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      body();
    } catch (const Interrupted&) {
      ::_exit(130);
    } catch (const std::exception& error) {
      ::fprintf(stderr, "%s\n", error.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

// Kills the process, as kill -9 would, at the given step of its work.
class KilledAt {
 public:
  explicit KilledAt(int step) : step_(step) {}
  void operator()() {
    if (step_-- == 0) ::raise(SIGKILL);
  }

 private:
  int step_;
};

TEST(StagingCrash, at_every_step_leaves_the_old_output_and_can_be_resumed) {
  for (const bool has_old : {false, true}) {
    for (int step = 0; step < 2 * kFiles + 2; ++step) {
      const TempFolder folder;
      const fs::path output = folder / "out";
      if (has_old) write_file(output / "model.safetensors", "old");
      const StagingOptions options{.force = has_old, .resume = true};
      const int status = in_child([&] {
        KilledAt kill(step);
        run_job(output, options, [&] { kill(); });
      });
      ASSERT_TRUE(WIFSIGNALED(status)) << step;
      EXPECT_TRUE(has_old ? is_old(output) : !fs::exists(output)) << step;
      run_job(output, options);
      EXPECT_TRUE(is_new(output)) << step;
      EXPECT_FALSE(fs::exists(folder / ".out.partial")) << step;
    }
  }
}

// From here the child's system calls pass `program`; it ends where the system has no such filters.
void install_filter(std::span<sock_filter> program) {
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    ::_exit(77);
  }
}

// Kills the child when it enters the system call `call` whose last argument is `flags`; or lets the call fail
// with EINVAL.
void filter_rename(uint32_t flags, uint32_t action) {
  constexpr uint32_t kNumber = offsetof(seccomp_data, nr);
  constexpr uint32_t kFlags = offsetof(seccomp_data, args) + 4 * sizeof(uint64_t);  // the low half
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kFlags),  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, flags, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  install_filter(program);
}

void refuse_threads() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  install_filter(program);
}

bool has_no_filters(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 77; }

TEST(StagingCrash, while_publishing_leaves_the_old_output_and_can_be_resumed) {
  const TempFolder folder;
  const fs::path output = folder / "out";
  write_file(output / "model.safetensors", "old");
  const int status = in_child([&] {
    filter_rename(RENAME_EXCHANGE, SECCOMP_RET_KILL_PROCESS);
    run_job(output, {.force = true, .resume = true});
  });
  if (has_no_filters(status)) GTEST_SKIP() << "no system call filters here";
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(is_old(output));
  run_job(output, {.force = true, .resume = true});
  EXPECT_TRUE(is_new(output));
  EXPECT_FALSE(fs::exists(folder / ".out.partial"));
}

// Stands for a crash just after the rename: the output is in its place, the staging folder still there.
TEST(StagingCrash, after_publishing_is_taken_for_done) {
  for (const bool has_old : {false, true}) {
    const TempFolder folder;
    const fs::path output = folder / "out";
    const fs::path partial = folder / ".out.partial";
    const StagingOptions options{.force = has_old, .resume = true};
    if (has_old) write_file(output / "model.safetensors", "old");
    const int status = in_child([&] {
      filter_rename(has_old ? RENAME_EXCHANGE : RENAME_NOREPLACE, SECCOMP_RET_KILL_PROCESS);
      run_job(output, options);
    });
    if (has_no_filters(status)) GTEST_SKIP() << "no system call filters here";
    fs::rename(partial / "tree", folder / "new");
    if (has_old) fs::rename(output, partial / "tree");
    fs::rename(folder / "new", output);

    // Without force too: it is this job's own output.
    Staging staging(output, false, kJob, {.resume = true});
    EXPECT_TRUE(staging.is_done(name_of(0)));
    EXPECT_TRUE(staging.is_done("model.safetensors"));
    staging.publish();
    EXPECT_TRUE(is_new(output));
    EXPECT_FALSE(fs::exists(partial));
  }
}

TEST(StagingFileSystem, without_exchange_is_served_in_two_steps) {
  for (const bool has_old : {false, true}) {
    const TempFolder folder;
    const fs::path output = folder / "out";
    if (has_old) write_file(output / "model.safetensors", "old");
    const int status = in_child([&] {
      filter_rename(has_old ? RENAME_EXCHANGE : RENAME_NOREPLACE, SECCOMP_RET_ERRNO | EINVAL);
      run_job(output, {.force = has_old});
    });
    if (has_no_filters(status)) GTEST_SKIP() << "no system call filters here";
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(is_new(output));
    EXPECT_FALSE(fs::exists(folder / ".out.partial"));
  }
}

// Sends a signal to this process and waits until it is noted.
void interrupt_by(int signal) {
  ::kill(::getpid(), signal);
  while (!interrupted()) std::this_thread::yield();
}

TEST(StagingInterrupt, cleans_up) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const TempFolder folder;
    const int status = in_child([&] {
      watch_for_interrupts();
      int steps = 0;
      run_job(folder / "out", {}, [&] {
        if (++steps == 5) interrupt_by(signal);
      });
    });
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 130);
    EXPECT_TRUE(fs::is_empty(folder.path()));
  }
}

TEST(StagingInterrupt, a_second_signal_ends_the_process) {
  const int status = in_child([] {
    watch_for_interrupts();
    interrupt_by(SIGINT);
    ::kill(::getpid(), SIGTERM);
    ::pause();
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST(StagingInterrupt, is_noted_during_a_copy) {
  const TempFolder folder;
  write_file(folder / "from", "x");
  const int status = in_child([&] {
    watch_for_interrupts();
    Staging staging(folder / "out", false, kJob, {});
    interrupt_by(SIGINT);
    staging.copy(folder / "from", "to");
  });
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_FALSE(fs::exists(folder / ".out.partial"));
}

// A signal's frame in a thread that runs one of oneDNN's kernels would land on the heap.
TEST(StagingInterrupt, reaches_no_thread_that_works) {
  const int status = in_child([] {
    watch_for_interrupts();
    bool blocks = false;
    std::thread([&] {
      sigset_t mask;
      pthread_sigmask(SIG_BLOCK, nullptr, &mask);
      blocks = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP);
    }).join();
    if (!blocks) ::_exit(3);
  });
  EXPECT_EQ(status, 0);
}

TEST(StagingInterrupt, ends_the_process_where_no_thread_can_wait_for_it) {
  const int status = in_child([] {
    refuse_threads();
    watch_for_interrupts();
    ::kill(::getpid(), SIGTERM);
  });
  if (has_no_filters(status)) GTEST_SKIP() << "no system call filters here";
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST(StagingInterrupt, that_is_ignored_stays_so) {
  const int status = in_child([] {
    ::signal(SIGHUP, SIG_IGN);  // as nohup does
    watch_for_interrupts();
    ::kill(::getpid(), SIGHUP);
    interrupt_by(SIGINT);
    ::kill(::getpid(), SIGHUP);  // not the second
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  EXPECT_EQ(status, 0);
}

// A limit on the size of files stands for a full disk: both make a write fail in its middle.
TEST(StagingDisk, that_takes_no_more_gives_a_message_and_no_output) {
  const TempFolder folder;
  const fs::path log = folder / "log";
  const int status = in_child([&] {
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT, 0600);
    ::dup2(fd, STDERR_FILENO);
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Staging staging(folder / "out", false, kJob, {});
    SafetensorsWriter(staging.path_for("model.safetensors"), {{"w", DType::kU8, {2 << 20}, 0, 0}}, {});
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(read_file(log), "file too large while writing " +
                                (folder / ".out.partial/writing/model.safetensors").native() + "\n");
  EXPECT_FALSE(fs::exists(folder / "out"));
  EXPECT_FALSE(fs::exists(folder / ".out.partial"));
}

}  // namespace
}  // namespace prune
