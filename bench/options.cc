#include "bench/options.h"

#include <sstream>
#include <stdexcept>

#include <boost/program_options.hpp>

#include "bench/shapes.h"

namespace prune::bench {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

po::options_description descriptions() {
  po::options_description options("What is measured");
  options.add_options()("mode", po::value<std::string>()->default_value("full")->value_name("MODE"),
                        "full: everything; quick: two minutes, 4096x4096 in bf16 with 1 and 128 rows of X")(
      "shapes", po::value<Texts>()->composing()->value_name("SET"),
      "a named set or OUTxIN, may be repeated (default: common and large)")(
      "rows", po::value<std::vector<int64_t>>()->composing()->value_name("N"),
      "rows of X, may be repeated (default: 1, 4, 8, 32, 128 and 512)")(
      "case", po::value<Texts>()->composing()->value_name("NAME"),
      "one case by its name, any shape and sparsity: spmm_nm/bf16/m:3072/k:768/n:5/sparsity:50")(
      "checkpoint", po::value<std::string>()->value_name("DIR"),
      "the shapes of this pruned or packed checkpoint, with the masks of its layers, in every type")(
      "random-masks", po::bool_switch(), "after each mask of --checkpoint a random one of as many zeros")(
      "seconds", po::value<double>()->value_name("S"),
      "for a case at most; less where the median's interval is below 3% before (default: 2, quick 0.5)")(
      "slow-down", po::value<double>()->default_value(1)->value_name("RATIO"),
      "draw every run of the product out to so many times its time: a planted regression, to try gates")(
      "no-pin", po::bool_switch(), "leave it to the system which processor a thread runs on")(
      "no-roof", po::bool_switch(), "don't measure the machine's limits; results have no roofline then");
  return options;
}

std::string sets_in_words() {
  std::string text = "Sets of --shapes:\n";
  for (const ShapeSet& set : shape_sets()) {
    text +=
        "  " + std::string(set.name) + std::string(12 - set.name.size(), ' ') + std::string(set.what) + ":";
    for (const Shape& s : set.shapes) text += " " + std::to_string(s.rows) + "x" + std::to_string(s.cols);
    text += "\n";
  }
  return text;
}

void check(const Options& options) {
  for (const std::string& name : options.shapes) {
    if (find_shape_set(name) == nullptr && !parse_shape(name))
      throw std::runtime_error("--shapes " + name + ": neither a set nor OUTxIN; --help lists the sets");
  }
  for (const int64_t n : options.rows) {
    if (n < 1 || n > 65536) throw std::runtime_error("--rows: expected 1 to 65536");
  }
  if (options.seconds && !(*options.seconds > 0)) throw std::runtime_error("--seconds must be above 0");
  if (!(options.slow_down >= 1)) throw std::runtime_error("--slow-down must be at least 1");
  if (!options.checkpoint.empty() && !options.shapes.empty())
    throw std::runtime_error("--checkpoint has shapes of its own: it goes without --shapes");
  if (options.has_random_masks && options.checkpoint.empty())
    throw std::runtime_error("--random-masks goes with --checkpoint");
  if (!options.cases.empty() &&
      !(options.shapes.empty() && options.rows.empty() && options.checkpoint.empty()))
    throw std::runtime_error("--case says everything: it goes without --shapes, --rows and --checkpoint");
}

}  // namespace

std::string help_text() {
  std::ostringstream text;
  text
      << "spmm_bench [options] [--benchmark_out=FILE] [--benchmark_filter=REGEX] "
         "[--benchmark_repetitions=N]\n\n"
      << "Every sparse product beside oneDNN's dense one and other libraries', in one process. Results are "
         "checked first.\n\n"
      << descriptions() << "\n"
      << sets_in_words()
      << "\nOptions of Google Benchmark: --benchmark_list_tests lists the cases, others are in its manual.\n";
  return text.str();
}

Options read_options(int argc, char** argv) {
  po::variables_map values;
  po::store(po::command_line_parser(argc, argv).options(descriptions()).run(), values);
  const auto mode = values["mode"].as<std::string>();
  if (mode != "quick" && mode != "full") throw std::runtime_error("--mode " + mode + ": quick or full");
  Options options;
  options.is_quick = mode == "quick";
  if (values.count("shapes")) options.shapes = values["shapes"].as<Texts>();
  if (values.count("rows")) options.rows = values["rows"].as<std::vector<int64_t>>();
  if (values.count("case")) options.cases = values["case"].as<Texts>();
  if (values.count("checkpoint")) options.checkpoint = values["checkpoint"].as<std::string>();
  if (values.count("seconds")) options.seconds = values["seconds"].as<double>();
  options.slow_down = values["slow-down"].as<double>();
  options.has_random_masks = values["random-masks"].as<bool>();
  options.has_roof = !values["no-roof"].as<bool>();
  options.is_pinned = !values["no-pin"].as<bool>();
  check(options);
  return options;
}

}  // namespace prune::bench
