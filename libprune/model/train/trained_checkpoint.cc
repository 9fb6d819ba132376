#include "libprune/model/train/trained_checkpoint.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>
#include <prune/matrix.h>

#include "libprune/io/text.h"
#include "libprune/model/checkpoint_rewrite.h"
#include "libprune/model/data_order.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/train/training_state.h"

namespace prune {
namespace {

// The trained values of one tensor, [out, in] if a matrix.
struct Trained {
  const float* values = nullptr;
  int64_t rows = 0, cols = 0;
  Orientation orientation = Orientation::kOutIn;
  float offset = 0;  // what the file leaves out, see DecoderFamily::norm_weight_offset
};

class TrainedTensors {
 public:
  explicit TrainedTensors(const TrainableModel& model) : offset_(model.config().family->norm_weight_offset) {
    for (const DecoderLayer& layer : model.layers) {
      for (const Norm* norm : {&layer.attention_norm, &layer.q_norm, &layer.k_norm, &layer.feed_forward_norm})
        add(*norm);
      for (const Linear* linear : layer.linears()) add(*linear);
    }
    add(model.final_norm);
    for (const NamedMatrix* outside : {&model.embedding, &model.positions, &model.head}) {
      if (!outside->matrix.empty()) {
        list_[outside->name] = {outside->matrix.data(), outside->matrix.rows(), outside->matrix.cols()};
      }
    }
  }

  bool is_linear(const std::string& name) const { return linears_.contains(name); }

  const Trained* find(const std::string& name) const {
    const auto found = list_.find(name);
    return found == list_.end() ? nullptr : &found->second;
  }

 private:
  void add(const Norm& norm) {
    if (!norm.exists()) return;
    list_[norm.weight_name] = {norm.weight.data(), 1, norm.width(), Orientation::kOutIn, offset_};
    if (!norm.bias.empty()) list_[bias_name(norm.weight_name)] = {norm.bias.data(), 1, norm.width()};
  }
  void add(const Linear& linear) {
    linears_.insert(linear.weight_name);
    list_[linear.weight_name] = {linear.weight.data(), linear.out, linear.in, linear.orientation};
    if (!linear.bias.empty()) list_[bias_name(linear.weight_name)] = {linear.bias.data(), 1, linear.out};
  }

