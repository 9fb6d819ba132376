// libprune, header-only part: score a weight matrix, choose what stays, apply, pack.
//
//   prune::Matrix<float> w = ...;                                        // [out, in]
//   prune::Mask mask = prune::select_magnitude(w, prune::NM{2, 4}, 0.5);
//   prune::apply(mask, w);
//   auto packed = prune::pack_nm(w, {2, 4});
//
// Methods that also change the weights that stay are included by name, <prune/update/sparsegpt.h>: their
// products of large matrices take a compiler seconds.
#pragma once

#include <prune/allocate.h>
#include <prune/error.h>
#include <prune/float8.h>
#include <prune/gram.h>
#include <prune/mask.h>
#include <prune/matrix.h>
#include <prune/optimizer.h>
#include <prune/order_key.h>
#include <prune/packed.h>
#include <prune/packed_windows.h>
#include <prune/pattern.h>
#include <prune/report.h>
#include <prune/rewind.h>
#include <prune/schedule.h>
#include <prune/score/blocks.h>
#include <prune/score/magnitude.h>
#include <prune/score/movement.h>
#include <prune/score/ria.h>
#include <prune/score/wanda.h>
#include <prune/select.h>
#include <prune/threshold.h>
