// Block-sparse products of many tokens against sums in double precision.
#include "kernels/sparse/spmm_bsr/gemm_bsr.h"

#include "test/kernels/cuda/host_bsr.h"

namespace prune::test {
namespace {

using namespace kernels::cuda;

struct DeviceSlabs {
  DeviceArray<int32_t> indices;
  DeviceArray<int64_t> indptr;
  DeviceArray<uint32_t> step_starts, slab_starts;
  SlabsBsr slabs;
  std::vector<uint32_t> steps_of_groups, slabs_of_groups;
  DeviceArray<uint32_t> steps;
  DeviceArray<uint8_t> bytes;

  DeviceSlabs(const HostBsr& m, int cluster)
      : indices(m.indices),
        indptr(m.indptr),
        step_starts(size_t(slab_groups(m.rows, cluster)) + 1),
        slab_starts(size_t(cluster * slab_groups(m.rows, cluster)) + 1),
        slabs(counted(m, cluster)),
        steps_of_groups(step_starts.host()),
        slabs_of_groups(slab_starts.host()),
        steps(steps_of_groups.back()),
        bytes(size_t(slabs_of_groups.back()) * kSlabBytes) {
    steps.fill_bytes(0xff), bytes.fill_bytes(0xff);
    slabs.steps = steps.get(), slabs.slabs = bytes.get();
    const DeviceArray<uint16_t> values(m.values);
    check(pack_slabs(neutral(m), values.get(), slabs, nullptr).ok(), "pack_slabs");
    cuda(cudaDeviceSynchronize());
  }

 private:
  MatrixBsr neutral(const HostBsr& m) const {
    return {m.rows, m.cols, m.block_rows, m.block_cols, indices.get(), indptr.get(), nullptr};
  }
  SlabsBsr counted(const HostBsr& m, int cluster) {
    SlabsBsr s{m.rows, m.cols, cluster, step_starts.get(), slab_starts.get(), nullptr, nullptr};
    step_starts.fill_bytes(0xff), slab_starts.fill_bytes(0xff);
    check(count_slabs(neutral(m), s, nullptr).ok(), "count_slabs");
    return s;
  }
};

template <class T>
void gemm_is_right(const HostBsr& m, const DeviceSlabs& packed, int tile, int tokens, bool special,
                   Random& random) {
  const int x_stride = m.cols + 8;
  const std::vector<uint16_t> x = random_x<T>(tokens, m.cols, x_stride, special, random);
  product_is_right<T>({x, x_stride, m.rows, m.rows + 8, tokens},
                      reference<T>(m, kSlabRows, x, x_stride, tokens),
                      label_of<T>(m, tokens) + ", tile " + std::to_string(tile) + ", cluster " +
                          std::to_string(packed.slabs.cluster),
                      [&](const ProductCall& call) { return gemm_bsr(packed.slabs, tile, call); });
}

template <class T>
void all_blocks(Random& random, bool quick) {
  const std::vector<int> blocks = quick ? std::vector<int>{16, 128} : std::vector<int>{16, 32, 64, 128};
  const std::vector<int> tokens = quick ? std::vector<int>{70} : std::vector<int>{1, 65, 300, 519};
  for (const int block_rows : blocks) {
    for (const int block_cols : blocks) {
      // Off 128 rows and off 64 columns where the blocks allow.
      const int rows = 5 * 128 + (block_rows < 128 ? block_rows : 0),
                cols = (quick ? 256 : 896) + (block_cols < 64 ? block_cols : 0);
      for (const double density : {0.0, 0.1, 0.5, 1.0}) {
        const HostBsr m = random_bsr<T>(rows, cols, block_rows, block_cols, density, random);
        const DeviceSlabs packed(m, density == 0.5 ? 3 - slab_cluster(block_rows) : slab_cluster(block_rows));
        for (const int n : tokens) {
          const int tile = tile_for_gemm_bsr(packed.slabs, n, 8);
          gemm_is_right<T>(m, packed, tile, n, n == 65, random);
          if (n == tokens.back())
            for (const int other : {64, 128, 256})
              if (other != tile) gemm_is_right<T>(m, packed, other, n, false, random);
        }
      }
    }
  }
}

// Every number of tokens up to 300 once, and more tiles than the device has multiprocessors.
void many_sizes(Random& random) {
  const HostBsr m = random_bsr<__nv_bfloat16>(192, 320, 64, 64, 0.5, random);
  const DeviceSlabs packed(m, 2);
  for (int n = 1; n <= 300; ++n)
    gemm_is_right<__nv_bfloat16>(m, packed, tile_for_gemm_bsr(packed.slabs, n, 2), n, false, random);
  const HostBsr large = random_bsr<__nv_bfloat16>(4096, 512, 32, 64, 0.5, random);
  for (const int cluster : {1, 2})
    gemm_is_right<__nv_bfloat16>(large, DeviceSlabs(large, cluster), 64, 1100, false, random);
}

void refusals() {
  const DeviceArray<uint8_t> bytes(1 << 16);
  const SlabsBsr m{64, 64, 2, nullptr, nullptr, nullptr, bytes.get()};
  const ProductCall call{Element::kBf16, 1, bytes.get(), 64, bytes.get(), 64, false, nullptr};
  SlabsBsr ragged = m;
  ragged.rows = 72;
  ProductCall none = call, misaligned = call, narrow = call;
  none.tokens = 0, misaligned.y = bytes.get() + 2, narrow.x_stride = 56;
  check(gemm_bsr(ragged, 64, call).reason == Reason::kShape, "72 rows are refused");
  check(gemm_bsr(m, 64, none).reason == Reason::kShape, "0 tokens are refused");
  check(gemm_bsr(m, 64, narrow).reason == Reason::kShape, "rows of x that overlap are refused");
  check(gemm_bsr(m, 64, misaligned).reason == Reason::kAlignment, "a misaligned y is refused");
  check(gemm_bsr(m, 96, call).reason == Reason::kPlan, "a tile of 96 is refused");
}

}  // namespace
}  // namespace prune::test

int main(int argc, char** argv) {
  using namespace prune::test;
  return run_test("gemm_bsr_test", 29, argc, argv, [](Random& random, bool quick) {
    all_blocks<__nv_bfloat16>(random, quick);
    all_blocks<__half>(random, quick);
    if (!quick) many_sizes(random);
    refusals();
  });
}
