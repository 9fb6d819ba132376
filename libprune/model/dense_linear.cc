#include "libprune/model/dense_linear.h"

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

dnnl::matmul::primitive_desc describe(const memory::desc& x, const memory::desc& w, const memory::desc& bias,
                                      const memory::desc& y) {
  dnnl::primitive_attr attributes;
  // Scratch memory of our own makes a primitive safe to execute from several threads.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const bool biased = bias.get_size() != 0;
#if DNNL_VERSION_MAJOR >= 3
  return biased ? dnnl::matmul::primitive_desc(cpu(), x, w, bias, y, attributes)
                : dnnl::matmul::primitive_desc(cpu(), x, w, y, attributes);
#else
  return biased ? dnnl::matmul::primitive_desc({x, w, bias, y}, attributes, cpu())
                : dnnl::matmul::primitive_desc({x, w, y}, attributes, cpu());
#endif
}

void* scratch(size_t bytes) {
  thread_local std::vector<char> memory;
  if (memory.size() < bytes + 64) memory.resize(bytes + 64);
  const uintptr_t misaligned = reinterpret_cast<uintptr_t>(memory.data()) % 64;
  return memory.data() + (misaligned ? 64 - misaligned : 0);
}

uint16_t* bf16_scratch(size_t count) {
  thread_local std::vector<uint16_t> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

[[noreturn]] void fail(const dnnl::error& error) {
  throw_runtime(std::string("dense product failed in oneDNN: ") + error.what());
}

// A primitive for one n, ldx, ldy and number of threads, and the weights as it wants them.
struct Product {
  dnnl::matmul primitive;
  dnnl::matmul::primitive_desc desc;
  memory weights;
  std::string implementation;
};

}  // namespace

const uint16_t* round_rows_to_bf16(const float* x, int64_t ldx, int64_t n, int64_t cols) {
  uint16_t* rounded = bf16_scratch(static_cast<size_t>(n * cols));
  round_rows_to_bf16(x, ldx, n, cols, rounded);
  return rounded;
}

struct DenseLinear::State {
  int64_t rows, cols;
  memory::data_type type;
  DenseCopies copies;
  std::vector<float> bias;
  std::vector<char> plain;  // [rows, cols], as the constructor was given them or widened
  std::mutex mutex;         // of products
  std::map<std::tuple<int64_t, int64_t, int64_t, int64_t>, Product> products;
  std::vector<memory> layouts;  // of the weights, every one that some product wants

  memory::desc plain_desc() const { return {{cols, rows}, type, memory::dims{1, cols}}; }

  // One copy of the weights for each layout that oneDNN asks for.
  memory lay_out(const memory::desc& wanted) {
    for (const memory& have : layouts) {
      if (have.get_desc() == wanted) return have;
    }
    memory from(plain_desc(), cpu(), plain.data()), to(wanted, cpu());
    dnnl::stream stream(cpu());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
    layouts.push_back(to);
    return to;
  }

  const Product& product(int64_t n, int64_t ldx, int64_t ldy) {
    const std::lock_guard lock(mutex);
    // A primitive is planned for a number of threads, and insists on it.
    const auto key = std::tuple(n, ldx, ldy, int64_t(omp_get_max_threads()));
    if (const auto found = products.find(key); found != products.end()) return found->second;
    const memory::desc x({n, cols}, type, memory::dims{ldx, 1});
    const bool is_laid_out = copies == DenseCopies::kOne && !layouts.empty();
    const memory::desc w =
        is_laid_out ? layouts.front().get_desc() : memory::desc({cols, rows}, type, memory::format_tag::any);
    const memory::desc y({n, rows}, memory::data_type::f32, memory::dims{ldy, 1});
    const memory::desc b = bias.empty()
                               ? memory::desc()
                               : memory::desc({1, rows}, memory::data_type::f32, memory::format_tag::ab);
    const auto desc = describe(x, w, b, y);
    return products
        .emplace(key, Product{dnnl::matmul(desc), desc, lay_out(desc.weights_desc()), desc.impl_info_str()})
        .first->second;
  }

