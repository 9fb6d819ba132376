// From a packed checkpoint back to dense-with-zeros.
#pragma once

#include <filesystem>

#include "libprune/io/checkpoint.h"
#include "libprune/io/staging.h"
#include "libprune/model/pack_report.h"
#include "libprune/model/progress.h"

namespace prune {

// Writes the dense checkpoint that a packed one stands for, each weight in its place: what pack_checkpoint()
// was given, bit for bit but for the lost signs of its report: an nm group holds N weights, so where more
// than N are not +0, the -0 among them come back as +0. Pruning here leaves no such group. Throws
// Error(kInput) where the packed file is damaged.
PackReport unpack_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& output,
                             StagingOptions staging, int threads, const Progress& progress);

}  // namespace prune
