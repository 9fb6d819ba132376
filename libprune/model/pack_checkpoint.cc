#include "libprune/model/pack_checkpoint.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <utility>

#include <prune/error.h>

#include "libprune/model/data_order.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/job.h"
#include "libprune/model/parallel.h"
#include "libprune/model/sparsity_profile.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"
#include "libprune/model/weight_selection.h"

namespace prune {
namespace {

constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr const char* kPackedVersion = "1";

// What becomes of one tensor of a dense checkpoint.
struct Choice {
  bool is_weight = false;  // a linear weight, packed or not
  std::optional<PackedWeight> packed;
  int64_t stored = 0;
  PackedTensorReport report;
};

nlohmann::json to_json(const PackedTensorReport& t) {
  return {{"name", t.name},
          {"dtype", t.dtype},
          {"shape", {t.out, t.in}},
          {"zeros", t.zeros},
          {"format", t.format},
          {"reason", t.reason},
          {"lost_signs", t.lost_signs},
          {"dense_bytes", t.dense_bytes},
          {"packed_bytes", t.packed_bytes}};
}

// --- choosing a format
// ---------------------------------------------------------------------------------------------------

struct Candidate {
  PackedWeight weight;
  int64_t stored = 0;
  uint64_t bytes() const { return packed_bytes(weight, stored); }
};

// The candidates of one format, in order of preference where bytes are equal.
void add_candidates(const PackedWeight& base, const SparsityProfile& zeros, PackedFormat format,
                    const std::optional<Pattern>& pattern, std::vector<Candidate>& candidates) {
  PackedWeight weight = base;
  weight.format = format;
  if (format == PackedFormat::kBitmask || format == PackedFormat::kCsr) {
    candidates.push_back({weight, zeros.stored});
  } else if (format == PackedFormat::kNm) {
    const NM* asked = pattern ? std::get_if<NM>(&*pattern) : nullptr;
    if (!asked && !zeros.nm) return;
    weight.nm = asked ? *asked : zeros.stored_nm ? *zeros.stored_nm : *zeros.nm;
    if (weight.in % weight.nm.group == 0) candidates.push_back({weight, 0});
  } else {
    for (const auto& [block, count] : zeros.blocks) {
      weight.block = block;
      candidates.push_back({weight, count});
    }
  }
}

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

// --- packing one tensor
// -------------------------------------------------------------------------------------------------

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// Writes the components of a packed weight as tensors first, first + 1, first + 2 of the file.
template <class T>
void write_packed(const PackedWeight& weight, ConstView<T> dense, SafetensorsWriter& writer, size_t first) {
  const auto put = [&](auto&... component) {
    size_t index = first;
    (writer.write(index++, 0, bytes_of(component)), ...);
  };
  switch (weight.format) {
    case PackedFormat::kNm: {
      const auto p = pack_nm(dense, weight.nm);
      return put(p.values, p.indices);
    }
    case PackedFormat::kBitmask: {
      const auto p = pack_bitmask(dense);
      return put(p.values, p.bitmask, p.row_offsets);
    }
    case PackedFormat::kCsr: {
      const auto p = pack_csr(dense);
      return put(p.values, p.indices, p.indptr);
    }
    case PackedFormat::kBsr: {
      const auto p = pack_bsr(dense, weight.block);
      return put(p.values, p.indices, p.indptr);
    }
  }
}

// A tensor of an output file and where its bytes come from.
struct OutputTensor {
  size_t input = 0;         // index into the choices (packing), or into the shard's tensors (unpacking)
  size_t first_output = 0;  // index of its first tensor in the output file
};

// The index of the new folder: the old one's other keys, and the new names.
nlohmann::json new_index(const nlohmann::json& old_index, const nlohmann::json& weight_map,
                         uint64_t total_size) {
  nlohmann::json index = old_index;
  index["weight_map"] = weight_map;
  index["metadata"]["total_size"] = total_size;
  return index;
}

// As Hugging Face writes it: two spaces, sorted keys, ASCII, a newline at the end.
void write_index(Staging& staging, const nlohmann::json& index) {
  const std::string name(kIndexFile);
  const std::filesystem::path path = staging.path_for(name);
  std::ofstream file(path, std::ios::binary);
  file << index.dump(2, ' ', true) << '\n';
  file.close();
  if (!file) throw_runtime(path.string() + ": can't be written");
  staging.commit(name);
}

// The part that packing and unpacking share: files copied, shards written one by one, the index made new, all
// put in place at once.
class Repacking {
 public:
  Repacking(const Checkpoint& checkpoint, const std::filesystem::path& output, const nlohmann::json& job,
            StagingOptions options, const Progress& progress, uint64_t progress_bytes)
      : checkpoint_(checkpoint),
        staging_(output, checkpoint.is_single_file(), job, with_input(std::move(options), checkpoint)),
        progress_(progress, progress_bytes) {}

