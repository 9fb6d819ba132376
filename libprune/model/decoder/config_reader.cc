#include "libprune/model/decoder/config_reader.h"

#include <cmath>
#include <limits>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune {

const nlohmann::json* ConfigReader::find(std::string_view key) const {
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> ConfigReader::maybe_count(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();
  if (!value->is_number_unsigned() || value->get<uint64_t>() > kMost) {
    refuse(key, "expected a whole number from 0 to " + std::to_string(kMost));
  }
  return value->get<int64_t>();
}

std::optional<double> ConfigReader::maybe_number(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(key, "expected a number");
  return value->get<double>();
}

std::optional<std::string> ConfigReader::maybe_text(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(key, "expected a string");
  return value->get<std::string>();
}

bool ConfigReader::flag(std::string_view key, bool otherwise) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) refuse(key, "expected true or false");
  return value->get<bool>();
}

int64_t ConfigReader::count(std::string_view key) const {
  const auto value = maybe_count(key);
  if (!value) refuse(key, "missing");
  if (*value == 0) refuse(key, "expected at least 1");
  return *value;
}

int64_t ConfigReader::count(std::string_view key, int64_t otherwise) const {
  return find(key) == nullptr ? otherwise : count(key);
}

double ConfigReader::positive(std::string_view key) const {
  const auto value = maybe_number(key);
  if (!value) refuse(key, "missing");
  if (*value <= 0) refuse(key, "expected a number above 0");
  return *value;
}

double ConfigReader::positive(std::string_view key, double otherwise) const {
  return find(key) == nullptr ? otherwise : positive(key);
}

std::optional<ConfigReader> ConfigReader::section(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) refuse(key, "expected an object");
  return ConfigReader(*value, where_ + ": " + quote_name(key));
}

void ConfigReader::refuse(std::string_view key, const std::string& fault) const {
  throw_input(where_ + ": " + quote_name(key) + ": " + fault);
}

}  // namespace prune
