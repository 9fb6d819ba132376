#include "libprune/model/runtime/text_stream.h"

#include <gmock/gmock.h>

#include <prune/error.h>
#include <nlohmann/json.hpp>

#include "libprune/model/runtime/stop_ids.h"
#include "test/libprune/model/decoder/models.h"

namespace prune {
namespace {

class TextStreamTest : public ::testing::Test {
 protected:
  const Tokenizer tokenizer_ = Tokenizer::load(testing::source_folder() / "test/data/docs-llama-4m");
};

// The pieces joined are the text, and each ends on a whole character.
TEST_F(TextStreamTest, PiecesJoinToTheText) {
  const std::string text = "a naïve café — 漢字 😀😀\n\tfunc(x)  twice  \xC3\xA9";
  const std::vector<int32_t> ids = tokenizer_.encode(text);
  ASSERT_GT(ids.size(), 20U);
  for (const size_t prompt : {size_t(0), size_t(1), size_t(8), size_t(15)}) {
    TextStream stream(tokenizer_, std::span(ids).first(prompt));
    std::string joined;
    for (const int32_t id : std::span(ids).subspan(prompt)) {
      const std::string piece = stream.add(id);
      EXPECT_EQ(piece.find("\xEF\xBF\xBD"), std::string::npos);
      joined += piece;
    }
    EXPECT_EQ(stream.finish(), "");
    if (prompt == 0) {
      EXPECT_EQ(joined, text);
    } else {
      EXPECT_TRUE(text.ends_with(joined)) << joined;
    }
  }
}

TEST_F(TextStreamTest, HalfACharacterComesAtTheEnd) {
  const std::vector<int32_t> ids = tokenizer_.encode("😀");
  ASSERT_GT(ids.size(), 1U);
  TextStream stream(tokenizer_, {});
  EXPECT_EQ(stream.add(ids[0]), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(StopIds, ANumberOrAListOfThem) {
  const auto ids = [](const char* config) {
    return stop_ids_of(nlohmann::json::parse(config), "config.json");
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(ids("{}"), ElementsAre());
  EXPECT_THAT(ids(R"({"eos_token_id": null})"), ElementsAre());
  EXPECT_THAT(ids(R"({"eos_token_id": 2})"), ElementsAre(2));
  EXPECT_THAT(ids(R"({"eos_token_id": [7, 9]})"), ElementsAre(7, 9));
  EXPECT_THAT(ids(R"([1])"), ElementsAre());
  for (const char* odd : {R"({"eos_token_id": -1})", R"({"eos_token_id": "2"})", R"({"eos_token_id": [1.5]})",
                          R"({"eos_token_id": 3000000000})", R"({"eos_token_id": [[1]]})"}) {
    EXPECT_THROW(ids(odd), Error) << odd;
  }
}

}  // namespace
}  // namespace prune
