#include "bench/product.h"

#include <algorithm>
#include <vector>

#include "bench/machine.h"

namespace prune::bench {
namespace {

constexpr size_t kMostCopies = 64;

class PlanProduct final : public Product {
 public:
  PlanProduct(int64_t n, const std::function<kernels::Plan(kernels::Use)>& prepare,
              std::shared_ptr<void> keeps)
      : keeps_(std::move(keeps)) {
    const auto use = n <= kMemoryBoundRows ? kernels::Use::kFewRows
                     : n > kMostFewRows    ? kernels::Use::kManyRows
                                           : kernels::Use::kAny;
    plans_.push_back(prepare(use));
    bytes_ = static_cast<double>(plans_[0].bytes(n));
    while (plans_.size() < copies_for(n, bytes())) plans_.push_back(prepare(use));
  }

  void take(const kernels::Batch& batch) override { plans_[0].run(batch); }
  void run(const kernels::Batch& batch) override { plans_[next_++ % plans_.size()].run(batch); }
  double bytes() const override { return bytes_; }
  std::string kernel(int64_t n) const override { return plans_[0].kernel_name(n); }
  int rate() const override {
    const std::string name = kernel(1);
    return name.find("_bytes_") != std::string::npos ? 4 : name.ends_with("avx512bf16") ? 2 : 1;
  }

 private:
  std::shared_ptr<void> keeps_;
  std::vector<kernels::Plan> plans_;
  double bytes_ = 0;
  size_t next_ = 0;
};

}  // namespace

size_t copies_for(int64_t n, double bytes) {
  if (n > kMemoryBoundRows) return 1;
  const auto twice = 2 * static_cast<double>(last_level_cache()) / std::max(1.0, bytes);
  return std::min(kMostCopies, static_cast<size_t>(twice) + 1);
}

std::unique_ptr<Product> plan_product(int64_t n, const std::function<kernels::Plan(kernels::Use)>& prepare,
                                      std::shared_ptr<void> keeps) {
  return std::make_unique<PlanProduct>(n, prepare, std::move(keeps));
}

}  // namespace prune::bench
