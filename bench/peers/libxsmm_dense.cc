#include <libxsmm.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "bench/peers/best_of.h"
#include "bench/peers/libxsmm.h"
#include "libprune/model/dense_linear.h"

namespace prune::bench {
namespace {

constexpr int kTrials = 3;

// Column by column, as LIBXSMM counts, Y^T = W X^T: tiles of bm outputs by bk inputs, multiplied with bn rows
// of X; `depth` inputs are added up before the next ones begin.
struct Tiling {
  int bm = 0, bk = 0, bn = 0, depth = 0;
  std::string name() const {
    return "brgemm " + std::to_string(bm) + "x" + std::to_string(bn) + "x" + std::to_string(bk) + ", depth " +
           std::to_string(depth);
  }
};

std::vector<int> divisors_among(std::initializer_list<int> candidates, int64_t number) {
  std::vector<int> divisors;
  for (const int d : candidates) {
    if (number % d == 0) divisors.push_back(d);
  }
  return divisors;
}

std::vector<Tiling> tilings(const Shape& shape, int64_t n) {
  std::vector<int> heights = divisors_among({32, 64, 128}, shape.rows);
  if (heights.empty()) heights = {static_cast<int>(shape.rows & -shape.rows)};
  std::vector<int> lengths = divisors_among({64, 256}, shape.cols);
  if (lengths.empty()) lengths = {static_cast<int>(shape.cols)};
  std::vector<Tiling> list;
  for (const int bm : heights) {
    for (const int bk : lengths) {
      for (const int bn : n <= 16 ? std::vector{static_cast<int>(n)} : std::vector{16, 32, 64}) {
        std::vector<int> depths = {static_cast<int>(shape.cols)};
        if (n > 16 && shape.cols > 2048 && 1024 % bk == 0) depths.push_back(1024);
        for (const int depth : depths) {
          if (bn <= n) list.push_back({bm, bk, bn, depth});
        }
      }
    }
  }
  return list;
}

// T is float, or libxsmm_bfloat16 with pairs of inputs next to each other.
template <class T>
class DenseProduct final : public Product {
  static constexpr bool kIsFloat = std::is_same_v<T, float>;
  using Kernel = std::conditional_t<kIsFloat, libxsmm_smmfunction_reducebatch_strd,
                                    libxsmm_bsmmfunction_reducebatch_strd>;

 public:
  DenseProduct(const Case& c, const TestWeights& weights) : shape_(c.shape), weights_(weights) {
    libxsmm_init();
  }

  void take(const kernels::Batch& batch) override {
    if constexpr (!kIsFloat) {
      const uint16_t* rounded = round_rows_to_bf16(batch.x, batch.ldx, batch.n, shape_.cols);
      x_.assign(rounded, rounded + batch.n * shape_.cols);
    }
    const std::vector<Tiling> ways = tilings(shape_, batch.n);
    const size_t best = fastest(ways.size(), kTrials, [&](size_t way) {
      use(ways[way], batch);
      multiply(copies_[0], batch);
    });
    use(ways[best], batch);
    const std::vector<T> laid_out = copies_[0];
    copies_.assign(copies_for(batch.n, bytes()), laid_out);
    run(batch);
  }
  void run(const kernels::Batch& batch) override { multiply(copies_[next_++ % copies_.size()], batch); }
  double bytes() const override { return static_cast<double>(shape_.rows * shape_.cols) * sizeof(T); }
  std::string kernel(int64_t) const override { return tiling_.name(); }
  int rate() const override { return kIsFloat ? 1 : 2; }

 private:
  // Kernels for the tiling, and one copy of the weights in it.
  void use(const Tiling& tiling, const kernels::Batch& batch) {
    if (copies_.empty() || tiling.bm != tiling_.bm || tiling.bk != tiling_.bk) lay_out(tiling);
    tiling_ = tiling;
    const int rest = static_cast<int>(batch.n % tiling.bn);
    for (const bool adds : {false, true}) {
      kernels_[adds] = make_kernel(tiling.bn, batch, adds);
      rest_kernels_[adds] = rest == 0 ? nullptr : make_kernel(rest, batch, adds);
    }
  }

