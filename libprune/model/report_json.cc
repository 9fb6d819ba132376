#include "libprune/model/report_json.h"

namespace prune {

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::kRow:
      return "row";
    case Scope::kLayer:
      return "layer";
    case Scope::kGlobal:
      return "global";
  }
  return "";
}

std::string_view to_string(Allocation allocation) {
  switch (allocation) {
    case Allocation::kUniform:
      return "uniform";
    case Allocation::kOwl:
      return "owl";
    case Allocation::kError:
      return "error";
  }
  return "";
}

std::string_view to_string(BlockNorm norm) { return norm == BlockNorm::kL1 ? "l1" : "l2"; }

nlohmann::json to_json(const TrainingStep& step) {
  return {{"step", step.step},
          {"loss", step.loss},
          {"cross_entropy", step.cross_entropy},
          {"divergence", step.divergence},
          {"hidden_loss", step.hidden_loss},
          {"penalty", step.penalty},
          {"gradient_norm", step.gradient_norm},
          {"learning_rate", step.learning_rate},
          {"sparsity", step.sparsity}};
}

nlohmann::json to_json(const CalibrationOptions& options) {
  nlohmann::json json = {{"file", options.file.string()},
                         {"samples", options.samples},
                         {"own_samples", options.own_samples},
                         {"steps", options.steps},
                         {"batch", options.batch},
                         {"learning_rate", options.learning_rate},
                         {"keep_zeros", options.keep_zeros},
                         {"true_sequential", options.true_sequential}};
  if (options.length) json["seqlen"] = *options.length;
  if (options.seed) json["seed"] = *options.seed;
  if (options.damping) json["damping"] = *options.damping;
  if (options.follow) json["follow"] = *options.follow;
  if (options.allocation != Allocation::kUniform) json["allocation"] = to_string(options.allocation);
  if (options.precision != Precision::kF32) json["precision"] = "bf16";
  return json;
}

namespace {

nlohmann::json to_json(const TrainedPruning& trained) {
  const TrainingOptions& t = trained.training;
  const TrainedMaskOptions& m = trained.masks;
  return {{"file", trained.file.string()},
          {"teacher", trained.teacher.string()},
          {"steps", t.steps},
          {"batch", t.batch},
          {"accumulate", t.accumulate},
          {"seqlen", t.seqlen},
          {"warm_up", t.warm_up},
          {"learning_rate", t.learning_rate},
          {"decay", t.decay == Decay::kCosine   ? "cosine"
                    : t.decay == Decay::kLinear ? "linear"
                                                : "none"},
          {"optimizer", t.optimizer == OptimizerKind::kLamb ? "lamb" : "adamw"},
          {"weight_decay", t.weight_decay},
          {"clip", t.clip},
          {"distillation", t.distillation},
          {"temperature", t.temperature},
          {"hidden_weight", t.hidden_weight},
          {"precision", t.precision == Precision::kBf16 ? "bf16" : "fp32"},
          {"seed", t.seed},
          {"lora_rank", trained.lora_rank},
          {"soft", m.soft},
          {"scores", m.scores},
          {"score_optimizer", m.score_optimizer},
          {"score_rate", m.score_rate},
          {"threshold", m.threshold},
          {"penalty", m.penalty},
          {"straight_through", m.straight_through},
          {"ramp", {m.ramp_begin, m.ramp_end}}};
}

nlohmann::json to_json(const TrainingReport& training) {
  nlohmann::json steps = nlohmann::json::array();
  for (const TrainingStep& step : training.steps) steps.push_back(to_json(step));
  return {{"tokens", training.tokens},
          {"seconds", training.seconds},
          {"waiting_seconds", training.waiting},
          {"tokens_per_second", training.tokens_per_second()},
          {"steps", steps}};
}

void add_calibrated(const TensorReport& t, nlohmann::json& entry) {
  if (t.wanted_sparsity) entry["wanted_sparsity"] = *t.wanted_sparsity;
  if (t.error_before) entry["error_before"] = *t.error_before;
  if (t.error_after) entry["error_after"] = *t.error_after;
  if (t.damping > 0) entry["damping"] = t.damping;
  if (t.damping_retries > 0) entry["damping_retries"] = t.damping_retries;
  if (!t.note.empty()) entry["note"] = t.note;
}

std::optional<double> maybe_number(const nlohmann::json& entry, const char* key) {
  if (!entry.contains(key) || !entry.at(key).is_number()) return std::nullopt;
  return entry.at(key).get<double>();
}

}  // namespace

