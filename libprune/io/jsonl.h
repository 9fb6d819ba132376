// Documents in JSON Lines: one object a line, whose "text" is the document.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace prune {

// Goes through the lines of `file`, which stays where it is; blank ones are passed over. `where` names the
// file in messages.
class JsonLines {
 public:
  JsonLines(std::string_view file, std::string where) : file_(file), where_(std::move(where)) {}

  // The next document, or nothing at the end of the file. Throws Error(kInput), naming the line, for what is
  // not UTF-8, not one JSON object, or has no string "text".
  std::optional<std::string> next();

  size_t bytes_read() const { return at_; }

 private:
  std::string_view file_;
  std::string where_;
  size_t at_ = 0;
  size_t line_ = 0;  // of the line read last, counted from one
};

}  // namespace prune
