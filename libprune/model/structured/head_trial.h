// Which heads a layer misses least, found by trying.
#pragma once

#include <cstdint>
#include <span>

#include "libprune/model/float_matrix.h"
#include "libprune/model/structured/projection.h"
#include "libprune/model/structured/text_trial.h"

namespace prune {

// The heads that stay of a layer, by trial: as long as more than task.keep are left, the one goes without
// which, once the output projection is refitted, the text is predicted best. At most a few are tried each
// time, those without which the refitted outputs are nearest to the dense ones. `layer` is dense, `hidden`
// its inputs of the trial's tokens, `later` the layers that follow it, task.group the columns that go as one.
Units choose_heads_by_trial(TextTrial& trial, DecoderLayer& layer, const FloatMatrix& hidden,
                            std::span<const int64_t> later, const ProjectionMoments& moments,
                            const ProjectionTask& task);

}  // namespace prune
