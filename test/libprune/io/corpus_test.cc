#include "libprune/io/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "libprune/io/token_ids.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"
#include "test/libprune/io/npy_files.h"

namespace prune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::filesystem::path kModel = std::filesystem::path(PRUNE_TEST_DATA) / "docs-llama-4m";

// A model folder with a tokenizer of the letters a, b, c (ids 1, 2, 3) and a token in front of each text, id
// 0.
class Corpus : public ::testing::Test {
 protected:
  Corpus() {
    write("m/tokenizer.json", R"({"model": {"type": "BPE", "merges": [],
      "vocab": {"<s>": 0, "a": 1, "b": 2, "c": 3, "é": 4, "\u0000": 5}}})");
    write("m/tokenizer_config.json", R"({"bos_token": "<s>"})");
  }

  void write(const std::string& name, const std::string& bytes) {
    testing::write_file(folder_ / name, bytes);
  }

  std::vector<int32_t> load(const std::string& name, const std::string& bytes,
                            const CorpusOptions& options = {}) {
    write(name, bytes);
    return load_corpus(folder_ / name, folder_ / "m", options);
  }

  std::string refusal(const std::string& name, const std::string& bytes, const CorpusOptions& options = {}) {
    try {
      load(name, bytes, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(name), Not(HasSubstr("\n"))));
      return error.what();
    }
    return "not refused";
  }

  testing::TempFolder folder_;
};

TEST_F(Corpus, JoinsTheDocumentsOfJsonLines) {
  EXPECT_THAT(
      load("t.jsonl", "{\"text\": \"ab\"}\n\n  \r\n{\"id\": [1, {\"text\": 2}], \"text\": \"c\"}\r\n"),
      ElementsAre(0, 1, 2, 0, 3));
  EXPECT_THAT(load("t.jsonl", R"({"text": ""})"
                              "\n"
                              R"({"text": "\u00e9\u0000"})"),
              ElementsAre(0, 0, 4, 5));
}

