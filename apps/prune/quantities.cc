#include "apps/prune/quantities.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string_view>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune::app {
namespace {

constexpr double kMostBytes = 1e18;

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"", 1},         {"b", 1},        {"k", 1e3},     {"kb", 1e3},     {"m", 1e6},
                           {"mb", 1e6},     {"g", 1e9},      {"gb", 1e9},    {"t", 1e12},     {"tb", 1e12},
                           {"ki", 0x1p10},  {"kib", 0x1p10}, {"mi", 0x1p20}, {"mib", 0x1p20}, {"gi", 0x1p30},
                           {"gib", 0x1p30}, {"ti", 0x1p40},  {"tib", 0x1p40}};

}  // namespace

size_t parse_bytes(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit(end, text.data() + text.size());
  std::erase_if(unit, [](unsigned char c) { return std::isspace(c); });
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  const auto found = std::ranges::find(kUnits, unit, &Unit::name);
  const double bytes = found == std::end(kUnits) ? 0 : value * found->bytes;
  if (fault != std::errc() || !(bytes >= 1 && bytes <= kMostBytes)) {
    throw_usage(fmt::format("{} {}: expected a size such as 800M or 4G", option, quote_name(text)));
  }
  return size_t(bytes);
}

}  // namespace prune::app
