// --include and --exclude: which tensors a list of patterns names.
#pragma once

#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace prune {

// A glob (`*` any run of characters, dots too; `?` one; `[ab]` a set) or, after "re:", an ECMAScript regular
// expression. Either must match the whole tensor name, or the whole module name: the tensor's without
// ".weight".
class NameFilter {
 public:
  NameFilter() = default;
  // Throws Error(kUsage) for a regular expression that does not parse.
  explicit NameFilter(const std::vector<std::string>& patterns);

  bool empty() const { return globs_.empty() && regexes_.empty(); }
  bool matches(std::string_view tensor_name) const;

 private:
  std::vector<std::string> globs_;
  std::vector<std::regex> regexes_;
};

// The pattern that matches this name: a name may hold what a glob means otherwise, or begin with "re:".
std::string pattern_of_name(std::string_view tensor_name);

}  // namespace prune
