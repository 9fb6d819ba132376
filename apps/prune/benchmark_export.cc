#include "apps/prune/benchmark_export.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/run_statistics.h"
#include "apps/prune/terminal.h"

namespace prune::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNanoseconds = 1e9;
constexpr double kGiga = 1e9;
constexpr size_t kLongestBencherName = 1024;

std::string text_of(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// The cases with times; there must be one, for a consumer takes an empty list for a fault of its own.
std::vector<const BenchmarkCase*> measured(const BenchmarkRun& run) {
  std::vector<const BenchmarkCase*> cases;
  for (const BenchmarkCase& c : run.cases) {
    if (!c.seconds.empty()) cases.push_back(&c);
  }
  if (cases.empty()) throw_input(run.file + ": every case failed: there is nothing to export");
  return cases;
}

std::optional<MedianInterval> counter_of(const BenchmarkCase& c, const std::string& name) {
  const auto found = c.counters.find(name);
  if (found == c.counters.end()) return std::nullopt;
  return median_interval(found->second);
}

Json metric(const MedianInterval& m, double scale) {
  return {{"value", m.median * scale}, {"lower_value", m.low * scale}, {"upper_value", m.high * scale}};
}

// A text that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP advises.
std::string csv_cell(std::string text) {
  if (!text.empty() && std::string_view("=+-@\t\r").find(text[0]) != std::string_view::npos)
    text.insert(0, "'");
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string csv_values(const MedianInterval& m) {
  return fmt::format(",{:.9g},{:.9g},{:.9g}", m.median, m.low, m.high);
}

std::string prometheus_label(std::string_view key, std::string_view value) {
  std::string out(key);
  out += "=\"";
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out + '"';
}

struct Gauge {
  const char* name;
  const char* help;
  const char* counter;  // null: the time
  double scale;         // to base units
};
constexpr Gauge kGauges[] = {
    {"prune_benchmark_seconds", "Median real time of one iteration.", nullptr, 1},
    {"prune_benchmark_speedup_ratio", "Median speed-up over the dense peer timed in turns with it.",
     "speedup", 1},
    {"prune_benchmark_roofline_ratio", "Median share of the limit that memory and arithmetic set.",
     "roofline", 1},
    {"prune_benchmark_flops_per_second", "Median operations per second, counted on the dense shape.",
     "GFLOP/s", kGiga},
    {"prune_benchmark_bytes_per_second", "Median bytes per second that are moved.", "GB/s", kGiga},
};

}  // namespace

std::string export_googlecpp(const std::vector<BenchmarkRun>& runs) {
  Json document = {{"context", Json::object()}, {"benchmarks", Json::array()}};
  for (const auto& [key, value] : runs[0].context) {
    if (key != "host_name" && key != "executable") document["context"][key] = value;
  }
  document["context"]["caches"] = Json::array();  // Bencher's adapter needs the key
  document["context"]["json_schema_version"] = 1;
  int64_t index = 0;
  for (const BenchmarkCase* c : measured(runs[0])) {
    Json row = {{"name", c->name},
                {"family_index", index++},
                {"per_family_instance_index", 0},
                {"run_name", c->name},
                {"run_type", "iteration"},
                {"repetitions", 1},
                {"repetition_index", 0},
                {"threads", c->threads},
                {"iterations", c->iterations},
                {"real_time", median(c->seconds) * kNanoseconds},
                {"cpu_time", median(c->cpu_seconds) * kNanoseconds},
                {"time_unit", "ns"}};
    for (const auto& [key, values] : c->counters) row[key] = median(values);
    if (!c->label.empty()) row["label"] = c->label;
    document["benchmarks"].push_back(std::move(row));
  }
  return text_of(document);
}

std::string export_github_action(const std::vector<BenchmarkRun>& runs) {
  constexpr std::pair<const char*, const char*> kUnits[] = {{"GFLOP/s", "GFLOP/s"},
                                                            {"speedup", "times dense"}};
  Json list = Json::array();
  for (const BenchmarkCase* c : measured(runs[0])) {
    for (const auto& [counter, unit] : kUnits) {
      const auto m = counter_of(*c, counter);
      if (!m) continue;
      list.push_back({{"name", c->name + " " + counter},
                      {"unit", unit},
                      {"value", m->median},
                      {"range", fmt::format("{:.4g} to {:.4g}", m->low, m->high)},
                      {"extra", fmt::format("{} repetitions\n{}", c->seconds.size(), c->label)}});
    }
  }
  if (list.empty()) throw_input(runs[0].file + ": no case has a counter GFLOP/s or speedup");
  return text_of(list);
}

std::string export_bencher(const std::vector<BenchmarkRun>& runs) {
  constexpr std::tuple<const char*, const char*, double> kMeasures[] = {{"throughput", "GFLOP/s", kGiga},
                                                                        {"speedup", "speedup", 1},
                                                                        {"bandwidth", "GB/s", kGiga},
                                                                        {"roofline", "roofline", 1}};
  Json document = Json::object();
  for (const BenchmarkCase* c : measured(runs[0])) {
    if (c->name.size() > kLongestBencherName) {
      throw_input(runs[0].file +
                  ": name of more than 1024 bytes, which Bencher does not take: " + quote_name(c->name));
    }
    Json& measures = document[c->name];
    measures["latency"] = metric(median_interval(c->seconds), kNanoseconds);
    for (const auto& [slug, counter, scale] : kMeasures) {
      if (const auto m = counter_of(*c, counter)) measures[slug] = metric(*m, scale);
    }
  }
  return text_of(document);
}

std::string export_csv(const std::vector<BenchmarkRun>& runs) {
  std::set<std::string> counters;
  for (const BenchmarkRun& run : runs) {
    for (const BenchmarkCase& c : run.cases) {
      for (const auto& [key, values] : c.counters) counters.insert(key);
    }
  }
  std::string text = "commit,date,device,name,label,error,repetitions,seconds,seconds low,seconds high";
  for (const std::string& key : counters) {
    for (const char* end : {"", " low", " high"}) text += "," + csv_cell(key + end);
  }
  text += "\r\n";
  for (const BenchmarkRun& run : runs) {
    const std::string gpu = run.context_value("gpu");
    for (const BenchmarkCase& c : run.cases) {
      text += fmt::format("{},{},{},{},{},{},{}", csv_cell(run.context_value("commit")),
                          csv_cell(run.context_value("date")),
                          csv_cell(gpu.empty() ? run.context_value("cpu") : gpu), csv_cell(c.name),
                          csv_cell(c.label), csv_cell(c.error), c.is_summary ? 0 : c.seconds.size());
      text += c.seconds.empty() ? ",,," : csv_values(median_interval(c.seconds));
      for (const std::string& key : counters) {
        const auto m = counter_of(c, key);
        text += m ? csv_values(*m) : ",,,";
      }
      text += "\r\n";
    }
  }
  return text;
}

std::string export_prometheus(const std::vector<BenchmarkRun>& runs) {
  const auto cases = measured(runs[0]);
  std::string labels;
  for (const char* key : {"commit", "cpu", "gpu", "isa"}) {
    const std::string value = runs[0].context_value(key);
    if (!value.empty()) labels += "," + prometheus_label(key, value);
  }
  std::string text;
  for (const Gauge& gauge : kGauges) {
    std::string lines;
    for (const BenchmarkCase* c : cases) {
      const auto value = gauge.counter == nullptr
                             ? median(c->seconds)
                             : counter_of(*c, gauge.counter).value_or(MedianInterval{.median = NAN}).median;
      if (std::isnan(value)) continue;
      lines += fmt::format("{}{{{}{}}} {:.9g}\n", gauge.name, prometheus_label("name", c->name), labels,
                           value * gauge.scale);
    }
    if (!lines.empty())
      text += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n{2}", gauge.name, gauge.help, lines);
  }
  return text;
}

}  // namespace prune::app
