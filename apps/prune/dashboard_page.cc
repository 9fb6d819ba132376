#include "apps/prune/dashboard_page.h"

#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "apps/prune/run_statistics.h"

namespace prune::app {
namespace {

using Json = nlohmann::json;

constexpr int kDigits = 6;  // of a number in the page

double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  const double scale = std::pow(10.0, kDigits - 1 - std::floor(std::log10(std::abs(value))));
  return std::isfinite(scale) ? std::round(value * scale) / scale : value;
}

Json rounded(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) list.push_back(rounded(value));
  return list;
}

Json interval(const std::vector<double>& values) {
  const MedianInterval median = median_interval(values);
  return rounded({median.median, median.low, median.high});
}

// A program that times in rounds of its own gives one sample, their median, and says how wide its interval
// is.
Json time_interval(const BenchmarkCase& c) {
  const auto width = c.counters.find("interval");
  if (c.seconds.size() != 1 || width == c.counters.end()) return interval(c.seconds);
  const double median = c.seconds.front(), half = median * width->second.front() / 2;
  return rounded({median, median - half, median + half});
}

Json to_json(const BenchmarkCase& c) {
  Json json = {{"name", c.name}, {"label", c.label}, {"repetitions", c.is_summary ? 0 : c.seconds.size()}};
  if (!c.error.empty()) json["error"] = c.error;
  if (c.seconds.empty()) return json;
  json["seconds"] = time_interval(c);
  json["samples"] = rounded(c.seconds);
  for (const auto& [key, values] : c.counters) json["counters"][key] = interval(values);
  return json;
}

Json to_json(const BenchmarkRun& run) {
  Json json = {{"file", std::filesystem::path(run.file).filename().native()},
               {"context", Json::object()},
               {"cases", Json::array()}};
  for (const auto& [key, value] : run.context) {
    if (key != "host_name" && key != "executable") json["context"][key] = value;
  }
  for (const BenchmarkCase& c : run.cases) json["cases"].push_back(to_json(c));
  return json;
}

// JSON that may stand in a script element: in JSON '<' occurs in texts alone, where it may be written so.
std::string without_tags(const std::string& json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) c == '<' ? out += "\\u003c" : out += c;
  return out;
}

}  // namespace

std::string dashboard_page(const std::vector<BenchmarkRun>& runs) {
  Json list = Json::array();
  for (const BenchmarkRun& run : runs) list.push_back(to_json(run));
  std::string page(kPageBeforeData);
  page += without_tags(list.dump(-1, ' ', false, Json::error_handler_t::replace));
  return page += kPageAfterData;
}

}  // namespace prune::app
