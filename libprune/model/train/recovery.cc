#include "libprune/model/train/recovery.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <prune/error.h>
#include <prune/matrix.h>

#include "libprune/model/checkpoint_rewrite.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/tensor_visit.h"

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
    list_[linear.weight_name] = {linear.weight.data(), linear.out, linear.in, linear.orientation};
    if (!linear.bias.empty()) list_[bias_name(linear.weight_name)] = {linear.bias.data(), 1, linear.out};
  }

  float offset_;
  std::map<std::string, Trained> list_;
};

bool holds_trained_values(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// Every trained tensor is rewritten, all others are copied.
PrunePlan plan_of(const Checkpoint& checkpoint, const TrainedTensors& trained) {
  PrunePlan plan;
  plan.options.method = "recover";
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    for (size_t i = 0; i < checkpoint.shards()[shard].tensors().size(); ++i) {
      PlannedTensor planned{.ref = {shard, i}, .reason = "not trained"};
      const TensorInfo& tensor = checkpoint.tensor(planned.ref);
      if (const Trained* values = trained.find(tensor.name)) {
        if (!holds_trained_values(tensor.dtype)) {
          throw_input(tensor.name + ": type " + std::string(name(tensor.dtype)) +
                      " can't hold trained weights");
        }
        planned.prune = true;
        planned.orientation = values->orientation;
        planned.out = values->rows;
        planned.in = values->cols;
        planned.reason.clear();
      }
      plan.tensors.push_back(std::move(planned));
    }
  }
  return plan;
}

// The tensor's bytes in its own type and orientation; +0 where the value is 0.
template <class T>
std::vector<std::byte> narrow(const Trained& trained) {
  std::vector<std::byte> bytes(size_t(trained.rows * trained.cols) * sizeof(T));
  const bool turned = trained.orientation == Orientation::kInOut;
  for (int64_t r = 0; r < trained.rows; ++r) {
    for (int64_t c = 0; c < trained.cols; ++c) {
      const float value = trained.values[r * trained.cols + c] - trained.offset;
      const T stored = value == 0 ? T(0) : static_cast<T>(value);
      const int64_t at = turned ? c * trained.rows + r : r * trained.cols + c;
      std::memcpy(bytes.data() + size_t(at) * sizeof(T), static_cast<const void*>(&stored), sizeof(T));
    }
  }
  return bytes;
}

std::vector<std::byte> narrow(const Trained& trained, DType dtype) {
  return visit_dtype(dtype, [&]<class T>() -> std::vector<std::byte> {
    if constexpr (sizeof(T) == 1) {
      throw_input("type " + std::string(name(dtype)) + " can't hold trained weights");
    } else {
      return narrow<T>(trained);
    }
  });
}

void count_weights(const TrainableModel& model, RecoveryReport& report) {
  for (const DecoderLayer& layer : model.layers) {
    for (const Linear* linear : layer.linears()) {
      report.weights += linear->weight.size();
      report.zeros += std::count(linear->weight.data(), linear->weight.data() + linear->weight.size(), 0.0F);
    }
  }
}

void train(TrainableModel& student, const TrainableModel* teacher, std::span<const int32_t> ids,
           const TrainingOptions& options, const std::function<void(const TrainingStep&)>& on_step,
           RecoveryReport& report) {
  Trainer trainer(student, teacher, masks_of(student), ids, options);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < options.steps; ++i) {
    check_interrupted();
    report.last = trainer.step();
    if (i == 0) report.first = report.last;
    if (on_step) on_step(report.last);
  }
  report.seconds = seconds_since(start);
  report.steps = options.steps;
  report.tokens = options.steps * options.batch * options.seqlen;
  report.tokens_per_second = double(report.tokens) / report.seconds;
}

}  // namespace

RecoveryReport recover_checkpoint(const Checkpoint& checkpoint, const Checkpoint* teacher,
                                  std::span<const int32_t> ids, const TrainingOptions& options,
                                  const std::filesystem::path& output, StagingOptions staging,
                                  const std::function<void(const TrainingStep&)>& on_step) {
  const Decoder decoder(checkpoint);
  TrainableModel student(decoder);
  const TrainedTensors trained(student);
  const PrunePlan plan = plan_of(checkpoint, trained);
  std::optional<Decoder> teacher_decoder;
  std::optional<TrainableModel> teacher_model;
  if (teacher != nullptr) {
    teacher_decoder.emplace(*teacher);
    teacher_model.emplace(*teacher_decoder);
  }
  RecoveryReport report;
  report.output = output;
  const TensorRewriter rewriter{
      [&] { train(student, teacher_model ? &*teacher_model : nullptr, ids, options, on_step, report); },
      [&](const PlannedTensor& planned, TensorSink& sink) {
        const TensorInfo& tensor = checkpoint.tensor(planned.ref);
        sink.append(narrow(*trained.find(tensor.name), tensor.dtype));
        return describe_tensor(checkpoint, planned);
      }};
  report.bytes_written =
      rewrite_checkpoint(checkpoint, plan, output, std::move(staging), rewriter, {}).bytes_written;
  count_weights(student, report);
  return report;
}

}  // namespace prune
