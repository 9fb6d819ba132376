// Any bytes as a packed checkpoint: they are refused with Error(kInput), or every weight of theirs unpacks,
// packs again to the same matrix, and can be laid out for the kernels.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "libprune/model/packed_arrays.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/packed_kernels.h"
#include "libprune/model/sparse_linear.h"
#include "libprune/model/tensor_visit.h"
#include "prune/error.h"

namespace {

using namespace prune;

// A few bytes may stand for a huge matrix of zeros; only small ones are made.
constexpr uint64_t kMostDenseBytes = uint64_t(1) << 20;

void require(bool holds) {
  if (!holds) std::abort();
}

// A file in memory that is written anew for each input.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {}
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  const std::string& path() const { return path_; }

  void write(const uint8_t* data, size_t size) {
    require(::ftruncate(fd_, 0) == 0);
    require(::pwrite(fd_, data, size, 0) == ssize_t(size));
  }

 private:
  int fd_;
  std::string path_;
};

template <class T>
bool same_bits(const Matrix<T>& a, const Matrix<T>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), size_t(a.size()) * sizeof(T)) == 0);
}

template <class T>
void unpack_and_pack(const PackedCheckpoint& packed, const PackedWeight& weight) {
  const Matrix<T> dense = packed.unpack<T>(weight);
  require(dense.rows() == weight.out && dense.cols() == weight.in);
  require(same_bits(unpack(pack_bitmask(dense)), dense));
  require(same_bits(unpack(pack_csr(dense)), dense));
  if (weight.in <= kMostWindowsColumns) require(same_bits(unpack(pack_windows(dense, weight.steps)), dense));
  if (weight.format == PackedFormat::kNm) require(same_bits(unpack(pack_nm(dense, weight.nm)), dense));
  if (weight.format == PackedFormat::kBsr) require(same_bits(unpack(pack_bsr(dense, weight.block)), dense));
}

void visit(const PackedCheckpoint& packed, const PackedWeight& weight) {
  if (weight.out <= int64_t(kMostDenseBytes)) {
    for (const auto use : {kernels::Use::kInPlace, kernels::Use::kManyRowsInPlace}) {
      const kernels::Plan in_place = PackedArrays(packed, weight).prepare({.use = use, .in_place = true});
      require(in_place.rows() == 0 || in_place.is_in_place());
    }
  }
  packed.check(weight);
  require(packed.find(weight.tensor) == &weight);
  require(packed.bytes(weight) <= packed.checkpoint().tensor_bytes());
  if (weight.dense_bytes() > kMostDenseBytes || weight.out > int64_t(kMostDenseBytes)) return;
  visit_dtype(weight.dtype, [&]<class T>() { unpack_and_pack<T>(packed, weight); });
  const kernels::Plan plan = prepare(packed, weight);
  require(plan.rows() == weight.out && plan.cols() == weight.in);
  const PackedArrays arrays(packed, weight);
  std::vector<float> rows(static_cast<size_t>(weight.out * weight.in));
  arrays.expand(0, weight.out, rows.data());
  const SparseLinear layer(packed, weight, nullptr, {.dense_from = 2, .check_at_first_use = true});
  const std::vector<float> x(static_cast<size_t>(2 * weight.in), 1.0F);
  std::vector<float> y(static_cast<size_t>(2 * weight.out));
  for (const int64_t n : {1, 2}) layer.forward(x.data(), weight.in, y.data(), weight.out, n);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryFile file;
  file.write(data, size);
  try {
    const Checkpoint checkpoint(file.path());
    const PackedCheckpoint packed(checkpoint);
    for (const PackedWeight& weight : packed.weights()) visit(packed, weight);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kInput);
    for (const char c : std::string_view(error.what())) require(static_cast<unsigned char>(c) >= 0x20);
  }
  return 0;
}
