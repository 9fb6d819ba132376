#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "libprune/io/json.h"
#include "libprune/io/tokenizer.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

// tokenizer.model and golden.json are made by make.py beside them with SentencePiece and transformers.
const std::filesystem::path kFolder = std::filesystem::path(PRUNE_TEST_DATA) / "tokenizers" / "sentencepiece";

class SentencePiece : public ::testing::Test {
 protected:
  SentencePiece() : golden_(read_json_file(kFolder / "golden.json")) {
    std::filesystem::copy(kFolder / "tokenizer.model", folder_ / "tokenizer.model");
    configure(Json::object());
  }

  void configure(const Json& changes) {
    Json config = read_json_file(kFolder / "tokenizer_config.json");
    config.update(changes);
    testing::write_file(folder_ / "tokenizer_config.json", config.dump());
  }

  void expect_golden(const std::string& key) {
    const Tokenizer tokenizer = Tokenizer::load(folder_.path());
    EXPECT_EQ(tokenizer.bos_id(), golden_["bos"].get<int32_t>());
    int compared = 0;
    for (size_t i = 0; i < golden_["texts"].size(); ++i) {
      if (golden_[key][i].is_null()) continue;
      const auto ids = golden_[key][i].get<std::vector<int32_t>>();
      EXPECT_EQ(tokenizer.encode(golden_["texts"][i].get<std::string>()), ids) << golden_["texts"][i];
      ++compared;
    }
    EXPECT_GE(compared, 40);
  }

  std::string refusal() {
    try {
      Tokenizer::load(folder_.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      return error.what();
    }
    return "not refused";
  }

  Json golden_;
  testing::TempFolder folder_;
};

TEST_F(SentencePiece, GivesTheIdsOfTheReference) { expect_golden("each"); }

TEST_F(SentencePiece, PutsASpaceInFrontOfTheFirstTextAloneWhereConfigured) {
  configure({{"legacy", false}});
  expect_golden("first");
}

TEST_F(SentencePiece, DecodesWhatItEncoded) {
  const Tokenizer tokenizer = Tokenizer::load(folder_.path());
  for (const std::string text : {"Hello, world!", " two  spaces ", "a\U0001F980b\n", "naïve 1234"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  const std::vector<int32_t> ids = tokenizer.encode("<s>Hello<|user|>");
  EXPECT_EQ(tokenizer.decode(ids, Tokenizer::SpecialTokens::kSkip), "Hello");
  EXPECT_EQ(tokenizer.vocabulary_size(), 423);
  EXPECT_EQ(tokenizer.find("<|user|>"), 420);
}

TEST_F(SentencePiece, StopsAtTheLimitWithTheSameIds) {
  const Tokenizer tokenizer = Tokenizer::load(folder_.path());
  const std::string text = "Hello<|user|> world, and <s> more";
  const std::vector<int32_t> all = tokenizer.encode(text);
  for (size_t limit = 0; limit <= all.size() + 1; ++limit) {
    EXPECT_EQ(tokenizer.encode(text, limit),
              std::vector<int32_t>(all.begin(), all.begin() + std::min(limit, all.size())));
  }
}

TEST_F(SentencePiece, RefusesWhatIsNoModel) {
  configure({{"added_tokens_decoder", {{"x", Json::object()}}}});
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: 'added_tokens_decoder' must be"));
  configure({{"added_tokens_decoder", {{"7", {{"content", "<s>"}}}}}});
  EXPECT_THAT(refusal(), HasSubstr("the added token '<s>' has id 7"));
  configure(Json::object());
  const std::string model = testing::read_file(kFolder / "tokenizer.model");
  for (const std::string& broken : {std::string(), std::string("no model"), model.substr(0, 100)}) {
    testing::write_file(folder_ / "tokenizer.model", broken);
    EXPECT_THAT(refusal(), HasSubstr("tokenizer.model: is no SentencePiece model"));
  }
}

// Whatever bytes change, there is a tokenizer or an error.
TEST_F(SentencePiece, SurvivesDamage) {
  const std::string model = testing::read_file(kFolder / "tokenizer.model");
  for (size_t at = 3; at < model.size(); at += 97) {
    std::string damaged = model;
    damaged[at] = char(damaged[at] ^ (1 << at % 8));
    testing::write_file(folder_ / "tokenizer.model", damaged);
    try {
      Tokenizer::load(folder_.path()).encode("Hello, world 123 é");
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace prune
