#include "libprune/io/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "prune/error.h"

namespace prune::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pattern, "test");
  std::vector<std::string> found;
  Regex::Matches all(regex, text);
  while (const auto match = all.next()) found.push_back(text.substr(match->begin, match->end - match->begin));
  return found;
}

std::string refusal(const std::string& pattern) {
  try {
    const Regex regex(pattern, "test");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "not refused";
}

// U+180E is no white space, U+0085 is; U+0345 is a word character, U+200D is none.
TEST(Regex, HasOnigurumasClasses) {
  EXPECT_THAT(matches(R"(\s)", "a \u0085\u180E\u3000"), ElementsAre(" ", "\u0085", "\u3000"));
  EXPECT_THAT(matches(R"([^\s]+)", "a\u180E b"), ElementsAre("a\u180E", "b"));
  EXPECT_THAT(matches(R"([\S\n]+)", "a \n"), ElementsAre("a", "\n"));
  EXPECT_THAT(matches(R"(\w+)", "é_1\u0345\u200D-"), ElementsAre("é_1\u0345"));
  EXPECT_THAT(matches(R"([\w-]+)", "a-b c"), ElementsAre("a-b", "c"));
  EXPECT_THAT(matches(R"(\W+)", "a--b"), ElementsAre("--"));
  EXPECT_THAT(matches(R"(\d+)", "12٣x²"), ElementsAre("12٣"));
  // U+30FC belongs to the extensions of Hiragana only.
  EXPECT_THAT(matches(R"(\p{Hiragana}+)", "ひー"), ElementsAre("ひ"));
  EXPECT_THAT(matches(R"(\p{^Lu}+)", "aBc"), ElementsAre("a", "c"));
}

TEST(Regex, KeepsTheRest) {
  EXPECT_THAT(matches(R"((?i:'s|'LL))", "'S 'll"), ElementsAre("'S", "'ll"));
  EXPECT_THAT(matches(R"(\p{N}{1,3})", "1234567"), ElementsAre("123", "456", "7"));
  EXPECT_THAT(matches(R"(a{2})", "aaaaa"), ElementsAre("aa", "aa"));
  EXPECT_THAT(matches(R"(\[\]\.\$\-)", "[].$-"), ElementsAre("[].$-"));
  EXPECT_THAT(matches(R"(^.)", "ab\ncd"), ElementsAre("a", "c"));
  EXPECT_THAT(matches(R"((?<!a)b(?=c))", "abc bc"), ElementsAre("b"));
  EXPECT_THAT(matches(R"([一-龥]++)", "一二a三"), ElementsAre("一二", "三"));
}

TEST(Regex, FindsEmptyMatchesOnce) {
  EXPECT_THAT(matches("x*", "éxa"), ElementsAre("", "x", ""));
  EXPECT_THAT(matches("(?=a)", "aba"), ElementsAre("", ""));
  EXPECT_THAT(matches("a", ""), IsEmpty());
}

TEST(Regex, RefusesWhatOnigurumaReadsOtherwise) {
  EXPECT_THAT(refusal(R"([a[bc]])"), HasSubstr("test: the pattern '[a[bc]]' has a class within a class"));
  EXPECT_THAT(refusal(R"([[:alpha:]])"), HasSubstr("a class within a class"));
  EXPECT_THAT(refusal(R"([a&&b])"), HasSubstr("an intersection of classes"));
  EXPECT_THAT(refusal(R"([]a])"), HasSubstr("a class that begins with ']'"));
  EXPECT_THAT(refusal(R"([a)"), HasSubstr("a class without its end"));
  EXPECT_THAT(refusal(R"([\W])"), HasSubstr("the escape"));
  EXPECT_THAT(refusal(R"(\p{N}{1,3}+)"), HasSubstr("a '+' behind an interval"));
  EXPECT_THAT(refusal(R"(a{2}?)"), HasSubstr("a '?' behind an interval"));
  EXPECT_THAT(refusal(R"(a{,2})"), HasSubstr("a '{' that begins no interval"));
  EXPECT_THAT(refusal(R"(\h)"), HasSubstr("the escape"));
  EXPECT_THAT(refusal(R"((a)\1)"), HasSubstr("the escape"));
  EXPECT_THAT(refusal(R"(\pL)"), HasSubstr("a property without its braces"));
  EXPECT_THAT(refusal(R"((?m:a))"), HasSubstr("the group '(?m:'"));
  EXPECT_THAT(refusal(R"((*UTF)a)"), HasSubstr("the group '(*UT'"));
  EXPECT_THAT(refusal(R"(\p{Klingon})"), HasSubstr("is not understood: unknown property"));
  EXPECT_THAT(refusal("a\\"), HasSubstr("a backslash at its end"));
}

}  // namespace
}  // namespace prune::tokenizer
