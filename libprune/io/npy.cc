#include "libprune/io/npy.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMostDimensions = 32;  // NumPy's own limit

constexpr std::array<std::pair<std::string_view, DType>, 8> kElementTypes{{
    {"|i1", DType::kI8},
    {"|u1", DType::kU8},
    {"<i2", DType::kI16},
    {"<u2", DType::kU16},
    {"<i4", DType::kI32},
    {"<u4", DType::kU32},
    {"<i8", DType::kI64},
    {"<u8", DType::kU64},
}};

DType element_type(std::string_view descr, const std::string& where) {
  for (const auto& [name, dtype] : kElementTypes) {
    if (name == descr) return dtype;
  }
  throw_input(where + ": elements of type " + quote_name(descr) +
              ": only little-endian integers are read; save with astype('<i4')");
}

// Reads the Python dictionary of the header from left to right.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NpyArray read() {
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      read_value(key);
      if (!accept(',') && !next_is('}')) fail();
    }
    skip_spaces();
    if (at_ != text_.size()) fail();
    if (!descr_ || !fortran_order_ || !shape_) fail();
    if (*fortran_order_) {
      throw_input(where_ + ": the array is in Fortran order: save with numpy.ascontiguousarray()");
    }
    return {element_type(*descr_, where_), std::move(*shape_), {}};
  }

 private:
  [[noreturn]] void fail() const {
    throw_input(where_ + ": not a header that NumPy writes: " + quote_name(text_));
  }

  void read_value(std::string_view key) {
    if (key == "descr" && !descr_) {
      descr_ = string();
    } else if (key == "fortran_order" && !fortran_order_) {
      fortran_order_ = boolean();
    } else if (key == "shape" && !shape_) {
      shape_ = tuple();
    } else {
      fail();
    }
  }

  std::string_view string() {
    expect('\'');
    const size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) fail();
    const std::string_view value = text_.substr(at_, end - at_);
    if (value.find('\\') != std::string_view::npos) fail();
    at_ = end + 1;
    return value;
  }

  bool boolean() {
    skip_spaces();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    fail();
  }

  std::vector<int64_t> tuple() {
    std::vector<int64_t> extents;
    expect('(');
    while (!accept(')')) {
      if (extents.size() == kMostDimensions) throw_input(where_ + ": more than 32 dimensions");
      extents.push_back(extent());
      if (accept(',')) continue;
      // One element without its comma is no tuple.
      if (!next_is(')') || extents.size() == 1) fail();
    }
    return extents;
  }

  int64_t extent() {
    skip_spaces();
    const size_t begin = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const int digit = text_[at_] - '0';
      if (value > (std::numeric_limits<int64_t>::max() - digit) / 10) {
        throw_input(where_ + ": an extent beyond 64 bits");
      }
      value = value * 10 + digit;
    }
    if (at_ == begin) fail();
    return value;
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool next_is(char c) {
    skip_spaces();
    return at_ < text_.size() && text_[at_] == c;
  }

  bool accept(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail();
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  std::optional<std::string_view> descr_;
  std::optional<bool> fortran_order_;
  std::optional<std::vector<int64_t>> shape_;
};

// The bytes of the data, or nothing when 64 bits can't count them.
std::optional<uint64_t> size_in_bytes(const NpyArray& array) {
  uint64_t size = static_cast<uint64_t>(bits(array.dtype)) / 8;
  // An empty array stays empty, however large its other extents are.
  if (std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end()) return 0;
  for (const int64_t extent : array.shape) {
    if (size > std::numeric_limits<uint64_t>::max() / static_cast<uint64_t>(extent)) return std::nullopt;
    size *= static_cast<uint64_t>(extent);
  }
  return size;
}

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  return value;
}

}  // namespace

NpyArray parse_npy(std::span<const std::byte> file, const std::string& where) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!text.starts_with(kMagic)) throw_input(where + ": not a .npy file: it does not begin as one");
  const size_t versions_end = kMagic.size() + 2;
  if (text.size() < versions_end) throw_input(where + ": a .npy file cut off in its header");
  const int major = static_cast<unsigned char>(text[kMagic.size()]);
  if (major < 1 || major > 3 || text[kMagic.size() + 1] != 0) {
    throw_input(where + ": a .npy file of a version that is not known; versions 1.0, 2.0 and 3.0 are");
  }
  const size_t header_begin = versions_end + (major == 1 ? 2 : 4);
  if (text.size() < header_begin) throw_input(where + ": a .npy file cut off in its header");
  const uint64_t header_size = little_endian(text.substr(versions_end, header_begin - versions_end));
  if (header_size > text.size() - header_begin) throw_input(where + ": a .npy file cut off in its header");

  NpyArray array = HeaderReader(text.substr(header_begin, header_size), where).read();
  array.data = file.subspan(header_begin + header_size);
  const std::optional<uint64_t> size = size_in_bytes(array);
  if (size != array.data.size()) {
    throw_input(where + ": the header promises " + (size ? in_bytes(*size) : "more than 2^64 bytes") +
                " of data, the file has " + in_bytes(array.data.size()));
  }
  return array;
}

}  // namespace prune
