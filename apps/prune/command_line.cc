#include "apps/prune/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include <prune/error.h>

#include "apps/prune/threads.h"

namespace prune::app {
namespace {

constexpr unsigned kHelpWidth = 100;

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t(0));
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr size_t kLeastBeginning = 4;  // of "--spars" for "--sparsity", two dashes among them
  const auto begins = [&](const std::string& c) { return c.starts_with(word); };
  const auto longer = std::ranges::find_if(candidates, begins);
  if (word.size() >= kLeastBeginning && longer != candidates.end()) return *longer;
  const auto distance = [&](const std::string& c) { return edit_distance(word, c); };
  const auto best = std::ranges::min_element(candidates, {}, distance);
  const size_t limit = std::max<size_t>(2, word.size() / 3);
  if (best == candidates.end() || distance(*best) > limit) return std::nullopt;
  return *best;
}

CommandLine::CommandLine(std::string usage, std::string summary, std::string text)
    : usage_(std::move(usage)),
      summary_(std::move(summary)),
      text_(std::move(text)),
      visible_("Options", kHelpWidth, kHelpWidth / 2) {}

void CommandLine::positional(const std::string& name, bool many) {
  hidden_.add_options()(name.c_str(), po::value<std::vector<std::string>>(), "");
  positions_.add(name.c_str(), many ? -1 : 1);
}

bool CommandLine::parse(const Arguments& arguments) {
  using namespace po::command_line_style;
  if (std::ranges::any_of(arguments, [](const auto& a) { return a == "--help" || a == "-h"; })) {
    fmt::print("{}", help());
    return false;
  }
  if (std::ranges::find(arguments, "--version") != arguments.end()) {
    fmt::print("prune {}\n", PRUNE_VERSION);
    return false;
  }
  po::options_description all;
  all.add(visible_).add(hidden_);
  try {
    po::store(po::command_line_parser(arguments)
                  .options(all)
                  .positional(positions_)
                  .style(default_style & ~allow_guessing)
                  .run(),
              values_);
    po::notify(values_);
  } catch (const po::unknown_option& fault) {
    refuse_unknown(fault.get_option_name());
  } catch (const po::too_many_positional_options_error&) {
    throw_usage("too many arguments: " + usage_.substr(0, usage_.find('\n')));
  } catch (const po::error& fault) {
    throw_usage(fault.what());
  }
  require_threads(threads());
  return true;
}

std::optional<std::string> CommandLine::maybe_text(const std::string& name) const {
  if (values_.count(name) == 0) return std::nullopt;
  const auto* many = boost::any_cast<std::vector<std::string>>(&values_[name].value());
  return many ? many->front() : values_[name].as<std::string>();
}

std::vector<std::string> CommandLine::texts(const std::string& name) const {
  return values_.count(name) == 0 ? std::vector<std::string>() : values_[name].as<std::vector<std::string>>();
}

std::vector<int> CommandLine::numbers(const std::string& name) const {
  return values_.count(name) == 0 ? std::vector<int>() : values_[name].as<std::vector<int>>();
}

int CommandLine::count(const std::string& name, int least) const {
  if (values_.count(name) == 0) return 0;
  const int value = values_[name].as<int>();
  if (value < least) throw_usage(fmt::format("--{} {}: expected at least {}", name, value, least));
  return value;
}

int CommandLine::threads() const {
  if (values_.count("threads") == 0) return 0;
  const int threads = values_["threads"].as<int>();
  if (threads < 1 || threads > kMostThreads)
    throw_usage(fmt::format("--threads {}: expected 1 to {}", threads, kMostThreads));
  return threads;
}

std::string CommandLine::help() const {
  std::ostringstream options;
  options << visible_;
  return fmt::format("{}\n\nUsage: {}\n\n{}{}{}\n", summary_, usage_, options.str(),
                     text_.empty() ? "" : "\n", text_);
}

void CommandLine::refuse_unknown(const std::string& option) const {
  std::vector<std::string> known;
  for (const auto& description : visible_.options()) known.push_back("--" + description->long_name());
  const auto meant = nearest(option, known);
  throw_usage("unknown option '" + option + "'" +
              (meant ? ": did you mean '" + *meant + "'?" : ": see --help"));
}

void add_selection_options(CommandLine& line) {
  line.options()("include", po::value<std::vector<std::string>>()->composing()->value_name("PATTERN"),
                 "only these tensors, whatever the architecture says: a glob, or re:REGEX, on the whole name "
                 "(may be repeated)")(
      "exclude", po::value<std::vector<std::string>>()->composing()->value_name("PATTERN"),
      "never these tensors (may be repeated)");
}

void add_output_options(CommandLine& line) {
  line.options()("output,o", po::value<std::string>()->value_name("OUT"), "where to write the result")(
      "force,f", po::bool_switch(), "replace an existing OUT")(
      "resume", po::bool_switch(),
      "take over the shards that a killed run of the same command finished; if this run is interrupted, keep "
      "its finished shards too");
}

void add_running_options(CommandLine& line) {
  line.options()("threads,t", po::value<int>()->value_name("N"), "threads (default: all processors)")(
      "json", po::bool_switch(), "print one JSON document instead of a table")(
      "quiet,q", po::bool_switch(), "no progress and no notes on stderr")("help,h", "print this help")(
      "version", "print the version");
}

}  // namespace prune::app
