#include "libprune/model/checkpoint_rewrite.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <prune/error.h>

#include "libprune/model/elapsed.h"
#include "libprune/model/job.h"
#include "libprune/model/parallel.h"
#include "libprune/model/report_json.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

constexpr size_t kCopyChunk = size_t(8) << 20;

// What rewriting a tensor holds at most: what is read, its mask, what is gathered for the disk, and where it
// is turned around the result in both orientations.
size_t working_bytes(const Checkpoint& checkpoint, const Pattern& pattern, const PlannedTensor& planned) {
  if (!planned.prune) return 0;
  const std::span<const std::byte> data = checkpoint.data(planned.ref);
  const size_t turned = planned.orientation == Orientation::kInOut ? 2 * data.size() : 0;
  return copied_bytes(data, checkpoint.tensor(planned.ref).dtype, planned.orientation) + turned +
         scoring_bytes(pattern, planned.out * planned.in) + kCopyChunk;
}

// One shard: every tensor of the plan into its place in the new file.
class ShardRewrite {
 public:
  ShardRewrite(const Checkpoint& checkpoint, const PrunePlan& plan, size_t shard,
               const TensorRewriter& rewriter, ProgressCounter& progress)
      : checkpoint_(checkpoint),
        plan_(plan),
        shard_(checkpoint.shards()[shard]),
        rewriter_(rewriter),
        progress_(progress) {}

  // Gives the reports of the pruned tensors, in the order of `tensors`.
  std::vector<TensorReport> run(std::span<const PlannedTensor> tensors, const std::filesystem::path& to) {
    SafetensorsWriter writer(to, shard_);
    std::vector<TensorReport> reports(tensors.size());
    const auto bytes = [&](size_t i) {
      return working_bytes(checkpoint_, plan_.options.pattern, tensors[i]);
    };
    parallel_for(tensors.size(), plan_.options.threads, bytes,
                 [&](size_t i) { reports[i] = rewrite(tensors[i], writer); });
    writer.finish();
    copy_permissions(shard_.path(), to);
    std::erase_if(reports, [](const TensorReport& report) { return !report.pruned; });
    return reports;
  }

 private:
  TensorReport rewrite(const PlannedTensor& planned, SafetensorsWriter& writer) {
    const TensorInfo& tensor = checkpoint_.tensor(planned.ref);
    TensorSink sink(writer, planned.ref.tensor);
    TensorReport report;
    if (planned.prune) {
      report = prune(planned, tensor, sink);
    } else {
      copy(planned, sink);
    }
    shard_.map().done_with(shard_.data_start() + tensor.begin, tensor.size_bytes());
    progress_.add(tensor.size_bytes(), tensor.name);
    return report;
  }

  TensorReport prune(const PlannedTensor& planned, const TensorInfo& tensor, TensorSink& sink) {
    return with_place_in_errors(shard_, tensor, planned.orientation,
                                [&] { return rewriter_.rewrite(planned, sink); });
  }

  void copy(const PlannedTensor& planned, TensorSink& sink) {
    const auto bytes = checkpoint_.data(planned.ref);
    for (size_t at = 0; at < bytes.size(); at += kCopyChunk) {
      sink.append(bytes.subspan(at, std::min(kCopyChunk, bytes.size() - at)));
    }
  }

  const Checkpoint& checkpoint_;
  const PrunePlan& plan_;
  const SafetensorsFile& shard_;
  const TensorRewriter& rewriter_;
  ProgressCounter& progress_;
};

std::span<const PlannedTensor> tensors_of_shard(const PrunePlan& plan, size_t shard) {
  const auto shard_of = [](const PlannedTensor& tensor) { return tensor.ref.shard; };
  return {std::ranges::lower_bound(plan.tensors, shard, {}, shard_of),
          std::ranges::upper_bound(plan.tensors, shard, {}, shard_of)};
}

// Reports on all tensors of a shard: the pruned ones as noted, the others as planned.
void add_reports(const Checkpoint& checkpoint, std::span<const PlannedTensor> tensors,
                 const nlohmann::json& note, PruneReport& report) {
  std::vector<TensorReport> pruned = tensor_reports_from_json(note);
  if (std::ranges::count(tensors, true, &PlannedTensor::prune) != std::ssize(pruned))
    throw_runtime("the journal of the unfinished run does not fit the plan: run again without --resume");
  auto next = pruned.begin();
  for (const PlannedTensor& planned : tensors)
    report.tensors.push_back(planned.prune ? std::move(*next++) : describe_tensor(checkpoint, planned));
}

}  // namespace

void TensorSink::append(std::span<const std::byte> bytes) {
  check_interrupted();
  writer_.write(tensor_, offset_, bytes);
  offset_ += bytes.size();
}

TensorReport describe_tensor(const Checkpoint& checkpoint, const PlannedTensor& planned) {
  const TensorInfo& tensor = checkpoint.tensor(planned.ref);
  TensorReport report;
  report.name = tensor.name;
  report.dtype = name(tensor.dtype);
  report.shape = tensor.shape;
  report.transposed = planned.orientation == Orientation::kInOut;
  report.pruned = planned.prune;
  report.reason = planned.reason;
  return report;
}

nlohmann::json describe_pruning(const Checkpoint& checkpoint, const PrunePlan& plan) {
  nlohmann::json job = describe_job("prune", checkpoint, to_json(plan.options));
  const auto add = [&](const char* what, const std::filesystem::path& text) {
    if (!text.empty()) job[what] = describe_file("", std::filesystem::absolute(text));
  };
  add("calibration", plan.options.calibration.file);
  add("training", plan.options.trained.file);
  return job;
}

PruneReport rewrite_checkpoint(const Checkpoint& checkpoint, const PrunePlan& plan,
                               const std::filesystem::path& output, StagingOptions options,
                               const TensorRewriter& rewriter, const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  options.input = checkpoint.path();
  Staging staging(output, checkpoint.is_single_file(), describe_pruning(checkpoint, plan),
                  std::move(options));
  ProgressCounter counter(progress, checkpoint.tensor_bytes());
  PruneReport report = describe_pass(checkpoint, plan, output);
  for (const std::filesystem::path& file : checkpoint.other_files()) {
    check_interrupted();
    if (!staging.is_done(file.string())) staging.copy(checkpoint.path() / file, file.string());
  }
  bool is_prepared = false;
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    const std::string name = checkpoint.shard_name(shard);
    const std::span<const PlannedTensor> tensors = tensors_of_shard(plan, shard);
    if (!staging.is_done(name)) {
      if (!std::exchange(is_prepared, true)) rewriter.prepare();
      ShardRewrite rewrite(checkpoint, plan, shard, rewriter, counter);
      staging.commit(name, to_json(rewrite.run(tensors, staging.path_for(name))));
    }
    add_reports(checkpoint, tensors, staging.note(name), report);
    report.bytes_written += int64_t(checkpoint.shards()[shard].file_size());
  }
  check_interrupted();
  staging.publish();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace prune
