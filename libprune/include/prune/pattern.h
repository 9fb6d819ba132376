// Which masks are allowed: the sparsity patterns, their spelling, and the check that a mask keeps to one.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <prune/error.h>
#include <prune/mask.h>

namespace prune {

// Any weight may go.
struct Unstructured {
  friend bool operator==(const Unstructured&, const Unstructured&) = default;
};

// Keeps `keep` of every `group` consecutive weights of a row, 1 <= keep < group <= 32: NVIDIA's reading of
// N:M. (SparseGPT and Wanda count the pruned ones; the two agree for 2:4 and 4:8 and disagree for 1:4.)
struct NM {
  int keep = 2;
  int group = 4;
  friend bool operator==(const NM&, const NM&) = default;
};

// Tiles of rows x cols weights go or stay as one.
struct Block {
  int rows = 16;
  int cols = 16;
  friend bool operator==(const Block&, const Block&) = default;
};

using Pattern = std::variant<Unstructured, NM, Block>;

// Over what an unstructured or block pattern shares its sparsity: every row alone, every matrix alone, or the
// whole model.
enum class Scope { kRow, kLayer, kGlobal };

inline constexpr int kMaxGroup = 32;
inline constexpr int kMaxBlock = 1024;

inline std::string to_string(const Pattern& pattern) {
  struct Spelling {
    std::string operator()(Unstructured) const { return "unstructured"; }
    std::string operator()(NM p) const { return std::to_string(p.keep) + ":" + std::to_string(p.group); }
    std::string operator()(Block p) const { return std::to_string(p.rows) + "x" + std::to_string(p.cols); }
  };
  return std::visit(Spelling{}, pattern);
}

// The pattern in words, for people: "keep 2 of every 4".
inline std::string describe(const Pattern& pattern) {
  struct Words {
    std::string operator()(Unstructured) const { return "any weight may go"; }
    std::string operator()(NM p) const {
      return "keep " + std::to_string(p.keep) + " of every " + std::to_string(p.group);
    }
    std::string operator()(Block p) const {
      return "blocks of " + std::to_string(p.rows) + " rows x " + std::to_string(p.cols) + " columns";
    }
  };
  return std::visit(Words{}, pattern);
}

namespace detail {

// "2:4" -> {2, 4} for the separator ':'; nothing when the text is not two plain numbers.
inline std::optional<std::pair<int, int>> parse_two_numbers(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view digits) -> std::optional<int> {
    int value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, fault] = std::from_chars(digits.data(), end, value);
    if (fault != std::errc() || stop != end || digits.front() == '-') return std::nullopt;
    return value;
  };
  const auto first = number(text.substr(0, at));
  const auto second = number(text.substr(at + 1));
  if (!first || !second) return std::nullopt;
  return std::pair(*first, *second);
}

}  // namespace detail

// Why a pattern is none: N:M needs 1 <= N < M <= 32, a block 1 to 1024 rows and columns. Nothing for one that
// is.
inline std::optional<std::string> invalid_reason(const Pattern& pattern) {
  const NM* nm = std::get_if<NM>(&pattern);
  if (nm && (nm->keep < 1 || nm->keep >= nm->group || nm->group > kMaxGroup)) {
    return "N:M keeps N of every M weights, with 1 <= N < M <= " + std::to_string(kMaxGroup);
  }
  const Block* block = std::get_if<Block>(&pattern);
  if (block && (block->rows < 1 || block->cols < 1 || block->rows > kMaxBlock || block->cols > kMaxBlock)) {
    return "a block has 1 to " + std::to_string(kMaxBlock) + " rows and columns";
  }
  return std::nullopt;
}

// Throws Error(kUsage) for a pattern that is none.
inline void require_valid(const Pattern& pattern) {
  if (const auto reason = invalid_reason(pattern))
    throw_usage("pattern " + to_string(pattern) + ": " + *reason);
}

// "unstructured", "2:4" (keep 2 of every 4), "16x16" (blocks of 16 rows x 16 columns). Throws Error(kUsage).
inline Pattern parse_pattern(std::string_view text) {
  std::optional<Pattern> pattern;
  if (text == "unstructured") pattern = Unstructured{};
  if (const auto nm = detail::parse_two_numbers(text, ':')) pattern = NM{nm->first, nm->second};
  if (const auto block = detail::parse_two_numbers(text, 'x')) pattern = Block{block->first, block->second};
  std::optional<std::string> fault = "expected unstructured, N:M such as 2:4, or ROWSxCOLS such as 16x16";
  if (pattern) fault = invalid_reason(*pattern);
  if (fault) throw_usage("pattern '" + std::string(text.substr(0, 40)) + "': " + *fault);
  return *pattern;
}

