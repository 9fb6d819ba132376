#include "bench/peers/onednn.h"

#include <cstring>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "bench/inputs.h"
#include "libprune/model/dense_linear.h"

namespace prune::bench {
namespace {

using dnnl::memory;

class FloatProduct final : public Product {
 public:
  FloatProduct(const Case& c, const TestWeights& weights) {
    const DenseType type = c.type == WeightType::kF32 ? DenseType::kF32 : DenseType::kBf16;
    const auto add = [&] { layers_.emplace_back(weights.values.data(), type, c.shape.rows, c.shape.cols); };
    add();
    while (layers_.size() < copies_for(c.n, bytes())) add();
  }

  // Plans every copy, and lays it out.
  void take(const kernels::Batch& batch) override {
    if (layers_[0].takes_bf16()) {
      const int64_t cols = layers_[0].cols();
      const uint16_t* rounded = round_rows_to_bf16(batch.x, batch.ldx, batch.n, cols);
      x_.assign(rounded, rounded + batch.n * cols);
    }
    for (size_t i = 0; i < layers_.size(); ++i) run(batch);
  }
  void run(const kernels::Batch& batch) override {
    const DenseLinear& layer = layers_[next_++ % layers_.size()];
    if (layer.takes_bf16()) {
      layer.run_bf16(x_.data(), layer.cols(), batch.y, batch.ldy, batch.n);
    } else {
      layer.run(batch.x, batch.ldx, batch.y, batch.ldy, batch.n);
    }
  }
  double bytes() const override {
    const DenseLinear& layer = layers_[0];
    return static_cast<double>(layer.rows() * layer.cols()) * (layer.takes_bf16() ? 2 : 4);
  }
  std::string kernel(int64_t n) const override { return layers_[0].implementation(n); }
  int rate() const override { return layers_[0].takes_bf16() ? 2 : 1; }

 private:
  std::vector<DenseLinear> layers_;
  std::vector<uint16_t> x_;
  size_t next_ = 0;
};

// int8 by int8; a factor brings the inputs' whole numbers back to their size.
class Int8Product final : public Product {
 public:
  Int8Product(const Case& c, const TestWeights& weights)
      : shape_(c.shape), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), weights_(weights) {}

  void take(const kernels::Batch& batch) override {
    x_ = as_int8(batch);
    const memory::desc x({batch.n, shape_.cols}, memory::data_type::s8, memory::format_tag::ab);
    const memory::desc w({shape_.cols, shape_.rows}, memory::data_type::s8, memory::format_tag::any);
    const memory::desc y({batch.n, shape_.rows}, memory::data_type::f32, memory::dims{batch.ldy, 1});
    dnnl::post_ops scale;
    dnnl::primitive_attr attributes;
#if DNNL_VERSION_MAJOR >= 3
    scale.append_eltwise(dnnl::algorithm::eltwise_linear, kInputStep, 0);
    attributes.set_post_ops(scale);
    desc_ = dnnl::matmul::primitive_desc(engine_, x, w, y, attributes);
#else
    scale.append_eltwise(1, dnnl::algorithm::eltwise_linear, kInputStep, 0);
    attributes.set_post_ops(scale);
    desc_ = dnnl::matmul::primitive_desc({x, w, y}, attributes, engine_);
#endif
    matmul_ = dnnl::matmul(desc_);
    lay_out(copies_for(batch.n, bytes()));
    run(batch);
  }
  void run(const kernels::Batch& batch) override {
    matmul_.execute(stream_, {{DNNL_ARG_SRC, memory(desc_.src_desc(), engine_, x_.data())},
                              {DNNL_ARG_WEIGHTS, copies_[next_++ % copies_.size()]},
                              {DNNL_ARG_DST, memory(desc_.dst_desc(), engine_, batch.y)}});
    stream_.wait();
  }
  double bytes() const override { return static_cast<double>(shape_.rows * shape_.cols); }
  std::string kernel(int64_t) const override { return desc_.impl_info_str(); }
  int rate() const override { return 4; }

 private:
  void lay_out(size_t count) {
    copies_.clear();
    memory from({{shape_.cols, shape_.rows}, memory::data_type::s8, memory::dims{1, shape_.cols}}, engine_,
                const_cast<char*>(weights_.values.data()));
    while (copies_.size() < count) {
      copies_.emplace_back(desc_.weights_desc(), engine_);
      dnnl::reorder(from, copies_.back()).execute(stream_, from, copies_.back());
      stream_.wait();
    }
  }

  Shape shape_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  const TestWeights& weights_;
  std::vector<int8_t> x_;
  dnnl::matmul::primitive_desc desc_;
  dnnl::matmul matmul_;
  std::vector<memory> copies_;
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Product> onednn_dense(const Case& c, const TestWeights& weights) {
  if (c.type == WeightType::kI8) return std::make_unique<Int8Product>(c, weights);
  return std::make_unique<FloatProduct>(c, weights);
}

}  // namespace prune::bench
