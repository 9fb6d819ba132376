// Values of config.json by key, with errors that name the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace prune {

// A key that is absent or null has no value. Throws Error(kInput) for a value of another type or out of
// range.
class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& object, std::string where = "config.json")
      : object_(object), where_(std::move(where)) {}

  const nlohmann::json* find(std::string_view key) const;
  std::optional<int64_t> maybe_count(std::string_view key) const;  // 0 to 2^31 - 1
  std::optional<double> maybe_number(std::string_view key) const;  // finite
  std::optional<std::string> maybe_text(std::string_view key) const;
  bool flag(std::string_view key, bool otherwise) const;

  int64_t count(std::string_view key) const;  // at least 1
  int64_t count(std::string_view key, int64_t otherwise) const;
  double positive(std::string_view key, double otherwise) const;
  double positive(std::string_view key) const;

  // The object under a key; nothing when there is none.
  std::optional<ConfigReader> section(std::string_view key) const;

  [[noreturn]] void refuse(std::string_view key, const std::string& fault) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace prune
