#include "libprune/io/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "libprune/io/completion_mark.h"
#include "libprune/io/folder.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/text.h"

namespace prune {
namespace fs = std::filesystem;
using Json = nlohmann::json;
namespace {

// What the staging folder holds; see the class.
constexpr const char* kLock = "lock";
constexpr const char* kJournal = "journal";
constexpr const char* kWriting = "writing";
constexpr const char* kTree = "tree";
constexpr const char* kOld = "old";

constexpr size_t kCopyChunk = size_t{4} << 20;  // small enough that an interrupt is noticed at once

// A sync costs milliseconds whatever the file, so small files share it. What a crash may cost stays small:
// any file that took long to make is vouched for at once.
constexpr size_t kBatchFiles = 64;
constexpr uint64_t kBatchBytes = uint64_t{4} << 20;
constexpr std::chrono::seconds kBatchAge{1};

// Absolute; links resolved in all parts that exist, and in a last part that dangles.
fs::path resolve_output(const fs::path& given) try {
  std::error_code error;
  const fs::path path = follow_links(fs::absolute(given), error);
  if (error) throw_usage(shown(given) + ": cannot be an output: " + system_reason(error.value()));
  if (fs::exists(path)) return fs::canonical(path);
  if (path.filename() == ".." || !fs::is_directory(path.parent_path())) {
    throw_usage(shown(path.parent_path()) + ": no such folder: create it first");
  }
  return fs::canonical(path.parent_path()) / path.filename();
} catch (const fs::filesystem_error& error) {
  throw_usage(shown(given) + ": cannot be an output: " + system_reason(error.code().value()));
}

bool is_mount_point(const fs::path& folder) {
  struct stat self {};
  struct stat parent {};
  if (::stat(folder.c_str(), &self) != 0 || ::stat(folder.parent_path().c_str(), &parent) != 0) return false;
  return self.st_dev != parent.st_dev;
}

// True for a folder that a run of this program may have made: empty, or with a model's weights in it.
bool may_be_replaced(const fs::path& folder) {
  bool is_empty = true;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") return true;
    is_empty = false;
  }
  return is_empty;
}

void check_against_input(const fs::path& output, const StagingOptions& options) {
  if (options.input.empty()) return;
  std::error_code error;
  const fs::path input = fs::canonical(options.input, error);
  if (error) return;
  if (contains(output, input) || same_place(output, input)) {
    throw_usage(shown(output) + ": the output is the input, or holds it: name another output");
  }
  if (contains(input, output)) {
    throw_usage(shown(output) +
                ": lies inside the input, and a later run would copy it along: name an output outside of it");
  }
}

void check_output(const fs::path& output, bool single_file, const StagingOptions& options) {
  if (!is_there(output)) return;
  if (!options.force) throw_usage(shown(output) + ": exists already: name another output, or use --force");
  const bool fits = single_file ? fs::is_regular_file(output) : fs::is_directory(output);
  if (!fits) {
    throw_usage(shown(output) + (single_file ? ": is no file" : ": is no folder") +
                ", so the output cannot replace it");
  }
  if (single_file) return;
  if (is_mount_point(output)) throw_usage(shown(output) + ": is a mount point: name a folder inside it");
  if (!may_be_replaced(output)) {
    throw_usage(shown(output) + ": holds no model, so it is not replaced: remove it, or name another output");
  }
}

Json identity(const fs::path& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return nullptr;
  return {{"device", static_cast<uint64_t>(facts.st_dev)}, {"inode", static_cast<uint64_t>(facts.st_ino)}};
}

void make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw_system_error("creating", folder, error.value());
}

