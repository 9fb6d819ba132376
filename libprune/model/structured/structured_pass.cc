#include "libprune/model/structured/structured_pass.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include <prune/error.h>

#include "libprune/io/text.h"
#include "libprune/model/calibrated/own_text.h"
#include "libprune/model/calibrated/update_products.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/job.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/parallel.h"
#include "libprune/model/report_json.h"
#include "libprune/model/structured/config_edit.h"
#include "libprune/model/structured/layer_order.h"
#include "libprune/model/structured/norm_cut.h"
#include "libprune/model/structured/shape_search.h"
#include "libprune/model/structured/structured_pruner.h"

namespace prune {
namespace {

constexpr int64_t kTrialShare = 4;      // trials take a quarter of the text
constexpr int64_t kTestTokens = 16384;  // that a trial is measured on

// Any cut to a shape: what the configuration says depends on nothing else.
Cut some_cut(const DecoderConfig& config, const ModelShape& shape) {
  Cut cut;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    LayerCut kept = whole_layer(config, layer);
    kept.kv_heads.resize(size_t(shape.size.kv_heads));
    kept.heads.resize(size_t(shape.size.heads));
    kept.experts.resize(size_t(shape.size.experts));
    kept.channels.resize(size_t(shape.size.experts));
    for (Units& channels : kept.channels) channels.resize(size_t(shape.size.channels));
    cut.layers.push_back(std::move(kept));
  }
  return cut;
}

void check_options(const Checkpoint& checkpoint, const StructuredOptions& options) {
  const StructuredMethod& method = find_structured_method(options.method);
  if (!(options.sparsity > 0 && options.sparsity < 1))
    throw_usage("--sparsity: expected a share of the decoder blocks' parameters between 0 and 1");
  if (PackedCheckpoint::is_packed(checkpoint))
    throw_input(shown(checkpoint.path()) + ": is packed; 'prune unpack' makes it dense first");
  if (method.needs_calibration() && options.calibration.file.empty())
    throw_usage("method " + options.method + " needs --calib FILE, some text");
  const double follow = options.calibration.follow.value_or(0);
  if (!(follow >= 0 && follow <= 1)) throw_usage("expected --follow from 0 to 1");
  if (options.calibration.steps < 1) throw_usage("expected 1 or more --steps");
  if (options.calibration.batch < 1) throw_usage("expected a --batch of 1 or more");
  if (!(options.calibration.learning_rate > 0 && std::isfinite(options.calibration.learning_rate)))
    throw_usage("expected a --learning-rate above 0");
  if (options.units == UnitKind::kMixed && !method.needs_calibration())
    throw_usage("pattern mixed is found by measuring: give --method obs or another that needs --calib");
}

// One run from the text to the cut.
class StructuredRun {
 public:
  StructuredRun(const Decoder& decoder, const StructuredOptions& options, std::filesystem::path folder)
      : decoder_(decoder),
        config_(decoder.config()),
        options_(options),
        method_(find_structured_method(options.method)),
        folder_(std::move(folder)) {
    if (method_.needs_calibration()) text_ = read_calibration_text(decoder, options.calibration);
  }

  StructuredResult run(const ModelShape& planned, StructuredReport& report, ProgressCounter& progress) {
    report.after = planned;
    if (options_.units == UnitKind::kMixed) {
      report.trials =
          search_shape(config_, options_, [&](const ModelShape& shape) { return measure(shape); });
      report.after = report.trials.front().shape;
    }
    const Units gone = layers_gone(report.after);
    if (method_.needs_calibration()) return prune(options_, report.after, gone, text_.samples, 0, progress);
    StructuredResult result;
    result.cut = cut_by_norm(decoder_, report.after, gone);
    return result;
  }

 private:
  StructuredResult prune(const StructuredOptions& options, const ModelShape& shape, const Units& gone,
                         int64_t fit, int64_t test, ProgressCounter& progress) {
    StructuredPruner pruner(decoder_, options, text_, fit, test, folder_);
    return pruner.run(shape, gone, progress);
  }

