// Unstructured weights on the GPU: bitmasks, CSR, and the relative indices made of either.
#include <algorithm>

#include "kernels/sparse/spmm_bitmask/decode_bitmask.h"
#include "kernels/sparse/spmm_csr/decode_csr.h"
#include "libprune/model/cuda/packed_weight.h"
#include "libprune/model/cuda/relative.h"
#include "libprune/model/cuda/upload.h"

namespace prune::gpu {
namespace {

using namespace kernels::cuda;

using Relatives = std::vector<std::unique_ptr<Relative>>;

void add_relative(const Relatives& relatives, int tokens, std::vector<DeviceProduct>& ways) {
  for (const auto& relative : relatives) {
    if (relative->is_made_for(tokens)) relative->add(tokens, ways);
  }
}
size_t bytes_of(const Relatives& relatives) {
  size_t sum = 0;
  for (const auto& relative : relatives) sum += relative->bytes();
  return sum;
}

class Bitmask final : public DevicePackedWeight {
 public:
  Bitmask(const PackedCheckpoint& packed, const PackedWeight& w, const DeviceTraits& device)
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
  size_t bytes() const override {
    return masks_.bytes() + starts_.bytes() + values_.bytes() + bytes_of(relative_);
  }

  std::vector<DeviceProduct> products(int tokens) const override {
    if (tokens > kMaxDecodeBitmaskTokens) return {};
    const DecodeBitmaskPlan plan = plan_decode_bitmask(matrix(), tokens, multiprocessors_);
    std::vector<DeviceProduct> ways{
        {"decode_bitmask", [this, plan](const ProductCall& c) { return decode_bitmask(matrix(), plan, c); }}};
    add_relative(relative_, tokens, ways);
    return ways;
  }

 private:
  MatrixBitmask matrix() const {
    return {rows_, cols_, most_, masks_.get(), as<uint32_t>(starts_), values_.get()};
  }

  int rows_, cols_, multiprocessors_;
  int most_ = 0;
  DeviceMemory masks_, starts_, values_;
  Relatives relative_;
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

class SparseRows final : public DevicePackedWeight {
 public:
  SparseRows(const PackedWeight& w, const NeutralRows& from, const DeviceTraits& device)
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
    cuda(cudaDeviceSynchronize());
  }
  static bool takes(const PackedWeight& w) { return w.in >= 2 && w.in <= 65534 && w.in % 8 == 0; }
  size_t bytes() const override {
    return starts_.bytes() + values_.bytes() + columns_.bytes() + bytes_of(relative_);
  }

  std::vector<DeviceProduct> products(int tokens) const override {
    if (tokens > kMaxDecodeCsrTokens) return {};
    std::vector<DeviceProduct> ways{
        {"decode_csr", [this](const ProductCall& c) { return decode_csr(matrix(), c); }}};
    add_relative(relative_, tokens, ways);
    return ways;
  }

 private:
  MatrixCsr matrix() const { return {rows_, cols_, as<uint32_t>(starts_), values_.get(), columns_.get()}; }

  int rows_, cols_;
  DeviceMemory starts_, values_, columns_;
  Relatives relative_;
};

}  // namespace

bool takes_rows(const PackedWeight& w) {
  return w.format == PackedFormat::kBitmask ? Bitmask::takes(w) : SparseRows::takes(w);
}

std::unique_ptr<DevicePackedWeight> upload_rows(const PackedCheckpoint& packed, const PackedWeight& w,
                                                const DeviceTraits& device, Keep keep) {
  const PackedWeight* const alone[] = {&w};
  const bool is_bitmask = w.format == PackedFormat::kBitmask;
  if (keep == Keep::kOneWay && Relative::takes(w)) {
    return is_bitmask ? upload_relative(packed, alone, device)
                      : upload_relative(w, rows_of(packed, w).csr(), device);
  }
  if (is_bitmask) return std::make_unique<Bitmask>(packed, w, device);
  return std::make_unique<SparseRows>(w, rows_of(packed, w), device);
}

}  // namespace prune::gpu
