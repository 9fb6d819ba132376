#include "bench/peers/openblas.h"

#include <vector>

#include <cblas.h>

#include "bench/peers/best_of.h"

namespace prune::bench {
namespace {

constexpr int kTrials = 3;

// W [out, in] as models have it, W^T, and for one row of X the product of a matrix and a vector in either
// layout: take() chooses by time.
class OpenBlasProduct final : public Product {
 public:
  OpenBlasProduct(const Case& c, const TestWeights& weights)
      : rows_(static_cast<blasint>(c.shape.rows)),
        cols_(static_cast<blasint>(c.shape.cols)),
        plain_(dense_floats(weights)) {}

  void take(const kernels::Batch& batch) override {
    std::vector<float> turned(plain_.size());
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t k = 0; k < cols_; ++k) turned[k * rows_ + r] = plain_[r * cols_ + k];
    }
    const std::vector<float>* layouts[] = {&plain_, &turned};
    way_ = fastest(batch.n == 1 ? 4 : 2, kTrials,
                   [&](size_t way) { multiply(way, layouts[way % 2]->data(), batch); });
    copies_.assign(copies_for(batch.n, bytes()), *layouts[way_ % 2]);
    run(batch);
  }
  void run(const kernels::Batch& batch) override {
    multiply(way_, copies_[next_++ % copies_.size()].data(), batch);
  }
  double bytes() const override { return static_cast<double>(plain_.size()) * 4; }
  std::string kernel(int64_t) const override {
    const char* const names[] = {"sgemm, W", "sgemm, W^T", "sgemv, W", "sgemv, W^T"};
    return names[way_];
  }

 private:
  void multiply(size_t way, const float* w, const kernels::Batch& b) const {
    const bool is_turned = way % 2 == 1;
    if (way >= 2) {
      cblas_sgemv(CblasRowMajor, is_turned ? CblasTrans : CblasNoTrans, is_turned ? cols_ : rows_,
                  is_turned ? rows_ : cols_, 1, w, is_turned ? rows_ : cols_, b.x, 1, 0, b.y, 1);
    } else {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, is_turned ? CblasNoTrans : CblasTrans,
                  static_cast<blasint>(b.n), rows_, cols_, 1, b.x, static_cast<blasint>(b.ldx), w,
                  is_turned ? rows_ : cols_, 0, b.y, static_cast<blasint>(b.ldy));
    }
  }

  blasint rows_, cols_;
  std::vector<float> plain_;
  std::vector<std::vector<float>> copies_;
  size_t way_ = 0;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Product> openblas_dense(const Case& c, const TestWeights& weights) {
  return std::make_unique<OpenBlasProduct>(c, weights);
}

std::string openblas_version() {
  return std::string(openblas_get_config()) + ", running as " + openblas_get_corename();
}

}  // namespace prune::bench
