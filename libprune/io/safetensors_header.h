// The parts of the safetensors format that need no file: finding the header, checking it, writing it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/safetensors.h"

namespace prune {

// The N bytes of JSON of a file's image, once N has been checked against the limit and the file's size.
// Throws Error(kInput).
std::string_view find_safetensors_header(std::span<const std::byte> file, const std::string& where);

// Bytes of a tensor: product of the extents times the bits of one element over 8. Empty when a factor or
// product leaves its 64 bits, or the elements do not fill whole bytes. As in the reference implementation a
// zero extent does not excuse an overflow before it.
std::optional<uint64_t> size_in_bytes(DType dtype, std::span<const int64_t> shape);

// `[4096, 11008]`, long ones cut.
std::string to_string(std::span<const int64_t> shape);

// The header in its usual spelling: no spaces, __metadata__ first, keys in the order of `tensors`; not
// padded. Throws Error(kUsage) when a name or text is not UTF-8.
std::string safetensors_header_json(const std::vector<TensorInfo>& tensors, const Metadata& metadata);

}  // namespace prune
