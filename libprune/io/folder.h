// Questions about folders and paths, asked once and answered the same for inputs and outputs.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace prune {

// True for anything of that name, a dangling link too: what is there but broken must be reported, not passed
// over.
bool is_there(const std::filesystem::path& path);

// True when both exist and are the same file or folder, links followed. (std::filesystem::equivalent() has no
// answer for devices and the like.)
bool same_place(const std::filesystem::path& a, const std::filesystem::path& b);

// `path` without a trailing slash, and where its last part is a link what that leads to, one that dangles
// too. A link in /proc/*/fd is left as it is: the kernel follows it to the open file, its text need not lead
// there. With a loop, `error` is ELOOP.
std::filesystem::path follow_links(std::filesystem::path path, std::error_code& error);
// True for what names an open file: a place in /proc/*/fd, or /dev/fd.
bool is_descriptor(const std::filesystem::path& path);

// True when `inner` is `folder` or below it. Both absolute and without links.
bool contains(const std::filesystem::path& folder, const std::filesystem::path& inner);

// Where the output `output` is built: a hidden folder beside it. `output` has a file name.
std::filesystem::path staging_folder(const std::filesystem::path& output);
// True for the names that staging_folder() gives.
bool is_staging_name(const std::string& file_name);

// `path` made absolute, without "." and ".." and a trailing slash. A ".." is resolved in the text alone
// unless it follows a link, where the text would lead elsewhere: there all links are resolved.
std::filesystem::path tidy_absolute(const std::filesystem::path& path);

// All regular files below `folder`, links followed, as relative paths in sorted order. Left out: folders
// named .git, .cache and .huggingface, and unfinished outputs. Throws Error(kInput) for anything
// else that cannot be copied, and for a folder too large to be a model's.
std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder);

}  // namespace prune
