// An output that appears whole or not at all: built in a hidden folder beside its place, synced, renamed.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace prune {

struct StagingOptions {
  bool force = false;   // replace an existing output
  bool resume = false;  // keep the finished files of an earlier run of the same job; keep them too if this run fails
};

// Life: Staging(...) -> for each file: path_for(name), write it, commit(name) -> publish().
// A Staging that is destroyed without publish() removes what it made (unless `resume`): a failed or interrupted run leaves
// nothing. A killed run leaves ".NAME.partial" beside the output, which the same job takes up with `resume` and any other run replaces.
class Staging {
 public:
  // `output` is the final folder, or the final file when `single_file`. `job` describes the work (inputs with sizes and modification
  // times, options): finished files are taken over only when it is equal.
  // Throws Error(kUsage) when the output exists and not `force`, is the input or a parent of it;
  // Error(kRuntime) when the place is not writable, or another live process is building the same output (a lock says so).
  Staging(const std::filesystem::path& output, bool single_file, const nlohmann::json& job, StagingOptions options);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // True when `name` was committed by an earlier run of the same job.
  bool is_done(const std::string& name) const;
  // What the earlier run noted at that commit.
  nlohmann::json note(const std::string& name) const;

  // Where to write the file called `name` (a relative path; parent folders are made): a temporary name until commit().
  std::filesystem::path path_for(const std::string& name);
  // Syncs the file, gives it its name, and keeps `note` for a run that resumes.
  void commit(const std::string& name, const nlohmann::json& note = nullptr);
  // Copies a regular file byte for byte, keeping its permission bits, then commits it.
  void copy(const std::filesystem::path& from, const std::string& name);
  // Puts the whole output in its place with one rename (an existing one is exchanged and then removed) and syncs the folder.
  void publish();

 private:
  void take_lock();
  void take_over_or_clear(const nlohmann::json& job);
  void remove_all() noexcept;

  std::filesystem::path output_;
  std::filesystem::path folder_;
  bool single_file_ = false;
  StagingOptions options_;
  nlohmann::json done_;
  int lock_fd_ = -1;
  bool published_ = false;
};

// True once SIGINT or SIGTERM came; long loops ask and throw Interrupted.
struct Interrupted {};
void install_interrupt_handlers();
bool interrupted() noexcept;
void check_interrupted();  // throws Interrupted{}

}  // namespace prune
