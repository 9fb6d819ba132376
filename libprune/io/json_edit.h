// Changing values of a JSON object in its text, so that all else stays byte for byte: order, spacing, numbers
// as they were spelled.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace prune {

using JsonEdits = std::vector<std::pair<std::string, nlohmann::json>>;

// `text` with the values of these keys of its outermost object replaced; keys that it lacks are added at its
// end. A list that was spread over lines is so again. `where` names the text in messages. Throws
// Error(kInput) for what parse_json() refuses, and for a text that is no object.
std::string edit_json(std::string_view text, const JsonEdits& edits, const std::string& where);

}  // namespace prune