  ProgressCounter& progress() { return progress_; }

  // Writes shard number `shard` by calling write(path) -> the names and bytes of its tensors, unless a run
  // before did.
  template <class Write>
  nlohmann::json shard(size_t shard, Write&& write) {
    check_interrupted();
    const std::string name = checkpoint_.shard_name(shard);
    if (!staging_.is_done(name)) staging_.commit(name, write(staging_.path_for(name)));
    nlohmann::json note = staging_.note(name);
    for (const auto& tensor : note.at("tensors")) weight_map_[tensor.get<std::string>()] = name;
    total_size_ += note.at("bytes").get<uint64_t>();
    return note;
  }

  void finish() {
    for (const std::filesystem::path& file : checkpoint_.other_files()) {
      check_interrupted();
      if (file != kIndexFile && !staging_.is_done(file.string()))
        staging_.copy(checkpoint_.path() / file, file.string());
    }
    if (checkpoint_.index() != nullptr)
      write_index(staging_, new_index(*checkpoint_.index(), weight_map_, total_size_));
    check_interrupted();
    staging_.publish();
  }

 private:
  static StagingOptions with_input(StagingOptions options, const Checkpoint& checkpoint) {
    options.input = checkpoint.path();
    return options;
  }

  const Checkpoint& checkpoint_;
  Staging staging_;
  ProgressCounter progress_;
  nlohmann::json weight_map_ = nlohmann::json::object();
  uint64_t total_size_ = 0;
};

nlohmann::json shard_note(const SafetensorsWriter& writer) {
  nlohmann::json names = nlohmann::json::array();
  uint64_t bytes = 0;
  for (const TensorInfo& tensor : writer.tensors()) {
    names.push_back(tensor.name);
    bytes += tensor.size_bytes();
  }
  return {{"tensors", names}, {"bytes", bytes}, {"file_bytes", writer.file_size()}};
}

Metadata without_own_keys(const Metadata& metadata) {
  Metadata kept;
  std::ranges::copy_if(metadata, std::back_inserter(kept), [](const auto& entry) {
    return entry.first != kLayoutKey && entry.first != kVersionKey;
  });
  return kept;
}

// --- packing
// ------------------------------------------------------------------------------------------------------------

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
      packed.push_back(*choices_[i].packed);
      for (TensorInfo& t : packed_tensors(packed.back(), choices_[i].stored)) tensors.push_back(std::move(t));
    }
    Metadata metadata = without_own_keys(shard_.metadata());
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
  void choose_all(ProgressCounter& progress) {
    choices_.resize(order_.size());
    const auto bytes = [&](size_t i) { return reading_bytes(i); };
    parallel_for(order_.size(), options_.threads, bytes, [&](size_t i) {
      check_interrupted();
      const TensorInfo& tensor = shard_.tensors()[order_[i]];
      choices_[i] = choose(tensor);
      progress.add(tensor.size_bytes(), tensor.name);
    });
  }

  // What looking at a tensor and packing it hold at most.
  size_t reading_bytes(size_t i) const {
    const TensorInfo& tensor = shard_.tensors()[order_[i]];
    const WeightSelection::Choice selected = selection_.choose(tensor);
    return selected.chosen ? copied_bytes(shard_.data(tensor), tensor.dtype, selected.orientation) : 0;
  }
  size_t packing_bytes(size_t i) const {
    const Choice& choice = choices_[i];
    return choice.packed ? reading_bytes(i) + packed_bytes(*choice.packed, choice.stored) : 0;
  }

  Choice choose(const TensorInfo& tensor) const {
    Choice choice;
    const WeightSelection::Choice selected = selection_.choose(tensor);
    if (!selected.chosen) return choice;
    choice.is_weight = true;
    PackedWeight base;
    base.tensor = tensor.name;
    base.dtype = tensor.dtype;
    base.orientation = selected.orientation;
    base.shard = shard_number_;
    visit_dtype(tensor.dtype, [&]<class T>() {
      const WeightMatrix<T> weights(shard_.data(tensor), tensor.shape[0], tensor.shape[1], base.orientation);
      const SparsityProfile zeros = profile<T>(weights.view(), block_candidates());
      base.out = zeros.out;
      base.in = zeros.in;
      fill_report(tensor, zeros, choice.report);
      choose_format(tensor, base, zeros, choice);
      if (choice.packed && choice.packed->format == PackedFormat::kNm && zeros.has_negative_zeros())
        choice.report.lost_signs = lost_signs<T>(weights.view(), choice.packed->nm);
    });
    return choice;
  }

