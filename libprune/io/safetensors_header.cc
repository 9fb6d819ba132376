#include "libprune/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "libprune/io/json.h"
#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr size_t kMaxRank =
    64;  // NumPy's and PyTorch's limit; keeps 100 MB of "0,0,..." from becoming 400 MB of extents

// Takes the header apart while it is read, so that a hostile one never becomes a tree in memory.
class HeaderEvents : public JsonEvents {
 public:
  SafetensorsHeader take() { return std::move(header_); }

  void start_object() override {
    if (state_ == State::kStart) {
      state_ = State::kRoot;
    } else if (state_ == State::kRoot && in_metadata()) {
      state_ = State::kMetadata;
      header_.has_metadata = true;
    } else if (state_ == State::kRoot) {
      state_ = State::kTensor;
      seen_ = 0;
    } else {
      open_ignored();
    }
  }

  void end_object() override {
    if (state_ == State::kIgnored) {
      close_ignored();
    } else if (state_ == State::kTensor) {
      finish_tensor();
      state_ = State::kRoot;
    } else if (state_ == State::kMetadata) {
      state_ = State::kRoot;
    }
  }

  void start_array() override {
    if (state_ == State::kTensor && field_ == kShape) {
      state_ = State::kExtents;
      rank_ = 0;
    } else if (state_ == State::kTensor && field_ == kOffsets) {
      state_ = State::kOffsetPair;
      offset_count_ = 0;
    } else {
      open_ignored();
    }
  }

  void end_array() override {
    if (state_ == State::kIgnored) {
      close_ignored();
    } else {
      if (state_ == State::kOffsetPair && offset_count_ != 2) fail_type();
      if (state_ == State::kExtents) tensor_.shape.assign(extents_.begin(), extents_.begin() + rank_);
      state_ = State::kTensor;
    }
  }

  void key(std::string_view name) override {
    if (state_ == State::kRoot) {
      begin_entry(name);
    } else if (state_ == State::kMetadata) {
      header_.metadata.emplace_back(name, std::string());
    } else if (state_ == State::kTensor) {
      begin_field(name);
    }
  }

  void string(std::string_view value) override {
    if (state_ == State::kMetadata) {
      header_.metadata.back().second = value;
    } else if (state_ == State::kTensor && field_ == kDType) {
      const std::optional<DType> dtype = parse_dtype(value);
      if (!dtype) fail("unknown dtype " + quote_name(value));
      tensor_.dtype = *dtype;
    } else {
      ignore_value();
    }
  }

