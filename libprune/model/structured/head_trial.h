// Which heads a layer misses least, found by trying.
#pragma once

#include <cstdint>
#include <span>

#include "libprune/model/float_matrix.h"
#include "libprune/model/structured/projection.h"
#include "libprune/model/structured/text_trial.h"

namespace prune {

// The heads that stay of a layer, by trial: those with which, once the output projection is refitted, the
// text is predicted best. All sets of task.keep are tried where they are few. Else, as long as more are left,
// the head goes that is missed least, of a few each time, those without which the refitted outputs are
// nearest to the dense ones. `layer` has all its heads, `hidden` are its inputs of the trial's tokens,
// `later` the layers that follow it, task.group the columns that go as one.
Units choose_heads_by_trial(TextTrial& trial, DecoderLayer& layer, const FloatMatrix& hidden,
                            std::span<const int64_t> later, const ProjectionMoments& moments,
                            const ProjectionTask& task);

}  // namespace prune
