#include "libprune/model/tuning.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <system_error>

#include <omp.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "kernels/sparse/isa.h"
#include "libprune/io/json.h"
#include "libprune/model/dense_linear.h"

namespace prune {
namespace {

constexpr int kTableVersion = 9;

// Of the first processor in /proc/cpuinfo: what tells its kind.
std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string text;
  for (std::string line; std::getline(file, line) && !line.empty();) {
    for (const std::string_view key : {"vendor_id", "cpu family", "model", "model name", "stepping",
                                       "cache size", "CPU implementer", "CPU part"}) {
      const size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      std::string name = line.substr(0, colon);
      name.erase(name.find_last_not_of(" \t") + 1);
      if (name == key) text += line.substr(colon + 1) + ";";
    }
  }
  return text;
}

// FNV-1a: a file name of a description.
std::string digest(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[hash >> shift & 15];
  return name;
}

}  // namespace

std::string describe_machine() {
  return processor() + " isa " + std::to_string(kernels::isa::supported()) + ", threads " +
         std::to_string(omp_get_max_threads()) + ", prune " + PRUNE_VERSION + ", oneDNN " +
         DenseLinear::library_version();
}

std::filesystem::path user_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::filesystem::path(cache) / "prune";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? std::filesystem::path(home) / ".cache" / "prune"
                                         : std::filesystem::path();
}

TuningTable::TuningTable(const std::filesystem::path& folder, const std::string& machine)
    : machine_(machine) {
  if (folder.empty()) return;
  file_ = folder / ("tuning-" + digest(machine) + ".json");
  read();
}

TuningTable& TuningTable::of_user() {
  static TuningTable table(user_cache_folder());
  return table;
}

void TuningTable::read() {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file_, ignored)) return;
  try {
    const nlohmann::json document = read_json_file(file_);
    if (document.at("version") != kTableVersion || document.at("machine") != machine_) return;
    std::map<std::string, int64_t> numbers;
    for (const auto& [key, number] : document.at("numbers").items()) {
      if (!number.is_number_integer()) return;
      numbers[key] = number.get<int64_t>();
    }
    numbers_ = std::move(numbers);
  } catch (const Error&) {
  } catch (const nlohmann::json::exception&) {
  }
}

void TuningTable::write() const {
  if (file_.empty()) return;
  std::error_code failed;
  std::filesystem::create_directories(file_.parent_path(), failed);
  const std::filesystem::path beside = file_.string() + "." + std::to_string(::getpid());
  {
    std::ofstream out(beside);
    out << nlohmann::json{{"version", kTableVersion}, {"machine", machine_}, {"numbers", numbers_}}.dump(2)
        << '\n';
    out.close();
    if (!out) {
      std::filesystem::remove(beside, failed);
      return;
    }
  }
  std::filesystem::rename(beside, file_, failed);
}

int64_t TuningTable::get(const std::string& key, const std::function<int64_t()>& measure) {
  const std::lock_guard lock(mutex_);
  if (const auto found = numbers_.find(key); found != numbers_.end()) return found->second;
  const int64_t number = measure();
  numbers_[key] = number;
  write();
  return number;
}

std::optional<int64_t> TuningTable::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = numbers_.find(key);
  return found == numbers_.end() ? std::nullopt : std::optional(found->second);
}

void TuningTable::put(const std::map<std::string, int64_t>& numbers) {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, number] : numbers) numbers_[key] = number;
  write();
}

void TuningTable::clear(const std::string& beginning) {
  const std::lock_guard lock(mutex_);
  std::erase_if(numbers_, [&](const auto& entry) { return entry.first.starts_with(beginning); });
  if (!numbers_.empty()) return write();
  std::error_code ignored;
  if (!file_.empty()) std::filesystem::remove(file_, ignored);
}

}  // namespace prune
