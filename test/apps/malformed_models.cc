// malformed_models FOLDER: makes every malformed model of the table in a folder of its own and prints what
// there is to open and to expect, as JSON.
#include <cstdio>
#include <exception>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "test/libprune/io/malformed.h"

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: malformed_models FOLDER");
  nlohmann::json list = nlohmann::json::array();
  for (const prune::testing::MalformedCase& c : prune::testing::malformed_cases()) {
    const std::filesystem::path folder = std::filesystem::path(argv[1]) / c.name;
    std::filesystem::create_directories(folder);
    const std::filesystem::path opened = prune::testing::build(c, folder);
    list.push_back({{"name", c.name}, {"opened", opened.native()}, {"file", c.file}, {"message", c.message}});
  }
  std::puts(list.dump(2).c_str());
  return 0;
} catch (const std::exception& fault) {
  std::fprintf(stderr, "malformed_models: %s\n", fault.what());
  return 1;
}
