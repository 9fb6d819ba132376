// JSON text as events: strict RFC 8259, without building anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/json.h"

namespace prune {

// Of text that is UTF-8 without zero bytes. Nesting costs one bit a level, on the heap.
class JsonScanner {
 public:
  JsonScanner(std::string_view text, JsonEvents& events) : text_(text), events_(events) {}

  // Sends all events; false, with those before it sent, at what is not JSON or a number that no double holds.
  bool run();

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space();
  bool take(char c);
  bool read_value();
  bool open(bool is_object);
  bool go_on();
  bool read_key();
  bool read_word(std::string_view word);
  bool read_number();
  bool read_string(std::string_view& value);
  bool read_escapes(size_t begin, std::string_view& value);
  bool read_escape();
  bool read_hex(uint32_t& unit);

  std::string_view text_;
  JsonEvents& events_;
  size_t at_ = 0;
  std::vector<bool> open_;  // the containers around: whether each is an object
  bool wants_value_ = true;
  std::string unescaped_;  // the string read last, where it has escapes
};

}  // namespace prune
