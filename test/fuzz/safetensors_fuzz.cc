// Any bytes as a safetensors file: they are refused with Error(kInput), or describe tensors that tile the
// data and survive being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "libprune/io/safetensors_header.h"
#include "prune/error.h"

namespace {

using namespace prune;

void require(bool holds) {
  if (!holds) std::abort();
}

bool same(const TensorInfo& a, const TensorInfo& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.begin == b.begin && a.end == b.end;
}

void check(const SafetensorsHeader& header, uint64_t data_size) {
  uint64_t sum = 0;
  for (const TensorInfo& tensor : header.tensors) {
    require(tensor.begin <= tensor.end && tensor.end <= data_size);
    require(tensor.numel() >= 0 && size_in_bytes(tensor.dtype, tensor.shape) == tensor.size_bytes());
    sum += tensor.size_bytes();
  }
  require(sum == data_size);

  const std::string json = safetensors_header_json(header.tensors, header.metadata);
  const SafetensorsHeader again = parse_safetensors_header(json, data_size, "rewritten");
  require(again.metadata == header.metadata && again.tensors.size() == header.tensors.size());
  for (size_t i = 0; i < again.tensors.size(); ++i) require(same(again.tensors[i], header.tensors[i]));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view json =
        find_safetensors_header({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    const uint64_t data_size = size - sizeof(uint64_t) - json.size();
    check(parse_safetensors_header(json, data_size, "fuzz"), data_size);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
