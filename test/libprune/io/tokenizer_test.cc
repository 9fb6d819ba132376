#include "libprune/io/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "libprune/io/json.h"
#include "prune/error.h"
#include "test/libprune/io/files.h"

namespace prune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

const std::filesystem::path kData = PRUNE_TEST_DATA;

// golden.json and the tokenizers beside it are made by make.py with Hugging Face's own implementation.
const Json& golden() {
  static const Json file = read_json_file(kData / "tokenizers/golden.json");
  return file;
}

Tokenizer open(const std::string& name) {
  const std::filesystem::path path =
      name == "docs-llama-4m" ? kData / name / "tokenizer.json" : kData / "tokenizers" / (name + ".json");
  return Tokenizer::from_json(testing::read_file(path), name);
}

class GoldenTokenizer : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTokenizer, GivesTheIdsAndTextsOfTheReference) {
  const Tokenizer tokenizer = open(GetParam());
  const Json& expected = golden().at(GetParam());
  const Json& texts = golden().at("texts");
  ASSERT_GE(texts.size(), 40U);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    const auto ids = expected["ids"][i].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << texts[i];
    EXPECT_EQ(tokenizer.decode(ids), expected["decoded"][i].get<std::string>()) << texts[i];
    EXPECT_EQ(tokenizer.decode(ids, Tokenizer::SpecialTokens::kSkip),
              expected["decoded_without_special"][i].get<std::string>())
        << texts[i];
  }
}

TEST_P(GoldenTokenizer, StopsAtTheLimitWithTheSameIds) {
  const Tokenizer tokenizer = open(GetParam());
  std::string text;
  for (const Json& part : golden().at("texts")) text += part.get<std::string>();
  const std::vector<int32_t> all = tokenizer.encode(text);
  for (const size_t limit : {size_t{0}, size_t{1}, size_t{2}, size_t{57}, all.size() - 1, all.size() + 1}) {
    const std::vector<int32_t> expected(all.begin(), all.begin() + std::min(limit, all.size()));
    EXPECT_EQ(tokenizer.encode(text, limit), expected) << limit;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTokenizer,
                         ::testing::Values("docs-llama-4m", "gemma", "gpt2", "llama2", "llama3", "mistral",
                                           "prefix_space", "qwen2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tokenizer, KnowsItsVocabulary) {
  const Tokenizer tokenizer = open("gpt2");
  EXPECT_EQ(tokenizer.find("<|end|>"), 500);
  EXPECT_EQ(tokenizer.vocabulary_size(), 505);
  EXPECT_EQ(tokenizer.find("<|start|>"), std::nullopt);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{-1, 505, 1'000'000}), "");
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = open("gpt2");
  try {
    tokenizer.encode("ab\xFF");
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), HasSubstr("not UTF-8 at byte 3"));
  }
}

TEST(Tokenizer, ShowsBrokenCharactersAsReplacements) {
  const Tokenizer tokenizer = open("gpt2");
  const std::vector<int32_t> ids = tokenizer.encode("€");
  ASSERT_EQ(ids.size(), 3U);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{ids[0], ids[1]}), "\uFFFD");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{ids[0], ids[0]}), "\uFFFD\uFFFD");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{ids[1], ids[2]}), "\uFFFD\uFFFD");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{ids[0], ids[1], ids[2]}), "€");
}

// A tokenizer.json with these sections in place of the usual ones.
std::string file_with(const Json& changes) {
  Json file = Json::parse(R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})");
  file.merge_patch(changes);
  return file.dump();
}

TEST(Tokenizer, ReadsASmallFile) {
  const Tokenizer tokenizer = Tokenizer::from_json(file_with(Json::object()), "t");
  EXPECT_THAT(tokenizer.encode("aabb"), ElementsAre(0, 2, 1));
  EXPECT_THAT(tokenizer.encode("c"), IsEmpty());  // as the reference: no token, no unknown token
}

struct Refused {
  std::string name;
  std::string changes;  // of file_with()
  std::string message;
};

