#include "libprune/io/token_ids.h"

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "libprune/io/mapped_file.h"
#include "libprune/io/npy.h"
#include "libprune/io/safetensors.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace {

template <typename T>
std::vector<int32_t> convert(std::span<const std::byte> data, const std::string& where) {
  std::vector<int32_t> ids(data.size() / sizeof(T));
  for (size_t i = 0; i < ids.size(); ++i) {
    T value{};
    std::memcpy(&value, data.data() + i * sizeof(T), sizeof(T));
    if (std::cmp_less(value, 0) || std::cmp_greater(value, std::numeric_limits<int32_t>::max())) {
      throw_input(where + ": element " + std::to_string(i) + " is " + std::to_string(value) +
                  ", which is no token id");
    }
    ids[i] = static_cast<int32_t>(static_cast<std::make_unsigned_t<T>>(value));
  }
  return ids;
}

std::vector<int32_t> to_ids(DType dtype, std::span<const std::byte> data, const std::string& where) {
  switch (dtype) {
    case DType::kI8:
      return convert<int8_t>(data, where);
    case DType::kU8:
      return convert<uint8_t>(data, where);
    case DType::kI16:
      return convert<int16_t>(data, where);
    case DType::kU16:
      return convert<uint16_t>(data, where);
    case DType::kI32:
      return convert<int32_t>(data, where);
    case DType::kU32:
      return convert<uint32_t>(data, where);
    case DType::kI64:
      return convert<int64_t>(data, where);
    case DType::kU64:
      return convert<uint64_t>(data, where);
    default:
      throw_input(where + ": " + std::string(name(dtype)) + " elements, but token ids are integers");
  }
}

std::vector<int32_t> read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string where = shown(path);
  const NpyArray array = parse_npy(file.bytes(), where);
  if (array.shape.size() != 1) {
    throw_input(where + ": an array of " + std::to_string(array.shape.size()) +
                " dimensions, but token ids are one sequence: save it with ravel()");
  }
  return to_ids(array.dtype, array.data, where);
}

const TensorInfo& ids_tensor(const SafetensorsFile& file, const std::string& where) {
  if (const TensorInfo* named = file.find("input_ids"); named != nullptr) return *named;
  if (file.tensors().size() == 1) return file.tensors().front();
  throw_input(where + ": has " + std::to_string(file.tensors().size()) +
              " tensors, none of them named input_ids");
}

std::vector<int32_t> read_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const TensorInfo& tensor = ids_tensor(file, shown(path));
  const std::string where = shown(path) + ": tensor " + quote_name(tensor.name);
  if (tensor.shape.empty() || tensor.shape.size() > 2) {
    throw_input(where + " has " + std::to_string(tensor.shape.size()) +
                " dimensions, but token ids have one or two");
  }
  return to_ids(tensor.dtype, file.data(tensor), where);
}

}  // namespace

std::vector<int32_t> read_token_ids(const std::filesystem::path& path) {
  if (path.extension() == ".npy") return read_npy(path);
  if (path.extension() == ".safetensors") return read_safetensors(path);
  throw_input(shown(path) + ": token ids are read from .npy and .safetensors files");
}

bool holds_token_ids(const std::filesystem::path& path) {
  return path.extension() == ".npy" || path.extension() == ".safetensors";
}

void check_token_ids(std::span<const int32_t> ids, int64_t vocabulary_size, const std::string& where) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocabulary_size) continue;
    throw_input(where + ": token " + std::to_string(i) + " has id " + std::to_string(ids[i]) +
                ", the model's vocabulary has " + std::to_string(vocabulary_size) +
                " entries: was the text tokenised for another model?");
  }
}

}  // namespace prune
