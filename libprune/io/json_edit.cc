#include "libprune/io/json_edit.h"

#include <algorithm>

#include "libprune/io/json.h"
#include "prune/error.h"

namespace prune {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// A member of the outermost object, by its place in the text.
struct Member {
  std::string key;
  size_t begin = 0;  // of the key
  size_t value = 0;
  size_t end = 0;  // of the value
};

// Walks over a text that is known to be one valid JSON object.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::vector<Member> members() {
    std::vector<Member> members;
    skip_space();
    ++at_;  // {
    for (skip_space(); text_[at_] != '}'; skip_space()) {
      Member member;
      member.begin = at_;
      skip_string();
      member.key = nlohmann::json::parse(text_.substr(member.begin, at_ - member.begin)).get<std::string>();
      skip_space();
      ++at_;  // :
      skip_space();
      member.value = at_;
      skip_value();
      member.end = at_;
      members.push_back(std::move(member));
      skip_space();
      if (text_[at_] == ',') ++at_;
    }
    return members;
  }
  size_t closing_brace() const { return at_; }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(kSpace, at_), text_.size()); }
  void skip_string() {
    for (++at_; text_[at_] != '"'; ++at_) at_ += text_[at_] == '\\';
    ++at_;
  }
  void skip_value() {
    if (text_[at_] == '"') return skip_string();
    if (text_[at_] != '{' && text_[at_] != '[') {
      at_ = text_.find_first_of(",}] \t\r\n", at_);
      return;
    }
    int depth = 0;
    do {
      if (text_[at_] == '"') {
        skip_string();
        continue;
      }
      depth += (text_[at_] == '{' || text_[at_] == '[') - (text_[at_] == '}' || text_[at_] == ']');
      ++at_;
    } while (depth > 0);
  }

  std::string_view text_;
  size_t at_ = 0;
};

// The white space before a member, which spreads members over lines or does not.
std::string_view space_before(std::string_view text, size_t at) {
  const size_t end = text.find_last_not_of(kSpace, at - 1);
  return text.substr(end + 1, at - end - 1);
}

std::string spell(const nlohmann::json& value, std::string_view old, std::string_view indent) {
  if (!value.is_array() || old.find('\n') == old.npos) return value.dump(-1, ' ', true);
  std::string lines = value.dump(2, ' ', true);
  const size_t newline = indent.rfind('\n');
  const std::string margin(newline == indent.npos ? std::string_view() : indent.substr(newline + 1));
  for (size_t at = lines.find('\n'); at != lines.npos; at = lines.find('\n', at + 1))
    lines.insert(at + 1, margin);
  return lines;
}

}  // namespace

std::string edit_json(std::string_view text, const JsonEdits& edits, const std::string& where) {
  if (!parse_json(text, where).is_object()) throw_input(where + ": must be a JSON object");
  std::string edited(text);
  for (const auto& [key, value] : edits) {
    Scanner scanner(edited);
    const std::vector<Member> members = scanner.members();
    const auto found = std::ranges::find(members, key, &Member::key);
    if (found != members.end()) {
      const std::string old = edited.substr(found->value, found->end - found->value);
      const std::string spelled = spell(value, old, space_before(edited, found->begin));
      edited.replace(found->value, found->end - found->value, spelled);
      continue;
    }
    const std::string name = nlohmann::json(key).dump() + ": " + value.dump(-1, ' ', true);
    if (members.empty()) {
      edited.insert(scanner.closing_brace(), name);
    } else {
      edited.insert(members.back().end, "," + std::string(space_before(edited, members.back().begin)) + name);
    }
  }
  return edited;
}

}  // namespace prune