// The owner's own rights stay: a folder that may not be written to cannot be moved either.
void copy_folder_permissions(const fs::path& from, const fs::path& to) {
  struct stat facts {};
  if (::stat(from.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) return;
  if (::chmod(to.c_str(), (facts.st_mode & 0777) | 0700) != 0) throw_system_error("finishing", to, errno);
}

int rename_with(const fs::path& from, const fs::path& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error("creating", to, errno);
}

// Bytes copied inside the kernel, which some file systems do by sharing blocks; 0 for those that can't.
size_t copy_chunk_in_kernel(int from, int to, uint64_t at) {
  auto in = static_cast<off_t>(at);
  off_t out = in;
  const ssize_t copied = ::copy_file_range(from, &in, to, &out, kCopyChunk, 0);
  return copied > 0 ? static_cast<size_t>(copied) : 0;
}

size_t copy_chunk(int from, int to, uint64_t at, const fs::path& source, const fs::path& target) {
  std::vector<std::byte> buffer(kCopyChunk);
  ssize_t got;
  do {
    got = ::pread(from, buffer.data(), buffer.size(), static_cast<off_t>(at));
  } while (got < 0 && errno == EINTR);
  if (got < 0) throw_system_error("reading", source, errno);
  if (got == 0) throw_input(shown(source) + ": became shorter while it was copied");
  write_all(to, at, std::span(buffer).first(static_cast<size_t>(got)), target);
  return static_cast<size_t>(got);
}

// Whatever goes wrong in the kernel's copy goes wrong again in the plain one, which knows which side it was.
void copy_contents(const RegularFile& from, int to, const fs::path& source, const fs::path& target) {
  for (uint64_t at = 0; at < from.size;) {
    check_interrupted();
    const size_t copied = copy_chunk_in_kernel(from.fd.get(), to, at);
    at += copied > 0 ? copied : copy_chunk(from.fd.get(), to, at, source, target);
  }
}

std::string journal_line(const Json& entry) {
  return entry.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

// What another job had instead, in words: "pattern was \"1:4\"", "inputs changed".
void add_differences(const std::string& what, const Json& old, const Json& now, std::string& text) {
  if (old == now) return;
  if (old.is_object() && now.is_object()) {
    for (const auto& [key, value] : now.items()) add_differences(key, old.value(key, Json()), value, text);
    return;
  }
  const bool is_short = old.is_primitive() && !old.is_null();
  text += (text.empty() ? "" : ", ") + what + (is_short ? " was " + journal_line(old) : " changed");
  if (text.ends_with('\n')) text.pop_back();
}

// Why the work of a journal cannot be taken over.
std::string why_discarded(std::string_view journal, const Json& job) {
  const Json first = Json::parse(journal.substr(0, journal.find('\n')), nullptr, false);
  if (!first.is_object() || !first.contains("job")) return "its journal is damaged";
  std::string text;
  add_differences("job", first["job"], job, text);
  return text.empty() ? "it was another job" : text;
}

}  // namespace

void check_output_place(const fs::path& output, bool single_file, const StagingOptions& options) try {
  const fs::path place = resolve_output(output);
  check_against_input(place, options);
  if (!options.resume) check_output(place, single_file, options);
  if (::access(place.parent_path().c_str(), W_OK | X_OK) != 0) throw_system_error("creating", place, errno);
} catch (const fs::filesystem_error& error) {
  throw_system_error("preparing", error.path1(), error.code().value());
}

Staging::Staging(const fs::path& output, bool single_file, const Json& job, StagingOptions options)
    : output_(resolve_output(output)),
      folder_(staging_folder(output_)),
      single_file_(single_file),
      job_(job),
      options_(std::move(options)) {
  try {
    check_against_input(output_, options_);
    if (!options_.resume) check_output(output_, single_file_, options_);
    open();
  } catch (const fs::filesystem_error& error) {
    leave(options_.resume);
    throw_system_error("preparing", error.path1(), error.code().value());
  } catch (...) {
    leave(options_.resume);
    throw;
  }
}

Staging::~Staging() {
  if (!is_published_) leave(options_.resume);
}

void Staging::open() {
  take_lock();
  restore_old();
  const bool is_loaded = options_.resume && load_journal();
  if (is_loaded && is_in_place_) return;
  if (options_.resume) {
    if (is_marked_complete(output_, job_)) {
      done_.clear();
      throw AlreadyComplete{};
    }
    check_output(output_, single_file_, options_);
  }
  if (is_loaded) {
    remove_uncommitted();
  } else {
    clear();
    start_journal();
  }
  make_folders(folder_ / kTree);
}

void Staging::make_folder() const {
  if (::mkdir(folder_.c_str(), 0700) == 0) return;
  if (errno != EEXIST) throw_system_error("creating", folder_, errno);
  // In a folder that others write to, somebody may have laid a link or a folder of his own there.
  struct stat facts {};
  if (::lstat(folder_.c_str(), &facts) != 0) throw_system_error("creating", folder_, errno);
  if (!S_ISDIR(facts.st_mode) || facts.st_uid != ::geteuid()) {
    throw_runtime(shown(folder_) + ": is in the way, and no run of this program made it: remove it");
  }
}

void Staging::take_lock() {
  const fs::path path = folder_ / kLock;
  // Another process that is just leaving may remove the folder or the lock file under our hands: then once
  // more.
  for (;;) {
    make_folder();
    FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.is_open() && errno == ENOENT) continue;
    if (!fd.is_open()) throw_system_error("creating", path, errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK)
        throw_runtime(shown(output_) + ": another process is building it at this moment");
      throw_system_error("locking", path, errno);
    }
    struct stat locked {};
    struct stat named {};
    const bool is_same = ::fstat(fd.get(), &locked) == 0 && ::stat(path.c_str(), &named) == 0 &&
                         locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
    if (!is_same) continue;
    lock_ = std::move(fd);
    return;
  }
}

