#include "kernels/sparse/isa.h"

#include <gtest/gtest.h>

namespace prune::kernels::isa {
namespace {

constexpr uint32_t kAll = kAvx2 | kAvx512 | kAvx512Bf16;

TEST(Isa, LevelsLimit) {
  bool known = false;
  EXPECT_EQ(limit(kAll, "generic", &known), kGeneric);
  EXPECT_TRUE(known);
  EXPECT_EQ(limit(kAll, "avx2", &known), kAvx2);
  EXPECT_TRUE(known);
  EXPECT_EQ(limit(kAll, "avx512", &known), kAvx2 | kAvx512);
  EXPECT_TRUE(known);
  EXPECT_EQ(limit(kAll, "avx512bf16", &known), kAll);
  EXPECT_TRUE(known);
  EXPECT_EQ(limit(kNeon, "neon", &known), kNeon);
  EXPECT_TRUE(known);
  // A level never adds what the processor lacks.
  EXPECT_EQ(limit(kAvx2, "avx512bf16", &known), kAvx2);
  EXPECT_EQ(limit(kGeneric, "avx2", &known), kGeneric);
  EXPECT_EQ(limit(kAll, "neon", &known), kGeneric);
}

TEST(Isa, UnknownLevelIsReportedAndIgnored) {
  bool known = true;
  EXPECT_EQ(limit(kAll, "avx1024", &known), kAll);
  EXPECT_FALSE(known);
}

TEST(Isa, SupportedIsDetectedOrLess) { EXPECT_EQ(supported() & ~detected(), 0u); }

TEST(Isa, RunsOn) {
  EXPECT_TRUE(runs_on(kGeneric, kGeneric));
  EXPECT_TRUE(runs_on(kAvx2, kAll));
  EXPECT_FALSE(runs_on(kAvx512 | kAvx512Bf16, kAvx2 | kAvx512));
}

TEST(Isa, HalvesAreOf512Bits) { EXPECT_LE(works_in_halves(), runs_on(kAvx512, detected())); }

TEST(Isa, LevelNames) {
  EXPECT_STREQ(level_name(kGeneric), "generic");
  EXPECT_STREQ(level_name(kAvx2), "avx2");
  EXPECT_STREQ(level_name(kAvx2 | kAvx512), "avx512");
  EXPECT_STREQ(level_name(kAll), "avx512bf16");
  EXPECT_STREQ(level_name(kNeon), "neon");
}

}  // namespace
}  // namespace prune::kernels::isa
