// A model author's whole way with one weight matrix: score, select, apply, pack, multiply, unpack.
//
// Needs <prune/prune.h>, Eigen and a C++20 compiler, nothing to link:
//
//   c++ -std=c++20 -O2 $(pkg-config --cflags prune) prune_a_matrix.cc -o prune_a_matrix && ./prune_a_matrix
//
// or, with CMake, find_package(prune) or add_subdirectory(libprune), and target_link_libraries(...
// prune::prune).
#include <prune/prune.h>

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <random>
#include <string>

namespace {

using prune::bf16;
using prune::Index;
using prune::Matrix;

constexpr Index kOut = 256;
constexpr Index kIn = 512;
constexpr Index kTokens = 64;
constexpr prune::NM kPattern{.keep = 2, .group = 4};
constexpr double kSparsity = 0.5;

// --- The model: a layer y = W x, and inputs whose columns differ in size, as those of real layers do
// ----------

Matrix<bf16> random_weights(std::mt19937& rng) {
  std::normal_distribution<float> normal(0.0f, 0.02f);
  Matrix<bf16> w(kOut, kIn);
  for (Index i = 0; i < w.size(); ++i) w.data()[i] = bf16(normal(rng));
  return w;
}

Matrix<float> random_inputs(std::mt19937& rng) {
  std::normal_distribution<float> normal;
  Matrix<float> x(kTokens, kIn);
  for (Index t = 0; t < kTokens; ++t) {
    for (Index j = 0; j < kIn; ++j) x(t, j) = normal(rng) * (j % 8 == 0 ? 6.0f : 1.0f);
  }
  return x;
}

// --- Score: any matrix of one number a weight will do
// ----------------------------------------------------------

// Wanda: |W[i, j]| * ||X[:, j]||, so that a small weight on a large input stays (arXiv 2306.11695).
Matrix<float> input_aware_score(const Matrix<bf16>& w, const Matrix<float>& x) {
  const Eigen::RowVectorXf input_norm = x.colwise().norm();
  return w.cast<float>().cwiseAbs().array().rowwise() * input_norm.array();
}

// --- Multiply: what a 2:4 kernel does, said plainly
// ------------------------------------------------------------

// Y[t, i] = sum over the kept (i, j) of W[i, j] * X[t, j]. Each byte of indices holds two groups of four
// columns, the first in its low nibble; a nibble is idx0 + 4 * idx1, the columns of the group's two values.
// Half of the products are never made.
Matrix<float> multiply(const Matrix<float>& x, const prune::NmPacked<bf16>& w) {
  Matrix<float> y = Matrix<float>::Zero(x.rows(), w.rows);
  const Index groups = w.cols / 4;
  for (Index i = 0; i < w.rows; ++i) {
    const bf16* values = w.values.data() + i * groups * 2;
    const uint8_t* indices = w.indices.data() + i * prune::index_bytes_per_row(w.pattern, w.cols);
    for (Index g = 0; g < groups; ++g) {
      const int nibble = indices[g / 2] >> (g % 2 * 4) & 15;
      const float w0 = float(values[2 * g]);
      const float w1 = float(values[2 * g + 1]);
      for (Index t = 0; t < x.rows(); ++t) {
        y(t, i) += w0 * x(t, 4 * g + (nibble & 3)) + w1 * x(t, 4 * g + (nibble >> 2));
      }
    }
  }
  return y;
}

// The same with compressed sparse rows, for any pattern at all.
Matrix<float> multiply(const Matrix<float>& x, const prune::Csr<bf16>& w) {
  Matrix<float> y = Matrix<float>::Zero(x.rows(), w.rows);
  for (Index i = 0; i < w.rows; ++i) {
    for (int64_t n = w.indptr[size_t(i)]; n < w.indptr[size_t(i) + 1]; ++n) {
      y.col(i) += float(w.values[size_t(n)]) * x.col(w.indices[size_t(n)]);
    }
  }
  return y;
}

// --- Checks
// ----------------------------------------------------------------------------------------------------

int failures = 0;

void check(bool holds, const std::string& what) {
  std::cout << (holds ? "  ok      " : "  FAILED  ") << what << '\n';
  failures += !holds;
}

bool same_bits(const Matrix<bf16>& a, const Matrix<bf16>& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (Index i = 0; i < a.size(); ++i) {
    if (prune::bit_pattern(a.data()[i]) != prune::bit_pattern(b.data()[i])) return false;
  }
  return true;
}

// ||Y - reference|| / ||reference||
float relative_error(const Matrix<float>& y, const Matrix<float>& reference) {
  return (y - reference).norm() / reference.norm();
}

template <class Packed>
size_t packed_bytes(const Packed& packed, size_t index_bytes) {
  return packed.values.size() * sizeof(bf16) + index_bytes;
}

void print_bytes(const char* format, size_t bytes) {
  const double dense = double(kOut * kIn * Index(sizeof(bf16)));
  std::cout << "  " << std::left << std::setw(8) << format << std::right << std::setw(8) << bytes
            << " bytes, " << std::fixed << std::setprecision(1) << 100.0 * double(bytes) / dense
            << "% of dense\n";
}

// --- The way, step by step
// -------------------------------------------------------------------------------------

// 2:4: choose by two scores, keep the better mask, pack it, multiply with it, and go back.
void prune_to_two_of_four(const Matrix<bf16>& w, const Matrix<float>& x) {
  std::cout << "2:4, " << prune::describe(kPattern) << '\n';
  const Matrix<float> dense = x * w.cast<float>().transpose();

  const prune::Mask by_size = prune::select_magnitude(w, kPattern, kSparsity);
  const prune::Mask by_effect = prune::select(input_aware_score(w, x), kPattern, kSparsity);
  check(prune::satisfies(by_effect, kPattern), "the mask has at most 2 of every 4");
  check(by_effect.count() == kOut * kIn / 2, "and exactly half of all weights");

  Matrix<bf16> pruned_by_size = w;
  prune::apply(by_size, pruned_by_size);
  Matrix<bf16> pruned = w;
  prune::apply(by_effect, pruned);
  const float error_by_size = relative_error(x * pruned_by_size.cast<float>().transpose(), dense);
  const float error_by_effect = relative_error(x * pruned.cast<float>().transpose(), dense);
  std::cout << "  output error by |w| " << error_by_size << ", by |w| * ||x|| " << error_by_effect << '\n';
  check(error_by_effect < error_by_size, "the score that sees the inputs loses less");

  const auto packed = prune::pack_nm(pruned, kPattern);
  print_bytes("dense", size_t(kOut * kIn) * sizeof(bf16));
  print_bytes("2:4", packed_bytes(packed, packed.indices.size()));
  const Matrix<float> expected = x * pruned.cast<float>().transpose();
  check(relative_error(multiply(x, packed), expected) < 1e-5f, "the packed product is the dense one");
  check(same_bits(prune::unpack(packed), pruned), "unpacking gives every weight back, bit for bit");
}

// Unstructured: the same steps; the packed type is another one, so the wrong kernel does not compile.
void prune_unstructured(const Matrix<bf16>& w, const Matrix<float>& x) {
  std::cout << "unstructured, 70% zeros, each row on its own\n";
  Matrix<bf16> pruned = w;
  prune::apply(prune::select(input_aware_score(w, x), prune::Unstructured{}, 0.7, prune::Scope::kRow),
               pruned);

  const auto bitmask = prune::pack_bitmask(pruned);
  const auto csr = prune::pack_csr(pruned);
  print_bytes("bitmask", packed_bytes(bitmask, bitmask.bitmask.size() + bitmask.row_offsets.size() * 8));
  print_bytes("csr", packed_bytes(csr, csr.indices.size() * 4 + csr.indptr.size() * 8));
  const Matrix<float> expected = x * pruned.cast<float>().transpose();
  check(relative_error(multiply(x, csr), expected) < 1e-5f, "the packed product is the dense one");
  check(same_bits(prune::unpack(bitmask), pruned), "bitmask gives every weight back");
  check(same_bits(prune::unpack(csr), pruned), "csr gives every weight back");
}

// What can't be done is an exception that says why; nothing is ever pruned by half.
void ask_for_the_impossible(const Matrix<bf16>& w) {
  std::cout << "errors\n";
  const auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const prune::Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string not_pruned = message([&] { prune::pack_nm(w, kPattern); });
  check(!not_pruned.empty(), not_pruned);
  const std::string wrong_share = message([&] { prune::select_magnitude(w, kPattern, 0.75); });
  check(!wrong_share.empty(), wrong_share);
  const std::string unfit =
      message([&] { prune::select_magnitude(w, prune::Block{.rows = 3, .cols = 16}, 0.5); });
  check(!unfit.empty(), unfit);
}

}  // namespace

int main() {
  std::mt19937 rng(1);
  const Matrix<bf16> w = random_weights(rng);
  const Matrix<float> x = random_inputs(rng);
  prune_to_two_of_four(w, x);
  prune_unstructured(w, x);
  ask_for_the_impossible(w);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
