#include <prune/pattern.h>

#include <limits>
#include <string>

#include "test/libprune/include/values.h"

namespace prune {
namespace {

using testing::refusal;

TEST(Pattern, EverySpellingRoundTrips) {
  EXPECT_EQ(parse_pattern("unstructured"), Pattern(Unstructured{}));
  EXPECT_EQ(to_string(Pattern(Unstructured{})), "unstructured");
  for (int group = 2; group <= 32; ++group) {
    for (int keep = 1; keep < group; ++keep) {
      const std::string text = std::to_string(keep) + ":" + std::to_string(group);
      EXPECT_EQ(parse_pattern(text), Pattern(NM{keep, group}));
      EXPECT_EQ(to_string(Pattern(NM{keep, group})), text);
    }
  }
  for (const int rows : {1, 3, 16, 1024}) {
    for (const int cols : {1, 5, 32, 1024}) {
      const std::string text = std::to_string(rows) + "x" + std::to_string(cols);
      EXPECT_EQ(parse_pattern(text), Pattern(Block{rows, cols}));
      EXPECT_EQ(to_string(Pattern(Block{rows, cols})), text);
    }
  }
}

TEST(Pattern, RefusesEverythingElse) {
  for (const char* text : {"",
                           ":",
                           "x",
                           "2",
                           "2:",
                           ":4",
                           "4:2",
                           "4:4",
                           "0:4",
                           "-1:4",
                           "2:33",
                           "2:-4",
                           "+2:4",
                           "2 :4",
                           "2: 4",
                           " 2:4",
                           "2:4 ",
                           "2:4:8",
                           "2.0:4",
                           "2:99999999999999999999",
                           "16x",
                           "x16",
                           "0x16",
                           "16x0",
                           "1025x1",
                           "1x1025",
                           "16x16x16",
                           "16X16",
                           "16*16",
                           "Unstructured",
                           "unstructured ",
                           "2;4",
                           "two:four",
                           "16x-16"}) {
    EXPECT_EQ(refusal(ErrorKind::kUsage, "pattern '", [&] { parse_pattern(text); }), "") << text;
  }
}

// The program parses what was typed, a model author may fill the struct: the same message says what is wrong.
TEST(Pattern, AnInvalidOneIsRefusedByEverything) {
  constexpr const char* kNm = "N:M keeps N of every M weights, with 1 <= N < M <= 32";
  constexpr const char* kBlock = "a block has 1 to 1024 rows and columns";
  const Mask mask(8, 8);
  const std::pair<Pattern, const char*> invalid[] = {
      {NM{4, 4}, kNm},        {NM{0, 4}, kNm},         {NM{-1, 4}, kNm},      {NM{1, 0}, kNm},
      {NM{0, 0}, kNm},        {NM{1, 64}, kNm},        {Block{0, 4}, kBlock}, {Block{4, 0}, kBlock},
      {Block{-1, 1}, kBlock}, {Block{1, 2048}, kBlock}};
  for (const auto& [pattern, reason] : invalid) {
    const Pattern& p = pattern;
    EXPECT_EQ(misfit(p, 8, 8), reason) << to_string(p);
    EXPECT_EQ(misfit(p, 0, 0), reason) << to_string(p);
    EXPECT_FALSE(satisfies(mask, p)) << to_string(p);
    EXPECT_FALSE(satisfies(Mask(), p)) << to_string(p);
    const std::string message = "pattern " + to_string(p) + ": " + reason;
    EXPECT_EQ(refusal(ErrorKind::kUsage, message, [&] { require_fit(p, 8, 8); }), "");
    EXPECT_EQ(refusal(ErrorKind::kUsage, message, [&] { resolve_sparsity(p, 0.5); }), "");
    EXPECT_EQ(
        refusal(ErrorKind::kUsage, "pattern '" + to_string(p) + "': ", [&] { parse_pattern(to_string(p)); }),
        "");
  }
  EXPECT_EQ(refusal(ErrorKind::kUsage, std::string("pattern '4:4': ") + kNm, [] { parse_pattern("4:4"); }),
            "");
  EXPECT_EQ(refusal(ErrorKind::kUsage, std::string("pattern '0x4': ") + kBlock, [] { parse_pattern("0x4"); }),
            "");
}

TEST(Pattern, LongTextIsCutInMessages) {
  const std::string zeros(100, '0');
  for (const std::string& text : {zeros, zeros + "4:4", zeros + "x4"}) {
    EXPECT_EQ(
        refusal(ErrorKind::kUsage, "pattern '" + std::string(40, '0') + "': ", [&] { parse_pattern(text); }),
        "");
  }
}

TEST(Pattern, WordsSayWhatIsKept) {
  EXPECT_EQ(describe(NM{1, 4}), "keep 1 of every 4");
  EXPECT_EQ(describe(Block{16, 32}), "blocks of 16 rows x 32 columns");
  EXPECT_EQ(describe(Unstructured{}), "any weight may go");
}

TEST(Pattern, Scopes) {
  EXPECT_EQ(parse_scope("row"), Scope::kRow);
  EXPECT_EQ(parse_scope("layer"), Scope::kLayer);
  EXPECT_EQ(parse_scope("global"), Scope::kGlobal);
  EXPECT_EQ(refusal(ErrorKind::kUsage, "expected row, layer or global", [] { parse_scope("rows"); }), "");
}

TEST(Pattern, SparsityIsResolvedAgainstThePattern) {
  EXPECT_EQ(resolve_sparsity(NM{2, 4}, std::nullopt), 0.5);
  EXPECT_EQ(resolve_sparsity(NM{1, 4}, std::nullopt), 0.75);
  EXPECT_EQ(resolve_sparsity(NM{2, 4}, 0.5), 0.5);
  for (const double rounded : {0.6667, 0.667, 0.6666, 0.666667}) {
    EXPECT_EQ(resolve_sparsity(NM{1, 3}, rounded), 1.0 - 1.0 / 3);  // and it is the exact one that counts
  }
  EXPECT_EQ(resolve_sparsity(Unstructured{}, 0.0), 0.0);
  EXPECT_EQ(resolve_sparsity(Block{4, 4}, 0.7), 0.7);
  EXPECT_EQ(implied_sparsity(Unstructured{}), std::nullopt);
  EXPECT_EQ(implied_sparsity(Block{1, 2}), std::nullopt);
  const auto refused = [](const Pattern& pattern, std::optional<double> sparsity, const char* text) {
    return refusal(ErrorKind::kUsage, text, [&] { resolve_sparsity(pattern, sparsity); });
  };
  EXPECT_EQ(refused(NM{2, 4}, 0.25, "means sparsity 0.5"), "");
  EXPECT_EQ(refused(NM{1, 3}, 0.66, "means sparsity 0.6667"), "");
  EXPECT_EQ(refused(NM{1, 4}, 0.25, "means sparsity 0.75"), "");
  EXPECT_EQ(refused(NM{2, 4}, 1.0, "expected 0 <= sparsity < 1"), "");
  EXPECT_EQ(refused(Unstructured{}, std::nullopt, "needs a sparsity"), "");
  EXPECT_EQ(refused(Unstructured{}, 1.0, "expected 0 <= sparsity < 1"), "");
  EXPECT_EQ(refused(Unstructured{}, -0.1, "expected 0 <= sparsity < 1"), "");
  EXPECT_EQ(refused(Unstructured{}, std::numeric_limits<double>::quiet_NaN(), "expected 0 <= sparsity < 1"),
            "");
  EXPECT_EQ(refused(Block{4, 4}, std::numeric_limits<double>::infinity(), "expected 0 <= sparsity < 1"), "");
}

TEST(Pattern, MisfitSaysWhichDimension) {
  EXPECT_EQ(misfit(Unstructured{}, 3, 5), std::nullopt);
  EXPECT_EQ(misfit(NM{2, 4}, 3, 8), std::nullopt);
  EXPECT_EQ(misfit(NM{2, 4}, 3, 0), std::nullopt);
  EXPECT_EQ(misfit(NM{2, 4}, 3, 10), "10 columns are not a multiple of 4");
  EXPECT_EQ(misfit(Block{16, 16}, 24, 32), "24 rows are not a multiple of 16");
  EXPECT_EQ(misfit(Block{16, 16}, 32, 40), "40 columns are not a multiple of 16");
  EXPECT_EQ(misfit(Block{16, 16}, 32, 48), std::nullopt);
  EXPECT_EQ(refusal(ErrorKind::kInput, "pattern 2:4: 10 columns", [] { require_fit(NM{2, 4}, 1, 10); }), "");
}

TEST(Pattern, SatisfiesCountsGroups) {
  Mask mask(2, 128);  // groups that lie across words too
  for (Index j = 0; j < 128; j += 8) {
    mask.set(0, j + 1, true);
    mask.set(0, j + 6, true);
  }
  EXPECT_TRUE(satisfies(mask, NM{2, 8}));
  EXPECT_TRUE(satisfies(mask, NM{1, 4}));
  EXPECT_TRUE(satisfies(mask, NM{2, 4}));
  EXPECT_FALSE(satisfies(mask, NM{1, 8}));
  mask.set(1, 126, true);
  mask.set(1, 127, true);
  EXPECT_TRUE(satisfies(mask, NM{2, 8}));
  EXPECT_FALSE(satisfies(mask, NM{1, 4}));
  EXPECT_FALSE(satisfies(mask, NM{2, 3}));  // 128 % 3 != 0
  EXPECT_TRUE(satisfies(mask, Unstructured{}));
}

TEST(Pattern, NothingSatisfiesEveryPatternThatFits) {
  for (const auto& [rows, cols] : {std::pair(0, 8), std::pair(8, 0), std::pair(0, 0)}) {
    for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(NM{2, 4}), Pattern(Block{4, 4})}) {
      EXPECT_TRUE(satisfies(Mask(rows, cols), pattern)) << to_string(pattern);
    }
  }
  EXPECT_FALSE(satisfies(Mask(0, 10), NM{2, 4}));
  EXPECT_FALSE(satisfies(Mask(6, 0), Block{4, 4}));
}

TEST(Pattern, SatisfiesTakesGroupsAcrossWords) {
  Mask mask(1, 72);
  for (Index j = 60; j < 68; ++j) mask.set(0, j, true);  // the group of 12 from 60 to 71
  EXPECT_TRUE(satisfies(mask, NM{8, 12}));
  EXPECT_FALSE(satisfies(mask, NM{7, 12}));
}

TEST(Pattern, SatisfiesTakesBlocksWholeOrNotAtAll) {
  Mask mask(4, 6);
  for (Index i = 2; i < 4; ++i) {
    for (Index j = 3; j < 6; ++j) mask.set(i, j, true);
  }
  EXPECT_TRUE(satisfies(mask, Block{2, 3}));
  EXPECT_TRUE(satisfies(mask, Block{1, 3}));
  EXPECT_FALSE(satisfies(mask, Block{4, 3}));
  EXPECT_FALSE(satisfies(mask, Block{2, 2}));
  EXPECT_FALSE(satisfies(mask, Block{3, 3}));  // 4 % 3 != 0
  mask.set(3, 5, false);
  EXPECT_FALSE(satisfies(mask, Block{2, 3}));
}

}  // namespace
}  // namespace prune
