#include "libprune/io/json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "libprune/io/json_scanner.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace {

using Json = nlohmann::json;

// "line 3, column 7 (byte 40)", all counted from one, as editors do; the byte only where `text` is a whole
// file.
std::string position_in(std::string_view text, size_t byte, size_t first_line) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const size_t line = first_line + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  const std::string place =
      "line " + std::to_string(line) + ", column " + std::to_string(before.size() - line_start + 1);
  return first_line > 1 ? place : place + " (byte " + std::to_string(before.size() + 1) + ")";
}

class TreeBuilder : public JsonEvents {
 public:
  Json take() { return std::move(root_); }

  void null() override { place(nullptr); }
  void boolean(bool value) override { place(value); }
  void number_integer(int64_t value) override { place(value); }
  void number_unsigned(uint64_t value) override { place(value); }
  void number_float(double value) override { place(value); }
  void string(std::string_view value) override { place(value); }
  void start_object() override { open(Json::object()); }
  void start_array() override { open(Json::array()); }
  void end_object() override { open_.pop_back(); }
  void end_array() override { open_.pop_back(); }

  void key(std::string_view name) override {
    auto& object = open_.back()->get_ref<Json::object_t&>();
    const auto [entry, is_new] = object.try_emplace(std::string(name));
    if (!is_new) throw_input(where() + ": key " + quote_name(entry->first) + " appears twice in one object");
    value_of_key_ = &entry->second;
  }

 private:
  Json* place(Json value) {
    if (++values_ > kMaxJsonValues) {
      throw_input(where() + ": more than " + std::to_string(kMaxJsonValues) + " JSON values");
    }
    Json* slot = &root_;
    if (!open_.empty() && open_.back()->is_array()) {
      slot = &open_.back()->get_ref<Json::array_t&>().emplace_back();
    } else if (!open_.empty()) {
      slot = value_of_key_;
    }
    *slot = std::move(value);
    return slot;
  }

  void open(Json container) {
    if (open_.size() == kMaxJsonDepth) {
      throw_input(where() + ": JSON nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
    }
    open_.push_back(place(std::move(container)));
  }

  Json root_;
  std::vector<Json*> open_;  // the containers around the current position; only the innermost one grows
  Json* value_of_key_ = nullptr;
  size_t values_ = 0;
};

// Says where text that the scanner refuses goes wrong: the place is the library's.
class FaultFinder : public nlohmann::json_sax<Json> {
 public:
  FaultFinder(std::string_view text, const std::string& where, size_t first_line)
      : text_(text), where_(where), first_line_(first_line) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    constexpr int kNumberOutOfRange = 406;
    const std::string fault =
        error.id == kNumberOutOfRange ? ": JSON number beyond double precision ends at " : ": not JSON at ";
    throw_input(where_ + fault + position_in(text_, position == 0 ? 0 : position - 1, first_line_));
  }

 private:
  std::string_view text_;
  const std::string& where_;
  size_t first_line_;
};

}  // namespace

void JsonEvents::parse(std::string_view text, const std::string& where, size_t first_line) {
  where_ = &where;
  first_line_ = first_line;
  if (const size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    throw_input(where + ": not UTF-8 at " + position_in(text, at, first_line));
  }
  if (text.starts_with("\xEF\xBB\xBF"))
    throw_input(where + ": starts with a byte order mark, which JSON forbids");
  if (const size_t at = text.find('\0'); at != std::string_view::npos) {
    throw_input(where + ": not JSON: a zero byte at " + position_in(text, at, first_line));
  }
  if (JsonScanner(text, *this).run()) return;
  FaultFinder finder(text, where, first_line);
  Json::sax_parse(text.begin(), text.end(), &finder);
  throw_input(where + ": not JSON");  // in the scanner's eyes alone
}

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  TreeBuilder builder;
  builder.parse(text, where);
  return builder.take();
}

std::string_view json_text_of(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() > kMaxJsonBytes) {
    throw_input(shown(file.path()) + ": " + std::to_string(bytes.size()) +
                " bytes of JSON, more than the limit of " + std::to_string(kMaxJsonBytes));
  }
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

nlohmann::json read_json_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_json(json_text_of(file), shown(path));
}

}  // namespace prune
