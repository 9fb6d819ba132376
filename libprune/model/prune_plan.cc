#include "libprune/model/prune_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/data_order.h"
#include "libprune/model/method.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/train/trained_pass.h"
#include "libprune/model/weight_selection.h"

namespace prune {
namespace {

// Decides about one tensor, and keeps what it learns for the notes.
class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const PruneOptions& options)
      : checkpoint_(checkpoint),
        options_(options),
        selection_(checkpoint, options.include, options.exclude) {}

  const Architecture& architecture() const { return selection_.architecture(); }
  int unfit() const { return unfit_; }

  PlannedTensor plan(TensorRef ref) {
    const TensorInfo& tensor = checkpoint_.tensor(ref);
    WeightSelection::Choice choice = selection_.choose(tensor);
    PlannedTensor planned{.ref = ref,
                          .prune = choice.chosen,
                          .orientation = choice.orientation,
                          .reason = std::move(choice.reason)};
    if (planned.prune) require_writable(tensor, ref);
    if (planned.prune) fit(tensor, planned);
    return planned;
  }

 private:
  // Calibrated methods compute weights as floats, which are rounded to the file's type at last.
  void require_writable(const TensorInfo& tensor, TensorRef ref) const {
    if (tensor.dtype != DType::kF8E4M3 && tensor.dtype != DType::kF8E5M2) return;
    if (!find_method(options_.method).needs_calibration) return;
    throw_input(place_of(checkpoint_.shards()[ref.shard], tensor) + ": type " +
                std::string(name(tensor.dtype)) +
                " can't hold calibrated weights: use method magnitude, or --exclude it");
  }

  void fit(const TensorInfo& tensor, PlannedTensor& planned) {
    const bool turned = planned.orientation == Orientation::kInOut;
    planned.out = tensor.shape[turned ? 1 : 0];
    planned.in = tensor.shape[turned ? 0 : 1];
    const auto reason = misfit(options_.pattern, planned.out, planned.in);
    if (!reason) return;
    if (!options_.skip_unfit) {
      throw_input(place_of(checkpoint_.shards()[planned.ref.shard], tensor) + " can't take pattern " +
                  to_string(options_.pattern) + ": " + *reason + " (" + options_.unfit_advice + ")");
    }
    ++unfit_;
    planned.prune = false;
    planned.reason = "does not fit: " + *reason;
  }

  const Checkpoint& checkpoint_;
  const PruneOptions& options_;
  WeightSelection selection_;
  int unfit_ = 0;
};

void check_calibration(const PruneOptions& options) {
  const CalibrationOptions& calibration = options.calibration;
  const std::string method = "method " + options.method;
  if (!find_method(options.method).needs_calibration) {
    if (!calibration.file.empty()) throw_usage(method + " looks at no data: --calib is for the others");
    return;
  }
  if (calibration.file.empty())
    throw_usage(method + " needs --calib FILE: text, or token ids, that the model is run on");
  const LayerMethod& layer_method = *find_layer_method(options.method);
  if (!layer_method.takes_blocks && std::holds_alternative<Block>(options.pattern))
    throw_usage(method + " takes no blocks: use admm");
  const auto require = [&](bool holds, const char* what) {
    if (!holds) throw_usage(method + ": " + what);
  };
  if (calibration.damping) {
    require(layer_method.damping > 0, "has no damping");
    require(*calibration.damping > 0 && std::isfinite(*calibration.damping),
            "expected a damping above 0, as a share of the mean diagonal");
  }
  if (calibration.follow) {
    require(layer_method.follows_dense, "does not follow the dense model");
    require(*calibration.follow >= 0 && *calibration.follow <= 1, "expected a --follow of 0 to 1");
  }
  require(calibration.allocation == Allocation::kUniform || !std::holds_alternative<NM>(options.pattern),
          "N:M decides the sparsity of every matrix: --allocation is for the other patterns");
  require(calibration.steps >= 1, "expected 1 or more --steps");
  require(calibration.batch >= 1, "expected a --batch of 1 or more");
  require(calibration.learning_rate > 0 && std::isfinite(calibration.learning_rate),
          "expected a --learning-rate above 0");
  require(calibration.samples >= 1, "expected 1 or more --samples");
}

void check_options(const PruneOptions& options) {
  check_calibration(options);
  if (find_method(options.method).trains) {
    check_trained(options);
  } else if (!options.trained.file.empty()) {
    throw_usage("method " + options.method + " does not train: --train is for movement and gradual");
  }
  if (options.scope != Scope::kLayer && std::holds_alternative<NM>(options.pattern)) {
    throw_usage("a scope has no meaning for N:M: every group keeps its own weights");
  }
}

std::string join(const std::vector<std::string_view>& words) {
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ", ") + std::string(word);
  return text;
}

// A tied embedding is the output head too: pruning it, which only --include does, prunes both.
bool prunes_tied_embedding(const Checkpoint& checkpoint, const PrunePlan& plan) {
  const nlohmann::json* config = checkpoint.config();
  if (config == nullptr || config->value("tie_word_embeddings", nlohmann::json()) != true) return false;
  return std::ranges::any_of(plan.tensors, [&](const PlannedTensor& planned) {
    const std::string& name = checkpoint.tensor(planned.ref).name;
    return planned.prune && (name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight"));
  });
}

void add_notes(const Checkpoint& checkpoint, const Planner& planner, PrunePlan& plan) {
  const Architecture& architecture = planner.architecture();
  if (!architecture.is_known() && plan.options.include.empty()) {
    const std::string what = architecture.model_type().empty()
                                 ? "no model_type in a config.json"
                                 : "model_type " + quote_name(architecture.model_type()) + " is not known";
    plan.notes.push_back(
        what +
        ": pruning every 2-D \".weight\" that is no embedding, head, norm or router by its name (known: " +
        join(Architecture::known_model_types()) + ")");
  }
  if (prunes_tied_embedding(checkpoint, plan)) {
    plan.notes.push_back("the embedding is tied to the output head: pruning it prunes both");
  }
  if (planner.unfit() > 0) {
    plan.notes.push_back(std::to_string(planner.unfit()) + " tensors do not fit pattern " +
                         to_string(plan.options.pattern) + " and stay dense");
  }
}

}  // namespace

int64_t PrunePlan::weights() const {
  return std::accumulate(tensors.begin(), tensors.end(), int64_t(0),
                         [](int64_t sum, const PlannedTensor& t) { return sum + t.out * t.in * t.prune; });
}

int64_t PrunePlan::matrices() const { return std::ranges::count(tensors, true, &PlannedTensor::prune); }

PrunePlan plan_pruning(const Checkpoint& checkpoint, const PruneOptions& options) {
  check_options(options);
  PrunePlan plan{.options = options,
                 .sparsity = resolve_sparsity(options.pattern, options.sparsity),
                 .tensors = {},
                 .notes = {}};
  Planner planner(checkpoint, options);
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    for (const size_t tensor : data_order(checkpoint.shards()[shard]))
      plan.tensors.push_back(planner.plan({shard, tensor}));
  }
  if (plan.matrices() == 0) {
    throw_input(shown(checkpoint.path()) +
                (options.include.empty() ? ": holds no weight matrix to prune"
                                         : ": --include and --exclude leave no weight matrix to prune"));
  }
  add_notes(checkpoint, planner, plan);
  return plan;
}

}  // namespace prune
