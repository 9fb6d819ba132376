#include "libprune/model/pack_choice.h"

#include <algorithm>
#include <functional>
#include <string>
#include <type_traits>

#include <prune/error.h>
#include <prune/packed.h>

#include "libprune/model/format_speed.h"
#include "libprune/model/sparsity_profile.h"
#include "libprune/model/tensor_error.h"
#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

// The -0 that a form has no place for: in nm, a group with more than N weights that are not +0 stores N of
// them, -0 last. (int8 has no -0 at all.)
template <class T>
int64_t count_lost_signs(const FormatChoice& form, ConstView<T> weights) {
  if (form.weight.format != PackedFormat::kNm || form.weight.values == StoredValues::kInt8) return 0;
  const NM nm = form.weight.nm;
  int64_t lost = 0;
  for (Index i = 0; i < weights.rows(); ++i) {
    const T* row = weights.data() + i * weights.outerStride();
    for (const T* group = row; group != row + weights.cols(); group += nm.group) {
      lost += std::max<int64_t>(0, std::count_if(group, group + nm.group, detail::is_stored<T>) - nm.keep);
    }
  }
  return lost;
}

PackedTensorReport report_of_dense(const TensorInfo& tensor, const SparsityProfile& zeros) {
  PackedTensorReport report;
  report.name = tensor.name;
  report.dtype = name(tensor.dtype);
  report.out = zeros.out;
  report.in = zeros.in;
  report.zeros = zeros.zeros;
  report.dense_bytes = report.packed_bytes = tensor.size_bytes();
  report.format = "dense";
  return report;
}

void take(const FormatChoice& form, PackChoice& choice) {
  choice.packed = form;
  choice.report.format = format_in_words(form.weight);
  choice.report.packed_bytes = form.bytes();
}

void note_fastest(const FastestForm& fastest, PackChoice& choice) {
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

}  // namespace

PackChoice PackChooser::choose(const TensorInfo& tensor, std::span<const std::byte> bytes) const {
  PackChoice choice;
  const WeightSelection::Choice selected = selection_.choose(tensor);
  if (!selected.chosen) return choice;
  choice.is_weight = true;
  PackedWeight base = unpacked(tensor, selected.orientation);
  visit_dtype(tensor.dtype, [&]<class T>() {
    const WeightMatrix<T> weights(bytes, tensor.shape[0], tensor.shape[1], base.orientation);
    const SparsityProfile zeros = profile<T>(weights.view(), options_.request.block_candidates());
    base.out = zeros.out;
    base.in = zeros.in;
    choice.report = report_of_dense(tensor, zeros);
    choose_form(tensor, base, zeros, choice);
    const auto lost = [&](const FormatChoice& form) {
      return zeros.has_negative_zeros() ? count_lost_signs<T>(form, weights.view()) : 0;
    };
    if (choice.packed) choice.report.lost_signs = lost(*choice.packed);
    for (const FormatChoice& form : choice.smaller) choice.lost_signs.push_back(lost(form));
  });
  return choice;
}

// All but the format, its pattern and the size.
PackedWeight PackChooser::unpacked(const TensorInfo& tensor, Orientation orientation) const {
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
  base.orientation = orientation;
  base.shard = shard_number_;
  return base;
}

void PackChooser::choose_form(const TensorInfo& tensor, const PackedWeight& base,
                              const SparsityProfile& zeros, PackChoice& choice) const {
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

void PackChooser::choose_fastest(const TensorInfo& tensor, std::span<const std::byte> bytes,
                                 PackChoice& choice) const {
  const Orientation orientation = choice.smaller.front().weight.orientation;
  visit_dtype(tensor.dtype, [&]<class T>() {
    using Wide = std::conditional_t<std::is_same_v<T, bf16>, bf16, float>;
    const std::function<Matrix<Wide>()> weights = [&] {
      const WeightMatrix<T> stored(bytes, tensor.shape[0], tensor.shape[1], orientation);
      return Matrix<Wide>(stored.view().template cast<Wide>());
    };
    with_place_in_errors(shard_, tensor, orientation, [&] {
      note_fastest(prune::choose_fastest<Wide>(choice.smaller, weights, *options_.fastest_by), choice);
    });
  });
}

void PackChooser::refuse(const TensorInfo& tensor, Index in) const {
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

}  // namespace prune
