#include <libxsmm.h>
#include <omp.h>

#include <vector>

#include "bench/peers/libxsmm.h"

namespace prune::bench {
namespace {

constexpr float kOne = 1, kZero = 0;

// A weight in slices of 128 x 128, made for one number of rows of X.
class Slices {
 public:
  Slices(const std::vector<float>& dense, const Shape& shape, int64_t n) {
    libxsmm_spmdm_init(static_cast<int>(shape.rows), static_cast<int>(n), static_cast<int>(shape.cols),
                       omp_get_max_threads(), &handle_, &slices_);
    const int blocks = libxsmm_spmdm_get_num_createSparseSlice_blocks(&handle_);
#pragma omp parallel
    for (int b = omp_get_thread_num(); b < blocks; b += omp_get_num_threads()) {
      libxsmm_spmdm_createSparseSlice_fp32_thread(&handle_, 'N', dense.data(), slices_, b,
                                                  omp_get_thread_num(), omp_get_num_threads());
    }
  }
  Slices(const Slices&) = delete;
  Slices& operator=(const Slices&) = delete;
  ~Slices() { libxsmm_spmdm_destroy(&handle_); }

  // Y^T = W X^T, both given turned: as row-major X and Y are.
  void multiply(const float* x, float* y) const {
    const int blocks = libxsmm_spmdm_get_num_compute_blocks(&handle_);
#pragma omp parallel
    for (int b = omp_get_thread_num(); b < blocks; b += omp_get_num_threads()) {
      libxsmm_spmdm_compute_fp32_thread(&handle_, 'N', 'T', &kOne, slices_, x, 'T', &kZero, y, b,
                                        omp_get_thread_num(), omp_get_num_threads());
    }
  }

 private:
  libxsmm_spmdm_handle handle_{};
  libxsmm_CSR_sparseslice* slices_ = nullptr;
};

class SparseProduct final : public Product {
 public:
  SparseProduct(const Case& c, const TestWeights& weights) : shape_(c.shape), weights_(weights) {
    libxsmm_init();
  }

  void take(const kernels::Batch& batch) override {
    const std::vector<float> dense = dense_floats(weights_);
    copies_.clear();
    while (copies_.size() < copies_for(batch.n, bytes()))
      copies_.push_back(std::make_unique<Slices>(dense, shape_, batch.n));
    run(batch);
  }
  void run(const kernels::Batch& batch) override {
    copies_[next_++ % copies_.size()]->multiply(batch.x, batch.y);
  }
  // Values, and 16 bits for a column.
  double bytes() const override { return static_cast<double>(weights_.places.count()) * 6; }
  std::string kernel(int64_t) const override { return "spmdm"; }

 private:
  Shape shape_;
  const TestWeights& weights_;
  std::vector<std::unique_ptr<Slices>> copies_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Product> libxsmm_sparse(const Case& c, const TestWeights& weights) {
  return std::make_unique<SparseProduct>(c, weights);
}

}  // namespace prune::bench
