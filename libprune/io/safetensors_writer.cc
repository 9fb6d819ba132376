#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <limits>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "libprune/io/safetensors.h"
#include "libprune/io/safetensors_header.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace {

constexpr size_t kHeaderAlignment = 8;

size_t round_up(size_t size) { return (size + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment; }

void add_format(Metadata& metadata) {
  const bool there =
      std::any_of(metadata.begin(), metadata.end(), [](const auto& m) { return m.first == "format"; });
  if (!there) metadata.emplace_back("format", "pt");
}

std::string header_like(const SafetensorsFile& model) {
  if (model.find_metadata("format") != nullptr) return std::string(model.header_json());
  Metadata metadata = model.metadata();
  add_format(metadata);
  std::string json = safetensors_header_json(model.tensors(), metadata);
  json.resize(round_up(std::max(json.size(), model.header_json().size())), ' ');
  if (json.size() > SafetensorsFile::kMaxHeaderBytes) {
    throw_input(shown(model.path()) +
                ": no room in the header for the metadata 'format: pt', which the output needs");
  }
  return json;
}

// Puts the tensors one after the other, and says how much they take.
uint64_t lay_out(std::vector<TensorInfo>& tensors, Placement placement) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (placement == Placement::kAligned)
    std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return bits(tensors[i].dtype); });
  std::unordered_set<std::string_view> names;
  uint64_t offset = 0;
  for (const size_t i : order) {
    TensorInfo& tensor = tensors[i];
    const std::string subject = "tensor " + quote_name(tensor.name) + ": ";
    if (!names.insert(tensor.name).second) throw_usage(subject + "the name is there already");
    if (tensor.name == "__metadata__") throw_usage(subject + "the name is reserved");
    const std::optional<uint64_t> size = size_in_bytes(tensor.dtype, tensor.shape);
    tensor.begin = offset;
    // Offsets stay below 2^63, where the file system's own end.
    if (!size || *size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - offset) {
      throw_usage(subject + "shape " + to_string(tensor.shape) + " of " + std::string(name(tensor.dtype)) +
                  " overflows or does not fill whole bytes");
    }
    tensor.end = offset += *size;
  }
  return offset;
}

// Takes `size` bytes of disk at once where the file system can; elsewhere (EOPNOTSUPP) only sets the size.
void reserve(int fd, uint64_t size, const std::filesystem::path& path) {
  int result;
  do {
    result = ::fallocate(fd, 0, 0, static_cast<off_t>(size));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno == EOPNOTSUPP) result = ::ftruncate(fd, static_cast<off_t>(size));
  if (result != 0) throw_system_error("writing", path, errno);
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const SafetensorsFile& model)
    : path_(path), tensors_(model.tensors()) {
  data_size_ = model.file_size() - model.data_start();
  create(header_like(model));
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                     Metadata metadata, Placement placement)
    : path_(path), tensors_(std::move(tensors)) {
  data_size_ = lay_out(tensors_, placement);
  add_format(metadata);
  std::string json = safetensors_header_json(tensors_, metadata);
  json.resize(round_up(json.size()), ' ');
  if (json.size() > SafetensorsFile::kMaxHeaderBytes) {
    throw_usage(shown(path) + ": a header of " + std::to_string(json.size()) +
                " bytes exceeds the format's limit");
  }
  create(json);
}

void SafetensorsWriter::create(std::string_view json) {
  std::array<std::byte, sizeof(uint64_t)> length;
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<std::byte>(json.size() >> 8 * i);
  data_start_ = length.size() + json.size();
  file_size_ = data_start_ + data_size_;

  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) throw_system_error("replacing", path_, errno);
  fd_ = FileDescriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd_.is_open()) throw_system_error("creating", path_, errno);
  reserve(fd_.get(), file_size_, path_);
  write_all(fd_.get(), 0, length, path_);
  write_all(fd_.get(), length.size(), std::as_bytes(std::span(json)), path_);
}

void SafetensorsWriter::write(size_t index, uint64_t offset, std::span<const std::byte> bytes) {
  const bool inside = index < tensors_.size() && offset <= tensors_[index].size_bytes() &&
                      bytes.size() <= tensors_[index].size_bytes() - offset;
  if (!inside) {
    throw_usage(shown(path_) + ": " + std::to_string(bytes.size()) + " bytes at offset " +
                std::to_string(offset) + " lie outside of tensor number " + std::to_string(index));
  }
  const uint64_t place = data_start_ + tensors_[index].begin + offset;
  write_all(fd_.get(), place, bytes, path_);
  start_write_back(fd_.get(), place, bytes.size());
  written_.fetch_add(bytes.size(), std::memory_order_relaxed);
}

void SafetensorsWriter::finish() {
  const uint64_t written = written_.load(std::memory_order_relaxed);
  if (written != data_size_) {
    throw_usage(shown(path_) + ": " + std::to_string(written) + " bytes of tensors were written, " +
                std::to_string(data_size_) + " announced");
  }
  fd_.reset();
}

}  // namespace prune
