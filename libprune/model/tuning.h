// What was measured on this machine once, for layers that choose between ways to compute the same product.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace prune {

// The processor, its instruction sets as PRUNE_ISA leaves them, threads, and versions of the libraries: times
// measured under another description mean nothing.
std::string describe_machine();

// $XDG_CACHE_HOME/prune, else ~/.cache/prune; empty where neither variable is set.
std::filesystem::path user_cache_folder();

// From a name of a kind of product to a number that was measured for it. Thread-safe.
class TuningTable {
 public:
  // Starts from the file of this machine in `folder`; one that is missing, damaged or of another version of
  // the table is as good as empty. An empty folder: nothing is read or written.
  explicit TuningTable(const std::filesystem::path& folder, const std::string& machine = describe_machine());

  // The table of this process in the user's cache folder.
  static TuningTable& of_user();

  // The number under `key`; where there is none, measure()'s, which is then kept in the file. A file that
  // can't be written is no error: the next process measures again.
  int64_t get(const std::string& key, const std::function<int64_t()>& measure);
  // The number under `key`, where there is one.
  std::optional<int64_t> find(const std::string& key);
  // Keeps numbers that were measured together, in place of what was there.
  void put(const std::map<std::string, int64_t>& numbers);
  // Forgets everything under keys that begin so: --retune.
  void clear(const std::string& beginning = "");

  const std::filesystem::path& file() const { return file_; }

 private:
  void read();
  void write() const;

  std::filesystem::path file_;
  std::string machine_;
  std::mutex mutex_;
  std::map<std::string, int64_t> numbers_;
};

}  // namespace prune
