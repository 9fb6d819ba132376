#include "libprune/model/cuda/packed_weight.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <tuple>

#include "kernels/sparse/cuda/launch.h"
#include "kernels/sparse/cuda/pack24.h"
#include "kernels/sparse/spmm_bsr/decode_bsr.h"
#include "kernels/sparse/spmm_bsr/gemm_bsr.h"
#include "kernels/sparse/spmm_nm/gemm24.h"
#include "libprune/model/cuda/relative.h"
#include "libprune/model/cuda/upload.h"

namespace prune::gpu {
namespace {

using namespace kernels::cuda;

constexpr int kGemmLeastTokens = 8;  // fewer are decode24's alone

// Planning takes as long as a product or more, and layers of one shape share plans: they are kept for the
// process, whose devices are taken to be alike.
template <class Plan>
Plan remembered(const DecodeShape& shape, const DeviceLimits& limits,
                Plan (*plan)(const DecodeShape&, const DeviceLimits&)) {
  static std::mutex mutex;
  static std::map<std::tuple<int, int, int, int>, Plan> plans;
  const std::lock_guard lock(mutex);
  const std::tuple key(int(shape.weight), shape.rows, shape.cols, shape.tokens);
  const auto known = plans.find(key);
  return known != plans.end() ? known->second : plans.emplace(key, plan(shape, limits)).first->second;
}

class Nm24 : public DevicePackedWeight {
 public:
  // Weights of one kind and width, their rows one below the other.
  Nm24(const PackedCheckpoint& packed, std::span<const PackedWeight* const> weights,
       const DeviceTraits& device)
      : kind_(weights.front()->values == StoredValues::kInt8 ? Weight24::kInt8 : Weight24::k16),
        rows_(rows_of(weights)),
        cols_(int(weights.front()->in)),
        hopper_(device.hopper),
        stream_(stream_bytes24(kind_, rows_, cols_)) {
    if (kind_ == Weight24::kInt8) {
      std::vector<float> scales;
      for (const PackedWeight* w : weights)
        std::ranges::copy(packed.scales(*w).values, std::back_inserter(scales));
      scales_ = std::make_unique<Uploaded>(scales);
    }
    const Uploaded values(parts(packed, weights, "values")), indices(parts(packed, weights, "indices"));
    const DeviceMemory refused(8);
    must(pack24(kind_, rows_, cols_, {values.get(), indices.get(), nullptr}, stream_.get(),
                as<uint64_t>(refused), nullptr));
    if (hopper_) must(decode_limits(&limits_));
    cuda(cudaDeviceSynchronize());
  }
  static bool takes(const PackedWeight& w) {
    return w.nm.keep == 2 && w.nm.group == 4 && w.in >= 64 && w.in % 64 == 0;
  }

  size_t bytes() const override { return stream_.bytes() + (scales_ ? scales_->bytes() : 0); }
  std::vector<DeviceProduct> products(int tokens) const override {
    std::vector<DeviceProduct> ways;
    const DecodeShape shape{kind_, rows_, cols_, tokens};
    if (hopper_ && tokens <= kMaxDecodeTokens) {
      const DecodePlan plan = remembered(shape, limits_, plan_decode24);
      ways.push_back(
          {"decode24", [this, plan](const ProductCall& c) { return decode24(matrix(), plan, c); }});
    }
    if (rows_ % 8 != 0) return ways;
    if (hopper_ && tokens >= kGemmLeastTokens) {
      const GemmPlan plan = remembered(shape, limits_, plan_gemm24);
      ways.push_back({"gemm24", [this, plan](const ProductCall& c) { return gemm24(matrix(), plan, c); }});
    }
    if (!hopper_ && kind_ == Weight24::k16) {
      for (const int tile : {64, 128}) {
        ways.push_back({"gemm24_mma, " + std::to_string(tile) + " tokens a tile",
                        [this, tile](const ProductCall& c) { return gemm24_mma(matrix(), tile, c); }});
      }
    }
    return ways;
  }

 private:
  static int rows_of(std::span<const PackedWeight* const> weights) {
    int rows = 0;
    for (const PackedWeight* w : weights) rows += int(w->out);
    return rows;
  }
  static std::vector<std::span<const std::byte>> parts(const PackedCheckpoint& packed,
                                                       std::span<const PackedWeight* const> weights,
                                                       std::string_view suffix) {
    std::vector<std::span<const std::byte>> list;
    for (const PackedWeight* w : weights) list.push_back(packed.data(*w, suffix));
    return list;
  }
  Matrix24 matrix() const {
    return {kind_, rows_, cols_, stream_.get(), scales_ ? scales_->get<float>() : nullptr};
  }

