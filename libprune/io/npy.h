// NumPy's .npy files of integers: a strict reader.
//
// Layout: "\x93NUMPY" | major, minor version | length of the header, u16 (version 1) or u32 (2 and 3),
// little-endian | header | data. The header is a Python dictionary of exactly 'descr', 'fortran_order' and
// 'shape', padded with spaces and ended by a newline. Source: numpy.lib.format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libprune/io/dtype.h"

namespace prune {

struct NpyArray {
  DType dtype = DType::kI64;
  std::vector<int64_t> shape;       // empty: rank 0, one element
  std::span<const std::byte> data;  // exactly the elements, in C order; a view of the file, maybe misaligned
};

// Refuses other versions, dictionaries that NumPy does not write (other or repeated keys, expressions),
// element types that are not little-endian integers (so also object arrays, which hold pickles), Fortran
// order, a size that overflows, and a file that is shorter or longer than the header says. `where` names the
// file in messages. Throws Error(kInput).
NpyArray parse_npy(std::span<const std::byte> file, const std::string& where);

}  // namespace prune
