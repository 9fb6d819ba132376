#include "libprune/model/packed_kernels.h"

#include <algorithm>

#include "libprune/model/tensor_visit.h"

namespace prune {
namespace {

template <class T>
constexpr bool kIsKernelType = std::is_same_v<T, float> || std::is_same_v<T, bf16>;

// The values as the kernels take them.
template <class T>
class KernelValues {
 public:
  explicit KernelValues(const std::vector<T>& values) : values_(values) {
    if constexpr (!kIsKernelType<T>) {
      widened_.resize(values.size());
      std::ranges::transform(values, widened_.begin(), [](const T& value) { return float(value); });
    }
  }
  void describe(Index out, Index in, kernels::Weights& weights) const {
    weights.rows = out;
    weights.cols = in;
    weights.type = std::is_same_v<T, bf16> ? kernels::WeightType::kBf16 : kernels::WeightType::kF32;
    weights.values = kIsKernelType<T> ? static_cast<const void*>(values_.data()) : widened_.data();
  }

 private:
  const std::vector<T>& values_;
  std::vector<float> widened_;
};

template <class T>
kernels::Plan prepare_as(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                         const kernels::PrepareOptions& options) {
  switch (weight.format) {
    case PackedFormat::kNm: {
      const NmPacked<T> packed = checkpoint.nm<T>(weight);
      kernels::NmWeights w;
      const KernelValues<T> values(packed.values);
      values.describe(weight.out, weight.in, w);
      w.keep = weight.nm.keep;
      w.group = weight.nm.group;
      w.indices = packed.indices.data();
      return kernels::prepare(w, options);
    }
    case PackedFormat::kBitmask: {
      const BitmaskPacked<T> packed = checkpoint.bitmask<T>(weight);
      const KernelValues<T> values(packed.values);
      kernels::BitmaskWeights w;
      values.describe(weight.out, weight.in, w);
      w.bitmask = packed.bitmask.data();
      w.row_offsets = packed.row_offsets.data();
      return kernels::prepare(w, options);
    }
    case PackedFormat::kCsr: {
      const Csr<T> packed = checkpoint.csr<T>(weight);
      const KernelValues<T> values(packed.values);
      kernels::CsrWeights w;
      values.describe(weight.out, weight.in, w);
      w.indices = packed.indices.data();
      w.indptr = packed.indptr.data();
      return kernels::prepare(w, options);
    }
    case PackedFormat::kBsr: {
      const Bsr<T> packed = checkpoint.bsr<T>(weight);
      const KernelValues<T> values(packed.values);
      kernels::BsrWeights w;
      values.describe(weight.out, weight.in, w);
      w.block_rows = weight.block.rows;
      w.block_cols = weight.block.cols;
      w.indices = packed.indices.data();
      w.indptr = packed.indptr.data();
      return kernels::prepare(w, options);
    }
  }
  return {};
}

}  // namespace

bool has_kernels(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

kernels::Plan prepare(const PackedCheckpoint& checkpoint, const PackedWeight& weight,
                      const kernels::PrepareOptions& options) {
  checkpoint.check(weight);
  return visit_dtype(weight.dtype, [&]<class T>() { return prepare_as<T>(checkpoint, weight, options); });
}

}  // namespace prune
