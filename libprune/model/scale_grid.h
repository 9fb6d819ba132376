// The scales of a matrix of int8 values: one for each row, or for each group of columns in a row.
#pragma once

#include <cstdint>
#include <vector>

#include <prune/matrix.h>

namespace prune {

struct ScaleGrid {
  Index group = 0;  // columns that share one, a power of two; 0: whole rows do
  Index per_row = 1;
  std::vector<float> values;  // [rows, per_row]

  float at(Index row, Index column) const {
    return values[size_t(row * per_row + (group == 0 ? 0 : column / group))];
  }
};

// Of a row of `cols` columns.
inline Index scales_per_row(Index cols, Index group) { return group == 0 ? 1 : (cols + group - 1) / group; }

}  // namespace prune