// A crash between the two renames of a replacement leaves no output: the old one goes back.
void Staging::restore_old() const {
  if (is_there(folder_ / kOld) && !is_there(output_)) rename_or_throw(folder_ / kOld, output_);
}

// False when there is no journal of this job. Stops at the first line that is not whole: the crash cut it.
bool Staging::load_journal() {
  const fs::path path = folder_ / kJournal;
  if (!is_there(path)) return false;
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const std::string job_line = journal_line({{"job", job_}});
  if (!text.starts_with(job_line)) {
    if (options_.note) {
      options_.note(shown(output_) +
                    ": the unfinished work of an earlier run is discarded: " + why_discarded(text, job_));
    }
    return false;
  }

  size_t begin = job_line.size();
  for (size_t end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    if (!load_entry(text.substr(begin, end - begin))) break;
  }
  open_journal(begin);
  return true;
}

bool Staging::load_entry(std::string_view line) {
  const Json entry = Json::parse(line, nullptr, false);
  if (!entry.is_object()) return false;
  if (const auto place = entry.find("publish"); place != entry.end()) {
    is_in_place_ = !place->is_null() && *place == identity(output_);
    return true;
  }
  if (const auto name = entry.find("discarded"); name != entry.end()) {
    if (!name->is_string()) return false;
    done_.erase(name->get<std::string>());
    return true;
  }
  const auto name = entry.find("done");
  const auto size = entry.find("size");
  if (name == entry.end() || !name->is_string() || size == entry.end() || !size->is_number_unsigned())
    return false;
  done_[name->get<std::string>()] = {size->get<uint64_t>(), entry.value("note", Json())};
  return true;
}

// What the journal does not vouch for, or vouches for in vain, is made again.
void Staging::remove_uncommitted() {
  const fs::path tree = folder_ / kTree;
  std::error_code error;
  std::erase_if(done_, [&](const auto& entry) {
    const fs::path path = tree / entry.first;
    return !fs::is_regular_file(fs::symlink_status(path, error)) ||
           fs::file_size(path, error) != entry.second.size;
  });
  fs::remove_all(folder_ / kWriting, error);
  if (!is_there(tree)) return;
  std::vector<fs::path> strays;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(tree)) {
    const bool is_folder = fs::is_directory(entry.symlink_status());
    if (!is_folder && !done_.contains(entry.path().lexically_relative(tree).native()))
      strays.push_back(entry.path());
  }
  for (const fs::path& stray : strays) fs::remove(stray);
}

void Staging::start_journal() {
  open_journal(0);
  append_to_journal(journal_line({{"job", job_}}));
}

void Staging::open_journal(uint64_t size) {
  const fs::path path = folder_ / kJournal;
  journal_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!journal_.is_open() || ::ftruncate(journal_.get(), static_cast<off_t>(size)) != 0) {
    throw_system_error("creating", path, errno);
  }
  journal_size_ = size;
}

void Staging::append_to_journal(const std::string& lines) {
  write_all(journal_.get(), journal_size_, std::as_bytes(std::span(lines)), folder_ / kJournal);
  sync_file(journal_.get(), folder_ / kJournal);
  journal_size_ += lines.size();
}

bool Staging::is_done(const std::string& name) const { return done_.contains(name); }

Json Staging::note(const std::string& name) const {
  const auto found = done_.find(name);
  return found == done_.end() ? Json() : found->second.note;
}

fs::path Staging::path_for(const std::string& name) {
  const fs::path relative(name);
  const bool leaves = std::find(relative.begin(), relative.end(), "..") != relative.end();
  if (!relative.has_filename() || relative.is_absolute() || leaves) {
    throw_usage(quote_name(name) + " is no name for a file of the output");
  }
  fs::path path = folder_ / kWriting / relative;
  make_folders(path.parent_path());
  return path;
}

void Staging::commit(const std::string& name, const Json& note) {
  const fs::path written = path_for(name);
  struct stat facts {};
  if (::lstat(written.c_str(), &facts) != 0) throw_system_error("finishing", written, errno);
  const fs::path finished = folder_ / kTree / name;
  make_folders(finished.parent_path());
  rename_or_throw(written, finished);
  const auto size = static_cast<uint64_t>(facts.st_size);
  done_[name] = {size, note};

  if (batch_.empty()) batch_start_ = std::chrono::steady_clock::now();
  batch_.push_back(name);
  batch_bytes_ += size;
  const bool is_due = batch_.size() >= kBatchFiles || batch_bytes_ >= kBatchBytes ||
                      std::chrono::steady_clock::now() - batch_start_ >= kBatchAge;
  if (is_due) vouch();
}

