// A dense weight in one of the packed formats.
#pragma once

#include <prune/packed.h>

#include "libprune/model/pack24.h"
#include "libprune/model/packed_layout.h"

namespace prune {

// f of `dense` [out, in] in the format of `form` and with its pattern: f takes NmPacked<T>, BitmaskPacked<T>,
// Csr<T>, Bsr<T> and WindowsPacked<T>, and gives the same type of all. Throws as the pack function of the
// format does.
template <class T, class F>
auto pack_dense(const PackedWeight& form, const ConstView<T>& dense, const F& f) {
  switch (form.format) {
    case PackedFormat::kNm:
      return f(form.nm == NM{2, 4} ? pack24(dense) : pack_nm(dense, form.nm));
    case PackedFormat::kCsr:
      return f(pack_csr(dense));
    case PackedFormat::kBsr:
      return f(pack_bsr(dense, form.block));
    case PackedFormat::kWindows:
      return f(pack_windows(dense, form.steps));
    case PackedFormat::kBitmask:
      break;
  }
  return f(pack_bitmask(dense));
}

}  // namespace prune
