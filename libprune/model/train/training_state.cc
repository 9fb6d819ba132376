#include "libprune/model/train/training_state.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "libprune/io/json.h"
#include "libprune/io/posix.h"
#include "libprune/io/safetensors.h"
#include "libprune/io/text.h"

namespace prune {
namespace {

constexpr const char* kJob = "prune.training";

// Numbered: layers of a model may give their pieces one name.
std::string numbered(size_t index, const std::string& name) { return std::to_string(index) + " " + name; }

class Collector : public StateVisitor {
 public:
  void bytes(const std::string& name, std::span<std::byte> values) override {
    tensors.push_back({.name = numbered(tensors.size(), name),
                       .dtype = DType::kU8,
                       .shape = {int64_t(values.size())},
                       .begin = 0,
                       .end = 0});
    pieces.push_back(values);
  }

  std::vector<TensorInfo> tensors;
  std::vector<std::span<const std::byte>> pieces;
};

class Restorer : public StateVisitor {
 public:
  explicit Restorer(const SafetensorsFile& file) : file_(file) {}

  void bytes(const std::string& name, std::span<std::byte> values) override {
    const TensorInfo* tensor = file_.find(numbered(count_++, name));
    if (tensor == nullptr || tensor->size_bytes() != values.size()) {
      throw_input(shown(file_.path()) + ": is not the state of this training: " + quote_name(name) +
                  " is missing or of another size");
    }
    if (!values.empty()) std::memcpy(values.data(), file_.data(*tensor).data(), values.size());
  }

 private:
  const SafetensorsFile& file_;
  size_t count_ = 0;
};

// What may change when a training goes on.
nlohmann::json without_learning_rate(nlohmann::json job) {
  if (job.contains("options") && job["options"].contains("training"))
    job["options"]["training"].erase("learning_rate");
  return job;
}

void require_same_job(const SafetensorsFile& file, const nlohmann::json& job) {
  const std::string* text = file.find_metadata(kJob);
  const nlohmann::json saved =
      text == nullptr ? nlohmann::json() : nlohmann::json::parse(*text, nullptr, false);
  if (saved.is_discarded() || !saved.is_object())
    throw_input(shown(file.path()) + ": is not the state of a training");
  const nlohmann::json before = without_learning_rate(saved), now = without_learning_rate(job);
  if (before == now) return;
  const nlohmann::json changes = nlohmann::json::diff(before, now);
  const std::string where = changes[0].at("path").get<std::string>();
  const nlohmann::json::json_pointer place(where);
  const std::string was = before.contains(place) ? before.at(place).dump() : "nothing";
  const std::string is = now.contains(place) ? now.at(place).dump() : "nothing";
  throw_usage("--resume: the training that stopped had " + printable(was) + " for " + printable(where) +
              ", this command has " + printable(is) +
              ": give the same options and files, or leave --resume out to begin anew");
}

}  // namespace

std::filesystem::path training_state_path(const std::filesystem::path& output) {
  return output.parent_path() / ("." + output.filename().string() + ".training");
}

void save_training_state(const std::filesystem::path& file, const nlohmann::json& job,
                         const VisitState& visit) {
  Collector state;
  visit(state);
  const std::filesystem::path beside = file.string() + ".new";
  {
    SafetensorsWriter writer(beside, state.tensors, {{kJob, job.dump()}});
    for (size_t i = 0; i < state.pieces.size(); ++i) writer.write(i, 0, state.pieces[i]);
    writer.finish();
  }
  const FileDescriptor fd(::open(beside.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) throw_system_error("opening", beside, errno);
  sync_file(fd.get(), beside);
  if (std::rename(beside.c_str(), file.c_str()) != 0) throw_system_error("renaming", beside, errno);
  sync_folder(file.parent_path());
}

void load_training_state(const std::filesystem::path& path, const nlohmann::json& job,
                         const VisitState& visit) {
  const SafetensorsFile file(path);
  require_same_job(file, job);
  Restorer state(file);
  visit(state);
}

}  // namespace prune
