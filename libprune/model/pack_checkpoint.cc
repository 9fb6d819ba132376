#include "libprune/model/pack_checkpoint.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include <prune/error.h>

#include "libprune/model/calibrated/calibrated_rounding.h"
#include "libprune/model/data_order.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/job.h"
#include "libprune/model/pack_choice.h"
#include "libprune/model/pack_dense.h"
#include "libprune/model/parallel.h"
#include "libprune/model/quantized_values.h"
#include "libprune/model/repacking.h"
#include "libprune/model/report_json.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/weight_selection.h"

namespace prune {
namespace {

constexpr const char* kPackedVersion = "1";

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// A weight on its way into a packed one.
template <class T>
struct PackingSource {
  ConstView<T> places;  // whose zeros are not stored, and whose values are
  // Of int8, where calibration rounded: these values instead of the nearest, and their scales.
  std::optional<ConstView<T>> values = {};
  ScaleGrid scales = {};
};

// What a packed weight is made of beside its values and scales, in the order of packed_tensors().
template <class T>
auto places(const NmPacked<T>& p) {
  return std::tie(p.indices);
}
template <class T>
auto places(const BitmaskPacked<T>& p) {
  return std::tie(p.bitmask, p.row_offsets);
}
template <class T>
auto places(const Csr<T>& p) {
  return std::tie(p.indices, p.indptr);
}
template <class T>
auto places(const Bsr<T>& p) {
  return std::tie(p.indices, p.indptr);
}
template <class T>
auto places(const WindowsPacked<T>& p) {
  return std::tie(p.columns, p.tail_columns, p.tail_counts);
}

// Writes the components of a packed weight as tensors first, first + 1, ... of the file.
template <class T>
void write_packed(const PackedWeight& weight, const PackingSource<T>& source, SafetensorsWriter& writer,
                  size_t first) {
  const auto put = [&](const auto& component) { writer.write(first++, 0, bytes_of(component)); };
  const auto put_places = [&](const auto& p) {
    std::apply([&](const auto&... component) { (put(component), ...); }, places(p));
  };
  pack_dense(weight, source.places, [&](const auto& p) {
    if (weight.values == StoredValues::kPlain) put(p.values);
    if (weight.values == StoredValues::kBf16) put(convert<bf16>(p).values);
    if (weight.values == StoredValues::kF16) put(convert<f16>(p).values);
    if (weight.values != StoredValues::kInt8) return put_places(p);
    const ScaleGrid scales = source.values ? source.scales : find_scales(source.places, weight.scale_group);
    put((source.values ? quantize(p, scales, *source.values) : quantize(p, scales)).values);
    put_places(p);
    put(scales.values);
  });
}

// A tensor of the new file and where its bytes come from.
struct OutputTensor {
  size_t input = 0;         // index into the choices
  size_t first_output = 0;  // index of its first tensor in the output file
};

class ShardPacker {
 public:
  ShardPacker(const Checkpoint& checkpoint, const WeightSelection& selection, const PackOptions& options,
              size_t shard)
      : shard_(checkpoint.shards()[shard]),
        selection_(selection),
        options_(options),
        chooser_(shard_, shard, selection, options),
        order_(data_order(shard_)) {}

  bool has_weights() const {
    return std::ranges::any_of(shard_.tensors(),
                               [&](const TensorInfo& tensor) { return selection_.choose(tensor).chosen; });
  }

  // The weights to choose forms for: what calibration pruned and rounded takes the place of the shard's own.
  void add_weights(std::set<std::string>& names) const {
    for (const TensorInfo& tensor : shard_.tensors()) {
      if (selection_.choose(tensor).chosen) names.insert(tensor.name);
    }
  }
  void take_rounded(CalibratedRounding* rounding) { rounding_ = rounding; }

  // Decides what becomes of every tensor.
  void choose_all(ProgressCounter& progress) {
    if (!choices_.empty()) return;
    choices_.resize(order_.size());
    const auto bytes = [&](size_t i) { return reading_bytes(i); };
    parallel_for(order_.size(), options_.threads, bytes, [&](size_t i) {
      check_interrupted();
      const TensorInfo& tensor = shard_.tensors()[order_[i]];
      choices_[i] = chooser_.choose(tensor, pruned(tensor));
      progress.add(tensor.size_bytes(), tensor.name);
    });
    // One after the other: what is measured wants the machine to itself.
    for (size_t i = 0; i < order_.size(); ++i) {
      check_interrupted();
      const TensorInfo& tensor = shard_.tensors()[order_[i]];
      if (!choices_[i].smaller.empty()) chooser_.choose_fastest(tensor, pruned(tensor), choices_[i]);
    }
  }

