#include "libprune/model/name_filter.h"

#include <fnmatch.h>

#include <algorithm>

#include <prune/error.h>

namespace prune {
namespace {

// std::regex recurses once a character: names in real checkpoints are far shorter, and a hostile one must not
// exhaust the stack.
constexpr size_t kLongestRegexSubject = 1000;

}  // namespace

NameFilter::NameFilter(const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    if (!pattern.starts_with("re:")) {
      globs_.push_back(pattern);
      continue;
    }
    try {
      regexes_.emplace_back(pattern.substr(3), std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error& fault) {
      throw_usage("'" + pattern + "' is not a regular expression: " + fault.what());
    }
  }
}

bool NameFilter::matches(std::string_view tensor_name) const {
  constexpr std::string_view kSuffix = ".weight";
  const std::string name(tensor_name);
  const std::string module(tensor_name.ends_with(kSuffix) ? name.substr(0, name.size() - kSuffix.size())
                                                          : name);
  const auto glob_matches = [&](const std::string& glob) {
    return fnmatch(glob.c_str(), name.c_str(), 0) == 0 || fnmatch(glob.c_str(), module.c_str(), 0) == 0;
  };
  const auto regex_matches = [&](const std::regex& regex) {
    return std::regex_match(name, regex) || std::regex_match(module, regex);
  };
  if (std::ranges::any_of(globs_, glob_matches)) return true;
  return name.size() <= kLongestRegexSubject && std::ranges::any_of(regexes_, regex_matches);
}

std::string pattern_of_name(std::string_view tensor_name) {
  std::string pattern;
  for (const char c : tensor_name) {
    const bool begins_regex = pattern.empty() && tensor_name.starts_with("re:");
    if (begins_regex || std::string_view("*?[\\").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace prune
