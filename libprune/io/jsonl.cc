#include "libprune/io/jsonl.h"

#include <utility>

#include "libprune/io/json.h"
#include "prune/error.h"

namespace prune {
namespace {

// Keeps the "text" of the outermost object, and builds nothing else.
class TextField : public JsonEvents {
 public:
  std::optional<std::string> take() { return std::move(text_); }

  bool null() override { return other_value(); }
  bool boolean(bool) override { return other_value(); }
  bool number_integer(number_integer_t) override { return other_value(); }
  bool number_unsigned(number_unsigned_t) override { return other_value(); }
  bool number_float(number_float_t, const string_t&) override { return other_value(); }

  bool string(string_t& value) override {
    if (!expects_text()) return other_value();
    text_ = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ > 0) other_value();
    ++depth_;
    return true;
  }
  bool start_array(size_t) override {
    other_value();
    ++depth_;
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    is_text_ = name == "text";
    if (expects_text() && text_) fail("\"text\" appears twice");
    return true;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_input(where() + ": line " + std::to_string(first_line()) + ": " + what);
  }

  bool expects_text() const { return depth_ == 1 && is_text_; }

  bool other_value() const {
    if (depth_ == 0) fail("each line must be a JSON object");
    if (expects_text()) fail("\"text\" must be a string");
    return true;
  }

  bool close() {
    --depth_;
    return true;
  }

  size_t depth_ = 0;
  bool is_text_ = false;  // the key read last, at whatever depth
  std::optional<std::string> text_;
};

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

}  // namespace

std::optional<std::string> JsonLines::next() {
  while (at_ < file_.size()) {
    const size_t newline = file_.find('\n', at_);
    const size_t end = newline == std::string_view::npos ? file_.size() : newline;
    const std::string_view line = file_.substr(at_, end - at_);
    at_ = end == file_.size() ? end : end + 1;
    ++line_;
    if (is_blank(line)) continue;
    TextField field;
    field.parse(line, where_, line_);
    std::optional<std::string> text = field.take();
    if (!text) throw_input(where_ + ": line " + std::to_string(line_) + ": has no \"text\"");
    return text;
  }
  return std::nullopt;
}

}  // namespace prune
