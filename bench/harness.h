// Measuring a product beside its peer.
//
// Each iteration runs the peer and then the kernel, and times both, so that whatever disturbs the machine
// disturbs both: `speedup` is the ratio of the medians. Weights of memory-bound cases are rotated through
// more copies than the last-level cache holds.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/sparse/plan.h"
#include "libprune/model/dense_linear.h"

namespace prune::bench {

using kernels::WeightType;

struct Shape {
  int64_t rows, cols;
};

// What a benchmark name holds: <op>/<type>/isa:<isa>/m:<m>/k:<k>/n:<n>/sparsity:<percent>.
struct Case {
  std::string op;  // "spmm_nm", "dense/onednn", ...
  WeightType type;
  Shape shape;
  int64_t n;
  int percent;  // of the weights that are zero
};
std::string name_of(const Case& c);
const char* type_name(WeightType type);

// The shapes and batch sizes that every operation is measured at.
inline constexpr Shape kShapes[] = {{2048, 2048}, {4096, 4096}, {4096, 14336}};
inline constexpr int64_t kBatches[] = {1, 4, 8, 32, 128, 512};
// The shape for the speed of memory, which no cache holds, and the batches that are bound by it.
inline constexpr Shape kLargeShape = {8192, 8192};
inline constexpr int64_t kFewBatches[] = {1, 4, 8};

std::vector<float> random_floats(int64_t count, uint32_t seed);
// Random values of a weight type, never zero.
std::vector<char> random_values(int64_t count, WeightType type, uint32_t seed);
// Sorted distinct numbers below `range`, each kept with probability `density`.
std::vector<int32_t> random_subset(int64_t range, double density, std::mt19937& rng);

// One row-major batch of floats, X and Y.
struct BatchMemory {
  std::vector<float> x, y;
  kernels::Batch view;
  BatchMemory(const Shape& shape, int64_t n);
};

// The dense peer of a case: oneDNN, weights in its best layout, in as many copies as the last-level cache
// can't hold where the batch is bound by reading them. They live until another case needs others.
std::vector<DenseLinear>& dense_peers(const Case& c);
// Bytes per weight that the dense peer reads.
double dense_weight_bytes(const Case& c);

// Plans for the batch of a case, in as many copies as the last-level cache can't hold where the batch is
// bound by reading them.
std::vector<kernels::Plan> prepare_copies(const Case& c,
                                          const std::function<kernels::Plan(kernels::Use)>& prepare);
// Runs the plans of the case beside the dense peer and sets the counters. Asks for them once: the library
// calls a benchmark several times until it has run long enough, and again for every repetition.
void measure(benchmark::State& state, const Case& c,
             const std::function<std::vector<kernels::Plan>()>& prepare);
// Runs a product without a plan of ours (a peer) beside the dense peer.
void measure_peer(benchmark::State& state, const Case& c, double weight_bytes,
                  const std::function<void(const kernels::Batch&)>& product);

// Registers one benchmark.
void add(const Case& c, std::function<void(benchmark::State&)> body);

// Every file of an operation has one of these.
void add_dense();
void add_spmm_nm();
void add_spmm_bitmask();
void add_spmm_csr();
void add_spmm_bsr();

}  // namespace prune::bench
