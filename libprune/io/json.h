// JSON from untrusted files: what the parser would let pass or choke on is refused here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace prune {

inline constexpr uint64_t kMaxJsonBytes = 100'000'000;
inline constexpr size_t kMaxJsonDepth = 128;  // far above any model file; serde_json's limit too
inline constexpr size_t kMaxJsonValues =
    10'000'000;  // bounds the memory that 100 MB of "[[],[],..." can ask for

// Base of the event handlers: turns syntax errors into Error(kInput).
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  // Sends the events of `text` to this handler. Beyond plain syntax, refuses what is not UTF-8 and, both of
  // which the parser would swallow, a byte order mark and NUL bytes. The parser keeps its own stack on the
  // heap, one bit a level: no nesting overflows it. `where` names the file in messages, `first_line` says
  // where in the file the text begins.
  void parse(std::string_view text, const std::string& where, size_t first_line = 1);

  bool binary(binary_t&) override { return false; }  // never sent for text
  bool parse_error(size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& error) override;

 protected:
  const std::string& where() const { return *where_; }
  size_t first_line() const { return first_line_; }

 private:
  std::string_view text_;
  const std::string* where_ = nullptr;
  size_t first_line_ = 1;
};

// The document as a tree. Also refuses a key twice in one object, nesting beyond kMaxJsonDepth, and more than
// kMaxJsonValues values. Throws Error(kInput) with the position.
nlohmann::json parse_json(std::string_view text, const std::string& where);

// The same for a whole file; refuses what is no regular file or larger than kMaxJsonBytes. Throws
// Error(kInput).
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace prune
