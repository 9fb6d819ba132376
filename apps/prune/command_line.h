// Reading a command's arguments with Boost.Program_options: no guessed abbreviations, the nearest option on a
// typo.
#pragma once

#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <vector>

namespace prune::app {

namespace po = boost::program_options;

using Arguments = std::vector<std::string>;

class CommandLine {
 public:
  // `usage`: the lines under "Usage:"; `text`: what follows the options in --help (tables, examples).
  CommandLine(std::string usage, std::string summary, std::string text);

  // For chained (name, value, description) calls.
  po::options_description_easy_init options() { return visible_.add_options(); }
  // The positional arguments in order; the last takes all that follow when `many`.
  void positional(const std::string& name, bool many = false);

  // False when --help or --version was asked for and printed. Throws Error(kUsage), and Error(kRuntime) when
  // the machine cannot start the threads that the command would use.
  bool parse(const Arguments& arguments);

  bool has(const std::string& name) const { return values_.count(name) > 0 && !values_[name].defaulted(); }
  bool flag(const std::string& name) const { return values_[name].as<bool>(); }
  std::string text(const std::string& name) const { return values_[name].as<std::string>(); }
  std::optional<std::string> maybe_text(const std::string& name) const;
  std::optional<double> maybe_number(const std::string& name) const { return maybe<double>(name); }
  template <class T>
  T get(const std::string& name) const {
    return values_[name].as<T>();
  }
  template <class T>
  std::optional<T> maybe(const std::string& name) const {
    if (values_.count(name) == 0) return std::nullopt;
    return values_[name].as<T>();
  }
  std::vector<std::string> texts(const std::string& name) const;
  std::vector<int> numbers(const std::string& name) const;
  // A whole number of at least `least`; 0 when not given. Throws Error(kUsage).
  int count(const std::string& name, int least) const;
  // --threads, checked; 0 when not given.
  int threads() const;

 private:
  std::string help() const;
  [[noreturn]] void refuse_unknown(const std::string& option) const;

  std::string usage_;
  std::string summary_;
  std::string text_;
  po::options_description visible_;
  po::options_description hidden_;
  po::positional_options_description positions_;
  po::variables_map values_;
};

// The candidate that `word` begins, or else the closest by edits when it is close enough to be what was
// meant.
std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates);

// Options that several commands share.
void add_selection_options(CommandLine& line);  // --include, --exclude
void add_output_options(CommandLine& line);     // -o, --force, --resume
void add_running_options(CommandLine& line);    // --threads, --json, --quiet, --help

}  // namespace prune::app