  void number_unsigned(uint64_t value) override {
    if (state_ == State::kExtents) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail("extent " + std::to_string(value) + " overflows 63 bits");
      }
      if (rank_ == kMaxRank) fail("more than " + std::to_string(kMaxRank) + " dimensions");
      extents_[rank_++] = static_cast<int64_t>(value);
    } else if (state_ == State::kOffsetPair && offset_count_ < 2) {
      (offset_count_++ == 0 ? tensor_.begin : tensor_.end) = value;
    } else {
      ignore_value();
    }
  }

  void null() override {
    // The reference implementation reads `"__metadata__": null` as no metadata.
    if (state_ == State::kRoot && in_metadata()) return;
    ignore_value();
  }
  void boolean(bool) override { ignore_value(); }
  void number_integer(int64_t) override { ignore_value(); }
  void number_float(double) override { ignore_value(); }

 private:
  enum class State { kStart, kRoot, kMetadata, kTensor, kExtents, kOffsetPair, kIgnored };
  enum Field : unsigned { kDType = 1, kShape = 2, kOffsets = 4, kOther = 8 };

  bool in_metadata() const { return tensor_.name == kMetadataKey; }

  void begin_entry(std::string_view name) {
    if (name == kMetadataKey) {
      if (seen_metadata_) throw_input(where() + ": __metadata__ appears twice");
      seen_metadata_ = true;
    }
    tensor_ = TensorInfo();
    tensor_.name = name;
  }

  void begin_field(std::string_view name) {
    field_ = name == "dtype" ? kDType : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : kOther;
    if (field_ != kOther && (seen_ & field_) != 0) fail(std::string(name) + " appears twice");
    seen_ |= field_;
  }

  void finish_tensor() {
    for (const auto& [field, name] :
         {std::pair{kDType, "dtype"}, {kShape, "shape"}, {kOffsets, "data_offsets"}}) {
      if ((seen_ & field) == 0) fail(std::string("has no ") + name);
    }
    header_.tensors.push_back(std::move(tensor_));
  }

  // Fields that the format does not know are skipped with all they hold, as the reference implementation
  // does.
  bool is_ignorable() const {
    return state_ == State::kIgnored || (state_ == State::kTensor && field_ == kOther);
  }

  void ignore_value() const {
    if (!is_ignorable()) fail_type();
  }

  void open_ignored() {
    if (!is_ignorable()) fail_type();
    if (++ignored_depth_ > kMaxJsonDepth)
      fail("JSON nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
    state_ = State::kIgnored;
  }

  void close_ignored() {
    if (--ignored_depth_ == 0) state_ = State::kTensor;
  }

  [[noreturn]] void fail(const std::string& fault) const {
    throw_input(where() + ": tensor " + quote_name(tensor_.name) + ": " + fault);
  }

  // A value of a kind that does not belong here.
  [[noreturn]] void fail_type() const {
    if (state_ == State::kStart) throw_input(where() + ": the header must be a JSON object");
    if (in_metadata()) throw_input(where() + ": __metadata__ must map strings to strings");
    if (state_ == State::kRoot) fail("must be an object with dtype, shape and data_offsets");
    if (field_ == kDType) fail("dtype must be a string");
    if (field_ == kShape) fail("shape must be a list of non-negative integers");
    fail("data_offsets must be two non-negative integers");
  }

  SafetensorsHeader header_;
  State state_ = State::kStart;
  TensorInfo tensor_;  // the entry being read; its name is __metadata__ there
  Field field_ = kOther;
  unsigned seen_ = 0;                      // fields of this entry
  std::array<int64_t, kMaxRank> extents_;  // of the shape being read
  size_t rank_ = 0;
  unsigned offset_count_ = 0;
  size_t ignored_depth_ = 0;
  bool seen_metadata_ = false;
};

std::string byte_range(const TensorInfo& tensor) {
  return "bytes [" + std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) + ")";
}

[[noreturn]] void fail_range(const TensorInfo& tensor, const std::string& where, const std::string& fault) {
  throw_input(where + ": tensor " + quote_name(tensor.name) + ": " + byte_range(tensor) + ' ' + fault);
}

void check_size(const TensorInfo& tensor, const std::string& where) {
  if (tensor.end < tensor.begin) fail_range(tensor, where, "end before they begin");
  const std::optional<uint64_t> size = size_in_bytes(tensor.dtype, tensor.shape);
  if (size == tensor.size_bytes()) return;
  const std::string type = to_string(tensor.shape) + " of " + std::string(name(tensor.dtype));
  if (size) fail_range(tensor, where, "do not match shape " + type + " (" + in_bytes(*size) + ")");
  const bool may_split_bytes = bits(tensor.dtype) % 8 != 0;
  throw_input(where + ": tensor " + quote_name(tensor.name) + ": shape " + type + " overflows 64 bits" +
              (may_split_bytes ? " or does not fill whole bytes" : ""));
}

// The tensors, whatever their order in the JSON, must cover [0, data_size) exactly.
void check_tiling(const std::vector<TensorInfo>& tensors, uint64_t data_size, const std::string& where) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t covered = 0;
  const TensorInfo* previous = nullptr;
  for (const TensorInfo* tensor : by_offset) {
    if (tensor->begin < covered) {
      fail_range(*tensor, where,
                 "overlap those of tensor " + quote_name(previous->name) + ", " + byte_range(*previous));
    }
    if (tensor->begin > covered) {
      fail_range(*tensor, where, "leave a hole of " + in_bytes(tensor->begin - covered) + " before them");
    }
    covered = tensor->end;
    previous = tensor;
  }
  if (covered > data_size) {
    throw_input(where + ": the tensors need " + in_bytes(covered) + " of data, the file has " +
                std::to_string(data_size) + ": truncated?");
  }
  if (covered < data_size) {
    throw_input(where + ": the file goes on for " + in_bytes(data_size - covered) + " after the last tensor");
  }
}