  Weight24 kind_;
  int rows_, cols_;
  bool hopper_;
  DeviceMemory stream_;
  std::unique_ptr<Uploaded> scales_;
  DeviceLimits limits_;
};

class Blocks : public DevicePackedWeight {
 public:
  Blocks(const PackedCheckpoint& packed, const PackedWeight& w, const DeviceTraits& device)
      : weight_(w),
        device_(device),
        cluster_(slab_cluster(int(w.block.rows))),
        indices_(packed.data(w, "indices")),
        indptr_(packed.data(w, "indptr")),
        fragments_(std::max<size_t>(packed.data(w, "values").size(), 16)),
        step_starts_((groups() + 1) * 4),
        slab_starts_((groups() * size_t(cluster_) + 1) * 4) {
    const Uploaded values(packed.data(w, "values"));
    must(pack_bsr(matrix(), values.get(), fragments_.get(), nullptr));
    if (device.hopper) {
      must(count_slabs(matrix(), slabs(), nullptr));
      steps_ = std::make_unique<DeviceMemory>(size_t(read_back<uint32_t>(step_starts_, groups())) * 4 + 16);
      slabs_ = std::make_unique<DeviceMemory>(
          size_t(read_back<uint32_t>(slab_starts_, groups() * size_t(cluster_))) * kSlabBytes + 16);
      must(pack_slabs(matrix(), values.get(), slabs(), nullptr));
    }
    cuda(cudaDeviceSynchronize());
  }
  static bool takes(const PackedWeight& w) {
    const auto fits = [](Index n) { return n == 16 || n == 32 || n == 64 || n == 128; };
    return fits(w.block.rows) && fits(w.block.cols);
  }

  size_t bytes() const override {
    return indices_.bytes() + indptr_.bytes() + fragments_.bytes() + step_starts_.bytes() +
           slab_starts_.bytes() + (steps_ ? steps_->bytes() + slabs_->bytes() : 0);
  }
  std::vector<DeviceProduct> products(int tokens) const override {
    std::vector<DeviceProduct> ways;
    if (tokens <= kMaxDecodeBsrTokens)
      ways.push_back({"decode_bsr", [this](const ProductCall& c) { return decode_bsr(matrix(), c); }});
    if (device_.hopper && tokens >= kGemmLeastTokens) {
      const int tile = tile_for_gemm_bsr(slabs(), tokens, device_.multiprocessors);
      ways.push_back({"gemm_bsr", [this, tile](const ProductCall& c) { return gemm_bsr(slabs(), tile, c); }});
    }
    return ways;
  }

 private:
  size_t groups() const { return size_t(slab_groups(weight_.out, cluster_)); }
  MatrixBsr matrix() const {
    return {int(weight_.out),        int(weight_.in),        int(weight_.block.rows), int(weight_.block.cols),
            indices_.get<int32_t>(), indptr_.get<int64_t>(), fragments_.get()};
  }
  SlabsBsr slabs() const {
    return {int(weight_.out),
            int(weight_.in),
            cluster_,
            as<uint32_t>(step_starts_),
            as<uint32_t>(slab_starts_),
            steps_ ? as<uint32_t>(*steps_) : nullptr,
            slabs_ ? slabs_->get() : nullptr};
  }

  const PackedWeight& weight_;
  DeviceTraits device_;
  int cluster_;
  Uploaded indices_, indptr_;
  DeviceMemory fragments_, step_starts_, slab_starts_;
  std::unique_ptr<DeviceMemory> steps_, slabs_;
};

// The kinds that have kernels of 16-bit activations.
bool is_taken(const PackedWeight& w) {
  if (w.dtype != DType::kBF16 && w.dtype != DType::kF16) return false;
  if (w.stored_dtype() != w.dtype && w.values != StoredValues::kInt8) return false;
  return w.values == StoredValues::kPlain || (w.format == PackedFormat::kNm && w.scale_group == 0);
}

}  // namespace

DeviceTraits current_traits() {
  Device device;
  must(current_device(&device));
  return {device.major == 9, device.multiprocessors};
}

bool takes(const PackedWeight& w, const DeviceTraits& device) {
  if (!is_taken(w)) return false;
  switch (w.format) {
    case PackedFormat::kNm:
      return Nm24::takes(w) && (device.hopper || (w.values == StoredValues::kPlain && w.out % 8 == 0));
    case PackedFormat::kBsr:
      return Blocks::takes(w);
    case PackedFormat::kBitmask:
    case PackedFormat::kCsr:
    case PackedFormat::kWindows:
      return takes_rows(w);
  }
  return false;
}

std::unique_ptr<DevicePackedWeight> upload(const PackedCheckpoint& packed, const PackedWeight& w,
                                           const DeviceTraits& device, Keep keep) {
  if (!takes(w, device)) return nullptr;
  const PackedWeight* const alone[] = {&w};
  switch (w.format) {
    case PackedFormat::kNm:
      return std::make_unique<Nm24>(packed, alone, device);
    case PackedFormat::kBsr:
      return std::make_unique<Blocks>(packed, w, device);
    case PackedFormat::kBitmask:
    case PackedFormat::kCsr:
    case PackedFormat::kWindows:
      return upload_rows(packed, w, device, keep);
  }
  return nullptr;
}

bool joins(const PackedWeight& a, const PackedWeight& b) {
  if (!is_taken(a) || !is_taken(b)) return false;
  if (a.format != b.format || a.in != b.in || a.dtype != b.dtype || a.values != b.values) return false;
  if (a.format == PackedFormat::kNm) return Nm24::takes(a) && Nm24::takes(b);
  return a.format == PackedFormat::kBitmask && Relative::takes(a);
}

std::unique_ptr<DevicePackedWeight> upload_joined(const PackedCheckpoint& packed,
                                                  std::span<const PackedWeight* const> weights,
                                                  const DeviceTraits& device) {
  if (weights.front()->format == PackedFormat::kBitmask) return upload_relative(packed, weights, device);
  return std::make_unique<Nm24>(packed, weights, device);
}

}  // namespace prune::gpu
