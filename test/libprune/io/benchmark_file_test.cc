#include "libprune/io/benchmark_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace prune {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

BenchmarkRun parse(const std::string& rows) {
  return parse_benchmark_run(R"({"benchmarks":[)" + rows + "]}", "file");
}

TEST(BenchmarkFile, GathersRepetitionsByName) {
  const BenchmarkRun run = parse(R"(
    {"name":"b","run_name":"b","run_type":"iteration","repetition_index":0,"iterations":7,"threads":2,
     "real_time":2,"cpu_time":3,"time_unit":"ms","GB/s":10,"label":"kernel"},
    {"name":"a","run_name":"a","real_time":5,"time_unit":"ns"},
    {"name":"b","run_name":"b","run_type":"iteration","repetition_index":1,"iterations":7,"threads":2,
     "real_time":4000,"cpu_time":1,"time_unit":"us","GB/s":20})");
  ASSERT_EQ(run.cases.size(), 2);
  const BenchmarkCase& b = run.cases[0];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.label, "kernel");
  EXPECT_EQ(b.iterations, 7);
  EXPECT_EQ(b.threads, 2);
  EXPECT_THAT(b.seconds, ElementsAre(DoubleEq(0.002), DoubleEq(0.004)));
  EXPECT_THAT(b.cpu_seconds, ElementsAre(DoubleEq(0.003), DoubleEq(1e-6)));
  EXPECT_THAT(b.counters, UnorderedElementsAre(Pair("GB/s", ElementsAre(10, 20))));
  EXPECT_THAT(run.cases[1].seconds, ElementsAre(DoubleEq(5e-9)));
  EXPECT_FALSE(b.is_summary);
}

TEST(BenchmarkFile, ACounterThatSomeRepetitionLacksIsLeftOut) {
  const BenchmarkRun run =
      parse(R"({"name":"a","real_time":1,"x":1,"y":1},{"name":"a","real_time":2,"x":2})");
  EXPECT_THAT(run.cases[0].counters, UnorderedElementsAre(Pair("x", ElementsAre(1, 2))));
}

TEST(BenchmarkFile, MediansStandForRepetitionsThatAreNotThere) {
  const std::string median =
      R"({"name":"a_median","run_name":"a","run_type":"aggregate","aggregate_name":"median","real_time":3,
          "time_unit":"s","speedup":1.5},
         {"name":"a_BigO","run_name":"a","run_type":"aggregate","aggregate_name":"BigO","real_coefficient":1},
         {"name":"a_cv","run_name":"a","run_type":"aggregate","aggregate_name":"cv","real_time":0.01})";
  const BenchmarkRun alone = parse(median);
  ASSERT_EQ(alone.cases.size(), 1);
  EXPECT_TRUE(alone.cases[0].is_summary);
  EXPECT_THAT(alone.cases[0].seconds, ElementsAre(3));
  EXPECT_THAT(alone.cases[0].counters, UnorderedElementsAre(Pair("speedup", ElementsAre(1.5))));
  const BenchmarkRun beside = parse(median + R"(,{"name":"a","real_time":4,"time_unit":"s"})");
  EXPECT_FALSE(beside.cases[0].is_summary);
  EXPECT_THAT(beside.cases[0].seconds, ElementsAre(4));
}

// As versions up to 1.7 and later ones write it.
TEST(BenchmarkFile, ACaseThatFailedHasNoTimes) {
  for (const char* mark :
       {R"("error_occurred":true,"error_message":"why")", R"("skipped":true,"skip_message":"why")"}) {
    const BenchmarkRun run =
        parse(std::string(R"({"name":"a","real_time":1},{"name":"a","real_time":0.0,)") + mark + "}");
    EXPECT_EQ(run.cases[0].error, "why");
    EXPECT_THAT(run.cases[0].seconds, IsEmpty());
    EXPECT_THAT(run.cases[0].counters, IsEmpty());
  }
  EXPECT_EQ(parse(R"({"name":"a","real_time":0})").cases[0].error, "its time is 0");
}

TEST(BenchmarkFile, ContextIsItsPlainValues) {
  const BenchmarkRun run = parse_benchmark_run(
      R"({"context":{"commit":"abc","num_cpus":2,"cpu_scaling_enabled":false,"caches":[{"size":1}]},
          "benchmarks":[{"name":"a","real_time":1}]})",
      "file");
  EXPECT_THAT(run.context, UnorderedElementsAre(Pair("commit", "abc"), Pair("num_cpus", "2"),
                                                Pair("cpu_scaling_enabled", "false")));
  EXPECT_EQ(run.context_value("commit"), "abc");
  EXPECT_EQ(run.context_value("gpu"), "");
}

}  // namespace
}  // namespace prune