nlohmann::json to_json(const PruneOptions& options) {
  nlohmann::json json = {{"method", options.method},
                         {"pattern", to_string(options.pattern)},
                         {"sparsity", resolve_sparsity(options.pattern, options.sparsity)},
                         {"scope", to_string(options.scope)},
                         {"block_norm", to_string(options.block_norm)},
                         {"include", options.include},
                         {"exclude", options.exclude},
                         {"skip_unfit", options.skip_unfit}};
  if (!options.calibration.file.empty()) json["calibration"] = to_json(options.calibration);
  if (!options.trained.file.empty()) json["training"] = to_json(options.trained);
  return json;
}

nlohmann::json to_json(const std::vector<TensorReport>& tensors) {
  nlohmann::json list = nlohmann::json::array();
  for (const TensorReport& t : tensors) {
    nlohmann::json entry = {{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}, {"pruned", t.pruned}};
    if (t.pruned) {
      const double numel = double(t.numel());
      entry["transposed"] = t.transposed;
      entry["zeros_before"] = t.zeros_before;
      entry["zeros_after"] = t.zeros_after;
      entry["sparsity"] = numel > 0 ? double(t.zeros_after) / numel : 0.0;
      entry["seconds"] = t.seconds;
      add_calibrated(t, entry);
    } else {
      entry["reason"] = t.reason;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

std::vector<TensorReport> tensor_reports_from_json(const nlohmann::json& json) {
  std::vector<TensorReport> tensors;
  for (const nlohmann::json& entry : json) {
    TensorReport t;
    t.name = entry.at("name");
    t.dtype = entry.at("dtype");
    t.shape = entry.at("shape").get<std::vector<int64_t>>();
    t.pruned = entry.at("pruned");
    t.reason = entry.value("reason", "");
    t.transposed = entry.value("transposed", false);
    t.zeros_before = entry.value("zeros_before", int64_t(0));
    t.zeros_after = entry.value("zeros_after", int64_t(0));
    t.seconds = entry.value("seconds", 0.0);
    t.wanted_sparsity = maybe_number(entry, "wanted_sparsity");
    t.error_before = maybe_number(entry, "error_before");
    t.error_after = maybe_number(entry, "error_after");
    t.damping = entry.value("damping", 0.0);
    t.damping_retries = entry.value("damping_retries", 0);
    t.note = entry.value("note", "");
    tensors.push_back(std::move(t));
  }
  return tensors;
}

nlohmann::json to_json(const PruneReport& report) {
  nlohmann::json json = {
      {"model", report.model},
      {"output", report.output},
      {"method", report.method},
      {"pattern", report.pattern},
      {"scope", report.scope},
      {"sparsity", {{"wanted", report.sparsity}, {"achieved", report.achieved_sparsity()}}},
      {"weights", report.pruned_weights()},
      {"zeros", report.zeros_after()},
      {"bytes_written", report.bytes_written},
      {"seconds", report.seconds},
      {"tensors", to_json(report.tensors)}};
  if (report.training) json["training"] = to_json(*report.training);
  return json;
}

PruneReport describe_pass(const Checkpoint& checkpoint, const PrunePlan& plan,
                          const std::filesystem::path& output) {
  PruneReport report;
  report.model = checkpoint.path().string();
  report.output = output.string();
  report.method = plan.options.method;
  report.pattern = to_string(plan.options.pattern);
  report.sparsity = plan.sparsity;
  report.scope = std::holds_alternative<NM>(plan.options.pattern) ? "group" : to_string(plan.options.scope);
  return report;
}

}  // namespace prune
