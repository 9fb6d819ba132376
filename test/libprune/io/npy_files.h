// .npy files for tests, right or wrong.
#pragma once

#include <string>
#include <string_view>

#include "test/libprune/io/files.h"

namespace prune::testing {

// Everything in front of the data.
inline std::string npy_header(std::string_view dictionary, int version = 1) {
  const size_t width = version == 1 ? 2 : 4;
  std::string header(dictionary);
  header += '\n';
  return std::string("\x93NUMPY") + static_cast<char>(version) + '\0' +
         little_endian(header.size()).substr(0, width) + header;
}

inline std::string npy(std::string_view descr, std::string_view shape, std::string_view data,
                       int version = 1) {
  std::string dictionary = "{'descr': '";
  dictionary.append(descr).append("', 'fortran_order': False, 'shape': ").append(shape).append(", }");
  return npy_header(dictionary, version).append(data);
}

}  // namespace prune::testing
