#include "libprune/io/text.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace prune {
namespace {

TEST(QuoteName, leaves_plain_names_alone) {
  EXPECT_EQ(quote_name("model.layers.0.mlp.up_proj.weight"), "'model.layers.0.mlp.up_proj.weight'");
  EXPECT_EQ(quote_name(""), "''");
  EXPECT_EQ(quote_name("Gewicht für 数"), "'Gewicht für 数'");
}

TEST(QuoteName, escapes_what_breaks_a_line_or_misleads) {
  EXPECT_EQ(quote_name(std::string("a\nb\r\t\0c", 7)), R"('a\nb\r\t\x00c')");
  EXPECT_EQ(quote_name("\x1b[31m"), R"('\x1b[31m')");
  EXPECT_EQ(quote_name("\x7f"), R"('\x7f')");
  EXPECT_EQ(quote_name("\u0085"), R"('\x85')");
  EXPECT_EQ(quote_name("\u2028\u202E\u2066"), R"('\u2028\u202e\u2066')");
  EXPECT_EQ(quote_name("a\xFFz"), R"('a\xffz')");
  EXPECT_EQ(quote_name("\xC3"), R"('\xc3')");
}

TEST(QuoteName, cuts_long_names_in_the_middle) {
  const std::string quoted = quote_name(std::string(1000, 'a') + "end");
  EXPECT_EQ(quoted, "'" + std::string(96, 'a') + "..." + std::string(45, 'a') + "end'");
  EXPECT_EQ(quote_name(std::string(160, 'a')).size(), 162u);
}

TEST(QuoteName, never_cuts_a_character) {
  for (size_t shift = 0; shift < 4; ++shift) {
    std::string name(shift, 'a');
    for (int i = 0; i < 200; ++i) name += "\U0001F642";
    EXPECT_EQ(quote_name(name).find('\\'), std::string::npos) << shift;
  }
}

TEST(Printable, escapes_once_and_never_cuts) {
  EXPECT_EQ(printable("a\tb\n\x1b[31m\u202e\xff"), "a\\tb\\n\\x1b[31m\\u202e\\xff");
  EXPECT_EQ(printable(printable("a\nb\xff")), printable("a\nb\xff"));
  EXPECT_EQ(printable(std::string(500, 'a')), std::string(500, 'a'));
}

TEST(Shown, keeps_paths_whole) {
  const std::string path = "/" + std::string(1000, 'a') + "\n";
  EXPECT_EQ(shown(path), "/" + std::string(1000, 'a') + "\\n");
}

TEST(FindInvalidUtf8, follows_the_definition) {
  for (const char* good : {"", "abc", "\u00FF", "\u0800", "\uFFFF", "\U0010FFFF", "\uD7FF", "\uE000"}) {
    EXPECT_EQ(find_invalid_utf8(good), std::string_view::npos) << good;
  }
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);            // continuation alone
  EXPECT_EQ(find_invalid_utf8("\xC1\xBF"), 0u);          // overlong, two bytes
  EXPECT_EQ(find_invalid_utf8("\xE0\x9F\xBF"), 0u);      // overlong, three bytes
  EXPECT_EQ(find_invalid_utf8("\xF0\x8F\xBF\xBF"), 0u);  // overlong, four bytes
  EXPECT_EQ(find_invalid_utf8("a\xED\xA0\x80"), 1u);     // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xE2\x82"), 0u);          // cut
  EXPECT_EQ(find_invalid_utf8("\xE2\x28\xA1"), 0u);      // second byte wrong
}

TEST(InBytes, counts_one_in_the_singular) {
  EXPECT_EQ(in_bytes(0), "0 bytes");
  EXPECT_EQ(in_bytes(1), "1 byte");
  EXPECT_EQ(in_bytes(2), "2 bytes");
}

TEST(SystemReason, is_in_plain_words) {
  EXPECT_EQ(system_reason(ENOSPC), "no space left on device");
  EXPECT_EQ(system_reason(EROFS), "read-only file system");
}

}  // namespace
}  // namespace prune
