// Row-major matrices of floats as the forward and backward passes hold them: aligned, and not zeroed first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace prune {

// Memory for vectors whose elements are written before they are read.
template <class T>
struct UninitializedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};

  UninitializedAllocator() = default;
  template <class U>
  UninitializedAllocator(const UninitializedAllocator<U>&) {}

  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, kAlignment); }
  template <class U>
  void construct(U* place) {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class V>
  void construct(U* place, V&& value) {
    ::new (static_cast<void*>(place)) U(static_cast<V&&>(value));
  }
  bool operator==(const UninitializedAllocator&) const { return true; }
};

// [rows, cols] floats without gaps between rows. prune::view(m.data(), m.rows(), m.cols()) is its Eigen view.
class FloatMatrix {
 public:
  FloatMatrix() = default;
  FloatMatrix(int64_t rows, int64_t cols) { resize(rows, cols); }

  // The values are undefined afterwards. Memory grows and is kept, so that one matrix serves many batches.
  void resize(int64_t rows, int64_t cols) {
    rows_ = rows;
    cols_ = cols;
    values_.clear();
    values_.resize(static_cast<size_t>(rows * cols));
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t size() const { return rows_ * cols_; }
  bool empty() const { return values_.empty(); }
  float* data() { return values_.data(); }
  const float* data() const { return values_.data(); }
  float* row(int64_t i) { return values_.data() + i * cols_; }
  const float* row(int64_t i) const { return values_.data() + i * cols_; }

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::vector<float, UninitializedAllocator<float>> values_;
};

}  // namespace prune