// "row", "layer", "global". Throws Error(kUsage).
inline Scope parse_scope(std::string_view text) {
  if (text == "row") return Scope::kRow;
  if (text == "layer") return Scope::kLayer;
  if (text == "global") return Scope::kGlobal;
  throw_usage("scope '" + std::string(text.substr(0, 40)) + "': expected row, layer or global");
}

// The sparsity that the pattern alone decides: 1 - N/M; nothing where it is free.
inline std::optional<double> implied_sparsity(const Pattern& pattern) {
  if (const NM* nm = std::get_if<NM>(&pattern)) return 1.0 - double(nm->keep) / nm->group;
  return std::nullopt;
}

namespace detail {

// "0.5", "0.6667": as people write it.
inline std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

}  // namespace detail

// The sparsity to work with: the given one, checked against [0, 1) and the pattern, or the implied one.
// Throws Error(kUsage).
inline double resolve_sparsity(const Pattern& pattern, std::optional<double> given) {
  require_valid(pattern);
  const std::optional<double> implied = implied_sparsity(pattern);
  if (!given && !implied) throw_usage("pattern " + to_string(pattern) + " needs a sparsity, for example 0.5");
  if (!given) return *implied;
  if (!(*given >= 0.0 && *given < 1.0)) {
    throw_usage("sparsity " + detail::short_number(*given) + ": expected 0 <= sparsity < 1");
  }
  // As precise as a message shows it: 0.6667 for 1:3.
  if (implied && std::abs(*given - *implied) > 5e-4) {
    throw_usage("pattern " + to_string(pattern) + " means sparsity " + detail::short_number(*implied) + " (" +
                describe(pattern) + "), not " + detail::short_number(*given));
  }
  return implied.value_or(*given);
}

// Why a matrix of this shape can't take the pattern: the pattern is none, or the shape is no multiple of it.
// Nothing when it can.
inline std::optional<std::string> misfit(const Pattern& pattern, Index rows, Index cols) {
  if (auto reason = invalid_reason(pattern)) return reason;
  if (const NM* nm = std::get_if<NM>(&pattern); nm && cols % nm->group != 0) {
    return std::to_string(cols) + " columns are not a multiple of " + std::to_string(nm->group);
  }
  const Block* block = std::get_if<Block>(&pattern);
  if (block && rows % block->rows != 0) {
    return std::to_string(rows) + " rows are not a multiple of " + std::to_string(block->rows);
  }
  if (block && cols % block->cols != 0) {
    return std::to_string(cols) + " columns are not a multiple of " + std::to_string(block->cols);
  }
  return std::nullopt;
}

// Throws Error(kUsage) for a pattern that is none, Error(kInput) for a shape that can't take it.
inline void require_fit(const Pattern& pattern, Index rows, Index cols) {
  require_valid(pattern);
  if (const auto reason = misfit(pattern, rows, cols)) {
    throw_input("pattern " + to_string(pattern) + ": " + *reason);
  }
}

namespace detail {

inline bool satisfies_nm(const Mask& mask, NM pattern) {
  for (Index i = 0; i < mask.rows(); ++i) {
    for (Index j = 0; j < mask.cols(); j += pattern.group) {
      if (mask.count_in_row(i, j, j + pattern.group) > pattern.keep) return false;
    }
  }
  return true;
}

inline bool satisfies_block(const Mask& mask, Block pattern) {
  for (Index i = 0; i < mask.rows(); ++i) {
    const Index top = i - i % pattern.rows;
    for (Index j = 0; j < mask.cols(); ++j) {
      if (mask(i, j) != mask(top, j - j % pattern.cols)) return false;
    }
  }
  return true;
}

}  // namespace detail

// True when the mask keeps at most N of every M (N:M), or each block whole or not at all, and its shape fits
// the pattern; so no mask satisfies a pattern that is none.
inline bool satisfies(const Mask& mask, const Pattern& pattern) {
  if (misfit(pattern, mask.rows(), mask.cols())) return false;
  if (const NM* nm = std::get_if<NM>(&pattern)) return detail::satisfies_nm(mask, *nm);
  if (const Block* block = std::get_if<Block>(&pattern)) return detail::satisfies_block(mask, *block);
  return true;
}

}  // namespace prune
