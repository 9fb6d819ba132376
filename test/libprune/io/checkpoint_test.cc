#include "libprune/io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "test/libprune/io/files.h"

namespace prune {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::safetensors;
using testing::TempFolder;
using testing::write_file;

const std::string kFileA = safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "ab");
const std::string kFileB = safetensors(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "c");
const std::string kIndex =
    R"({"metadata":{"total_size":3},"weight_map":{"a":"x-2.safetensors","b":"x-1.safetensors"}})";

void write_sharded_model(const fs::path& folder) {
  write_file(folder / "config.json", R"({"model_type":"llama"})");
  write_file(folder / "model.safetensors.index.json", kIndex);
  write_file(folder / "x-1.safetensors", kFileB);
  write_file(folder / "x-2.safetensors", kFileA);
}

std::string data_of(const Checkpoint& checkpoint, std::string_view name) {
  const auto data = checkpoint.data(checkpoint.find(name).value());
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

TEST(Checkpoint, opens_a_single_file) {
  const TempFolder folder;
  write_file(folder / "any.name", kFileA);
  write_file(folder / "tokenizer.json", "{}");
  const Checkpoint checkpoint(folder / "any.name");
  EXPECT_TRUE(checkpoint.is_single_file());
  EXPECT_EQ(checkpoint.path(), folder / "any.name");
  EXPECT_EQ(checkpoint.shard_name(0), "any.name");
  EXPECT_EQ(data_of(checkpoint, "a"), "ab");
  EXPECT_EQ(checkpoint.config(), nullptr);
  EXPECT_FALSE(checkpoint.has_index());
  EXPECT_THAT(checkpoint.other_files(), IsEmpty());
}

TEST(Checkpoint, opens_shards_by_their_index) {
  const TempFolder folder;
  write_sharded_model(folder.path());
  const Checkpoint checkpoint(folder.path());
  EXPECT_FALSE(checkpoint.is_single_file());
  ASSERT_EQ(checkpoint.shards().size(), 2u);
  EXPECT_EQ(checkpoint.shard_name(0), "x-1.safetensors");
  EXPECT_EQ(checkpoint.shard_name(1), "x-2.safetensors");
  EXPECT_EQ(data_of(checkpoint, "a"), "ab");
  EXPECT_EQ(data_of(checkpoint, "b"), "c");
  EXPECT_EQ(checkpoint.tensor(*checkpoint.find("a")).shape, std::vector<int64_t>{2});
  EXPECT_EQ(checkpoint.find("c"), std::nullopt);
  EXPECT_EQ(checkpoint.tensor_bytes(), 3u);
  EXPECT_EQ((*checkpoint.config())["model_type"], "llama");
  EXPECT_EQ(checkpoint.index()["metadata"]["total_size"], 3);
}

TEST(Checkpoint, opens_a_folder_with_one_file_of_either_name) {
  for (const char* name : {"model.safetensors", "something-else.safetensors"}) {
    const TempFolder folder;
    write_file(folder / name, kFileA);
    write_file(folder / "pytorch_model.bin", "left alone");
    const Checkpoint checkpoint(folder.path());
    EXPECT_EQ(checkpoint.shard_name(0), name);
    EXPECT_EQ(data_of(checkpoint, "a"), "ab");
    EXPECT_EQ(checkpoint.config(), nullptr);
  }
}

TEST(Checkpoint, prefers_the_usual_name_over_others) {
  const TempFolder folder;
  write_file(folder / "model.safetensors", kFileA);
  write_file(folder / "consolidated.safetensors", kFileB);
  const Checkpoint checkpoint(folder.path());
  EXPECT_EQ(checkpoint.shards().size(), 1u);
  EXPECT_THAT(checkpoint.other_files(), ElementsAre("consolidated.safetensors"));
}

TEST(Checkpoint, accepts_an_index_that_names_the_usual_name) {
  const TempFolder folder;
  write_file(folder / "model.safetensors", kFileA);
  write_file(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"model.safetensors"}})");
  EXPECT_EQ(data_of(Checkpoint(folder.path()), "a"), "ab");
}

TEST(Checkpoint, takes_any_spelling_of_its_path) {
  const TempFolder folder;
  write_file(folder / "m/model.safetensors", kFileA);
  write_file(folder / "other/x", "");
  for (const char* spelling : {"m", "m/", "m/.", "./m//", "other/../m", "m/../m/"}) {
    EXPECT_EQ(Checkpoint(folder / spelling).path(), folder / "m") << spelling;
  }
}

TEST(Checkpoint, follows_a_dot_dot_behind_a_link_as_the_system_does) {
  const TempFolder folder;
  write_file(folder / "disk/m/model.safetensors", kFileA);
  fs::create_directory_symlink("disk/m", folder / "link");
  write_file(folder / "m2/model.safetensors", kFileB);
  EXPECT_EQ(Checkpoint(folder / "link").path(), folder / "link");
  EXPECT_EQ(Checkpoint(folder / "link/../m").path(), folder / "disk/m");
}

TEST(Checkpoint, reads_a_download_cache_of_links) {
  const TempFolder folder;
  write_file(folder / "blobs/1", kFileA);
  write_file(folder / "blobs/2", R"({"model_type":"gpt2"})");
  write_file(folder / "blobs/3", "[]");
  const fs::path snapshot = folder / "snapshots/abc";
  fs::create_directories(snapshot / "sub");
  fs::create_symlink("../../blobs/1", snapshot / "model.safetensors");
  fs::create_symlink("../../blobs/2", snapshot / "config.json");
  fs::create_symlink("../../../blobs/3", snapshot / "sub/vocab.json");
  const Checkpoint checkpoint(snapshot);
  EXPECT_EQ(data_of(checkpoint, "a"), "ab");
  EXPECT_EQ(checkpoint.shard_name(0), "model.safetensors");
  EXPECT_EQ((*checkpoint.config())["model_type"], "gpt2");
  EXPECT_THAT(checkpoint.other_files(), ElementsAre("config.json", "sub/vocab.json"));
}

TEST(Checkpoint, lists_what_a_copy_must_carry_along) {
  const TempFolder folder;
  write_sharded_model(folder.path());
  for (const char* name : {"tokenizer.json", ".gitattributes", "original/params.json", "original/deep/er.txt",
                           "pytorch_model.bin", ".git/config", ".cache/huggingface/x", "sub/.huggingface/y",
                           ".m-2of4.partial/lock"}) {
    write_file(folder / name, "x");
  }
  fs::create_directory_symlink("original/deep", folder / "linked");
  const Checkpoint checkpoint(folder.path());
  EXPECT_THAT(
      checkpoint.other_files(),
      ElementsAre(".gitattributes", "config.json", "linked/er.txt", "model.safetensors.index.json",
                  "original/deep/er.txt", "original/params.json", "pytorch_model.bin", "tokenizer.json"));
}

TEST(Checkpoint, knows_other_weight_formats_by_their_names) {
  for (const char* name : {"pytorch_model.bin", "a/b.pt", "x.pth", "m.gguf", "model.onnx", "m.safetensors",
                           "flax.msgpack", "tf.h5"}) {
    EXPECT_TRUE(Checkpoint::looks_like_weights(name)) << name;
  }
  for (const char* name :
       {"pytorch_model.bin.index.json", "tokenizer.model", "README.md", "bin", "config.json"}) {
    EXPECT_FALSE(Checkpoint::looks_like_weights(name)) << name;
  }
}

}  // namespace
}  // namespace prune