class RefusedTokenizer : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedTokenizer, NamesTheReason) {
  try {
    Tokenizer::from_json(file_with(Json::parse(GetParam().changes)), "tokenizer.json");
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json: " + GetParam().message));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedTokenizer,
    ::testing::Values(
        Refused{"unigram", R"({"model": {"type": "Unigram"}})", "the model 'Unigram' is not supported"},
        Refused{"word_piece", R"({"model": {"type": "WordPiece"}})", "the model 'WordPiece'"},
        Refused{"no_model", R"({"model": null})", "'model' must be an object"},
        Refused{"no_vocabulary", R"({"model": {"vocab": null}})", "'vocab' must be an object"},
        Refused{"no_merges", R"({"model": {"merges": null}})", "'merges' must be an array"},
        Refused{"dropout", R"({"model": {"dropout": 0.1}})", "the option 'dropout'"},
        Refused{"prefix", R"({"model": {"continuing_subword_prefix": "##"}})", "the option 'continuing_s"},
        Refused{"suffix", R"({"model": {"end_of_word_suffix": "</w>"}})", "the option 'end_of_word_suffix'"},
        Refused{"id_negative", R"({"model": {"vocab": {"c": -1}}})", "'c' must be an id from 0 to 2097151"},
        Refused{"id_large", R"({"model": {"vocab": {"c": 2097152}}})", "'c' must be an id from 0 to 2097151"},
        Refused{"id_twice", R"({"model": {"vocab": {"c": 1}}})", "id 1 belongs to both 'b' and 'c'"},
        Refused{"merge_of_three", R"({"model": {"merges": ["a b c"]}})", "a merge must be two tokens"},
        Refused{"merge_of_one", R"({"model": {"merges": [["a"]]}})", "a merge must be two tokens"},
        Refused{"merge_of_strangers", R"({"model": {"merges": ["a c"]}})", "a merge needs 'c'"},
        Refused{"merge_to_stranger", R"({"model": {"merges": ["b a"]}})", "a merge needs 'ba'"},
        Refused{"unknown_token", R"({"model": {"unk_token": "?"}})", "the unk_token '?' is not in the voc"},
        Refused{"normalizer", R"({"normalizer": {"type": "Lowercase"}})", "the normalizer 'Lowercase'"},
        Refused{"pre_tokenizer", R"({"pre_tokenizer": {"type": "BertPreTokenizer"}})",
                "the pre-tokenizer 'BertPreTokenizer'"},
        Refused{"behind_bytes", R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers":
                                   [{"type": "ByteLevel"}, {"type": "Digits"}]}})",
                "the pre-tokenizer behind ByteLevel 'Digits'"},
        Refused{"decoder", R"({"decoder": {"type": "WordPiece"}})", "the decoder 'WordPiece'"},
        Refused{"behavior",
                R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "x"}})",
                "the behavior 'x'"},
        Refused{"pattern", R"({"pre_tokenizer": {"type": "Split", "pattern": {}, "behavior": "Isolated"}})",
                "'Regex' must be a string"},
        Refused{"expression",
                R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}})",
                "the pattern '(a' is not understood: missing closing parenthesis"},
        Refused{"added_elsewhere", R"({"added_tokens": [{"id": 3, "content": "a"}]})",
                "the added token 'a' has id 3, which in the vocabulary is 0"},
        Refused{"added_over_other", R"({"added_tokens": [{"id": 0, "content": "c"}]})",
                "the added token 'c' has id 0, which in the vocabulary belongs to 'a'"},
        Refused{"added_twice", R"({"added_tokens": [{"id": 3, "content": "c"}, {"id": 3, "content": "d"}]})",
                "id 3 belongs to both 'c' and 'd'"}),
    [](const auto& info) { return info.param.name; });

// A pattern that backtracks without end is stopped, and a word of a million characters is no trouble.
TEST(Tokenizer, StopsRunawayPatterns) {
  const Tokenizer tokenizer = Tokenizer::from_json(
      file_with(Json::parse(
          R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*[cd]"}, "behavior": "Isolated"}})")),
      "t");
  EXPECT_THROW(tokenizer.encode(std::string(100, 'a')), Error);
  const Tokenizer plain = Tokenizer::from_json(file_with(Json::object()), "t");
  std::string word;
  for (int i = 0; i < 500'000; ++i) word += "ab";
  EXPECT_EQ(plain.encode(word), std::vector<int32_t>(500'000, 2));
}

class TokenizerFolder : public ::testing::Test {
 protected:
  TokenizerFolder() { testing::write_file(folder_ / "tokenizer.json", file_with(Json::object())); }

  std::string refusal() {
    try {
      Tokenizer::load(folder_.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      return error.what();
    }
    return "not refused";
  }

  testing::TempFolder folder_;
};

TEST_F(TokenizerFolder, FindsTheTokenInFrontOfAText) {
  EXPECT_EQ(Tokenizer::load(folder_.path()).bos_id(), std::nullopt);
  testing::write_file(folder_ / "config.json", R"({"bos_token_id": 7})");
  EXPECT_EQ(Tokenizer::load(folder_.path()).bos_id(), 7);
  testing::write_file(folder_ / "tokenizer_config.json", R"({"bos_token": null})");
  EXPECT_EQ(Tokenizer::load(folder_.path()).bos_id(), 7);
  testing::write_file(folder_ / "tokenizer_config.json", R"({"bos_token": "b"})");
  EXPECT_EQ(Tokenizer::load(folder_.path()).bos_id(), 1);
  testing::write_file(folder_ / "tokenizer_config.json",
                      R"({"bos_token": {"content": "ab", "special": true}})");
  EXPECT_EQ(Tokenizer::load(folder_.path()).bos_id(), 2);
}

TEST_F(TokenizerFolder, RefusesWhatIsMissingOrWrong) {
  testing::write_file(folder_ / "tokenizer_config.json", R"({"bos_token": "<s>"})");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: the tokenizer has no token '<s>', the bos_token"));
  testing::write_file(folder_ / "tokenizer_config.json", R"({"bos_token": 1})");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: 'content' must be a string"));
  testing::write_file(folder_ / "tokenizer_config.json", "[]");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: must be a JSON object"));
  std::filesystem::remove(folder_ / "tokenizer.json");
  EXPECT_THAT(refusal(), HasSubstr("no tokenizer.json or tokenizer.model, so text can't become tokens"));
}

TEST_F(TokenizerFolder, LoadsTheBundledModel) {
  const Tokenizer tokenizer = Tokenizer::load(kData / "docs-llama-4m");
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.vocabulary_size(), 4096);
}

}  // namespace
}  // namespace prune