// The tensors by name.
NameTable<size_t> check_names(const SafetensorsHeader& header, const std::string& where) {
  NameTable<size_t> names(header.tensors.size());
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const std::string& name = header.tensors[i].name;
    if (names.insert(name, i) != nullptr)
      throw_input(where + ": tensor " + quote_name(name) + " appears twice");
  }
  NameTable<size_t> keys(header.metadata.size());
  for (size_t i = 0; i < header.metadata.size(); ++i) {
    const std::string& key = header.metadata[i].first;
    if (keys.insert(key, i) != nullptr)
      throw_input(where + ": __metadata__ key " + quote_name(key) + " appears twice");
  }
  return names;
}

// Appends `text` as a JSON string.
void append_string(std::string& out, const std::string& text) {
  if (find_invalid_utf8(text) != std::string_view::npos)
    throw_usage(quote_name(text) + " is not UTF-8 and cannot be written");
  out += nlohmann::json(text).dump();
}

}  // namespace

std::string_view find_safetensors_header(std::span<const std::byte> file, const std::string& where) {
  constexpr std::string_view kLfsPointer = "version https://git-lfs";
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  uint64_t length = 0;
  if (file.size() < sizeof length) {
    throw_input(where + ": a safetensors file starts with the 8 bytes of its header's length, this one has " +
                in_bytes(file.size()) + ": truncated?");
  }
  if (text.starts_with(kLfsPointer)) {
    throw_input(where + ": a Git LFS pointer in place of the file: run 'git lfs pull' there");
  }
  for (size_t i = 0; i < sizeof length; ++i) length |= static_cast<uint64_t>(file[i]) << 8 * i;
  if (length > SafetensorsFile::kMaxHeaderBytes) {
    throw_input(where + ": header length " + std::to_string(length) + " exceeds the limit of " +
                std::to_string(SafetensorsFile::kMaxHeaderBytes) + " bytes: no safetensors file?");
  }
  if (length > file.size() - sizeof length) {
    throw_input(where + ": a header of " + std::to_string(length) + " bytes does not fit into the file's " +
                std::to_string(file.size()) + ": truncated?");
  }
  return text.substr(sizeof length, static_cast<size_t>(length));
}

std::optional<uint64_t> size_in_bytes(DType dtype, std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  }
  uint64_t bit_count = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(count), static_cast<uint64_t>(bits(dtype)), &bit_count)) {
    return std::nullopt;
  }
  if (bit_count % 8 != 0) return std::nullopt;
  return bit_count / 8;
}

std::string to_string(std::span<const int64_t> shape) {
  constexpr size_t kShownExtents = 8;
  std::string out = "[";
  for (size_t i = 0; i < std::min(shape.size(), kShownExtents); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(shape[i]);
  }
  if (shape.size() > kShownExtents) out += ", ... " + std::to_string(shape.size()) + " extents";
  return out + "]";
}

int64_t TensorInfo::numel() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_size,
                                           const std::string& where) {
  HeaderEvents events;
  events.parse(json, where);
  SafetensorsHeader header = events.take();
  for (const TensorInfo& tensor : header.tensors) check_size(tensor, where);
  header.by_name = check_names(header, where);
  check_tiling(header.tensors, data_size, where);
  return header;
}

std::string safetensors_header_json(const std::vector<TensorInfo>& tensors, const Metadata& metadata) {
  std::string out = "{";
  if (!metadata.empty()) {
    out += "\"__metadata__\":{";
    for (size_t i = 0; i < metadata.size(); ++i) {
      if (i > 0) out += ',';
      append_string(out, metadata[i].first);
      out += ':';
      append_string(out, metadata[i].second);
    }
    out += '}';
  }
  for (const TensorInfo& tensor : tensors) {
    if (out.size() > 1) out += ',';
    append_string(out, tensor.name);
    out += ":{\"dtype\":\"";
    out += name(tensor.dtype);
    out += "\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      if (i > 0) out += ',';
      out += std::to_string(tensor.shape[i]);
    }
    out += "],\"data_offsets\":[" + std::to_string(tensor.begin) + ',' + std::to_string(tensor.end) + "]}";
  }
  return out + "}";
}

}  // namespace prune
