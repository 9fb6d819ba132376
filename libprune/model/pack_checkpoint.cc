#include "libprune/model/pack_checkpoint.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <type_traits>
#include <utility>

#include <prune/error.h>

#include "libprune/model/calibrated/calibrated_rounding.h"
#include "libprune/model/data_order.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/format_speed.h"
#include "libprune/model/job.h"
#include "libprune/model/parallel.h"
#include "libprune/model/quantized_values.h"
#include "libprune/model/repacking.h"
#include "libprune/model/report_json.h"
#include "libprune/model/sparsity_profile.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/weight_selection.h"

namespace prune {
namespace {

constexpr const char* kPackedVersion = "1";

// What becomes of one tensor of a dense checkpoint.
struct Choice {
  bool is_weight = false;  // a linear weight, packed or not
  std::optional<FormatChoice> packed;
  std::vector<FormatChoice> smaller = {};  // to choose the fastest of, else empty
  std::vector<int64_t> lost_signs = {};    // of each of them
  PackedTensorReport report;
};

// The -0 that nm has no place for: a group with more than N weights that are not +0 stores N of them,
// -0 last.
template <class T>
int64_t lost_signs(ConstView<T> weights, NM nm) {
  int64_t lost = 0;
  for (Index i = 0; i < weights.rows(); ++i) {
    const T* row = weights.data() + i * weights.outerStride();
    for (const T* group = row; group != row + weights.cols(); group += nm.group) {
      lost += std::max<int64_t>(0, std::count_if(group, group + nm.group, detail::is_stored<T>) - nm.keep);
    }
  }
  return lost;
}

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

// Writes the components of a packed weight as tensors first, first + 1, ... of the file.
template <class T>
void write_packed(const PackedWeight& weight, const PackingSource<T>& source, SafetensorsWriter& writer,
                  size_t first) {
  const ConstView<T>& dense = source.places;
  const auto put = [&](const auto&... component) {
    size_t index = first;
    (writer.write(index++, 0, bytes_of(component)), ...);
  };
  const auto put_values = [&](const auto& p, const auto&... places) {
    if (weight.values == StoredValues::kPlain) return put(p.values, places...);
    if (weight.values == StoredValues::kBf16) return put(convert<bf16>(p).values, places...);
    if (weight.values == StoredValues::kF16) return put(convert<f16>(p).values, places...);
    const ScaleGrid scales = source.values ? source.scales : find_scales(dense, weight.scale_group);
    const std::vector<int8_t> values =
        (source.values ? quantize(p, scales, *source.values) : quantize(p, scales)).values;
    put(values, places..., scales.values);
  };
  switch (weight.format) {
    case PackedFormat::kNm: {
      const auto p = pack_nm(dense, weight.nm);
      return put_values(p, p.indices);
    }
    case PackedFormat::kBitmask: {
      const auto p = pack_bitmask(dense);
      return put_values(p, p.bitmask, p.row_offsets);
    }
    case PackedFormat::kCsr: {
      const auto p = pack_csr(dense);
      return put_values(p, p.indices, p.indptr);
    }
    case PackedFormat::kBsr: {
      const auto p = pack_bsr(dense, weight.block);
      return put_values(p, p.indices, p.indptr);
    }
    case PackedFormat::kWindows: {
      const auto p = pack_windows(dense, weight.steps);
      return put_values(p, p.columns, p.tail_columns, p.tail_counts);
    }
  }
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
        shard_number_(shard),
        selection_(selection),
        options_(options),
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
      choices_[i] = choose(tensor);
      progress.add(tensor.size_bytes(), tensor.name);
    });
    // One after the other: what is measured wants the machine to itself.
    for (size_t i = 0; i < order_.size(); ++i) {
      check_interrupted();
      if (!choices_[i].smaller.empty()) choose_fastest_form(shard_.tensors()[order_[i]], choices_[i]);
    }
  }

  // The tensors that will be packed, after choose_all().
  void add_packed(std::set<std::string>& names) const {
    for (const Choice& choice : choices_) {
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
    SafetensorsWriter writer(to, std::move(tensors), std::move(metadata));
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
  std::span<const std::byte> pruned(const TensorInfo& tensor, bool is_weight) const {
    const bool is_rounded = is_weight && options_.pruning && rounding_ != nullptr;
    return is_rounded ? rounding_->rounded(tensor.name) : shard_.data(tensor);
  }

  // What looking at a tensor and packing it hold at most.
  size_t reading_bytes(size_t i) const {
    const TensorInfo& tensor = shard_.tensors()[order_[i]];
    const WeightSelection::Choice selected = selection_.choose(tensor);
    return selected.chosen ? copied_bytes(shard_.data(tensor), tensor.dtype, selected.orientation) : 0;
  }
  size_t packing_bytes(size_t i) const {
    const Choice& choice = choices_[i];
    return choice.packed ? reading_bytes(i) + choice.packed->bytes() : 0;
  }

  Choice choose(const TensorInfo& tensor) const {
    Choice choice;
    const WeightSelection::Choice selected = selection_.choose(tensor);
    if (!selected.chosen) return choice;
    choice.is_weight = true;
    PackedWeight base;
    base.tensor = tensor.name;
    base.dtype = tensor.dtype;
    base.values = options_.values;
    if (base.stored_dtype() == base.dtype) base.values = StoredValues::kPlain;
    if (base.values != StoredValues::kPlain && bits(base.stored_dtype()) >= bits(base.dtype)) {
      const std::string asked(name(options_.values));
      throw_input(place_of(shard_, tensor) + " is " + std::string(name(tensor.dtype)) + ", which " + asked +
                  " values would round and not make smaller: pack it without --values " + asked);
    }
    base.scale_group = options_.scale_group;
    base.rounding = options_.rounding;
    base.orientation = selected.orientation;
    base.shard = shard_number_;
    visit_dtype(tensor.dtype, [&]<class T>() {
      const WeightMatrix<T> weights(pruned(tensor, true), tensor.shape[0], tensor.shape[1], base.orientation);
      const SparsityProfile zeros = profile<T>(weights.view(), options_.request.block_candidates());
      base.out = zeros.out;
      base.in = zeros.in;
      fill_report(tensor, zeros, choice.report);
      const auto signs = [&](const FormatChoice& form) -> int64_t {
        const bool may_lose = form.weight.format == PackedFormat::kNm &&
                              options_.values != StoredValues::kInt8 && zeros.has_negative_zeros();
        return may_lose ? lost_signs<T>(weights.view(), form.weight.nm) : 0;
      };
      choose_form(tensor, base, zeros, choice);
      if (choice.packed) choice.report.lost_signs = signs(*choice.packed);
      for (const FormatChoice& form : choice.smaller) choice.lost_signs.push_back(signs(form));
    });
    return choice;
  }

  static void fill_report(const TensorInfo& tensor, const SparsityProfile& zeros,
                          PackedTensorReport& report) {
    report.name = tensor.name;
    report.dtype = name(tensor.dtype);
    report.out = zeros.out;
    report.in = zeros.in;
    report.zeros = zeros.zeros;
    report.dense_bytes = report.packed_bytes = tensor.size_bytes();
    report.format = "dense";
  }

  void choose_form(const TensorInfo& tensor, const PackedWeight& base, const SparsityProfile& zeros,
                   Choice& choice) const {
    const auto best = choose_format(base, zeros, options_.request);
    if (!best) refuse(tensor, zeros.in);
    if (!options_.request.format && best->bytes() >= choice.report.dense_bytes) {
      choice.report.reason = "no packed form is smaller";
      return;
    }
    if (!options_.request.format && options_.fastest_by != nullptr) {
      choice.smaller = formats_that_hold(base, zeros, options_.request);
      std::erase_if(choice.smaller,
                    [&](const FormatChoice& form) { return form.bytes() >= choice.report.dense_bytes; });
      return;
    }
    take(*best, choice);
  }

  static void take(const FormatChoice& form, Choice& choice) {
    choice.packed = form;
    choice.report.format = format_in_words(form.weight);
    choice.report.packed_bytes = form.bytes();
  }

  void choose_fastest_form(const TensorInfo& tensor, Choice& choice) const {
    const FormatChoice& first = choice.smaller.front();
    visit_dtype(tensor.dtype, [&]<class T>() {
      using Wide = std::conditional_t<std::is_same_v<T, bf16>, bf16, float>;
      const std::function<Matrix<Wide>()> weights = [&] {
        const WeightMatrix<T> stored(pruned(tensor, true), tensor.shape[0], tensor.shape[1],
                                     first.weight.orientation);
        return Matrix<Wide>(stored.view().template cast<Wide>());
      };
      with_place_in_errors(shard_, tensor, first.weight.orientation, [&] {
        note_fastest(choose_fastest<Wide>(choice.smaller, weights, *options_.fastest_by), choice);
      });
    });
  }

  static void note_fastest(const FastestForm& fastest, Choice& choice) {
    if (!fastest.form) {
      choice.report.reason =
          "dense is as fast or faster on this machine: " + std::to_string(fastest.dense_nanoseconds / 1000) +
          " us for one row, the best packed form " + std::to_string(fastest.nanoseconds / 1000) + " us";
      return;
    }
    for (size_t i = 0; i < choice.smaller.size(); ++i) {
      if (row_time_key(choice.smaller[i]) == row_time_key(*fastest.form))
        choice.report.lost_signs = choice.lost_signs[i];
    }
    take(*fastest.form, choice);
  }

  [[noreturn]] void refuse(const TensorInfo& tensor, Index in) const {
    if (options_.request.format == PackedFormat::kWindows && in > kMostWindowsColumns) {
      throw_input(place_of(shard_, tensor) + " does not fit format windows: of its " + std::to_string(in) +
                  " columns windows hold at most " + std::to_string(kMostWindowsColumns) +
                  "; use --format csr, or --format smallest");
    }
    throw_input(place_of(shard_, tensor) + " does not fit format " +
                std::string(name(*options_.request.format)) +
                (options_.request.pattern ? " with pattern " + to_string(*options_.request.pattern) : "") +
                ": prune it to that pattern first, or use --format smallest");
  }

  void write(const OutputTensor& output, SafetensorsWriter& writer, ProgressCounter& progress) {
    check_interrupted();
    const TensorInfo& tensor = shard_.tensors()[order_[output.input]];
    Choice& choice = choices_[output.input];
    const bool is_rounded = rounding_ != nullptr && (choice.packed || (choice.is_weight && options_.pruning));
    if (is_rounded) choice.report.output_error = rounding_->output_error(tensor.name);
    if (choice.packed) {
      write_weight(tensor, choice, writer, output.first_output);
    } else {
      writer.write(output.first_output, 0, pruned(tensor, choice.is_weight));
    }
    if (is_rounded) rounding_->done_with(tensor.name);
    shard_.map().done_with(shard_.data_start() + tensor.begin, tensor.size_bytes());
    progress.add(tensor.size_bytes(), tensor.name);
  }

  void write_weight(const TensorInfo& tensor, const Choice& choice, SafetensorsWriter& writer,
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
    for (const Choice& choice : choices_) {
      if (choice.is_weight) list.push_back(to_json(choice.report));
    }
    return list;
  }

  const SafetensorsFile& shard_;
  size_t shard_number_;
  const WeightSelection& selection_;
  const PackOptions& options_;
  CalibratedRounding* rounding_ = nullptr;
  std::vector<size_t> order_;
  std::vector<Choice> choices_;
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