  void execute(const void* x, int64_t ldx, float* y, int64_t ldy, int64_t n) {
    const Product& p = product(n, ldx, ldy);
    dnnl::stream stream(cpu());
    std::unordered_map<int, memory> arguments{
        {DNNL_ARG_SRC, memory(p.desc.src_desc(), cpu(), const_cast<void*>(x))},
        {DNNL_ARG_WEIGHTS, p.weights},
        {DNNL_ARG_DST, memory(p.desc.dst_desc(), cpu(), y)},
        {DNNL_ARG_SCRATCHPAD,
         memory(p.desc.scratchpad_desc(), cpu(), scratch(p.desc.scratchpad_desc().get_size()))}};
    if (!bias.empty()) arguments.emplace(DNNL_ARG_BIAS, memory(p.desc.bias_desc(), cpu(), bias.data()));
    p.primitive.execute(stream, arguments);
    stream.wait();
  }
};

DenseLinear::DenseLinear(const void* weights, DenseType type, int64_t rows, int64_t cols, const float* bias,
                         DenseCopies copies)
    : state_(new State{.rows = rows,
                       .cols = cols,
                       .type = memory::data_type::f32,
                       .copies = copies,
                       .bias = {},
                       .plain = {},
                       .mutex = {},
                       .products = {},
                       .layouts = {}}) {
  if (rows <= 0 || cols <= 0) throw_usage("dense layer of no rows or columns");
  if (bias != nullptr) state_->bias.assign(bias, bias + rows);
  const size_t count = static_cast<size_t>(rows * cols);
  const auto* bytes = static_cast<const char*>(weights);
  if (type == DenseType::kF32) {
    state_->plain.assign(bytes, bytes + count * 4);
  } else if (has_bf16_products()) {
    state_->type = memory::data_type::bf16;
    state_->plain.assign(bytes, bytes + count * 2);
  } else {
    // A float is its bf16 with sixteen zero bits below.
    state_->plain.resize(count * 4);
    for (size_t i = 0; i < count; ++i) std::memcpy(&state_->plain[4 * i + 2], bytes + 2 * i, 2);
  }
  if (copies == DenseCopies::kOne) {
    implementation(1);
    state_->plain = {};
  }
}

DenseLinear::~DenseLinear() = default;
DenseLinear::DenseLinear(DenseLinear&&) noexcept = default;
DenseLinear& DenseLinear::operator=(DenseLinear&&) noexcept = default;

int64_t DenseLinear::rows() const { return state_->rows; }
int64_t DenseLinear::cols() const { return state_->cols; }
size_t DenseLinear::bytes() const {
  const std::lock_guard lock(state_->mutex);
  size_t sum = state_->plain.size() + state_->bias.size() * sizeof(float);
  for (const memory& layout : state_->layouts) sum += layout.get_desc().get_size();
  return sum;
}

bool DenseLinear::takes_bf16() const { return state_->type == memory::data_type::bf16; }

void DenseLinear::run(const float* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const try {
  if (!takes_bf16()) return state_->execute(x, ldx, y, ldy, n);
  const int64_t cols = state_->cols;
  state_->execute(round_rows_to_bf16(x, ldx, n, cols), cols, y, ldy, n);
} catch (const dnnl::error& error) {
  fail(error);
}

void DenseLinear::run_bf16(const uint16_t* x, int64_t ldx, float* y, int64_t ldy, int64_t n) const try {
  if (!takes_bf16()) throw_usage("dense layer holds float weights, not bf16");
  state_->execute(x, ldx, y, ldy, n);
} catch (const dnnl::error& error) {
  fail(error);
}

const char* DenseLinear::implementation(int64_t n) const try {
  return state_->product(n, state_->cols, state_->rows).implementation.c_str();
} catch (const dnnl::error& error) {
  fail(error);
}

const char* DenseLinear::library_version() {
  static const std::string version = [] {
    const dnnl_version_t* v = dnnl_version();
    return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }();
  return version.c_str();
}

}  // namespace prune
