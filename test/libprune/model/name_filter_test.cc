#include "libprune/model/name_filter.h"

#include "test/libprune/include/values.h"

namespace prune {
namespace {

constexpr const char* kName = "model.layers.0.mlp.up_proj.weight";

TEST(NameFilter, EmptyMatchesNothing) {
  EXPECT_TRUE(NameFilter().empty());
  EXPECT_TRUE(NameFilter(std::vector<std::string>()).empty());
  EXPECT_FALSE(NameFilter().matches(kName));
  EXPECT_FALSE(NameFilter({"*"}).empty());
  EXPECT_FALSE(NameFilter({"re:.*"}).empty());
}

TEST(NameFilter, GlobsMatchTheWholeNameOrModule) {
  for (const char* glob :
       {"*", "*up_proj*", "*.up_proj", "*.up_proj.weight", "model.layers.0.*", "model.layers.?.mlp.up_proj",
        "model.layers.[01].mlp.up_proj", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj"}) {
    EXPECT_TRUE(NameFilter({glob}).matches(kName)) << glob;
  }
  for (const char* glob : {"", "up_proj", "*.down_proj", "model.layers.[12].*", "model.layers.0.mlp", "*.mlp",
                           "model.layers.??.mlp.up_proj", "MODEL.*", "re"}) {
    EXPECT_FALSE(NameFilter({glob}).matches(kName)) << glob;
  }
}

TEST(NameFilter, RegularExpressionsMatchTheWholeNameOrModule) {
  for (const char* regex :
       {"re:.*", R"(re:model\.layers\.\d+\.mlp\..*)", "re:.*(up|down)_proj", R"(re:.*up_proj\.weight)"}) {
    EXPECT_TRUE(NameFilter({regex}).matches(kName)) << regex;
  }
  for (const char* regex : {"re:", "re:up_proj", R"(re:model\.layers\.[1-9]\..*)", "re:.*_proj.bias"}) {
    EXPECT_FALSE(NameFilter({regex}).matches(kName)) << regex;
  }
}

TEST(NameFilter, OfANameMatchesThatNameAlone) {
  for (const char* name : {kName, "a[0].weight", "a*", "re:.*", "w?\\[x]", "re"}) {
    const NameFilter filter({pattern_of_name(name)});
    EXPECT_TRUE(filter.matches(name)) << name;
    EXPECT_FALSE(filter.matches("a0.weight")) << name;
    EXPECT_FALSE(filter.matches("abc")) << name;
  }
}

TEST(NameFilter, AnyOfSeveralIsEnough) {
  const NameFilter filter({"*.down_proj", R"(re:.*\.0\.mlp\.up_proj)", "lm_head"});
  EXPECT_TRUE(filter.matches(kName));
  EXPECT_TRUE(filter.matches("model.layers.3.mlp.down_proj.weight"));
  EXPECT_TRUE(filter.matches("lm_head.weight"));
  EXPECT_FALSE(filter.matches("model.layers.1.mlp.up_proj.weight"));
  EXPECT_FALSE(filter.matches("lm_head.bias"));
}

TEST(NameFilter, OnlyWeightIsTakenOffAName) {
  EXPECT_TRUE(NameFilter({"a"}).matches("a.weight"));
  EXPECT_TRUE(NameFilter({"a"}).matches("a"));
  EXPECT_FALSE(NameFilter({"a"}).matches("a.bias"));
  EXPECT_FALSE(NameFilter({"a"}).matches("a.weight.weight"));
}

TEST(NameFilter, HostileNamesCostNoStack) {
  EXPECT_TRUE(NameFilter({"re:(a|b)*"}).matches(std::string(1000, 'a')));
  EXPECT_FALSE(NameFilter({"re:(a|b)*"}).matches(std::string(50'000'000, 'a')));
  EXPECT_TRUE(NameFilter({"a*a"}).matches(std::string(100'000, 'a')));
}

TEST(NameFilter, RefusesWhatIsNoRegularExpression) {
  for (const char* regex : {"re:(", "re:[a", "re:*", R"(re:\)"}) {
    EXPECT_EQ(
        testing::refusal(ErrorKind::kUsage, "is not a regular expression", [&] { NameFilter({regex}); }), "")
        << regex;
  }
}

}  // namespace
}  // namespace prune
