// Which product to run on a GPU for a pruned weight: one of ours or the dense one, by what the programs of
// bench/gpu measured on that GPU. Never slower than dense, as far as times only grow with the number of
// tokens and shrink with the share of zeros: a choice rests on a measurement with as many tokens or more and
// as many zeros or fewer, which must be faster than dense was with as many tokens or fewer. What was not
// measured is dense.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libprune/io/benchmark_file.h"

namespace prune {

// A weight [out, in] and a number of tokens, in the words of the benchmark programs' names.
struct GpuProblem {
  std::string family;   // "spmm_nm" (2:4), "spmm_bitmask", "spmm_csr", "spmm_bsr"
  std::string type;     // of the weights: "bf16" (IEEE half too), "int8", "int4"
  std::string block;    // "16x16"; empty beside spmm_bsr
  double sparsity = 0;  // share of zeros, 0..1
  int64_t out = 0;
  int64_t in = 0;
  int64_t tokens = 1;
};

struct GpuChoice {
  std::string kernel = "dense";  // "decode24", ...
  // At least what dense takes and at most what ours takes; absent where nothing was measured.
  std::optional<double> dense_seconds;
  std::optional<double> sparse_seconds;

  bool sparse() const { return kernel != "dense"; }
};

class GpuTable {
 public:
  // From the JSON files that the programs write. Cases that are no products of theirs are passed over. Throws
  // Error(kInput) where the files are of different GPUs, name none, or hold no product.
  explicit GpuTable(const std::vector<BenchmarkRun>& runs);

  const std::string& gpu() const { return gpu_; }
  GpuChoice choose(const GpuProblem& problem) const;

 private:
  struct Product {
    std::string family, type, block, kernel;
    int64_t sparsity = 0;  // in percent
    int64_t out = 0, in = 0, tokens = 0;
    double seconds = 0;
    double dense_seconds = 0;
  };
  void add(const BenchmarkCase& benchmark);
  std::optional<double> dense_at_most(const GpuProblem& problem) const;

  std::string gpu_;
  std::vector<Product> products_;
};

}  // namespace prune
