// A JSON document to be looked through once: all its values in one list, its strings where they lie.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prune {

enum class JsonKind : uint8_t { kNull, kBoolean, kInteger, kUnsigned, kFloat, kString, kArray, kObject };

// One value. What lies in a container follows it in the document's list, each value with all that is in it.
class JsonValue {
 public:
  JsonKind kind() const { return kind_; }
  bool is_object() const { return kind_ == JsonKind::kObject; }
  bool is_array() const { return kind_ == JsonKind::kArray; }
  bool is_string() const { return kind_ == JsonKind::kString; }
  bool is_unsigned() const { return kind_ == JsonKind::kUnsigned; }  // a whole number, not below zero

  std::string_view key() const { return key_; }               // of a member of an object
  std::string_view text() const { return {text_, number_}; }  // of a string
  uint64_t number() const { return number_; }                 // of an unsigned one
  size_t size() const { return number_; }  // of a container: values that lie directly in it

  // The values directly in a container, in the order of the text.
  class Iterator {
   public:
    explicit Iterator(const JsonValue* at) : at_(at) {}
    const JsonValue& operator*() const { return *at_; }
    Iterator& operator++() {
      at_ += at_->extent_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const JsonValue* at_;
  };
  Iterator begin() const { return Iterator(this + 1); }
  Iterator end() const { return Iterator(this + extent_); }

  // The member of an object; nullptr when it has none of that key, and for what is no object.
  const JsonValue* find(std::string_view key) const;

 private:
  friend class JsonDocumentBuilder;

  JsonKind kind_ = JsonKind::kNull;
  uint32_t extent_ = 1;  // values of the list that are it or in it
  std::string_view key_;
  const char* text_ = nullptr;
  uint64_t number_ = 0;  // or of how many characters or values
};

// Refuses what parse_json() refuses, and keeps views of `text`, which must outlive it. Throws Error(kInput).
class JsonDocument {
 public:
  JsonDocument(std::string_view text, const std::string& where);

  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  const JsonValue& root() const { return values_.front(); }

 private:
  std::vector<JsonValue> values_;
  std::deque<std::string> unescaped_;  // strings that are spelled with escapes
};

}  // namespace prune