TEST_F(Corpus, TakesPlainTextAsOneDocument) {
  EXPECT_THAT(load("t.txt", "ab\nc"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(load("t.txt", ""), ElementsAre(0));
}

TEST_F(Corpus, LeavesIdsAsTheyAre) {
  EXPECT_THAT(load("t.npy", testing::npy("|u1", "(3,)", "\x07\x08\x09")), ElementsAre(7, 8, 9));
  EXPECT_THAT(load("t.npy", testing::npy("|u1", "(3,)", "\x07\x08\x09"), {.max_tokens = 2}),
              ElementsAre(7, 8));
  // Without a tokenizer too.
  EXPECT_THAT(load_corpus(folder_ / "t.npy", folder_ / "nowhere"), ElementsAre(7, 8, 9));
}

TEST_F(Corpus, StopsAtTheLimit) {
  const std::string two = "{\"text\": \"abc\"}\n{\"text\": \"cba\"}\n";
  const std::vector<int32_t> all{0, 1, 2, 3, 0, 3, 2, 1};
  for (size_t limit = 0; limit <= all.size() + 1; ++limit) {
    const std::vector<int32_t> expected(all.begin(), all.begin() + std::min(limit, all.size()));
    EXPECT_EQ(load("t.jsonl", two, {.max_tokens = limit, .min_tokens = 0}), expected) << limit;
  }
  // What is behind the limit is not read.
  EXPECT_EQ(load("t.jsonl", two + "broken", {.max_tokens = 8}), all);
}

TEST_F(Corpus, SaysHowFarItIs) {
  std::string file;
  for (int i = 0; i < 12; ++i) file += "{\"text\": \"" + std::string(100'000, 'a') + "\"}\n";
  std::vector<std::pair<uint64_t, uint64_t>> calls;
  EXPECT_EQ(load("t.jsonl", file, {.progress = [&](auto... call) { calls.emplace_back(call...); }}).size(),
            1'200'012);
  ASSERT_GE(calls.size(), 2U);
  EXPECT_TRUE(std::is_sorted(calls.begin(), calls.end()));
  EXPECT_EQ(calls.back(), std::make_pair(file.size(), file.size()));
}

TEST_F(Corpus, NamesTheLineOfAFault) {
  const std::string good = "{\"text\": \"a\"}\n\n";
  const auto at_line_3 = [&](const std::string& line) {
    return refusal("t.jsonl", good + line + "\n" + good);
  };
  EXPECT_THAT(at_line_3("{\"text\": \"a\""), HasSubstr("t.jsonl: not JSON at line 3, column 13"));
  EXPECT_THAT(at_line_3("\xEF\xBB\xBF{}"), HasSubstr("byte order mark"));
  EXPECT_THAT(at_line_3("{\"text\": \"\xFF\"}"), HasSubstr("not UTF-8 at line 3, column 11"));
  EXPECT_THAT(at_line_3("{\"text\": \"\\ud800\"}"), HasSubstr("not JSON at line 3"));
  EXPECT_THAT(at_line_3("{\"txt\": \"a\"}"), HasSubstr("line 3: has no \"text\""));
  EXPECT_THAT(at_line_3("{\"a\": {\"text\": \"a\"}}"), HasSubstr("line 3: has no \"text\""));
  EXPECT_THAT(at_line_3("{\"text\": 1}"), HasSubstr("line 3: \"text\" must be a string"));
  EXPECT_THAT(at_line_3("{\"text\": [\"a\"]}"), HasSubstr("line 3: \"text\" must be a string"));
  EXPECT_THAT(at_line_3("{\"text\": {}}"), HasSubstr("line 3: \"text\" must be a string"));
  EXPECT_THAT(at_line_3("{\"text\": \"a\", \"text\": \"b\"}"), HasSubstr("line 3: \"text\" appears twice"));
  EXPECT_THAT(at_line_3("[\"text\"]"), HasSubstr("line 3: each line must be a JSON object"));
  EXPECT_THAT(at_line_3("\"text\""), HasSubstr("line 3: each line must be a JSON object"));
  EXPECT_THAT(at_line_3("{\"text\": \"a\"} {}"), HasSubstr("not JSON at line 3, column 15"));
}

TEST_F(Corpus, RefusesWhatIsNoText) {
  EXPECT_THAT(refusal("t.txt", "ab\xC3"), HasSubstr("not UTF-8 at byte 3"));
  EXPECT_THAT(refusal("t.parquet", "PAR1"), HasSubstr("text is read from .jsonl"));
  EXPECT_THAT(refusal("t.txt", "ab", {.min_tokens = 4}),
              HasSubstr("too short: 3 tokens, at least 4 are needed"));
  EXPECT_THAT(refusal("t.jsonl", "\n\n"), HasSubstr("too short: 0 tokens, at least 1"));
  EXPECT_THAT(refusal("t.txt", "abc", {.vocabulary_size = 3}), HasSubstr("token 3 has id 3"));
  EXPECT_THAT(refusal("t.npy", testing::npy("|u1", "(1,)", "\x07"), {.vocabulary_size = 7}),
              HasSubstr("token 0 has id 7, the model's vocabulary has 7 entries"));
  std::filesystem::remove(folder_ / "m/tokenizer.json");
  write("t.txt", "a");
  EXPECT_THROW(load_corpus(folder_ / "t.txt", folder_ / "m"), Error);
  EXPECT_THROW(load_corpus(folder_ / "missing.txt", kModel), Error);
}

// Ids that Hugging Face's tokenizers gave for whole texts.
TEST(SharedCorpus, HasTheIdsOfTheReference) {
  const char* shared = std::getenv("PRUNE_SHARED");
  if (shared == nullptr) GTEST_SKIP() << "PRUNE_SHARED is not set";
  const std::filesystem::path root = shared;
  for (const auto& [model, text] : std::vector<std::pair<std::string, std::string>>{
           {"docs-llama-30m", "eval"}, {"docs-llama-30m", "calib"}, {"docs-llama-4m", "eval"}}) {
    const std::filesystem::path folder = root / "models" / model;
    const std::vector<int32_t> ids = load_corpus(root / "text" / (text + ".jsonl"), folder);
    const std::vector<int32_t> expected = read_token_ids(folder / (text + ".tokens.npy"));
    ASSERT_GT(expected.size(), 100'000U);
    EXPECT_TRUE(ids == expected) << model << ' ' << text;
  }
}

}  // namespace
}  // namespace prune
