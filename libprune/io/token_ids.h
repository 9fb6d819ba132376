// Texts that are already token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace prune {

// The ids of a .npy file (one dimension) or a .safetensors file (the tensor named input_ids, or the only one;
// one or two dimensions, rows joined in their order). Any integer type of 8 to 64 bits. Throws Error(kInput)
// for anything else, and for values outside 0 to 2^31 - 1.
std::vector<int32_t> read_token_ids(const std::filesystem::path& path);

// True for the file names that read_token_ids() reads.
bool holds_token_ids(const std::filesystem::path& path);

// Throws Error(kInput), naming the first id outside 0 to vocabulary_size - 1. `where` names the text.
void check_token_ids(std::span<const int32_t> ids, int64_t vocabulary_size, const std::string& where);

}  // namespace prune
