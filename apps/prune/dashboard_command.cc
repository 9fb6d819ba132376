// prune dashboard RUN.json...: what benchmark programs measured, as a page or for dashboards of others.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include <prune/error.h>

#include "apps/prune/benchmark_export.h"
#include "apps/prune/command.h"
#include "apps/prune/dashboard_page.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/terminal.h"
#include "apps/prune/text_file.h"

namespace prune::app {
namespace {

CommandLine make_dashboard_line() {
  std::string formats = "Formats of --export, which goes to stdout without -o:\n";
  for (const ExportFormat& format : kExportFormats)
    formats += fmt::format("  {:24} {}\n", format.name, format.summary);
  CommandLine line(
      "prune dashboard RUN.json... -o PAGE.html\n       prune dashboard RUN.json... --export FORMAT [-o "
      "FILE]",
      "Makes one page of any number of benchmark runs: speed-up against sparsity, roofline, history, two "
      "runs "
      "compared, all\ncases in a table. The page is one file, needs no network, and opens from disk.",
      "RUN.json is what a benchmark program writes with --benchmark_out=RUN.json.\n\n" + formats +
          "\nExamples:\n  prune dashboard monday.json tuesday.json -o page.html\n"
          "  prune dashboard tuesday.json --export prometheus -o prune.prom\n");
  line.positional("runs", true);
  line.options()("output,o", po::value<std::string>()->value_name("FILE"),
                 "where to write the page or the export")(
      "export", po::value<std::string>()->value_name("FORMAT"), "write this format instead of a page");
  add_running_options(line);
  return line;
}

const ExportFormat& find_format(const std::string& name) {
  const auto found = std::ranges::find(kExportFormats, name, &ExportFormat::name);
  if (found != std::end(kExportFormats)) return *found;
  std::vector<std::string> names;
  for (const ExportFormat& format : kExportFormats) names.emplace_back(format.name);
  const auto meant = nearest(name, names);
  throw_usage("--export " + quote_name(name) + ": " +
              (meant ? "did you mean '" + *meant + "'?" : "expected " + join_distinct(names)));
}

std::vector<BenchmarkRun> read_runs(const std::vector<std::string>& files) {
  std::vector<BenchmarkRun> runs;
  runs.reserve(files.size());
  for (const std::string& file : files) runs.push_back(read_benchmark_run(file));
  return runs;
}

int write_export(const ExportFormat& format, const std::vector<std::string>& files,
                 const std::optional<std::string>& output) {
  if (files.size() > 1 && !format.takes_many) {
    throw_usage(fmt::format("--export {} takes one run, not {}", format.name, files.size()));
  }
  const std::string text = format.write(read_runs(files));
  output ? write_text_file(*output, text) : fmt::print("{}", text);
  return kDone;
}

}  // namespace

int dashboard_command(const Arguments& arguments) {
  CommandLine line = make_dashboard_line();
  if (!line.parse(arguments)) return kDone;
  if (line.flag("json")) throw_usage("--json: the result is a page; --export lists other formats");
  const std::vector<std::string> files = line.texts("runs");
  if (files.empty())
    throw_usage("name at least one run: a file that a benchmark program wrote with --benchmark_out=FILE");
  const auto output = line.maybe_text("output");
  if (output) require_writable(*output);
  if (const auto format = line.maybe_text("export")) return write_export(find_format(*format), files, output);
  if (!output) throw_usage("-o PAGE.html is missing: where to write the page");
  const std::vector<BenchmarkRun> runs = read_runs(files);
  write_text_file(*output, dashboard_page(runs));
  size_t cases = 0;
  for (const BenchmarkRun& run : runs) cases += run.cases.size();
  fmt::print("{} runs, {} cases: {}\n", runs.size(), cases, printable(*output));
  return kDone;
}

}  // namespace prune::app
