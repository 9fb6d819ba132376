// The tokens that end a text of a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace prune {

// `eos_token_id` of generation_config.json, which is where chat models name more than one, else of
// config.json; a number or a list of numbers. Empty where neither has it. Throws Error(kInput) for other
// values.
std::vector<int32_t> stop_ids_of(const std::filesystem::path& model_folder);
std::vector<int32_t> stop_ids_of(const nlohmann::json& config, const std::string& where);

}  // namespace prune
