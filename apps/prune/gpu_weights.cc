#include "apps/prune/gpu_weights.h"

#include <fmt/format.h>

#include "apps/prune/gpu_status.h"
#include "bench/gpu/harness.h"
#include "kernels/sparse/cuda/pack24.h"
#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"
#include "kernels/sparse/spmm_bsr/decode_bsr.h"
#include "kernels/sparse/spmm_bsr/gemm_bsr.h"
#include "kernels/sparse/spmm_csr/decode_csr.h"
#include "kernels/sparse/spmm_nm/gemm24.h"
#include "kernels/sparse/spmm_relative/decode_relative.h"

namespace prune::app {
namespace {

using namespace kernels::cuda;
using bench::DeviceMemory;

constexpr int kGemmLeastTokens = 8;  // fewer are decode24's alone

// Bytes of the host in device memory; empty ones have an address too.
class Uploaded {
 public:
  Uploaded(const void* bytes, size_t size) : memory_(std::max<size_t>(size, 16)) {
    bench::cuda(cudaMemcpy(memory_.get(), bytes, size, cudaMemcpyHostToDevice));
  }
  explicit Uploaded(std::span<const std::byte> bytes) : Uploaded(bytes.data(), bytes.size()) {}
  template <class T>
  explicit Uploaded(const std::vector<T>& values) : Uploaded(values.data(), values.size() * sizeof(T)) {}
  template <class T = void>
  const T* get() const {
    return reinterpret_cast<const T*>(memory_.get());
  }

 private:
  DeviceMemory memory_;
};

template <class T>
T* as(const DeviceMemory& memory) {
  return reinterpret_cast<T*>(memory.get());
}
template <class T>
T read_back(const DeviceMemory& memory, size_t at = 0) {
  T value;
  bench::cuda(cudaMemcpy(&value, as<T>(memory) + at, sizeof value, cudaMemcpyDeviceToHost));
  return value;
}

class Nm24 : public GpuWeight {
 public:
  Nm24(const PackedCheckpoint& packed, const PackedWeight& w, const GpuDevice& device)
      : kind_(w.values == StoredValues::kInt8 ? Weight24::kInt8 : Weight24::k16),
        rows_(int(w.out)),
        cols_(int(w.in)),
        hopper_(device.hopper),
        stream_(stream_bytes24(kind_, w.out, w.in)) {
    if (kind_ == Weight24::kInt8) scales_ = std::make_unique<Uploaded>(packed.scales(w).values);
    const Uploaded values(packed.data(w, "values")), indices(packed.data(w, "indices"));
    const DeviceMemory refused(8);
    must(pack24(kind_, rows_, cols_, {values.get(), indices.get(), nullptr}, stream_.get(),
                as<uint64_t>(refused), nullptr));
    if (hopper_) must(decode_limits(&limits_));
    bench::cuda(cudaDeviceSynchronize());
  }
  static bool takes(const PackedWeight& w) {
    return w.nm.keep == 2 && w.nm.group == 4 && w.in >= 64 && w.in % 64 == 0;
  }

  std::vector<GpuProduct> products(int tokens) const override {
    std::vector<GpuProduct> ways;
    const DecodeShape shape{kind_, rows_, cols_, tokens};
    if (hopper_ && tokens <= kMaxDecodeTokens) {
      const DecodePlan plan = plan_decode24(shape, limits_);
      ways.push_back(
          {"decode24", [this, plan](const ProductCall& c) { return decode24(matrix(), plan, c); }});
    }
    if (rows_ % 8 != 0) return ways;
    if (hopper_ && tokens >= kGemmLeastTokens) {
      const GemmPlan plan = plan_gemm24(shape, limits_);
      ways.push_back({"gemm24", [this, plan](const ProductCall& c) { return gemm24(matrix(), plan, c); }});
    }
    if (!hopper_ && kind_ == Weight24::k16) {
      for (const int tile : {64, 128}) {
        ways.push_back({fmt::format("gemm24_mma, {} tokens a tile", tile),
                        [this, tile](const ProductCall& c) { return gemm24_mma(matrix(), tile, c); }});
      }
    }
    return ways;
  }

