#include "libprune/io/completion_mark.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace prune {
namespace fs = std::filesystem;
namespace {

constexpr const char* kAttribute = "user.prune.complete";

// FNV-1a: tells changes apart, which nobody makes up.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

void append_facts(std::string& text, const fs::path& file, const std::string& name) {
  struct stat facts {};
  if (::lstat(file.c_str(), &facts) != 0)
    throw fs::filesystem_error("", std::error_code(errno, std::generic_category()));
  text += name + '\0' + std::to_string(facts.st_size) + ' ' + std::to_string(facts.st_mtim.tv_sec) + ' ' +
          std::to_string(facts.st_mtim.tv_nsec) + '\n';
}

// The job and the files as one word.
std::string mark_of(const fs::path& output, const nlohmann::json& job) {
  std::string text = job.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  if (!fs::is_directory(output)) {
    append_facts(text, output, "");
  } else {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(output)) {
      if (!fs::is_directory(entry.symlink_status())) files.push_back(entry.path());
    }
    std::ranges::sort(files);
    for (const fs::path& file : files) append_facts(text, file, file.lexically_relative(output).native());
  }
  return std::to_string(hash_of(text));
}

}  // namespace

void mark_complete(const fs::path& output, const nlohmann::json& job) noexcept try {
  const std::string mark = mark_of(output, job);
  ::setxattr(output.c_str(), kAttribute, mark.data(), mark.size(), 0);
} catch (...) {
  return;  // without a mark, a later run asks for --force
}

bool is_marked_complete(const fs::path& output, const nlohmann::json& job) noexcept try {
  char found[24];
  const ssize_t size = ::getxattr(output.c_str(), kAttribute, found, sizeof found);
  return size > 0 && std::string_view(found, size_t(size)) == mark_of(output, job);
} catch (...) {
  return false;
}

}  // namespace prune
