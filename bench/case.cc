#include "bench/case.h"

#include <charconv>

#include "kernels/sparse/isa.h"

namespace prune::bench {
namespace {

constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kBf16, WeightType::kI8};

// A whole number of at least `least`, and nothing else.
template <class T>
bool read_number(std::string_view text, T least, T& value) {
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  return fault == std::errc() && end == text.data() + text.size() && value >= least;
}

// One part of a name that has a colon.
bool read_key(std::string_view key, std::string_view value, Case& c) {
  if (key == "m") return read_number<int64_t>(value, 1, c.shape.rows);
  if (key == "k") return read_number<int64_t>(value, 1, c.shape.cols);
  if (key == "n") return read_number<int64_t>(value, 1, c.n);
  if (key == "sparsity") return read_number(value, 0, c.percent) && c.percent < 100;
  if (key == "mask") c.mask = value;
  return key == "mask" || key == "isa";
}

bool read_type(std::string_view text, WeightType& type) {
  for (const WeightType candidate : kTypes) {
    if (text != type_name(candidate)) continue;
    type = candidate;
    return true;
  }
  return false;
}

}  // namespace

const char* type_name(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return "f32";
    case WeightType::kF16:
      return "f16";
    case WeightType::kBf16:
      return "bf16";
    case WeightType::kI8:
      break;
  }
  return "i8";
}

std::string name_of(const Case& c) {
  return c.op + "/" + type_name(c.type) + "/isa:" + kernels::isa::level_name(kernels::isa::supported()) +
         "/m:" + std::to_string(c.shape.rows) + "/k:" + std::to_string(c.shape.cols) +
         "/n:" + std::to_string(c.n) + "/sparsity:" + std::to_string(c.percent) +
         (c.mask.empty() ? "" : "/mask:" + c.mask);
}

std::optional<Case> parse_case(std::string_view name) {
  Case c;
  bool has_type = false;
  while (!name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    name.remove_prefix(std::min(slash + 1, name.size()));
    if (part == "manual_time") continue;  // what the library appends
    if (const size_t colon = part.find(':'); colon != std::string_view::npos) {
      if (!read_key(part.substr(0, colon), part.substr(colon + 1), c)) return std::nullopt;
    } else if (!has_type && read_type(part, c.type)) {
      has_type = true;
    } else {
      c.op += (c.op.empty() ? "" : "/") + std::string(part);
    }
  }
  if (c.op.empty() || !has_type || c.shape.rows == 0 || c.shape.cols == 0) return std::nullopt;
  return c;
}

std::optional<Shape> parse_shape(std::string_view text) {
  Shape shape{0, 0};
  const size_t x = text.find('x');
  if (x == std::string_view::npos || !read_number<int64_t>(text.substr(0, x), 1, shape.rows) ||
      !read_number<int64_t>(text.substr(x + 1), 1, shape.cols))
    return std::nullopt;
  return shape;
}

}  // namespace prune::bench