  // The tensors that will be packed, after choose_all().
  void add_packed(std::set<std::string>& names) const {
    for (const PackChoice& choice : choices_) {
      if (choice.packed) names.insert(choice.packed->weight.tensor);
    }
  }

  nlohmann::json run(const std::filesystem::path& to, ProgressCounter& progress) {
    choose_all(progress);
    std::vector<TensorInfo> tensors;
    std::vector<OutputTensor> outputs;
    std::vector<PackedWeight> packed;
    for (size_t i = 0; i < order_.size(); ++i) {
      outputs.push_back({i, tensors.size()});
      if (!choices_[i].packed) {
        tensors.push_back(shard_.tensors()[order_[i]]);
        continue;
      }
      packed.push_back(choices_[i].packed->weight);
      for (TensorInfo& t : packed_tensors(packed.back(), choices_[i].packed->stored))
        tensors.push_back(std::move(t));
    }
    Metadata metadata = without_packed_keys(shard_.metadata());
    metadata.emplace_back(kVersionKey, kPackedVersion);
    metadata.emplace_back(kLayoutKey, layout_json(packed).dump());
    // Aligned, arrays are multiplied where they lie.
    SafetensorsWriter writer(to, std::move(tensors), std::move(metadata), Placement::kAligned);
    parallel_for(
        outputs.size(), options_.threads, [&](size_t i) { return packing_bytes(outputs[i].input); },
        [&](size_t i) { write(outputs[i], writer, progress); });
    writer.finish();
    nlohmann::json note = shard_note(writer);
    note["report"] = report_json();
    return note;
  }

 private:
  // A tensor whose zeros decide its form.
  std::span<const std::byte> pruned(const TensorInfo& tensor) const {
    const bool is_rounded = options_.pruning && rounding_ != nullptr && selection_.choose(tensor).chosen;
    return is_rounded ? rounding_->rounded(tensor.name) : shard_.data(tensor);
  }

  // What looking at a tensor and packing it hold at most.
  size_t reading_bytes(size_t i) const {
    const TensorInfo& tensor = shard_.tensors()[order_[i]];
    const WeightSelection::Choice selected = selection_.choose(tensor);
    return selected.chosen ? copied_bytes(shard_.data(tensor), tensor.dtype, selected.orientation) : 0;
  }
  size_t packing_bytes(size_t i) const {
    const PackChoice& choice = choices_[i];
    return choice.packed ? reading_bytes(i) + choice.packed->bytes() : 0;
  }

  void write(const OutputTensor& output, SafetensorsWriter& writer, ProgressCounter& progress) {
    check_interrupted();
    const TensorInfo& tensor = shard_.tensors()[order_[output.input]];
    PackChoice& choice = choices_[output.input];
    const bool is_rounded = rounding_ != nullptr && (choice.packed || (choice.is_weight && options_.pruning));
    if (is_rounded) choice.report.output_error = rounding_->output_error(tensor.name);
    if (choice.packed) {
      write_weight(tensor, choice, writer, output.first_output);
    } else {
      writer.write(output.first_output, 0, pruned(tensor));
    }
    if (is_rounded) rounding_->done_with(tensor.name);
    shard_.map().done_with(shard_.data_start() + tensor.begin, tensor.size_bytes());
    progress.add(tensor.size_bytes(), tensor.name);
  }

  void write_weight(const TensorInfo& tensor, const PackChoice& choice, SafetensorsWriter& writer,
                    size_t first) const {
    const PackedWeight& weight = choice.packed->weight;
    visit_dtype(tensor.dtype, [&]<class T>() {
      const auto matrix = [&](std::span<const std::byte> bytes) {
        return WeightMatrix<T>(bytes, tensor.shape[0], tensor.shape[1], weight.orientation);
      };
      const WeightMatrix<T> own = matrix(shard_.data(tensor));
      with_place_in_errors(shard_, tensor, weight.orientation, [&] {
        if (rounding_ == nullptr) return write_packed<T>(weight, {.places = own.view()}, writer, first);
        const WeightMatrix<T> rounded = matrix(rounding_->rounded(tensor.name));
        write_packed<T>(weight,
                        {.places = options_.pruning ? rounded.view() : own.view(),
                         .values = rounded.view(),
                         .scales = rounding_->scales(tensor.name)},
                        writer, first);
      });
    });
  }

  nlohmann::json report_json() const {
    nlohmann::json list = nlohmann::json::array();
    for (const PackChoice& choice : choices_) {
      if (choice.is_weight) list.push_back(to_json(choice.report));
    }
    return list;
  }