 private:
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

// The relative indices that a few tokens are multiplied with, beside the weight's own format.
class Relative {
 public:
  Relative(int rows, int cols, int lists, const NeutralCsr<const void, const int32_t>& from, int processors)
      : rows_(rows),
        cols_(cols),
        lists_(lists),
        starts_((size_t(rows) + 1) * 4),
        lengths_(size_t(rows) * size_t(lists) * 2) {
    must(count_relative(from, matrix(), nullptr));
    const auto vectors = read_back<uint32_t>(starts_, size_t(rows));
    values_ = std::make_unique<DeviceMemory>(size_t(vectors) * 16 + 16);
    codes_ = std::make_unique<DeviceMemory>(size_t(vectors) * 4 + 16);
    must(pack_relative(from, matrix(), nullptr));
    bench::cuda(cudaDeviceSynchronize());
    lanes_ = plan_decode_relative(matrix(), processors);
  }
  // x of one token fits the shared memory of every GPU from compute capability 8.0 on.
  static bool takes(const PackedWeight& w) { return w.in >= 8 && w.in <= 49152 && w.in % 8 == 0; }

  void add(int tokens, std::vector<GpuProduct>& ways) const {
    if (tokens > kMaxDecodeRelativeTokens || relative_lists_for(tokens) != lists_) return;
    ways.push_back(
        {"decode_relative", [this](const ProductCall& c) { return decode_relative(matrix(), lanes_, c); }});
  }

 private:
  MatrixRelative matrix() const {
    return {rows_,
            cols_,
            lists_,
            as<uint32_t>(starts_),
            as<uint16_t>(lengths_),
            values_ ? values_->get() : nullptr,
            codes_ ? as<uint32_t>(*codes_) : nullptr};
  }

  int rows_, cols_, lists_, lanes_ = 0;
  DeviceMemory starts_, lengths_;
  std::unique_ptr<DeviceMemory> values_, codes_;
};

class Bitmask : public GpuWeight {
 public:
  Bitmask(const PackedCheckpoint& packed, const PackedWeight& w, const GpuDevice& device)
      : rows_(int(w.out)),
        cols_(int(w.in)),
        multiprocessors_(device.multiprocessors),
        masks_(size_t(bitmask_panels(w.out, w.in)) * 256),
        starts_((size_t(bitmask_panels(w.out, w.in)) + 1) * 4),
        values_(bitmask_value_bytes(w.out, w.in, packed.stored(w))) {
    const Uploaded values(packed.data(w, "values")), bits(packed.data(w, "bitmask")),
        offsets(packed.data(w, "row_offsets"));
    const DeviceMemory most(4);
    must(pack_bitmask({values.get(), bits.get(), offsets.get<int64_t>()}, matrix(), as<int>(most), nullptr));
    most_ = read_back<int>(most);
    if (!Relative::takes(w)) return;
    const DeviceMemory indices(std::max<size_t>(size_t(packed.stored(w)) * 4, 16));
    must(list_columns(bits.get(), rows_, cols_, offsets.get<int64_t>(), as<int32_t>(indices), nullptr));
    for (const int lists : {1, 8}) {
      relative_.push_back(std::make_unique<Relative>(
          rows_, cols_, lists,
          NeutralCsr<const void, const int32_t>{values.get(), as<int32_t>(indices), offsets.get<int64_t>()},
          multiprocessors_));
    }
  }
  static bool takes(const PackedWeight& w) { return w.in % 8 == 0; }

  std::vector<GpuProduct> products(int tokens) const override {
    if (tokens > kMaxDecodeBitmaskTokens) return {};
    const DecodeBitmaskPlan plan = plan_decode_bitmask(matrix(), tokens, multiprocessors_);
    std::vector<GpuProduct> ways{
        {"decode_bitmask", [this, plan](const ProductCall& c) { return decode_bitmask(matrix(), plan, c); }}};
    for (const auto& relative : relative_) relative->add(tokens, ways);
    return ways;
  }

 private:
  MatrixBitmask matrix() const {
    return {rows_, cols_, most_, masks_.get(), as<uint32_t>(starts_), values_.get()};
  }

  int rows_, cols_, multiprocessors_;
  int most_ = 0;
  DeviceMemory masks_, starts_, values_;
  std::vector<std::unique_ptr<Relative>> relative_;
};

// CSR in the neutral order.
struct NeutralRows {
  template <class T>
  explicit NeutralRows(const Csr<T>& csr)
      : count(int64_t(csr.values.size())), values(csr.values), indices(csr.indices), indptr(csr.indptr) {}
  NeutralRows(const PackedCheckpoint& packed, const PackedWeight& w)
      : count(packed.stored(w)),
        values(packed.data(w, "values")),
        indices(packed.data(w, "indices")),
        indptr(packed.data(w, "indptr")) {}
  NeutralCsr<const void, const int32_t> csr() const {
    return {values.get(), indices.get<int32_t>(), indptr.get<int64_t>()};
  }

