#include "libprune/io/json_document.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "libprune/io/json.h"
#include "libprune/io/name_table.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {

class JsonDocumentBuilder : public JsonEvents {
 public:
  JsonDocumentBuilder(std::string_view text, std::vector<JsonValue>& values,
                      std::deque<std::string>& unescaped)
      : text_(text), values_(values), unescaped_(unescaped) {}

  void null() override { add(JsonKind::kNull); }
  void boolean(bool) override { add(JsonKind::kBoolean); }
  void number_integer(int64_t) override { add(JsonKind::kInteger); }
  void number_unsigned(uint64_t value) override { add(JsonKind::kUnsigned).number_ = value; }
  void number_float(double) override { add(JsonKind::kFloat); }
  void string(std::string_view value) override {
    const std::string_view text = kept(value);
    JsonValue& added = add(JsonKind::kString);
    added.text_ = text.data();
    added.number_ = text.size();
  }
  void key(std::string_view name) override { key_ = kept(name); }
  void start_object() override { open(JsonKind::kObject); }
  void start_array() override { open(JsonKind::kArray); }
  void end_array() override { close(); }
  void end_object() override {
    const size_t object = open_.back();
    close();
    check_keys(values_[object]);
  }

 private:
  JsonValue& add(JsonKind kind) {
    if (values_.size() == kMaxJsonValues)
      throw_input(where() + ": more than " + std::to_string(kMaxJsonValues) + " JSON values");
    if (!open_.empty()) ++values_[open_.back()].number_;
    JsonValue& value = values_.emplace_back();
    value.kind_ = kind;
    value.key_ = std::exchange(key_, {});
    return value;
  }

  void open(JsonKind kind) {
    if (open_.size() == kMaxJsonDepth)
      throw_input(where() + ": JSON nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
    add(kind);
    open_.push_back(values_.size() - 1);
  }

  void close() {
    JsonValue& container = values_[open_.back()];
    container.extent_ = static_cast<uint32_t>(values_.size() - open_.back());
    open_.pop_back();
  }

  void check_keys(const JsonValue& object) const {
    constexpr size_t kFew = 8;  // that are compared with one another sooner than a table is made
    if (object.size() > kFew) {
      NameTable<bool> keys(object.size());
      for (const JsonValue& value : object) {
        if (keys.insert(value.key(), true) != nullptr) fail_twice(value.key());
      }
      return;
    }
    for (auto value = object.begin(); value != object.end(); ++value) {
      for (auto before = object.begin(); before != value; ++before) {
        if ((*before).key() == (*value).key()) fail_twice((*value).key());
      }
    }
  }

  [[noreturn]] void fail_twice(std::string_view key) const {
    throw_input(where() + ": key " + quote_name(key) + " appears twice in one object");
  }

  // The view itself where it is of the text.
  std::string_view kept(std::string_view value) {
    const std::less_equal<> before;
    if (before(text_.data(), value.data()) &&
        before(value.data() + value.size(), text_.data() + text_.size()))
      return value;
    return unescaped_.emplace_back(value);
  }

  std::string_view text_;
  std::vector<JsonValue>& values_;
  std::deque<std::string>& unescaped_;
  std::vector<size_t> open_;  // the containers around the current position
  std::string_view key_;
};

const JsonValue* JsonValue::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const JsonValue& value : *this) {
    if (value.key() == key) return &value;
  }
  return nullptr;
}

JsonDocument::JsonDocument(std::string_view text, const std::string& where) {
  // A value comes first in the text or in a container, or behind a comma.
  const auto most = 1 + std::ranges::count_if(text, [](char c) { return c == ',' || c == '[' || c == '{'; });
  values_.reserve(std::min(static_cast<size_t>(most), kMaxJsonValues));
  JsonDocumentBuilder(text, values_, unescaped_).parse(text, where);
}

}  // namespace prune