  // The block sizes to count: the one that was asked for, or the usual ones.
  std::span<const Block> block_candidates() const {
    const Block* asked = options_.pattern ? std::get_if<Block>(&*options_.pattern) : nullptr;
    return asked ? std::span<const Block>(asked, 1) : std::span<const Block>(kBlockCandidates);
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

  void choose_format(const TensorInfo& tensor, const PackedWeight& base, const SparsityProfile& zeros,
                     Choice& choice) const {
    std::vector<Candidate> candidates;
    if (options_.format) {
      add_candidates(base, zeros, *options_.format, options_.pattern, candidates);
      if (candidates.empty()) refuse(tensor);
    } else {
      for (const auto format :
           {PackedFormat::kNm, PackedFormat::kBsr, PackedFormat::kBitmask, PackedFormat::kCsr}) {
        add_candidates(base, zeros, format, options_.pattern, candidates);
      }
    }
    const auto best = std::ranges::min_element(candidates, {}, &Candidate::bytes);
    if (!options_.format && best->bytes() >= choice.report.dense_bytes) {
      choice.report.reason = "no packed form is smaller";
      return;
    }
    choice.packed = best->weight;
    choice.stored = best->stored;
    choice.report.format = format_in_words(best->weight);
    choice.report.packed_bytes = best->bytes();
  }

  [[noreturn]] void refuse(const TensorInfo& tensor) const {
    throw_input(place_of(shard_, tensor) + " does not fit format " + std::string(name(*options_.format)) +
                (options_.pattern ? " with pattern " + to_string(*options_.pattern) : "") +
                ": prune it to that pattern first, or use --format auto");
  }

  void write(const OutputTensor& output, SafetensorsWriter& writer, ProgressCounter& progress) const {
    check_interrupted();
    const TensorInfo& tensor = shard_.tensors()[order_[output.input]];
    const Choice& choice = choices_[output.input];
    if (!choice.packed) {
      writer.write(output.first_output, 0, shard_.data(tensor));
    } else {
      visit_dtype(tensor.dtype, [&]<class T>() {
        const WeightMatrix<T> weights(shard_.data(tensor), tensor.shape[0], tensor.shape[1],
                                      choice.packed->orientation);
        with_place_in_errors(shard_, tensor, choice.packed->orientation, [&] {
          write_packed<T>(*choice.packed, weights.view(), writer, output.first_output);
        });
      });
    }
    shard_.map().done_with(shard_.data_start() + tensor.begin, tensor.size_bytes());
    progress.add(tensor.size_bytes(), tensor.name);
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
  std::vector<size_t> order_;
  std::vector<Choice> choices_;
};

void check_options(const PackOptions& options) {
  if (!options.pattern) return;
  require_valid(*options.pattern);
  const bool fits = options.format == PackedFormat::kNm    ? std::holds_alternative<NM>(*options.pattern)
                    : options.format == PackedFormat::kBsr ? std::holds_alternative<Block>(*options.pattern)
                                                           : false;
  if (!fits)
    throw_usage("pattern " + to_string(*options.pattern) + " goes with format nm (N:M) or format bsr (RxC)");
}

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

void append_reports(const nlohmann::json& list, std::vector<PackedTensorReport>& reports) {
  for (const nlohmann::json& entry : list) {
    reports.push_back({entry.at("name"), entry.at("dtype"), entry.at("shape").at(0), entry.at("shape").at(1),
                       entry.at("zeros"), entry.at("format"), entry.at("reason"), entry.at("lost_signs"),
                       entry.at("dense_bytes"), entry.at("packed_bytes")});
  }
}

nlohmann::json options_json(const PackOptions& options) {
  return {{"format", options.format ? std::string(name(*options.format)) : "auto"},
          {"pattern", options.pattern ? to_string(*options.pattern) : ""},
          {"include", options.include},
          {"exclude", options.exclude}};
}

// --- unpacking
// ----------------------------------------------------------------------------------------------------------

class ShardUnpacker {
 public:
  ShardUnpacker(const PackedCheckpoint& packed, size_t shard, int threads)
      : packed_(packed), shard_(packed.checkpoint().shards()[shard]), threads_(threads) {}

  nlohmann::json run(const std::filesystem::path& to, ProgressCounter& progress) {
    std::vector<TensorInfo> tensors;
    std::vector<Source> sources;
    for (const size_t i : data_order(shard_)) {
      const TensorInfo& tensor = shard_.tensors()[i];
      const PackedWeight* weight = packed_.owner(tensor.name);
      if (weight == nullptr) {
        sources.push_back({&tensor, nullptr});
        tensors.push_back(tensor);
      } else if (tensor.name == weight->tensor + ".values") {
        sources.push_back({&tensor, weight});
        tensors.push_back(dense_tensor(*weight));
      }
    }
    SafetensorsWriter writer(to, std::move(tensors), without_own_keys(shard_.metadata()));
    const auto bytes = [&](size_t i) {
      return sources[i].weight ? packed_.unpacking_bytes(*sources[i].weight) : 0;
    };
    parallel_for(sources.size(), threads_, bytes, [&](size_t i) {
      check_interrupted();
      write(sources[i], writer, i);
      progress.add(sources[i].tensor->size_bytes(), sources[i].tensor->name);
    });
    writer.finish();
    return shard_note(writer);
  }

 private:
  struct Source {
    const TensorInfo* tensor;
    const PackedWeight* weight;  // nullptr: copied
  };

  static TensorInfo dense_tensor(const PackedWeight& weight) {
    TensorInfo info;
    info.name = weight.tensor;
    info.dtype = weight.dtype;
    info.shape = weight.dense_shape();
    return info;
  }

  void write(const Source& source, SafetensorsWriter& writer, size_t index) const {
    if (source.weight == nullptr) return writer.write(index, 0, shard_.data(*source.tensor));
    visit_dtype(source.weight->dtype, [&]<class T>() {
      Matrix<T> dense = packed_.unpack<T>(*source.weight);
      if (source.weight->orientation == Orientation::kInOut) dense = Matrix<T>(dense.transpose());
      writer.write(index, 0, std::as_bytes(std::span(dense.data(), size_t(dense.size()))));
    });
  }

  const PackedCheckpoint& packed_;
  const SafetensorsFile& shard_;
  int threads_;
};

}  // namespace

PackReport pack_checkpoint(const Checkpoint& checkpoint, const PackOptions& options,
                           const std::filesystem::path& output, StagingOptions staging,
                           const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  if (PackedCheckpoint::is_packed(checkpoint)) throw_input(shown(checkpoint.path()) + ": is packed already");
  const WeightSelection selection(checkpoint, options.include, options.exclude);
  std::vector<ShardPacker> packers = make_packers(checkpoint, selection, options);
  Repacking repacking(checkpoint, output, describe_job("pack", checkpoint, options_json(options)),
                      std::move(staging), progress, 2 * checkpoint.tensor_bytes());
  PackReport report;
  report.model = checkpoint.path().string();
  report.output = output.string();
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    const nlohmann::json note =
        repacking.shard(shard, [&](const auto& to) { return packers[shard].run(to, repacking.progress()); });
    append_reports(note.at("report"), report.tensors);
    report.model_bytes += checkpoint.shards()[shard].file_size();
    report.packed_model_bytes += note.at("file_bytes").get<uint64_t>();
  }
  repacking.finish();
  report.seconds = seconds_since(start);
  return report;
}

