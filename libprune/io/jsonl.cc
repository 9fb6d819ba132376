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

  void null() override { other_value(); }
  void boolean(bool) override { other_value(); }
  void number_integer(int64_t) override { other_value(); }
  void number_unsigned(uint64_t) override { other_value(); }
  void number_float(double) override { other_value(); }

  void string(std::string_view value) override {
    if (!expects_text()) return other_value();
    text_ = value;
  }

  void start_object() override {
    if (depth_ > 0) other_value();
    ++depth_;
  }
  void start_array() override {
    other_value();
    ++depth_;
  }
  void end_object() override { --depth_; }
  void end_array() override { --depth_; }

  void key(std::string_view name) override {
    is_text_ = name == "text";
    if (expects_text() && text_) fail("\"text\" appears twice");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_input(where() + ": line " + std::to_string(first_line()) + ": " + what);
  }

  bool expects_text() const { return depth_ == 1 && is_text_; }

  void other_value() const {
    if (depth_ == 0) fail("each line must be a JSON object");
    if (expects_text()) fail("\"text\" must be a string");
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