  Kernel make_kernel(int bn, const kernels::Batch& batch, bool adds) const {
    const libxsmm_blasint lda = tiling_.bm, ldc = static_cast<int>(batch.ldy);
    const libxsmm_blasint ldb = static_cast<int>(kIsFloat ? batch.ldx : shape_.cols);
    const int stride_a = tiling_.bm * tiling_.bk * int(sizeof(T)), stride_b = tiling_.bk * int(sizeof(T));
    const float alpha = 1, beta = adds ? 1 : 0;
    Kernel kernel;
    if constexpr (kIsFloat) {
      const int flags = LIBXSMM_GEMM_FLAG_NONE;
      kernel = libxsmm_smmdispatch_reducebatch_strd(tiling_.bm, bn, tiling_.bk, stride_a, stride_b, &lda,
                                                    &ldb, &ldc, &alpha, &beta, &flags, nullptr);
    } else {
      const int flags = LIBXSMM_GEMM_FLAG_VNNI_A;
      kernel = libxsmm_bsmmdispatch_reducebatch_strd(tiling_.bm, bn, tiling_.bk, stride_a, stride_b, &lda,
                                                     &ldb, &ldc, &alpha, &beta, &flags, nullptr);
    }
    if (kernel == nullptr) throw std::runtime_error("LIBXSMM makes no code for " + tiling_.name());
    return kernel;
  }

  void lay_out(const Tiling& t) {
    std::vector<T> tiles(static_cast<size_t>(shape_.rows * shape_.cols));
    const auto* values = reinterpret_cast<const T*>(weights_.values.data());
#pragma omp parallel for
    for (int64_t r = 0; r < shape_.rows; ++r) {
      for (int64_t k = 0; k < shape_.cols; ++k) {
        // Tiles of a row of tiles follow each other.
        const int64_t start = (r - r % t.bm) * shape_.cols + (k - k % t.bk) * t.bm;
        const int64_t row = r % t.bm, col = k % t.bk;
        const int64_t within = kIsFloat ? col * t.bm + row : (col / 2 * t.bm + row) * 2 + col % 2;
        tiles[start + within] = values[r * shape_.cols + k];
      }
    }
    copies_.assign(1, std::move(tiles));
  }

  void multiply(const std::vector<T>& tiles, const kernels::Batch& b) const {
    const Tiling& t = tiling_;
    const T* x;
    int64_t ldx = shape_.cols;
    if constexpr (kIsFloat) {
      x = b.x;
      ldx = b.ldx;
    } else {
      x = x_.data();
    }
#pragma omp parallel
    for (int64_t k = 0; k < shape_.cols; k += t.depth) {
      const unsigned long long count = std::min<int64_t>(t.depth, shape_.cols - k) / t.bk;
      // Static: a thread has the same outputs for every k.
#pragma omp for schedule(static) nowait
      for (int64_t r = 0; r < shape_.rows; r += t.bm) {
        const T* w = tiles.data() + r * shape_.cols + k * t.bm;
        for (int64_t i = 0; i < b.n; i += t.bn) {
          const Kernel kernel = (b.n - i < t.bn ? rest_kernels_ : kernels_)[k > 0];
          kernel(w, x + i * ldx + k, b.y + i * b.ldy + r, &count);
        }
      }
    }
  }

  Shape shape_;
  const TestWeights& weights_;
  Tiling tiling_;
  Kernel kernels_[2] = {}, rest_kernels_[2] = {};
  std::vector<std::vector<T>> copies_;
  std::vector<T> x_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Product> libxsmm_dense(const Case& c, const TestWeights& weights) {
  if (c.type == WeightType::kF32) return std::make_unique<DenseProduct<float>>(c, weights);
  return std::make_unique<DenseProduct<libxsmm_bfloat16>>(c, weights);
}

std::string libxsmm_version() {
  libxsmm_init();
  return std::string(LIBXSMM_VERSION) + ", code for " + libxsmm_get_target_arch();
}

}  // namespace prune::bench
