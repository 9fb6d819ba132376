// Which library multiplies in the header-only updates.
#pragma once

namespace prune {

// gemm(), that is oneDNN, for all products of the header-only API in this process.
void use_gemm_in_updates();

}  // namespace prune
