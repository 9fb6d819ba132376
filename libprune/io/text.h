// Foreign text made safe for a one-line message.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace prune {

// Position of the first byte of `text` that starts no well-formed UTF-8 sequence (overlong forms, surrogates
// and values beyond U+10FFFF are not well-formed); std::string_view::npos when there is none.
size_t find_invalid_utf8(std::string_view text);

// A name out of a file, in single quotes. Whatever could break the line or fool its reader (control
// characters, line and paragraph separators, marks that change the writing direction, bytes that are not
// UTF-8) appears as an escape; a long name is cut in the middle.
std::string quote_name(std::string_view name);

// Text escaped alike, without quotes and never cut: names in tables, whole messages. Escaping twice changes
// nothing.
std::string printable(std::string_view text);

// A path, escaped alike: it has to be findable.
std::string shown(const std::filesystem::path& path);

// "1 byte", "2 bytes".
std::string in_bytes(uint64_t count);

// What errno means, in lower case: "no space left on device".
std::string system_reason(int error);

}  // namespace prune
