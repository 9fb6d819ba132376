// A pruned weight, rearranged once for this machine's kernels, and the product with it.
//
// prepare() takes any packed format; run() computes, for n >= 1 rows of X and with W = scales * packed
// weight,
//     Y[n, rows] = X[n, cols] W^T + bias        (y[i * ldy + r] = sum_k x[i * ldx + k] W[r][k] + bias[r])
// X, Y and bias are floats; sums are accumulated in float. Kernels marked bf16 round X to bf16 first. Where X
// is infinite or NaN, so may be all of its row of Y: some layouts multiply by zeros, as a dense product does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "kernels/sparse/isa.h"
#include "kernels/sparse/weights.h"

namespace prune::kernels {

// Which batch sizes a plan will meet. One layout serves a few rows of X at the speed of memory, another many
// rows at the speed of arithmetic; a plan for both holds the weights twice,
// or three times where some rows have a layout of their own.
// kInPlace, kManyRowsInPlace: only what reads the arrays as they lie (in_place must be set), for a few rows
// and, where there is such a kernel, for many; or for many alone. Without, the plan is empty, rows() is 0.
// What runs in place reads nothing of the arrays before it runs or is asked for its bytes or workspace,
// whatever the use.
enum class Use { kAny, kFewRows, kManyRows, kInPlace, kManyRowsInPlace };

struct PrepareOptions {
  uint32_t isa = isa::supported();
  Use use = Use::kAny;
  // The arrays outlive the plan: for a few rows of X they may be multiplied where they lie, and nothing is
  // rearranged (see in_place/in_place.h).
  bool in_place = false;
  // int8 weights and many rows of X: rounds every row of X to multiples of max |x| / 127 and multiplies
  // integers, where there are instructions for it. Nearly twice as fast as bf16, whose error is up to max |x|
  // / 254 for small x as well.
  bool int8_inputs = false;
  // Where not empty: take this kernel alone, for every n. Where it does not take the weights as they are
  // held, the plan is empty: its rows() are 0, and it can't run.
  std::string_view kernel = {};
};

// One batch: X [n, cols] and Y [n, rows], row-major with leading dimensions; bias [rows] or null. Y must not
// overlap the inputs.
struct Batch {
  const float* x;
  int64_t ldx;
  float* y;
  int64_t ldy;
  int64_t n;
  const float* bias = nullptr;
};

// How the weights lie in memory for one kernel.
class Layout {
 public:
  virtual ~Layout() = default;
  virtual const char* kernel_name() const = 0;
  virtual size_t bytes() const = 0;  // that are read for a row of X
  // Of these, what the layout holds itself.
  virtual size_t own_bytes() const { return bytes(); }
  // Whether the arrays that prepare() was shown are read again.
  virtual bool is_in_place() const { return false; }
  virtual size_t workspace_bytes(int64_t n, int threads) const = 0;
  // workspace: workspace_bytes(batch.n, threads) bytes, aligned to 64.
  virtual void run(const Batch& batch, int threads, void* workspace) const = 0;
};

class Plan {
 public:
  Plan() = default;
  Plan(int64_t rows, int64_t cols, std::unique_ptr<const Layout> few, std::unique_ptr<const Layout> many,
       int64_t most_few_rows);

  // A layout of its own for more than a few rows, but not so many: up to most_rows.
  void set_between(std::unique_ptr<const Layout> between, int64_t most_rows);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  // Memory of the weights, indices included, and the part of it that the plan holds itself: the rest lies
  // where prepare() was shown it.
  size_t bytes() const;
  size_t own_bytes() const;
  // Of these, what a batch of n rows reads.
  size_t bytes(int64_t n) const { return layout(n).bytes(); }
  bool is_in_place() const;
  // The kernel that a batch of n rows runs on.
  const char* kernel_name(int64_t n) const { return layout(n).kernel_name(); }

  // Reentrant. Scratch memory belongs to the calling thread and grows to the largest batch it has seen; with
  // a workspace of workspace_bytes(n) bytes, aligned to 64, nothing is allocated at all.
  void run(const Batch& batch) const;
  void run(const Batch& batch, void* workspace) const;
  size_t workspace_bytes(int64_t n) const;

 private:
  const Layout& layout(int64_t n) const;

  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::unique_ptr<const Layout> few_;
  std::unique_ptr<const Layout> between_;
  std::unique_ptr<const Layout> many_;
  int64_t most_few_rows_ = 0;
  int64_t most_between_rows_ = 0;
};

// The weights' arrays may be freed afterwards, except with PrepareOptions::in_place. They must be free of
// faults (see find_fault) before anything is read.
Plan prepare(const NmWeights& weights, const PrepareOptions& options = {});
Plan prepare(const BitmaskWeights& weights, const PrepareOptions& options = {});
Plan prepare(const CsrWeights& weights, const PrepareOptions& options = {});
Plan prepare(const BsrWeights& weights, const PrepareOptions& options = {});
Plan prepare(const WindowsWeights& weights, const PrepareOptions& options = {});
// Weights must be int8; wider ones are multiplied where they lie (see plain/plain.h). W is read once for
// every sixteen rows of X: for many more a dense library is faster.
Plan prepare(const DenseWeights& weights, const PrepareOptions& options = {});

}  // namespace prune::kernels