  float offset_;
  std::set<std::string> linears_;
  std::map<std::string, Trained> list_;
};

bool holds_trained_values(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// The tensor's bytes in its own type and orientation; +0 where the value is 0 in that type. Adds to `zeros`.
template <class T>
std::vector<std::byte> narrow(const Trained& trained, int64_t& zeros) {
  std::vector<std::byte> bytes(size_t(trained.rows * trained.cols) * sizeof(T));
  const bool turned = trained.orientation == Orientation::kInOut;
  for (int64_t r = 0; r < trained.rows; ++r) {
    for (int64_t c = 0; c < trained.cols; ++c) {
      const float value = trained.values[r * trained.cols + c] - trained.offset;
      T stored = static_cast<T>(value);
      if (static_cast<float>(stored) == 0) {
        stored = T(0);  // not -0
        ++zeros;
      }
      const int64_t at = turned ? c * trained.rows + r : r * trained.cols + c;
      std::memcpy(bytes.data() + size_t(at) * sizeof(T), static_cast<const void*>(&stored), sizeof(T));
    }
  }
  return bytes;
}

std::vector<std::byte> narrow(const Trained& trained, DType dtype, int64_t& zeros) {
  return visit_dtype(dtype, [&]<class T>() -> std::vector<std::byte> {
    if constexpr (sizeof(T) == 1) {
      throw_input("type " + std::string(name(dtype)) + " can't hold trained weights");
    } else {
      return narrow<T>(trained, zeros);
    }
  });
}

// Every trained tensor is rewritten, all others are copied.
PrunePlan rewriting_plan(const Checkpoint& checkpoint, const PrunePlan& plan, const TrainedTensors& trained) {
  PrunePlan whole = plan;
  for (PlannedTensor& planned : whole.tensors) {
    const TensorInfo& tensor = checkpoint.tensor(planned.ref);
    const Trained* values = trained.find(tensor.name);
    if (planned.prune && !trained.is_linear(tensor.name))
      throw_input(tensor.name + ": is no linear layer of a decoder layer, which is what training masks");
    planned.prune = values != nullptr;
    if (values == nullptr) continue;
    if (!holds_trained_values(tensor.dtype))
      throw_input(tensor.name + ": type " + std::string(name(tensor.dtype)) + " can't hold trained weights");
    planned.orientation = values->orientation;
    planned.out = values->rows;
    planned.in = values->cols;
  }
  return whole;
}

int64_t count_zeros(const Trained& trained) {
  return std::count(trained.values, trained.values + trained.rows * trained.cols, 0.0F);
}

// One training, from the models in memory to the report's tensors.
class TrainedCheckpoint {
 public:
  explicit TrainedCheckpoint(TrainingJob& job)
      : job_(job), decoder_(job.checkpoint, precision()), student_(decoder_), trained_(student_) {
    if (job.teacher != nullptr) {
      teacher_decoder_.emplace(*job.teacher, precision());
      teacher_.emplace(*teacher_decoder_);
      teacher_->round_weights();
    }
    for (const PlannedTensor& planned : job.plan.tensors) {
      const std::string& name = job.checkpoint.tensor(planned.ref).name;
      if (const Trained* values = trained_.find(name)) zeros_before_[name] = count_zeros(*values);
    }
  }

  PrunePlan plan() const { return rewriting_plan(job_.checkpoint, job_.plan, trained_); }

  // With the state of a run that was killed in `state_file`, goes on from there where `resumes`.
  void train(const std::filesystem::path& state_file, bool resumes) {
    const TrainingOptions& options = job_.plan.options.trained.training;
    Trainer trainer(student_, teacher_ ? &*teacher_ : nullptr, std::move(job_.masking), job_.ids, options);
    const nlohmann::json description = describe_pruning(job_.checkpoint, job_.plan);
    const VisitState visit = [&](StateVisitor& state) { trainer.visit(state); };
    if (resumes && std::filesystem::exists(state_file)) {
      load_training_state(state_file, description, visit);
      trainer.restored();
      saved_ = trainer.steps_done();
    }
    report_.emplace();
    const auto start = std::chrono::steady_clock::now();
    while (trainer.steps_done() < options.steps) {
      check_interrupted();
      report_->steps.push_back(step_of(trainer, state_file));
      const int64_t done = trainer.steps_done();
      if (options.save_every > 0 && done % options.save_every == 0 && done < options.steps) {
        save_training_state(state_file, description, visit);
        saved_ = done;
      }
      if (job_.on_step) job_.on_step(report_->steps.back());
    }
    report_->seconds = seconds_since(start);
    report_->waiting = trainer.waiting();
    report_->tokens = int64_t(report_->steps.size()) * options.batch * options.seqlen;
  }

  TensorReport write(const PlannedTensor& planned, TensorSink& sink) const {
    const TensorInfo& tensor = job_.checkpoint.tensor(planned.ref);
    const Trained& values = *trained_.find(tensor.name);
    int64_t zeros = 0;
    sink.append(narrow(values, tensor.dtype, zeros));
    TensorReport report = describe_tensor(job_.checkpoint, planned);
    report.zeros_before = zeros_before_.at(tensor.name);
    report.zeros_after = zeros;
    return report;
  }

  std::optional<TrainingReport> take_report() { return std::move(report_); }

 private:
  Precision precision() const { return job_.plan.options.trained.training.precision; }

  TrainingStep step_of(Trainer& trainer, const std::filesystem::path& state_file) const try {
    return trainer.step();
  } catch (const Error& fault) {
    if (saved_ == 0 || fault.kind() != ErrorKind::kRuntime) throw;
    throw_runtime(std::string(fault.what()) + "; the state after step " + std::to_string(saved_) +
                  " is kept in " + shown(state_file) +
                  ", from which --resume goes on, with another --learning-rate too");
  }

  TrainingJob& job_;
  Decoder decoder_;
  TrainableModel student_;
  TrainedTensors trained_;
  std::optional<Decoder> teacher_decoder_;
  std::optional<TrainableModel> teacher_;
  std::map<std::string, int64_t> zeros_before_;
  std::optional<TrainingReport> report_;
  int64_t saved_ = 0;  // the last step whose state was saved
};

}  // namespace

PruneReport train_checkpoint(TrainingJob job, const std::filesystem::path& output, StagingOptions staging) {
  TrainedCheckpoint trained(job);
  const std::filesystem::path state_file = training_state_path(std::filesystem::absolute(output));
  const bool resumes = staging.resume;
  const TensorRewriter rewriter{
      [&] { trained.train(state_file, resumes); },
      [&](const PlannedTensor& planned, TensorSink& sink) { return trained.write(planned, sink); }};
  PruneReport report =
      rewrite_checkpoint(job.checkpoint, trained.plan(), output, std::move(staging), rewriter, {});
  std::error_code ignored;
  std::filesystem::remove(state_file, ignored);
  std::filesystem::remove(state_file.string() + ".new", ignored);  // of a save that was killed
  report.training = trained.take_report();
  for (size_t i = 0; i < report.tensors.size(); ++i) {
    TensorReport& tensor = report.tensors[i];
    const PlannedTensor& planned = job.plan.tensors[i];
    if (!tensor.pruned || planned.prune) continue;
    tensor.pruned = false;
    tensor.reason = "trained, not pruned (" + planned.reason + ")";
  }
  return report;
}

PrunePlan plan_linears(const Checkpoint& checkpoint, const PruneOptions& options) {
  const Decoder decoder(checkpoint);
  std::set<std::string> linears;
  for (int64_t i = 0; i < decoder.config().layers; ++i) {
    const DecoderLayer layer = decoder.load_layer(i);
    for (const Linear* linear : layer.linears()) linears.insert(linear->weight_name);
  }
  PrunePlan plan;
  plan.options = options;
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    for (const size_t tensor : data_order(checkpoint.shards()[shard])) {
      PlannedTensor planned{.ref = {shard, tensor}, .reason = {}};
      planned.prune = linears.contains(checkpoint.tensor(planned.ref).name);
      if (!planned.prune) planned.reason = "no linear layer";
      plan.tensors.push_back(std::move(planned));
    }
  }
  return plan;
}

}  // namespace prune
