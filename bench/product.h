// A product with prepared weights, ours or a peer's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bench/weights.h"
#include "kernels/sparse/plan.h"

namespace prune::bench {

class Product {
 public:
  virtual ~Product() = default;
  // Before the clock runs: turns the inputs of a batch into what run() reads, plans, chooses among layouts.
  virtual void take(const kernels::Batch& batch) = 0;
  // Y = X W^T with the next copy of the weights.
  virtual void run(const kernels::Batch& batch) = 0;
  virtual double bytes() const = 0;  // of one copy of the weights, read for a row of X
  virtual std::string kernel(int64_t n) const = 0;
  // Multiply-adds that an instruction does for each one in float: 2 with bf16, 4 with int8.
  virtual int rate() const { return 1; }
};

// Batches up to here are bound by reading the weights.
inline constexpr int64_t kMemoryBoundRows = 8;

// Up to here the library may take either kind of layout; beyond, those for many rows.
inline constexpr int64_t kMostFewRows = 16;

// Copies of weights of this size that together pass the last-level cache twice over, which those of batches
// bound by memory take turns with; one for the others.
size_t copies_for(int64_t n, double bytes);

// Our kernels. `prepare` is called once for each copy; `keeps` lives as long as the product.
std::unique_ptr<Product> plan_product(int64_t n, const std::function<kernels::Plan(kernels::Use)>& prepare,
                                      std::shared_ptr<void> keeps = nullptr);

// The same of weights that stay as pack(weights) lays them out, each copy in arrays of its own.
template <class Pack>
std::unique_ptr<Product> in_place_product(int64_t n, const TestWeights& weights, const Pack& pack) {
  using Packed = decltype(pack(weights));
  struct Copy {
    TestWeights weights;  // which the packed form may refer to
    Packed packed;
  };
  auto copies = std::make_shared<std::vector<std::unique_ptr<Copy>>>();
  const auto prepare = [&](kernels::Use use) {
    auto copy = std::make_unique<Copy>(Copy{weights, {}});
    copy->packed = pack(copy->weights);
    copies->push_back(std::move(copy));
    kernels::Plan plan = kernels::prepare(copies->back()->packed.view, {.use = use, .in_place = true});
    if (!plan.is_in_place())
      throw std::runtime_error("no kernel here multiplies these weights where they lie");
    return plan;
  };
  return plan_product(n, prepare, copies);
}

}  // namespace prune::bench
