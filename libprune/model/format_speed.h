// Which form of a weight is multiplied fastest on this machine, by one row of X: that is a token, and bound
// by memory. Batches of many rows expand a packed weight to dense tiles where those are faster, whatever its
// form.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libprune/model/format_choice.h"

namespace prune {

class TuningTable;

// Where TuningTable keeps the nanoseconds of one row of X: of packed weights of this form, type and shape
// and as full to a tenth, and of the dense weight.
inline const std::string kRowTimes = "ns of a row ";  // how these keys begin
std::string row_time_key(const FormatChoice& form);
std::string dense_row_time_key(const PackedWeight& weight);

// Nanoseconds of one row of X by key, of the forms and of the dense weight: the least of a few, in turns,
// with weights that no cache holds. T: float, bf16.
template <class T>
std::map<std::string, int64_t> measure_row_times(const std::vector<FormatChoice>& forms,
                                                 const Matrix<T>& weights);

struct FastestForm {
  std::optional<FormatChoice> form;  // nothing: dense
  int64_t nanoseconds = 0;           // of the best packed form
  int64_t dense_nanoseconds = 0;
};

// Of the forms, one at least, and the dense weight the fastest; a form of more bytes must be clearly faster.
// Forms much larger than the smallest are left out. Looks the times up in `table` and measures what is not
// there on weights() [out, in]. T: float, bf16.
template <class T>
FastestForm choose_fastest(std::vector<FormatChoice> forms, const std::function<Matrix<T>()>& weights,
                           TuningTable& table);

}  // namespace prune
