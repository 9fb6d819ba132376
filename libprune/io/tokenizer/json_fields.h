// Fields of a tokenizer.json, with the errors in words.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune::tokenizer {

using Json = nlohmann::json;

[[noreturn]] inline void throw_field(const std::string& where, std::string_view key,
                                     std::string_view wanted) {
  throw_input(where + ": " + quote_name(key) + " must be " + std::string(wanted));
}

// The field `key`, or nullptr where it is missing or null.
inline const Json* find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

inline const Json& object_at(const Json& object, std::string_view key, const std::string& where) {
  const Json* field = find(object, key);
  if (field == nullptr || !field->is_object()) throw_field(where, key, "an object");
  return *field;
}

inline const Json& array_at(const Json& object, std::string_view key, const std::string& where) {
  const Json* field = find(object, key);
  if (field == nullptr || !field->is_array()) throw_field(where, key, "an array");
  return *field;
}

inline const std::string& string_at(const Json& object, std::string_view key, const std::string& where) {
  const Json* field = find(object, key);
  if (field == nullptr || !field->is_string()) throw_field(where, key, "a string");
  return field->get_ref<const std::string&>();
}

inline std::string string_at(const Json& object, std::string_view key, std::string_view otherwise,
                             const std::string& where) {
  return find(object, key) == nullptr ? std::string(otherwise) : string_at(object, key, where);
}

inline bool bool_at(const Json& object, std::string_view key, bool otherwise, const std::string& where) {
  const Json* field = find(object, key);
  if (field == nullptr) return otherwise;
  if (!field->is_boolean()) throw_field(where, key, "true or false");
  return field->get<bool>();
}

// A whole number from 0 to `largest`.
inline int64_t count_at(const Json& object, std::string_view key, int64_t largest, const std::string& where) {
  const Json* field = find(object, key);
  if (field == nullptr || !field->is_number_unsigned() ||
      field->get<uint64_t>() > static_cast<uint64_t>(largest)) {
    throw_field(where, key, "a whole number from 0 to " + std::to_string(largest));
  }
  return field->get<int64_t>();
}

[[noreturn]] inline void throw_unsupported(const std::string& where, std::string_view what,
                                           std::string_view name) {
  throw_input(where + ": the " + std::string(what) + " " + quote_name(name) + " is not supported");
}

}  // namespace prune::tokenizer
