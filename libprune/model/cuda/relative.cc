#include "libprune/model/cuda/relative.h"

#include <algorithm>
#include <cstring>

#include "libprune/model/cuda/expand.h"

namespace prune::gpu {
namespace {

using namespace kernels::cuda;
using Rows = NeutralCsr<const void, const int32_t>;

// Bitmasks one below the other, as CSR.
class ListedBitmasks {
 public:
  ListedBitmasks(const PackedCheckpoint& packed, std::span<const PackedWeight* const> weights)
      : values_(parts(packed, weights)), offsets_(offsets(packed, weights)) {
    indices_ = std::make_unique<DeviceMemory>(std::max<size_t>(values_.bytes() * 2, 16));
    int64_t row = 0;
    for (const PackedWeight* w : weights) {
      const Uploaded bits(packed.data(*w, "bitmask"));
      must(list_columns(bits.get(), int(w->out), int(w->in), offsets_.get<int64_t>() + row,
                        as<int32_t>(*indices_), nullptr));
      cuda(cudaDeviceSynchronize());
      row += w->out;
    }
  }
  Rows csr() const { return {values_.get(), as<int32_t>(*indices_), offsets_.get<int64_t>()}; }

 private:
  static std::vector<std::span<const std::byte>> parts(const PackedCheckpoint& packed,
                                                       std::span<const PackedWeight* const> weights) {
    std::vector<std::span<const std::byte>> list;
    for (const PackedWeight* w : weights) list.push_back(packed.data(*w, "values"));
    return list;
  }
  // Of the rows of all, from the first weight's values on.
  static std::vector<int64_t> offsets(const PackedCheckpoint& packed,
                                      std::span<const PackedWeight* const> weights) {
    std::vector<int64_t> all{0};
    for (const PackedWeight* w : weights) {
      const int64_t before = all.back();
      const auto bytes = packed.data(*w, "row_offsets");
      for (Index row = 1; row <= w->out; ++row) {
        int64_t offset;
        std::memcpy(&offset, bytes.data() + size_t(row) * sizeof offset, sizeof offset);
        all.push_back(before + offset);
      }
    }
    return all;
  }

  Uploaded values_, offsets_;
  std::unique_ptr<DeviceMemory> indices_;
};

class RelativeRows final : public DevicePackedWeight {
 public:
  RelativeRows(int rows, int cols, const Rows& from, const DeviceTraits& device)
      : rows_(rows, cols, 1, from, device.multiprocessors) {}
  size_t bytes() const override { return rows_.bytes(); }
  std::vector<DeviceProduct> products(int tokens) const override {
    std::vector<DeviceProduct> ways;
    rows_.add(tokens, ways);
    return ways;
  }

  bool expands() const override { return true; }
  void expand(void* dense, cudaStream_t stream) const override {
    expand_relative(rows_.matrix(), static_cast<uint16_t*>(dense), stream);
  }

 private:
  Relative rows_;
};

}  // namespace

std::unique_ptr<DevicePackedWeight> upload_relative(const PackedCheckpoint& packed,
                                                    std::span<const PackedWeight* const> weights,
                                                    const DeviceTraits& device) {
  int rows = 0;
  for (const PackedWeight* w : weights) rows += int(w->out);
  const ListedBitmasks from(packed, weights);
  return std::make_unique<RelativeRows>(rows, int(weights.front()->in), from.csr(), device);
}

std::unique_ptr<DevicePackedWeight> upload_relative(const PackedWeight& w, const Rows& from,
                                                    const DeviceTraits& device) {
  return std::make_unique<RelativeRows>(int(w.out), int(w.in), from, device);
}

}  // namespace prune::gpu