  const SafetensorsFile& shard_;
  const WeightSelection& selection_;
  const PackOptions& options_;
  PackChooser chooser_;
  CalibratedRounding* rounding_ = nullptr;
  std::vector<size_t> order_;
  std::vector<PackChoice> choices_;
};

std::vector<ShardPacker> make_packers(const Checkpoint& checkpoint, const WeightSelection& selection,
                                      const PackOptions& options) {
  std::vector<ShardPacker> packers;
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard)
    packers.emplace_back(checkpoint, selection, options, shard);
  if (std::ranges::none_of(packers, &ShardPacker::has_weights)) {
    throw_input(shown(checkpoint.path()) +
                (options.include.empty() ? ": holds no weight matrix to pack"
                                         : ": --include and --exclude leave no weight matrix to pack"));
  }
  return packers;
}

void require_rounding(const PackOptions& options) {
  if (options.rounding == ValueRounding::kNearest) {
    if (options.pruning) throw_usage("what is pruned while it is rounded needs calibrated rounding");
    return;
  }
  if (options.values != StoredValues::kInt8) throw_usage("calibrated rounding is of int8 values only");
  if (options.calibration.file.empty()) throw_usage("calibrated rounding needs --calib FILE");
}

// What calibration makes of all weights that will be packed, or where it prunes of all that may be; nothing
// where there are none.
std::unique_ptr<CalibratedRounding> round_all(const Checkpoint& checkpoint, std::vector<ShardPacker>& packers,
                                              const PackOptions& options, const std::filesystem::path& folder,
                                              Repacking& repacking, const Progress& progress) {
  std::set<std::string> names;
  for (ShardPacker& packer : packers) {
    if (options.pruning) {
      packer.add_weights(names);
    } else {
      packer.choose_all(repacking.progress());
      packer.add_packed(names);
    }
  }
  if (names.empty()) return nullptr;
  auto rounding = std::make_unique<CalibratedRounding>(
      checkpoint, names, options.scale_group, options.pruning.value_or(RoundedPruning()), options.calibration,
      options.threads, folder, progress);
  for (ShardPacker& packer : packers) packer.take_rounded(rounding.get());
  return rounding;
}

void require_scale_group(const PackOptions& options) {
  if (options.scale_group == 0) return;
  if (options.values != StoredValues::kInt8)
    throw_usage("groups of columns share scales of int8 values only");
  if (options.scale_group < 0 || !is_scale_group(uint64_t(options.scale_group)))
    throw_usage("group " + std::to_string(options.scale_group) + ": expected a power of two from 32 to 2^20");
}

nlohmann::json options_json(const PackOptions& options) {
  const char* unnamed = options.fastest_by != nullptr ? "auto" : "smallest";
  return {{"format", options.request.format ? std::string(name(*options.request.format)) : unnamed},
          {"pattern", options.request.pattern ? to_string(*options.request.pattern) : ""},
          {"values", name(options.values)},
          {"scale_group", options.scale_group},
          {"include", options.include},
          {"exclude", options.exclude}};
}

nlohmann::json describe_packing(const Checkpoint& checkpoint, const PackOptions& options) {
  nlohmann::json job = describe_job("pack", checkpoint, options_json(options));
  if (options.rounding == ValueRounding::kNearest) return job;
  if (options.pruning) {
    job["pruning"] = {{"pattern", to_string(options.pruning->pattern)},
                      {"sparsity", options.pruning->sparsity.value_or(-1)}};
  }
  job["calibration"] = to_json(options.calibration);
  job["text"] = describe_file("", std::filesystem::absolute(options.calibration.file));
  return job;
}

}  // namespace

PackReport pack_checkpoint(const Checkpoint& checkpoint, const PackOptions& options,
                           const std::filesystem::path& output, StagingOptions staging,
                           const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  options.request.require_valid();
  require_scale_group(options);
  require_rounding(options);
  if (PackedCheckpoint::is_packed(checkpoint)) throw_input(shown(checkpoint.path()) + ": is packed already");
  const WeightSelection selection(checkpoint, options.include, options.exclude);
  std::vector<ShardPacker> packers = make_packers(checkpoint, selection, options);
  Repacking repacking(checkpoint, output, describe_packing(checkpoint, options), std::move(staging), progress,
                      2 * checkpoint.tensor_bytes());
  PackReport report;
  report.model = checkpoint.path().string();
  report.output = output.string();
  std::unique_ptr<CalibratedRounding> rounding;
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    const nlohmann::json note = repacking.shard(shard, [&](const auto& to) {
      if (options.rounding == ValueRounding::kCalibrated && rounding == nullptr)
        rounding = round_all(checkpoint, packers, options, output.parent_path(), repacking, progress);
      return packers[shard].run(to, repacking.progress());
    });
    for (const auto& entry : note.at("report"))
      report.tensors.push_back(packed_tensor_report_from_json(entry));
    report.model_bytes += checkpoint.shards()[shard].file_size();
    report.packed_model_bytes += note.at("file_bytes").get<uint64_t>();
  }
  repacking.finish();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace prune
