#include "libprune/io/benchmark_file.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "libprune/io/json.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace {

using Json = nlohmann::json;

constexpr int kSchemaVersion = 1;

// What the library itself writes into a row. Every other number is a counter.
constexpr std::string_view kOwnKeys[] = {
    "name",
    "family_index",
    "per_family_instance_index",
    "run_name",
    "run_type",
    "repetitions",
    "repetition_index",
    "threads",
    "aggregate_name",
    "aggregate_unit",
    "iterations",
    "real_time",
    "cpu_time",
    "time_unit",
    "label",
};

double unit_in_seconds(const std::string& unit, const std::string& row) {
  if (unit == "ns") return 1e-9;
  if (unit == "us") return 1e-6;
  if (unit == "ms") return 1e-3;
  if (unit == "s") return 1;
  throw_input(row + ": time_unit " + quote_name(unit) + ": expected ns, us, ms or s");
}

class Row {
 public:
  Row(const Json& json, size_t index, const std::string& where)
      : json_(json), place_(where + ": benchmarks[" + std::to_string(index) + "]") {
    if (!json_.is_object()) throw_input(place_ + ": expected an object");
    name_ = text("name").value_or("");
    if (name_.empty()) throw_input(place_ + ": has no name");
    place_ += ", " + quote_name(name_);
  }

  std::string run_name() const {
    const auto name = text("run_name");
    return name && !name->empty() ? *name : name_;
  }
  bool is_aggregate() const { return text("run_type") == "aggregate"; }
  bool is_median() const { return text("aggregate_name") == "median"; }

  // Up to version 1.7 error_occurred and error_message, later skipped and skip_message.
  std::optional<std::string> error() const {
    constexpr std::pair<const char*, const char*> kMarks[] = {{"error_occurred", "error_message"},
                                                              {"skipped", "skip_message"}};
    for (const auto& [mark, message] : kMarks) {
      const auto found = json_.find(mark);
      if (found == json_.end() || *found == false) continue;
      return text(message).value_or("no reason given");
    }
    return std::nullopt;
  }

  void add_to(BenchmarkCase& c) const {
    const double unit = unit_in_seconds(text("time_unit").value_or("ns"), place_);
    const double seconds = unit * number("real_time");
    if (!(seconds >= 0)) throw_input(place_ + ": real_time is negative");
    if (seconds == 0) {
      c.error = "its time is 0";
      return;
    }
    c.seconds.push_back(seconds);
    c.cpu_seconds.push_back(json_.contains("cpu_time") ? unit * number("cpu_time") : seconds);
    if (const auto label = text("label")) c.label = *label;
    c.iterations = whole("iterations", 1);
    c.threads = whole("threads", 1);
    for (const auto& [key, value] : json_.items()) {
      if (value.is_number() && std::ranges::find(kOwnKeys, key) == std::end(kOwnKeys))
        c.counters[key].push_back(value.get<double>());
    }
  }

 private:
  std::optional<std::string> text(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return std::nullopt;
    if (!found->is_string()) throw_input(place_ + ": " + key + ": expected text");
    return found->get<std::string>();
  }

  double number(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) throw_input(place_ + ": has no " + key);
    if (!found->is_number()) throw_input(place_ + ": " + key + ": expected a number");
    return found->get<double>();
  }

  // Versions differ in how they write whole numbers (3 and 3.0e+00).
  int64_t whole(const char* key, int64_t otherwise) const {
    if (!json_.contains(key)) return otherwise;
    const double value = number(key);
    if (!(value >= 0 && value <= 1e15)) throw_input(place_ + ": " + key + ": expected 0 to 1e15");
    return static_cast<int64_t>(value);
  }

  const Json& json_;
  std::string place_;
  std::string name_;
};

class RunReader {
 public:
  explicit RunReader(std::string where) { run_.file = std::move(where); }

  BenchmarkRun read(const Json& document) {
    const auto rows = document.is_object() ? document.find("benchmarks") : document.end();
    if (rows == document.end() || !rows->is_array()) {
      throw_input(run_.file +
                  ": holds no list \"benchmarks\": expected what a benchmark program writes with "
                  "--benchmark_out=FILE");
    }
    if (const auto context = document.find("context"); context != document.end()) read_context(*context);
    size_t index = 0;
    for (const Json& json : *rows) add(Row(json, index++, run_.file));
    for (auto& [name, median] : medians_) {
      BenchmarkCase& c = case_of(name);
      if (c.seconds.empty() && c.error.empty()) c = std::move(median);
    }
    finish();
    return std::move(run_);
  }

 private:
  void read_context(const Json& context) {
    if (!context.is_object()) throw_input(run_.file + ": context: expected an object");
    for (const auto& [key, value] : context.items()) {
      if (value.is_string()) run_.context[key] = value.get<std::string>();
      if (value.is_number() || value.is_boolean()) run_.context[key] = value.dump();
    }
    const std::string version = run_.context_value("json_schema_version");
    if (!version.empty() && version != std::to_string(kSchemaVersion)) {
      throw_input(run_.file + ": json_schema_version " + quote_name(version) + " is not known: expected " +
                  std::to_string(kSchemaVersion));
    }
  }

  BenchmarkCase& case_of(const std::string& name) {
    const auto [found, is_new] = places_.try_emplace(name, run_.cases.size());
    if (is_new) run_.cases.emplace_back().name = name;
    return run_.cases[found->second];
  }

  void add(const Row& row) {
    const std::string name = row.run_name();
    if (row.is_aggregate()) {
      if (!row.is_median() || medians_.contains(name)) return;
      BenchmarkCase& median = medians_[name];
      median.name = name;
      median.is_summary = true;
      row.add_to(median);
      case_of(name);  // keeps its place among the others
      return;
    }
    BenchmarkCase& c = case_of(name);
    if (const auto error = row.error()) {
      c.error = *error;
    } else {
      row.add_to(c);
    }
  }

  void finish() {
    for (BenchmarkCase& c : run_.cases) {
      if (!c.error.empty()) {  // some repetitions may have run before it failed
        c.seconds.clear();
        c.cpu_seconds.clear();
      }
      std::erase_if(c.counters,
                    [&](const auto& counter) { return counter.second.size() != c.seconds.size(); });
    }
    if (run_.cases.empty()) throw_input(run_.file + ": holds no benchmark");
  }

  BenchmarkRun run_;
  std::unordered_map<std::string, size_t> places_;
  std::unordered_map<std::string, BenchmarkCase> medians_;
};

}  // namespace

std::string BenchmarkRun::context_value(const std::string& key) const {
  const auto found = context.find(key);
  return found == context.end() ? "" : found->second;
}

BenchmarkRun parse_benchmark_run(std::string_view text, const std::string& where) {
  return RunReader(where).read(parse_json(text, where));
}

BenchmarkRun read_benchmark_run(const std::filesystem::path& path) {
  return RunReader(shown(path)).read(read_json_file(path));
}

}  // namespace prune
