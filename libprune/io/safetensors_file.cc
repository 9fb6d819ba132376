#include "libprune/io/safetensors.h"
#include "libprune/io/safetensors_header.h"
#include "libprune/io/text.h"

namespace prune {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : map_(path) {
  const std::string where = shown(path);
  const std::string_view json = find_safetensors_header(map_.bytes(), where);
  data_start_ = sizeof(uint64_t) + json.size();
  header_ = parse_safetensors_header(json, file_size() - data_start_, where);
  // Its pages need not stay resident: whoever wants the text again reads it from the file.
  map_.done_with(0, data_start_);
}

const std::string* SafetensorsFile::find_metadata(std::string_view key) const {
  for (const auto& [name, value] : metadata()) {
    if (name == key) return &value;
  }
  return nullptr;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const size_t* found = header_.by_name.find(name);
  return found == nullptr ? nullptr : &tensors()[*found];
}

std::span<const std::byte> SafetensorsFile::data(const TensorInfo& tensor) const {
  return map_.bytes().subspan(data_start_ + tensor.begin, tensor.size_bytes());
}

std::string_view SafetensorsFile::header_json() const {
  const std::span<const std::byte> header =
      map_.bytes().subspan(sizeof(uint64_t), data_start_ - sizeof(uint64_t));
  return {reinterpret_cast<const char*>(header.data()), header.size()};
}

}  // namespace prune
