#include "libprune/model/method.h"

#include "test/libprune/include/values.h"

namespace prune {
namespace {

TEST(Method, FoundByName) {
  ASSERT_FALSE(methods().empty());
  for (const Method& method : methods()) {
    EXPECT_EQ(&find_method(method.name), &method);
    EXPECT_NE(method.run, nullptr);
    EXPECT_FALSE(method.summary.empty());
  }
}

TEST(Method, OthersAreRefusedWithTheNamesThereAre) {
  for (const char* name : {"", "Magnitude", "magnitud", "magnitude "}) {
    EXPECT_EQ(testing::refusal(ErrorKind::kUsage, "expected one of magnitude", [&] { find_method(name); }),
              "")
        << name;
  }
}

}  // namespace
}  // namespace prune
