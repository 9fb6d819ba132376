#include "libprune/model/runtime/stop_ids.h"

#include <limits>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "libprune/io/json.h"
#include "libprune/io/text.h"

namespace prune {
namespace {

bool is_id(const nlohmann::json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(std::numeric_limits<int32_t>::max());
}

}  // namespace

std::vector<int32_t> stop_ids_of(const nlohmann::json& config, const std::string& where) {
  const auto found = config.is_object() ? config.find("eos_token_id") : config.end();
  if (found == config.end() || found->is_null()) return {};
  const nlohmann::json list = found->is_array() ? *found : nlohmann::json::array({*found});
  std::vector<int32_t> ids;
  for (const nlohmann::json& id : list) {
    if (!is_id(id)) throw_input(where + ": 'eos_token_id' is neither a token id nor a list of them");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

std::vector<int32_t> stop_ids_of(const std::filesystem::path& model_folder) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::filesystem::path file = model_folder / name;
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) continue;
    std::vector<int32_t> ids = stop_ids_of(read_json_file(file), shown(file));
    if (!ids.empty()) return ids;
  }
  return {};
}

}  // namespace prune