  int64_t count;
  Uploaded values, indices, indptr;
};

// The order of windows is for the vectors of a processor; on the GPU they are CSR.
NeutralRows rows_of(const PackedCheckpoint& packed, const PackedWeight& w) {
  if (w.format == PackedFormat::kCsr) return NeutralRows(packed, w);
  return w.dtype == DType::kBF16 ? NeutralRows(prune::pack_csr(packed.unpack<bf16>(w)))
                                 : NeutralRows(prune::pack_csr(packed.unpack<f16>(w)));
}

class SparseRows : public GpuWeight {
 public:
  SparseRows(const PackedWeight& w, const NeutralRows& from, const GpuDevice& device)
      : rows_(int(w.out)),
        cols_(int(w.in)),
        starts_((size_t(w.out) + 1) * 4),
        values_(csr_vector_bytes(w.out, from.count)),
        columns_(csr_vector_bytes(w.out, from.count)) {
    must(pack_csr(from.csr(), matrix(), nullptr));
    for (const int lists : {1, 8}) {
      if (!Relative::takes(w)) break;
      relative_.push_back(
          std::make_unique<Relative>(rows_, cols_, lists, from.csr(), device.multiprocessors));
    }
    bench::cuda(cudaDeviceSynchronize());
  }
  static bool takes(const PackedWeight& w) { return w.in >= 2 && w.in <= 65534 && w.in % 8 == 0; }

  std::vector<GpuProduct> products(int tokens) const override {
    if (tokens > kMaxDecodeCsrTokens) return {};
    std::vector<GpuProduct> ways{
        {"decode_csr", [this](const ProductCall& c) { return decode_csr(matrix(), c); }}};
    for (const auto& relative : relative_) relative->add(tokens, ways);
    return ways;
  }

 private:
  MatrixCsr matrix() const { return {rows_, cols_, as<uint32_t>(starts_), values_.get(), columns_.get()}; }

  int rows_, cols_;
  DeviceMemory starts_, values_, columns_;
  std::vector<std::unique_ptr<Relative>> relative_;
};

class Blocks : public GpuWeight {
 public:
  Blocks(const PackedCheckpoint& packed, const PackedWeight& w, const GpuDevice& device)
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
    bench::cuda(cudaDeviceSynchronize());
  }
  static bool takes(const PackedWeight& w) {
    const auto fits = [](Index n) { return n == 16 || n == 32 || n == 64 || n == 128; };
    return fits(w.block.rows) && fits(w.block.cols);
  }

  std::vector<GpuProduct> products(int tokens) const override {
    std::vector<GpuProduct> ways;
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
  GpuDevice device_;
  int cluster_;
  Uploaded indices_, indptr_;
  DeviceMemory fragments_, step_starts_, slab_starts_;
  std::unique_ptr<DeviceMemory> steps_, slabs_;
};

}  // namespace

std::unique_ptr<GpuWeight> upload(const PackedCheckpoint& packed, const PackedWeight& w,
                                  const GpuDevice& device) {
  if (w.dtype != DType::kBF16 && w.dtype != DType::kF16) return nullptr;
  if (w.stored_dtype() != w.dtype && w.values != StoredValues::kInt8) return nullptr;
  if (w.values != StoredValues::kPlain && (w.format != PackedFormat::kNm || w.scale_group != 0))
    return nullptr;
  switch (w.format) {
    case PackedFormat::kNm:
      return Nm24::takes(w) ? std::make_unique<Nm24>(packed, w, device) : nullptr;
    case PackedFormat::kBitmask:
      return Bitmask::takes(w) ? std::make_unique<Bitmask>(packed, w, device) : nullptr;
    case PackedFormat::kCsr:
    case PackedFormat::kWindows:
      return SparseRows::takes(w) ? std::make_unique<SparseRows>(w, rows_of(packed, w), device) : nullptr;
    case PackedFormat::kBsr:
      return Blocks::takes(w) ? std::make_unique<Blocks>(packed, w, device) : nullptr;
  }
  return nullptr;
}

}  // namespace prune::app
