#include "libprune/io/folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <system_error>

#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxFiles = 100'000;
constexpr size_t kMaxDepth = 32;
constexpr int kMaxLinks = 40;  // as many as Linux follows

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

class Walk {
 public:
  explicit Walk(const fs::path& root) : root_(root) {}

  std::vector<fs::path> run() {
    visit({});
    std::sort(files_.begin(), files_.end());
    return std::move(files_);
  }

 private:
  void visit(const fs::path& relative) {
    const fs::path folder = root_ / relative;
    refuse_loop(folder);
    parents_.push_back(folder);
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      visit_entry(*entries, relative / entries->path().filename());
    }
    if (error) throw_input(shown(folder) + ": cannot be read: " + system_reason(error.value()));
    parents_.pop_back();
  }

  void visit_entry(const fs::directory_entry& entry, const fs::path& relative) {
    std::error_code error;
    const fs::file_status status = entry.status(error);
    if (fs::is_regular_file(status)) {
      if (files_.size() == kMaxFiles) {
        throw_input(shown(root_) + ": more than " + std::to_string(kMaxFiles) + " files: no model folder?");
      }
      files_.push_back(relative);
    } else if (fs::is_directory(status)) {
      if (!is_left_out(entry.path())) visit(relative);
    } else if (status.type() == fs::file_type::not_found && entry.is_symlink()) {
      throw_input(shown(entry.path()) + ": a link to a file that does not exist");
    } else if (error) {
      throw_input(shown(entry.path()) + ": cannot be read: " + system_reason(error.value()));
    } else {
      throw_input(shown(entry.path()) + ": is no regular file and cannot be copied");
    }
  }

  static bool is_left_out(const fs::path& folder) {
    const std::string name = folder.filename().native();
    return name == ".git" || name == ".cache" || name == ".huggingface" || is_staging_name(name);
  }

  void refuse_loop(const fs::path& folder) const {
    const bool loop = std::any_of(parents_.begin(), parents_.end(),
                                  [&](const fs::path& p) { return same_place(p, folder); });
    if (loop) throw_input(shown(folder) + ": a link to a folder that it lies in");
    if (parents_.size() == kMaxDepth) throw_input(shown(folder) + ": too many folders deep for a model");
  }

  const fs::path& root_;
  std::vector<fs::path> parents_;
  std::vector<fs::path> files_;
};

}  // namespace

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

bool same_place(const fs::path& a, const fs::path& b) {
  struct stat first {};
  struct stat second {};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

fs::path follow_links(fs::path path, std::error_code& error) {
  error.clear();
  path = without_trailing_slash(path);
  std::error_code not_there;
  for (int links = 0; fs::is_symlink(path, not_there) && !is_descriptor(path); ++links) {
    if (links == kMaxLinks) {
      error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
      break;
    }
    const fs::path next = fs::read_symlink(path, error);
    if (error) break;
    path = without_trailing_slash(path.parent_path() / next);
  }
  return path;
}

bool is_descriptor(const fs::path& path) {
  std::error_code not_there;
  const fs::path folder = fs::canonical(path.parent_path(), not_there);
  return folder.filename() == "fd" && folder.native().starts_with("/proc/");
}

bool contains(const fs::path& folder, const fs::path& inner) {
  return std::mismatch(folder.begin(), folder.end(), inner.begin(), inner.end()).first == folder.end();
}

fs::path staging_folder(const fs::path& output) {
  return output.parent_path() / ("." + output.filename().native() + ".partial");
}

bool is_staging_name(const std::string& file_name) {
  return file_name.starts_with('.') && file_name.ends_with(".partial");
}

fs::path tidy_absolute(const fs::path& path) {
  std::error_code error;
  const fs::path given = fs::absolute(path, error);
  if (error) return path;
  fs::path tidy = given.lexically_normal();
  if (!tidy.has_filename()) tidy = tidy.parent_path();
  if (same_place(given, tidy)) return tidy;
  const fs::path resolved = fs::canonical(given, error);
  return error ? tidy : resolved;
}

std::vector<fs::path> files_below(const fs::path& folder) { return Walk(folder).run(); }

}  // namespace prune
