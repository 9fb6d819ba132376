// The one exception of the library.
#pragma once

#include <stdexcept>
#include <string>

namespace prune {

// Who has to act. The program turns it into its exit code.
enum class ErrorKind {
  kUsage,    // the call: an argument that can't be meant
  kInput,    // the data: a file or a matrix that is refused; nothing was written
  kRuntime,  // the machine: disk full, no permission, out of memory
};

// what() says what is wrong, where (file, tensor, position) and what to do, in one line.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

[[noreturn]] inline void throw_usage(const std::string& message) { throw Error(ErrorKind::kUsage, message); }
[[noreturn]] inline void throw_input(const std::string& message) { throw Error(ErrorKind::kInput, message); }
[[noreturn]] inline void throw_runtime(const std::string& message) {
  throw Error(ErrorKind::kRuntime, message);
}

}  // namespace prune
