#include "libprune/model/gemm.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>

#include <prune/error.h>

#include "libprune/model/bf16.h"

namespace prune {
namespace {

using dnnl::memory;

dnnl::engine& cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// What primitives differ in: m, n, k, the transposes, distances between rows, alpha, beta, threads.
using Key =
    std::tuple<int64_t, int64_t, int64_t, Transpose, Transpose, int64_t, int64_t, int64_t, float, float, int>;

// Prompts end in batches of any size, so there is no end of keys.
constexpr size_t kMostProducts = 256;

constexpr int64_t kWidenedFloats = int64_t{1} << 20;  // of weights at a time: 4 MB

struct Product {
  dnnl::matmul primitive;
  dnnl::matmul::primitive_desc desc;
};

memory::dims strides(Transpose transpose, int64_t ld) {
  return transpose == Transpose::kYes ? memory::dims{1, ld} : memory::dims{ld, 1};
}

Product plan(const Gemm& s, int64_t lda, int64_t ldb, int64_t ldc) {
  const memory::desc a({s.m, s.k}, memory::data_type::bf16, strides(s.transpose_a, lda));
  const memory::desc b({s.k, s.n}, memory::data_type::bf16, strides(s.transpose_b, ldb));
  const memory::desc c({s.m, s.n}, memory::data_type::f32, memory::dims{ldc, 1});
  dnnl::primitive_attr attributes;
  // Scratch memory of our own makes a primitive safe to execute from several threads.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops after;
  // Applied in this order to A B: alpha first, then beta C is added.
  if (s.alpha != 1) after.append_eltwise(1.0F, dnnl::algorithm::eltwise_linear, s.alpha, 0.0F);
  if (s.beta != 0) after.append_sum(s.beta);
  attributes.set_post_ops(after);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc desc(cpu(), a, b, c, attributes);
#else
  const dnnl::matmul::primitive_desc desc({a, b, c}, attributes, cpu());
#endif
  return {dnnl::matmul(desc), desc};
}

Product product(const Gemm& s, int64_t lda, int64_t ldb, int64_t ldc) {
  static std::mutex mutex;
  static std::map<Key, Product> products;
  const Key key{s.m, s.n, s.k,     s.transpose_a, s.transpose_b,        lda,
                ldb, ldc, s.alpha, s.beta,        omp_get_max_threads()};
  const std::lock_guard lock(mutex);
  if (const auto found = products.find(key); found != products.end()) return found->second;
  if (products.size() >= kMostProducts) products.clear();
  return products.emplace(key, plan(s, lda, ldb, ldc)).first->second;
}

using Bytes = std::vector<std::byte, UninitializedAllocator<std::byte>>;

// `x` as it is where it has been rounded, else rounded into `memory`.
GemmOperand rounded(const GemmOperand& x, int64_t rows, int64_t cols, Transpose transpose,
                    Bf16Memory& memory) {
  if (x.rounded != nullptr) return x;
  if (transpose == Transpose::kYes) std::swap(rows, cols);
  return gemm_operand(x.floats, x.ld, rows, cols, Precision::kBf16, memory);
}

}  // namespace

bool reads_bf16(Precision precision) { return precision == Precision::kBf16 && has_bf16_products(); }

GemmOperand gemm_operand(const float* x, int64_t ld, int64_t rows, int64_t cols, Precision precision,
                         Bf16Memory& memory) {
  if (!reads_bf16(precision)) return {x, ld};
  memory.resize(static_cast<size_t>(rows * cols));
  round_rows_to_bf16(x, ld, rows, cols, memory.data());
  return {x, ld, memory.data(), cols};
}

void gemm(const Gemm& shape, const GemmOperand& a, const GemmOperand& b, float* c, int64_t ldc) {
  if (shape.m == 0 || shape.n == 0) return;
  if (shape.k == 0 || !reads_bf16(shape.precision)) {
    Gemm single = shape;
    single.precision = Precision::kF32;
    return gemm(single, a.floats, a.ld, b.floats, b.ld, c, ldc);
  }
  thread_local Bf16Memory a_memory, b_memory;
  const GemmOperand a16 = rounded(a, shape.m, shape.k, shape.transpose_a, a_memory);
  const GemmOperand b16 = rounded(b, shape.k, shape.n, shape.transpose_b, b_memory);
  gemm_bf16(shape, a16.rounded, a16.rounded_ld, b16.rounded, b16.rounded_ld, c, ldc);
}

void gemm(const Gemm& shape, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
          int64_t ldc) {
  if (shape.m == 0 || shape.n == 0) return;
  if (shape.k > 0 && reads_bf16(shape.precision))
    return gemm(shape, GemmOperand{a, lda}, GemmOperand{b, ldb}, c, ldc);
  const auto letter = [](Transpose t) { return t == Transpose::kYes ? 'T' : 'N'; };
  const dnnl_status_t status = dnnl_sgemm(letter(shape.transpose_a), letter(shape.transpose_b), shape.m,
                                          shape.n, shape.k, shape.alpha, a, lda, b, ldb, shape.beta, c, ldc);
  if (status == dnnl_out_of_memory) throw_runtime("out of memory in a dense product of oneDNN");
  if (status != dnnl_success) throw_runtime("a dense product failed in oneDNN");
}

void gemm_bf16(const Gemm& shape, const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float* c,
               int64_t ldc) try {
  thread_local Bytes scratch;
  const Product p = product(shape, lda, ldb, ldc);
  scratch.resize(p.desc.scratchpad_desc().get_size());
  dnnl::stream stream(cpu());
  p.primitive.execute(stream,
                      {{DNNL_ARG_SRC, memory(p.desc.src_desc(), cpu(), const_cast<uint16_t*>(a))},
                       {DNNL_ARG_WEIGHTS, memory(p.desc.weights_desc(), cpu(), const_cast<uint16_t*>(b))},
                       {DNNL_ARG_DST, memory(p.desc.dst_desc(), cpu(), c)},
                       {DNNL_ARG_SCRATCHPAD, memory(p.desc.scratchpad_desc(), cpu(), scratch.data())}});
  stream.wait();
} catch (const dnnl::error& error) {
  throw_runtime(std::string("a dense product failed in oneDNN: ") + error.what());
}

void multiply_widened(const float* x, int64_t ldx, const uint16_t* weights, int64_t rows, int64_t cols,
                      float* y, int64_t ldy, int64_t n) {
  thread_local FloatMatrix memory;
  const int64_t tile = std::clamp<int64_t>(kWidenedFloats / std::max<int64_t>(1, cols), 1, rows);
  memory.resize(tile, cols);
  FloatMatrix& widened = memory;  // this thread's, for all threads
  for (int64_t first = 0; first < rows; first += tile) {
    const int64_t count = std::min(tile, rows - first);
#pragma omp parallel for
    for (int64_t r = 0; r < count; ++r) {
      const uint16_t* from = weights + (first + r) * cols;
      for (int64_t k = 0; k < cols; ++k) {
        const uint32_t bits = uint32_t(from[k]) << 16;
        std::memcpy(widened.row(r) + k, &bits, sizeof bits);
      }
    }
    gemm({.m = n, .n = count, .k = cols, .transpose_b = Transpose::kYes}, x, ldx, widened.data(), cols,
         y + first, ldy);
  }
}

}  // namespace prune
