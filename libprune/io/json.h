// JSON from untrusted files: what a parser would let pass or choke on is refused here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace prune {

class MappedFile;

inline constexpr uint64_t kMaxJsonBytes = 100'000'000;
inline constexpr size_t kMaxJsonDepth = 128;  // far above any model file; serde_json's limit too
inline constexpr size_t kMaxJsonValues =
    10'000'000;  // bounds the memory that 100 MB of "[[],[],..." can ask for: 400 MB as a JsonDocument

// Base of the event handlers: turns syntax errors into Error(kInput).
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;

  // Sends the events of `text` to this handler. Beyond plain syntax, refuses what is not UTF-8, a byte order
  // mark and NUL bytes. No nesting overflows the stack. `where` names the file in messages, `first_line` says
  // where in the file the text begins.
  void parse(std::string_view text, const std::string& where, size_t first_line = 1);

  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  // A whole number below zero (or -0), or not below, that 64 bits hold, and any other one.
  virtual void number_integer(int64_t value) = 0;
  virtual void number_unsigned(uint64_t value) = 0;
  virtual void number_float(double value) = 0;
  // Without escapes the view is of the text itself, else it is good during the call.
  virtual void string(std::string_view value) = 0;
  virtual void key(std::string_view name) = 0;
  virtual void start_object() = 0;
  virtual void end_object() = 0;
  virtual void start_array() = 0;
  virtual void end_array() = 0;

 protected:
  const std::string& where() const { return *where_; }
  size_t first_line() const { return first_line_; }

 private:
  const std::string* where_ = nullptr;
  size_t first_line_ = 1;
};

// The document as a tree. Also refuses a key twice in one object, nesting beyond kMaxJsonDepth, and more than
// kMaxJsonValues values. Throws Error(kInput) with the position.
nlohmann::json parse_json(std::string_view text, const std::string& where);

// The text of a file of JSON. Throws Error(kInput) for what is larger than kMaxJsonBytes.
std::string_view json_text_of(const MappedFile& file);

// parse_json() of a whole file; refuses what is no regular file. Throws Error(kInput).
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace prune