// The journal first: what it vouches for is never another file of the same size.
void Staging::discard(const std::string& name) {
  if (is_in_place_ || !done_.contains(name)) return;
  append_to_journal(journal_line({{"discarded", name}}));
  done_.erase(name);
  std::erase(batch_, name);
  fs::remove(folder_ / kTree / name);
}

// Syncs the committed files, and only then writes them to the journal. Writing starts for all of them before
// the first is waited for: most file systems then finish the others along with it.
void Staging::vouch() {
  std::vector<FileDescriptor> files;
  std::string lines;
  for (const std::string& name : batch_) {
    const fs::path path = folder_ / kTree / name;
    const Done& done = done_.at(name);
    files.emplace_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!files.back().is_open()) throw_system_error("finishing", path, errno);
    start_write_back(files.back().get(), 0, done.size);
    lines += journal_line({{"done", name}, {"size", done.size}, {"note", done.note}});
  }
  for (size_t i = 0; i < files.size(); ++i) sync_file(files[i].get(), folder_ / kTree / batch_[i]);
  append_to_journal(lines);
  batch_.clear();
  batch_bytes_ = 0;
}

void Staging::copy(const fs::path& from, const std::string& name) {
  const RegularFile source = open_regular_file(from);
  const fs::path target = path_for(name);
  const FileDescriptor fd(
      ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.is_open()) throw_system_error("creating", target, errno);
  copy_contents(source, fd.get(), from, target);
  // Its owner may always read the copy, whoever may read the source.
  if (::fchmod(fd.get(), source.permissions | S_IRUSR) != 0) throw_system_error("creating", target, errno);
  commit(name);
}

void Staging::publish() {
  if (!is_in_place_) {
    vouch();
    if (!single_file_ && !options_.input.empty()) copy_folder_permissions(options_.input, payload());
    mark_complete(payload(), job_);
    sync_tree();
    append_to_journal(journal_line({{"publish", identity(payload())}}));
    put_in_place();
    sync_folder(output_.parent_path());
  }
  is_published_ = true;
  leave(false);
}

// The folder or file that takes the output's place.
fs::path Staging::payload() const {
  if (!single_file_) return folder_ / kTree;
  if (done_.size() != 1)
    throw_usage(shown(output_) + ": one file was announced, " + std::to_string(done_.size()) + " came");
  return folder_ / kTree / done_.begin()->first;
}

void Staging::sync_tree() const {
  const fs::path tree = folder_ / kTree;
  std::error_code error;
  fs::recursive_directory_iterator entries(tree, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    if (fs::is_directory(entries->symlink_status(error))) sync_folder(entries->path());
  }
  if (error) throw_system_error("finishing", tree, error.value());
  sync_folder(tree);
}

void Staging::put_in_place() const {
  const fs::path from = payload();
  int error = 0;
  if (!options_.force) {
    error = rename_with(from, output_, RENAME_NOREPLACE);
    if (error == EEXIST)
      throw_runtime(shown(output_) + ": somebody made it meanwhile: name another output, or use --force");
  } else if (!single_file_ && is_there(output_)) {
    error = rename_with(from, output_, RENAME_EXCHANGE);
  } else {
    error = rename_with(from, output_, 0);
  }
  if (error == EINVAL || error == ENOSYS) {
    put_in_place_in_steps(from);  // a file system without the flags
  } else if (error != 0) {
    throw_system_error("creating", output_, error);
  }
}

void Staging::put_in_place_in_steps(const fs::path& from) const {
  if (!options_.force && is_there(output_)) throw_runtime(shown(output_) + ": somebody made it meanwhile");
  const bool sets_aside = !single_file_ && is_there(output_);
  if (sets_aside) rename_or_throw(output_, folder_ / kOld);
  const int error = rename_with(from, output_, 0);
  if (error == 0) return;
  if (sets_aside) rename_or_throw(folder_ / kOld, output_);
  throw_system_error("creating", output_, error);
}

void Staging::clear() const noexcept {
  std::error_code ignored;
  for (const char* part : {kTree, kWriting, kJournal}) fs::remove_all(folder_ / part, ignored);
  if (is_there(output_))
    fs::remove_all(folder_ / kOld, ignored);  // else it is all that is left of the old output
}

// Lets go of the staging folder. Only what this class makes is removed from it, and nothing without the lock.
void Staging::leave(bool keep) noexcept {
  if (keep && !batch_.empty()) {
    try {
      vouch();
    } catch (...) {
      batch_.clear();  // a run that resumes makes these files again
    }
  }
  if (lock_.is_open() && !(keep && !done_.empty())) {
    clear();
    ::unlink((folder_ / kLock).c_str());
  }
  ::rmdir(folder_.c_str());  // fails, as it should, while something is in it
  journal_.reset();
  lock_.reset();
}

}  // namespace prune
