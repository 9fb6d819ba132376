// safetensors files: a strict reader over a memory map, and a writer whose layout is known before the data.
//
// Layout: u64 little-endian N | N bytes of JSON | data. Each JSON entry: name -> {dtype, shape, data_offsets
// [begin, end)} with offsets relative to the data section; `__metadata__` maps strings to strings.
// Source: github.com/huggingface/safetensors, README and tensor.rs.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libprune/io/dtype.h"
#include "libprune/io/mapped_file.h"
#include "libprune/io/name_table.h"
#include "libprune/io/posix.h"

namespace prune {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // empty: rank 0, one element; a zero extent is legal
  uint64_t begin = 0;          // bytes, relative to the data section
  uint64_t end = 0;

  int64_t numel() const;
  uint64_t size_bytes() const { return end - begin; }
};

using Metadata = std::vector<std::pair<std::string, std::string>>;  // in the order of the file

// What the JSON header says, checked against the number of bytes that follow it.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of the JSON keys
  Metadata metadata;
  bool has_metadata = false;
  NameTable<size_t> by_name;  // of the names in `tensors`, which stay where they are
};

// Parses and checks a JSON header. Refuses, as the reference implementation does: text that is not UTF-8 or
// not one JSON object, unknown dtypes, negative or fractional extents, element or byte counts that overflow,
// sub-byte tensors that don't fill whole bytes, a byte range unlike the shape's, ranges that do not tile [0,
// data_size) without holes or overlap. Beyond it, refuses duplicate names or keys (the specification does)
// and more than 64 dimensions. Unknown fields of a tensor are skipped, white space around the object is
// allowed. `where` names the file in messages. Throws Error(kInput).
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_size,
                                           const std::string& where);

class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

  // Maps and checks the whole layout before anything is read from the data. Throws Error(kInput).
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return map_.path(); }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const Metadata& metadata() const { return header_.metadata; }
  bool has_metadata() const { return header_.has_metadata; }
  const std::string* find_metadata(std::string_view key) const;
  const TensorInfo* find(std::string_view name) const;              // nullptr when absent
  std::span<const std::byte> data(const TensorInfo& tensor) const;  // may be misaligned for its type
  std::string_view header_json() const;                             // exactly the N bytes, padding included
  uint64_t data_start() const { return data_start_; }               // 8 + N
  uint64_t file_size() const { return map_.bytes().size(); }
  const MappedFile& map() const { return map_; }

 private:
  MappedFile map_;
  SafetensorsHeader header_;
  uint64_t data_start_ = 0;
};

// Where a new file's tensors lie: in the order of its header, or those of larger elements first, so that
// every tensor is aligned to its type. (No gaps are legal between tensors.)
enum class Placement { kInOrder, kAligned };

// Writes one file whose tensors' types and shapes are known in advance; bytes may come in any order from any
// thread.
class SafetensorsWriter {
 public:
  // The layout of `model` byte for byte: same JSON, same padding, same offsets. Only when its metadata lacks
  // `format` is the header rewritten: keys in the same order, same offsets, `format: pt` added (transformers
  // refuses files whose metadata has no known format), fields that the format does not know left out, padding
  // chosen to keep the data where it was if that is possible. Throws Error(kInput) when the new header would
  // exceed the format's limit.
  SafetensorsWriter(const std::filesystem::path& path, const SafetensorsFile& model);
  // A new layout: begin and end are computed here, the header names the tensors in the given order, is padded
  // with spaces to a multiple of 8, and gets `format: pt` when absent. Throws Error(kUsage) for a repeated or
  // reserved name, or a shape whose size overflows or does not fill whole bytes.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors, Metadata metadata,
                    Placement placement = Placement::kInOrder);
  // Both take the disk space at once, so that a disk too small is known before the work, and throw
  // Error(kRuntime) when the file cannot be made. An older file at `path` is unlinked, never truncated: maps
  // of it stay valid.

  ~SafetensorsWriter() =
      default;  // closes; a file that was not finished stays behind for its owner to remove
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // Writes `bytes` at byte `offset` of tensor number `index`; each byte is to be written once. Thread-safe.
  // Throws Error(kUsage) for bytes outside the tensor, Error(kRuntime) with the system's reason.
  void write(size_t index, uint64_t offset, std::span<const std::byte> bytes);
  // Checks that as many bytes came as were announced (else Error(kUsage)) and closes. Staging::commit() sees
  // to it that they reach the disk.
  void finish();
  uint64_t file_size() const { return file_size_; }

 private:
  void create(std::string_view json);

  std::filesystem::path path_;
  std::vector<TensorInfo> tensors_;
  FileDescriptor fd_;
  uint64_t data_start_ = 0;
  uint64_t data_size_ = 0;
  uint64_t file_size_ = 0;
  std::atomic<uint64_t> written_ = 0;
};

}  // namespace prune
