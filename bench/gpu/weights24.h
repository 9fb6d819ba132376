// Random 2:4 weights of one shape in device memory, packed by the library, rotated past the L2.
#pragma once

#include <span>

#include "bench/gpu/fill.h"
#include "bench/gpu/harness.h"
#include "kernels/sparse/cuda/pack24.h"
#include "kernels/sparse/spmm_nm/decode24.h"

namespace prune::bench {

inline const char* name_of(kernels::cuda::Weight24 weight) {
  using kernels::cuda::Weight24;
  return weight == Weight24::k16       ? "bf16"
         : weight == Weight24::kInt8   ? "int8"
         : weight == Weight24::kInt4   ? "int4"
         : weight == Weight24::kInt8x8 ? "int8x8"
                                       : "fp8x8";
}

inline void must(const kernels::cuda::Status& status) {
  if (!status.ok()) throw std::runtime_error(describe(status));
}

struct Shape {
  int m, k;
};

// Those of `--shape OUTxIN`, which may be repeated; the standard ones where there is none.
inline std::vector<Shape> shapes_of(int argc, char** argv, std::span<const Shape> standard) {
  std::vector<Shape> shapes;
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) != "--shape") continue;
    Shape s{};
    if (std::sscanf(argv[i + 1], "%dx%d", &s.m, &s.k) != 2 || s.m < 128 || s.k < 128 || s.m % 128 != 0 ||
        s.k % 128 != 0) {
      throw std::runtime_error(std::string("--shape ") + argv[i + 1] + ": expected OUTxIN, multiples of 128");
    }
    shapes.push_back(s);
  }
  return shapes.empty() ? std::vector<Shape>(standard.begin(), standard.end()) : shapes;
}

class Weights24 {
 public:
  Weights24(kernels::cuda::Weight24 weight, const Shape& s, size_t rotated, cudaStream_t stream)
      : weight_(weight),
        shape_(s),
        streams_(kernels::cuda::stream_bytes24(weight, s.m, s.k), rotated),
        row_scales_(size_t(s.m) * 4) {
    const size_t groups = size_t(s.m) * s.k / 4;
    DeviceMemory values(groups * 4), indices(groups), scales(groups), refused(8);
    if (weight == kernels::cuda::Weight24::k16) {
      fill_bf16(values.get(), groups * 2, 0.05f, 1, stream);
    } else if (weight == kernels::cuda::Weight24::kFp8x8) {
      fill_e4m3(values.get(), groups * 2, 1, 1, stream);
    } else if (weight == kernels::cuda::Weight24::kInt8x8) {
      fill_int8(values.get(), groups * 2, 32, 1, stream);
    } else {
      fill_bytes(values.get(), groups * 2, 1, stream);
    }
    fill_nibbles(indices.get(), groups / 2, 2, stream);
    fill_bf16(scales.get(), groups / 2, 0.01f, 3, stream);
    fill_float(reinterpret_cast<float*>(row_scales_.get()), s.m, 0.01f, 0.02f, 4, stream);
    must(pack24(weight, s.m, s.k, {values.get(), indices.get(), scales.get()}, streams_[0],
                reinterpret_cast<uint64_t*>(refused.get()), stream));
    streams_.spread(stream);
    cuda(cudaStreamSynchronize(stream));
  }
  int count() const { return streams_.count(); }
  // The matrix, its copy number i.
  kernels::cuda::Matrix24 operator[](int i) const {
    return {weight_, shape_.m, shape_.k, streams_[i], reinterpret_cast<const float*>(row_scales_.get())};
  }

 private:
  kernels::cuda::Weight24 weight_;
  Shape shape_;
  Rotation streams_;
  DeviceMemory row_scales_;
};

}  // namespace prune::bench