PackReport unpack_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& output,
                             StagingOptions staging, int threads, const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  if (!PackedCheckpoint::is_packed(checkpoint)) throw_input(shown(checkpoint.path()) + ": is not packed");
  const PackedCheckpoint packed(checkpoint);
  Repacking repacking(checkpoint, output, describe_job("unpack", checkpoint, nlohmann::json::object()),
                      std::move(staging), progress, checkpoint.tensor_bytes());
  PackReport report;
  report.model = checkpoint.path().string();
  report.output = output.string();
  for (size_t shard = 0; shard < checkpoint.shards().size(); ++shard) {
    ShardUnpacker unpacker(packed, shard, threads);
    const nlohmann::json note =
        repacking.shard(shard, [&](const auto& to) { return unpacker.run(to, repacking.progress()); });
    report.packed_model_bytes += checkpoint.shards()[shard].file_size();
    report.model_bytes += note.at("file_bytes").get<uint64_t>();
  }
  repacking.finish();
  report.seconds = seconds_since(start);
  return report;
}

nlohmann::json to_json(const PackReport& report) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const PackedTensorReport& t : report.tensors) tensors.push_back(to_json(t));
  return {{"model", report.model},
          {"output", report.output},
          {"model_bytes", report.model_bytes},
          {"packed_model_bytes", report.packed_model_bytes},
          {"seconds", report.seconds},
          {"tensors", tensors}};
}

}  // namespace prune
