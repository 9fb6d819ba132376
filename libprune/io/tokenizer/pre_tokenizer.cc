#include "libprune/io/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "libprune/io/tokenizer/json_fields.h"
#include "libprune/io/tokenizer/normalizer.h"

namespace prune::tokenizer {
namespace {

// Source: Radford et al. 2019, encoder.py.
constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";

Behavior parse_behavior(const Json& split, const std::string& where) {
  const std::string& name = string_at(split, "behavior", where);
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw_unsupported(where, "behavior", name);
}

Metaspace parse_metaspace(const Json& metaspace, const std::string& where) {
  const std::string mark = string_at(metaspace, "replacement", "\u2581", where);
  if (mark.empty()) throw_field(where, "replacement", "a character");
  const std::string old_way = bool_at(metaspace, "add_prefix_space", true, where) ? "always" : "never";
  const std::string name = string_at(metaspace, "prepend_scheme", old_way, where);
  Metaspace parsed{mark, Metaspace::kAlways, bool_at(metaspace, "split", true, where)};
  if (name == "first") {
    parsed.prepend = Metaspace::kFirst;
  } else if (name == "never") {
    parsed.prepend = Metaspace::kNever;
  } else if (name != "always") {
    throw_unsupported(where, "prepend_scheme", name);
  }
  return parsed;
}

// The text in segments, from left to right: matches, and what is between them.
class Segments {
 public:
  struct Segment {
    size_t begin = 0;
    size_t end = 0;
    bool is_match = false;
  };

  Segments(const Split& split, std::string_view text)
      : invert_(split.invert), size_(text.size()), matches_(split.pattern, text) {}

  std::optional<Segment> next() {
    if (!match_) match_ = matches_.next();
    const size_t end = match_ ? match_->begin : size_;
    if (at_ < end) return Segment{std::exchange(at_, end), end, invert_};
    if (!match_) return std::nullopt;
    at_ = match_->end;
    const Segment segment{match_->begin, match_->end, !invert_};
    match_.reset();
    return segment;
  }

 private:
  bool invert_;
  size_t size_;
  size_t at_ = 0;
  Regex::Matches matches_;
  std::optional<Regex::Match> match_;
};

bool belongs_to_previous(Behavior behavior, const Segments::Segment& previous,
                         const Segments::Segment& segment) {
  switch (behavior) {
    case Behavior::kMergedWithPrevious:
      return segment.is_match && !previous.is_match;
    case Behavior::kMergedWithNext:
      return !segment.is_match && previous.is_match;
    case Behavior::kContiguous:
      return segment.is_match == previous.is_match;
    default:
      return false;
  }
}

}  // namespace

// Carries each piece of text through the steps.
class PreTokenizer::Walk {
 public:
  Walk(const PreTokenizer& owner, const Sink& sink) : steps_(owner.steps_), sink_(sink) {}

  bool run(size_t step, std::string_view text, bool is_first) const {
    if (text.empty()) return true;
    if (step == steps_.size()) return sink_(text);
    if (const auto* split = std::get_if<Split>(&steps_[step])) {
      return cut(*split, step, text, is_first);
    }
    if (const auto* metaspace = std::get_if<Metaspace>(&steps_[step])) {
      return mark_spaces(*metaspace, step, text, is_first);
    }
    if (text.starts_with(' ')) return run(step + 1, text, is_first);
    return run(step + 1, " " + std::string(text), is_first);
  }

 private:
  bool cut(const Split& split, size_t step, std::string_view text, bool is_first) const {
    Segments segments(split, text);
    size_t begin = 0;  // of the piece that is being put together
    const auto emit = [&](size_t end) {
      return run(step + 1, text.substr(begin, end - begin), is_first && begin == 0);
    };
    std::optional<Segments::Segment> previous;
    while (const auto segment = segments.next()) {
      if (previous && !belongs_to_previous(split.behavior, *previous, *segment)) {
        if (!is_dropped(split, *previous) && !emit(previous->end)) return false;
        begin = segment->begin;
      }
      previous = segment;
    }
    return !previous || is_dropped(split, *previous) || emit(previous->end);
  }

  static bool is_dropped(const Split& split, const Segments::Segment& segment) {
    return split.behavior == Behavior::kRemoved && segment.is_match;
  }

  bool mark_spaces(const Metaspace& metaspace, size_t step, std::string_view text, bool is_first) const {
    std::string marked;
    const bool prepends =
        metaspace.prepend == Metaspace::kAlways || (metaspace.prepend == Metaspace::kFirst && is_first);
    if (prepends && !text.starts_with(' ') && !text.starts_with(metaspace.mark)) marked = metaspace.mark;
    for (const char c : text) {
      if (c == ' ') {
        marked += metaspace.mark;
      } else {
        marked += c;
      }
    }
    if (!metaspace.split) return run(step + 1, marked, is_first);
    // A word ends where the next mark begins.
    size_t begin = 0;
    while (begin < marked.size()) {
      const size_t end = std::min(marked.find(metaspace.mark, begin + 1), marked.size());
      if (!run(step + 1, std::string_view(marked).substr(begin, end - begin), is_first && begin == 0))
        return false;
      begin = end;
    }
    return true;
  }

  const std::vector<std::variant<Split, PrefixSpace, Metaspace>>& steps_;
  const Sink& sink_;
};

PreTokenizer::PreTokenizer(const Json& pre_tokenizer, const std::string& where) {
  if (!pre_tokenizer.is_null()) add(pre_tokenizer, where);
}

void PreTokenizer::add(const Json& pre_tokenizer, const std::string& where) {
  const std::string& type = string_at(pre_tokenizer, "type", where);
  if (is_byte_level_) throw_unsupported(where, "pre-tokenizer behind ByteLevel", type);
  if (type == "Sequence") {
    for (const Json& inner : array_at(pre_tokenizer, "pretokenizers", where)) add(inner, where);
  } else if (type == "ByteLevel") {
    add_byte_level(pre_tokenizer, where);
  } else if (type == "Split") {
    steps_.emplace_back(Split{parse_pattern(pre_tokenizer, where), parse_behavior(pre_tokenizer, where),
                              bool_at(pre_tokenizer, "invert", false, where)});
  } else if (type == "Digits") {
    const bool each = bool_at(pre_tokenizer, "individual_digits", false, where);
    steps_.emplace_back(
        Split{Regex(kDigit, where), each ? Behavior::kIsolated : Behavior::kContiguous, false});
  } else if (type == "Metaspace") {
    steps_.emplace_back(parse_metaspace(pre_tokenizer, where));
  } else {
    throw_unsupported(where, "pre-tokenizer", type);
  }
}

void PreTokenizer::add_byte_level(const Json& pre_tokenizer, const std::string& where) {
  is_byte_level_ = true;
  if (bool_at(pre_tokenizer, "add_prefix_space", true, where)) steps_.emplace_back(PrefixSpace{});
  if (bool_at(pre_tokenizer, "use_regex", true, where)) {
    steps_.emplace_back(Split{Regex(kGpt2Words, where), Behavior::kIsolated, false});
  }
}

bool PreTokenizer::split(std::string_view text, bool is_first, const Sink& sink) const {
  return Walk(*this, sink).run(0, text, is_first);
}

}  // namespace prune::tokenizer
