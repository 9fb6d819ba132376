#include "libprune/model/job.h"

#include <chrono>
#include <filesystem>

#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

nlohmann::json job_of(const std::filesystem::path& model, std::string_view kind = "prune",
                      double sparsity = 0.5) {
  return describe_job(kind, Checkpoint(model), nlohmann::json{{"sparsity", sparsity}});
}

void age(const std::filesystem::path& file) {
  std::filesystem::last_write_time(file,
                                   std::filesystem::last_write_time(file) - std::chrono::milliseconds(1));
}

TEST(Job, ChangesWithWhateverDecidesTheResult) {
  testing::TempFolder folder;
  const std::vector<testing::TestTensor> tensors = {
      testing::tensor_of<float>("a.weight", Matrix<float>::Zero(2, 4))};
  testing::write_shards(folder.path(), "llama", {tensors});
  const std::filesystem::path shard = folder / "model-00001-of-00001.safetensors";
  const nlohmann::json job = job_of(folder.path());
  EXPECT_EQ(job_of(folder.path()), job);
  EXPECT_NE(job_of(folder.path(), "pack"), job);
  EXPECT_NE(job_of(folder.path(), "prune", 0.6), job);
  EXPECT_NE(job_of(shard), job);
  for (const std::filesystem::path& file : {shard, folder / "config.json"}) {
    const nlohmann::json before = job_of(folder.path());
    age(file);
    EXPECT_NE(job_of(folder.path()), before) << file;
  }
}

TEST(Job, AVanishedShardIsRefused) {
  testing::TempFolder folder;
  testing::write_model(folder.path(), "llama", {});
  const Checkpoint checkpoint(folder.path());
  std::filesystem::remove(folder / "model.safetensors");
  EXPECT_EQ(testing::refusal(ErrorKind::kInput, "model.safetensors: can't be read",
                             [&] { describe_job("prune", checkpoint, nullptr); }),
            "");
}

}  // namespace
}  // namespace prune
