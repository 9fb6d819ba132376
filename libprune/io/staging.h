// An output that appears whole or not at all: built in a hidden folder beside its place, synced, renamed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "libprune/io/posix.h"

namespace prune {

struct StagingOptions {
  bool force = false;  // replace an existing output
  // Keep the finished files of an earlier run of the same job; keep them too if this run fails.
  bool resume = false;
  std::filesystem::path input = {};  // what the output is made from: never replaced, nor added to
  std::function<void(const std::string&)> note = {};  // takes what the user should know
};

// With `resume`, the output is there, made by the same job, and unchanged since: nothing is left to do.
struct AlreadyComplete {};

// What Staging refuses about a place, found out before any work and without touching anything. Throws as
// Staging() does. With `resume`, whether an output that exists is this job's own is left to Staging().
void check_output_place(const std::filesystem::path& output, bool single_file, const StagingOptions& options);

// Life: Staging(...) -> for each file: path_for(name), write it, commit(name) -> publish().
// A Staging that is destroyed without publish() removes what it made (unless `resume`): a failed or
// interrupted run leaves nothing. A killed run leaves ".NAME.partial" beside the output, which the same job
// takes up with `resume` and any other run replaces. Not thread-safe, but the files themselves may be written
// by any thread.
//
// Inside ".NAME.partial":
//   lock     held with flock() while a process works here
//   journal  JSON lines: the job; one for every committed file, once it is on disk, and for every one taken
//            back; a last one just before the output is put in place
//   writing/ files that are not committed
//   tree/    the output so far
//   old/     the replaced output, for a moment, on file systems that can't exchange two folders
class Staging {
 public:
  // `output` is the final folder, or the final file when `single_file`; a link there is followed, so that the
  // data lands where it points. `job` describes the work (inputs with sizes and modification times, options):
  // finished files are taken over only when it is equal. Throws Error(kUsage) when the output exists and not
  // `force`; when it is the input, a folder that holds it, or a place inside it; when `force` would replace
  // what no run of this program made: a file by a folder or the reverse, a mount point, or a folder that is
  // neither empty nor a model's. Throws Error(kRuntime) when the place is not writable, or another live
  // process is building the same output. With `resume`, an output that the same job had already put in place
  // when it was killed is no error: all files are done; one that this job completed earlier throws
  // AlreadyComplete. Unfinished work of another job is discarded, and the difference noted.
  Staging(const std::filesystem::path& output, bool single_file, const nlohmann::json& job,
          StagingOptions options);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Absolute, links resolved.
  const std::filesystem::path& output() const { return output_; }

  // True when `name` was committed, by this run or an earlier one of the same job.
  bool is_done(const std::string& name) const;
  // What was noted at that commit; null when it was not.
  nlohmann::json note(const std::string& name) const;

  // Where to write the file called `name` (a relative path; parent folders are made): a temporary name until
  // commit(). Throws Error(kUsage) for a name that would leave the output.
  std::filesystem::path path_for(const std::string& name);
  // Gives the file its name and keeps `note` for a run that resumes. That one finds it again once it is
  // synced, which happens at once for a large file, and within 64 small ones or a second of work; always
  // before publish() shows it.
  void commit(const std::string& name, const nlohmann::json& note = nullptr);
  // Takes a committed file back: it has to be written again, or is left out. Of an output that is in place
  // already nothing is taken back.
  void discard(const std::string& name);
  // Copies a regular file byte for byte, links followed, keeping its permission bits, then commits it. Throws
  // Interrupted.
  void copy(const std::filesystem::path& from, const std::string& name);
  // Puts the whole output in its place with one rename (an existing one is exchanged and then removed) and
  // syncs the folder. A single file must have been committed alone.
  void publish();

 private:
  struct Done {
    uint64_t size = 0;
    nlohmann::json note;
  };

  void open();
  void make_folder() const;
  void take_lock();
  void restore_old() const;
  bool load_journal();
  bool load_entry(std::string_view line);
  void remove_uncommitted();
  void start_journal();
  void open_journal(uint64_t size);
  void append_to_journal(const std::string& lines);
  void vouch();
  std::filesystem::path payload() const;
  void sync_tree() const;
  void put_in_place() const;
  void put_in_place_in_steps(const std::filesystem::path& from) const;
  void clear() const noexcept;
  void leave(bool keep) noexcept;

  std::filesystem::path output_;
  std::filesystem::path folder_;
  bool single_file_ = false;
  nlohmann::json job_;
  StagingOptions options_;
  std::map<std::string, Done> done_;
  std::vector<std::string> batch_;  // committed, not yet in the journal
  uint64_t batch_bytes_ = 0;
  std::chrono::steady_clock::time_point batch_start_;
  FileDescriptor lock_;
  FileDescriptor journal_;
  uint64_t journal_size_ = 0;
  bool is_in_place_ = false;  // by an earlier run of the job, which was killed before it could clean up
  bool is_published_ = false;
};

// Orderly interruption: long loops call check_interrupted(), and what they have staged is removed on the way
// out.
struct Interrupted {};
// For the program, not for libraries, before it starts threads: from here SIGINT, SIGTERM and SIGHUP are
// noted, and the second one ends the process.
void watch_for_interrupts();
bool interrupted() noexcept;  // true once one of them came
void check_interrupted();     // throws Interrupted{}

}  // namespace prune
