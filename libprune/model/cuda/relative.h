// Unstructured weights as relative indices on the GPU.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/sparse/spmm_relative/decode_relative.h"
#include "libprune/model/cuda/packed_weight.h"
#include "libprune/model/cuda/upload.h"

namespace prune::gpu {

// The relative indices that a few tokens are multiplied with, beside the weight's own format.
class Relative {
 public:
  Relative(int rows, int cols, int lists, const kernels::cuda::NeutralCsr<const void, const int32_t>& from,
           int processors)
      : rows_(rows),
        cols_(cols),
        lists_(lists),
        starts_((size_t(rows) + 1) * 4),
        lengths_(size_t(rows) * size_t(lists) * 2) {
    must(kernels::cuda::count_relative(from, matrix(), nullptr));
    const auto vectors = read_back<uint32_t>(starts_, size_t(rows));
    values_ = std::make_unique<DeviceMemory>(size_t(vectors) * 16 + 16);
    codes_ = std::make_unique<DeviceMemory>(size_t(vectors) * 4 + 16);
    must(kernels::cuda::pack_relative(from, matrix(), nullptr));
    cuda(cudaDeviceSynchronize());
    lanes_ = kernels::cuda::plan_decode_relative(matrix(), processors);
  }
  // x of one token fits the shared memory of every GPU from compute capability 8.0 on.
  static bool takes(const PackedWeight& w) { return w.in >= 8 && w.in <= 49152 && w.in % 8 == 0; }

  bool is_made_for(int tokens) const { return kernels::cuda::relative_lists_for(tokens) == lists_; }
  void add(int tokens, std::vector<DeviceProduct>& ways) const {
    if (tokens > kernels::cuda::kMaxDecodeRelativeTokens) return;
    ways.push_back({"decode_relative", [this](const kernels::cuda::ProductCall& c) {
                      return kernels::cuda::decode_relative(matrix(), lanes_, c);
                    }});
  }

  size_t bytes() const { return starts_.bytes() + lengths_.bytes() + values_->bytes() + codes_->bytes(); }

  kernels::cuda::MatrixRelative matrix() const {
    return {rows_,
            cols_,
            lists_,
            as<uint32_t>(starts_),
            as<uint16_t>(lengths_),
            values_ ? values_->get() : nullptr,
            codes_ ? as<uint32_t>(*codes_) : nullptr};
  }

 private:
  int rows_, cols_, lists_, lanes_ = 0;
  DeviceMemory starts_, lengths_;
  std::unique_ptr<DeviceMemory> values_, codes_;
};

// Relative indices alone, for a model that runs: one list a row, which one token is multiplied with. Many
// tokens are multiplied with the dense matrix, expanded each time. Of bitmasks of one width whose rows lie
// one below the other, or of rows in device memory.
std::unique_ptr<DevicePackedWeight> upload_relative(const PackedCheckpoint& packed,
                                                    std::span<const PackedWeight* const> weights,
                                                    const DeviceTraits& device);
std::unique_ptr<DevicePackedWeight> upload_relative(
    const PackedWeight& weight, const kernels::cuda::NeutralCsr<const void, const int32_t>& from,
    const DeviceTraits& device);

}  // namespace prune::gpu
