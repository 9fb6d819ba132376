#include "libprune/io/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "libprune/io/tokenizer/json_fields.h"

namespace prune::tokenizer {
namespace {

// Characters below U+0300 are in form C; those below U+0080 are in every form.
bool is_normal(std::string_view text, const UnicodeForm& form) {
  const bool is_composed = (form.options & UTF8PROC_COMPOSE) != 0 && !form.compatible;
  const int first_suspect = is_composed ? 0xCC : 0x80;  // U+0300 begins with 0xCC
  return std::all_of(text.begin(), text.end(), [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < first_suspect;
  });
}

std::string normalize(std::string_view text, const UnicodeForm& form) {
  if (is_normal(text, form)) return std::string(text);
  utf8proc_uint8_t* made = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &made,
                                             static_cast<utf8proc_option_t>(form.options | UTF8PROC_STABLE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(made, &std::free);
  if (size < 0) throw_input(std::string("normalizing text fails: ") + utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(made), static_cast<size_t>(size)};
}

const UnicodeForm* unicode_form(std::string_view name) {
  static const std::pair<std::string_view, UnicodeForm> kForms[] = {
      {"NFC", {UTF8PROC_COMPOSE, false}},
      {"NFD", {UTF8PROC_DECOMPOSE, false}},
      {"NFKC", {UTF8PROC_COMPOSE | UTF8PROC_COMPAT, true}},
      {"NFKD", {UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, true}},
  };
  for (const auto& [known, form] : kForms) {
    if (known == name) return &form;
  }
  return nullptr;
}

}  // namespace

std::string replace_all(std::string_view text, const Replace& replace) {
  std::string out;
  size_t from = 0;
  Regex::Matches matches(replace.pattern, text);
  while (const auto match = matches.next()) {
    out.append(text, from, match->begin - from).append(replace.by);
    from = match->end;
  }
  return out.append(text, from);
}

Regex parse_pattern(const Json& owner, const std::string& where) {
  const Json& pattern = object_at(owner, "pattern", where);
  if (find(pattern, "String") != nullptr) return Regex::literal(string_at(pattern, "String", where), where);
  return Regex(string_at(pattern, "Regex", where), where);
}

Normalizer::Normalizer(const Json& normalizer, const std::string& where) {
  if (!normalizer.is_null()) add(normalizer, where);
}

void Normalizer::add(const Json& normalizer, const std::string& where) {
  const std::string& type = string_at(normalizer, "type", where);
  if (type == "Sequence") {
    for (const Json& inner : array_at(normalizer, "normalizers", where)) add(inner, where);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{string_at(normalizer, "prepend", where)});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace{parse_pattern(normalizer, where), string_at(normalizer, "content", where)});
  } else if (const UnicodeForm* form = unicode_form(type); form != nullptr) {
    steps_.emplace_back(*form);
  } else {
    throw_unsupported(where, "normalizer", type);
  }
}

std::string Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const auto& step : steps_) {
    if (const auto* form = std::get_if<UnicodeForm>(&step)) {
      result = normalize(result, *form);
    } else if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!result.empty()) result.insert(0, prepend->text);
    } else {
      result = replace_all(result, std::get<Replace>(step));
    }
  }
  return result;
}

}  // namespace prune::tokenizer
