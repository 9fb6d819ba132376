#include "libprune/model/job.h"

#include <sys/stat.h>

#include <prune/error.h>

#include "libprune/io/text.h"

namespace prune {

nlohmann::json describe_file(const std::filesystem::path& folder, const std::filesystem::path& name) {
  const std::filesystem::path file = folder / name;
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) throw_input(shown(file) + ": can't be read");
  return {{"name", name.string()},
          {"size", int64_t(status.st_size)},
          {"mtime_ns", int64_t(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec}};
}

nlohmann::json describe_job(std::string_view kind, const Checkpoint& checkpoint,
                            const nlohmann::json& options) {
  nlohmann::json inputs = nlohmann::json::array();
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    inputs.push_back(describe_file(shard.path().parent_path(), shard.path().filename()));
  }
  for (const std::filesystem::path& file : checkpoint.other_files()) {
    inputs.push_back(describe_file(checkpoint.path(), file));
  }
  return {{"job", kind},
          {"version", PRUNE_VERSION},
          {"model", checkpoint.path().string()},
          {"inputs", inputs},
          {"options", options}};
}

}  // namespace prune