  // The loss of a trial, on text after that of its moments, without training.
  double measure(const ModelShape& shape) {
    const int64_t read = options_.calibration.samples;  // what the model wrote says less of other text
    if (read < 2) throw_usage("pattern mixed: --samples 2 at least, to measure on other text");
    StructuredOptions trial = options_;
    if (method_.reconstructs) trial.method = "obs";
    const int64_t fit = std::max<int64_t>(1, read / kTrialShare);
    const int64_t test = std::min(read - fit, std::max<int64_t>(1, kTestTokens / text_.length));
    const Progress silent;
    ProgressCounter progress(silent, 1);
    return prune(trial, shape, layers_gone(shape), fit, test, progress).nats;
  }

  // The order is found once, as far as it is needed.
  Units layers_gone(const ModelShape& shape) {
    const auto count = size_t(config_.layers - shape.layers);
    if (order_.size() < count) {
      const auto most = size_t(options_.sparsity * double(config_.layers));
      order_ = layers_to_remove(decoder_, text_, method_.score, int64_t(std::max(count, most)));
    }
    return {order_.begin(), order_.begin() + std::ptrdiff_t(count)};
  }

  const Decoder& decoder_;
  const DecoderConfig& config_;
  const StructuredOptions& options_;
  const StructuredMethod& method_;
  std::filesystem::path folder_;
  CalibrationText text_;
  Units order_;
};

// What Cut keeps of layers that no pass reported on.
void describe_layers(const DecoderConfig& config, const StructuredResult& result, StructuredReport& report) {
  report.layers = result.layers;
  if (!report.layers.empty()) return;
  for (int64_t index = 0; index < config.layers; ++index) {
    const auto kept = std::ranges::find(result.cut.layers, index, &LayerCut::layer);
    report.layers.push_back(kept == result.cut.layers.end() ? LayerReport{.layer = index, .stays = false}
                                                            : describe_cut(config, *kept));
  }
}

}  // namespace

nlohmann::json describe_structured(const Checkpoint& checkpoint, const StructuredOptions& options) {
  nlohmann::json json = {{"pattern", to_string(options.units)},
                         {"method", options.method},
                         {"sparsity", options.sparsity},
                         {"multiple_of", options.multiple_of}};
  const std::filesystem::path& text = options.calibration.file;
  if (!text.empty()) json["calibration"] = to_json(options.calibration);
  nlohmann::json job = describe_job("structured", checkpoint, json);
  if (!text.empty()) job["calibration"] = describe_file("", std::filesystem::absolute(text));
  return job;
}

ModelShape plan_structured(const Checkpoint& checkpoint, const StructuredOptions& options) {
  check_options(checkpoint, options);
  const Decoder decoder(checkpoint);
  ModelShape shape;
  if (options.units == UnitKind::kMixed) {
    shape = search_shape(decoder.config(), options, [](const ModelShape&) { return 0.0; }).front().shape;
  } else {
    shape = plan_shape(decoder.config(), options);
  }
  new_config(decoder, some_cut(decoder.config(), shape));
  return shape;
}

StructuredReport prune_units(const Checkpoint& checkpoint, const StructuredOptions& options,
                             const std::filesystem::path& output, StagingOptions staging,
                             const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const ThreadCount threads(options.threads);
  use_gemm_in_updates();
  const ModelShape planned = plan_structured(checkpoint, options);
  const Decoder decoder(checkpoint, options.calibration.precision);
  Repacking repacking(checkpoint, output, describe_structured(checkpoint, options), std::move(staging),
                      progress, 2 * checkpoint.tensor_bytes());
  StructuredReport report;
  report.model = checkpoint.path().string();
  report.output = output.string();
  report.pattern = to_string(options.units);
  report.method = options.method;
  report.sparsity = options.sparsity;
  report.before = shape_of(decoder.config());
  StructuredRun run(decoder, options, output.parent_path());
  StructuredResult result = run.run(planned, report, repacking.progress());
  describe_layers(decoder.config(), result, report);
  const DecoderConfig smaller = cut_config(decoder.config(), result.cut);
  report.achieved = share_removed(decoder.config(), report.after);
  report.parameters_before = block_parameters(decoder.config());
  report.parameters_after = block_parameters(smaller);
  if (const std::string note = loading_note(smaller); !note.empty() && smaller.heads < decoder.config().heads)
    report.notes.push_back(note);
  const CutFiles files = write_cut(decoder, result.cut, result.changed, repacking);
  report.bytes_before = files.model_bytes;
  report.bytes_after = files.bytes;
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace prune
