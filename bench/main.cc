// The benchmark program: every sparse product beside the dense one, in one process.
//   spmm_bench --benchmark_filter='spmm_nm/f32/.*n:128' --benchmark_out=results.json
#include <benchmark/benchmark.h>

#include "bench/harness.h"
#include "bench/machine.h"

namespace {

void add_context() {
  using namespace prune;
  benchmark::AddCustomContext("commit", PRUNE_GIT_COMMIT);
  benchmark::AddCustomContext("compiler", PRUNE_COMPILER);
  benchmark::AddCustomContext("build_type", PRUNE_BUILD_TYPE);
  benchmark::AddCustomContext("cpu", bench::processor_name());
  benchmark::AddCustomContext("isa", kernels::isa::level_name(kernels::isa::supported()));
  benchmark::AddCustomContext("threads", std::to_string(bench::thread_count()));
  benchmark::AddCustomContext("onednn", DenseLinear::library_version());
  benchmark::AddCustomContext("eigen", PRUNE_EIGEN_VERSION);
  benchmark::AddCustomContext("read_bandwidth_GBps", std::to_string(bench::read_bandwidth() / 1e9));
  benchmark::AddCustomContext("fma_peak_GFLOPps",
                              std::to_string(2 * bench::fma_peak(kernels::isa::supported()) / 1e9));
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  add_context();
  prune::bench::add_dense();
  prune::bench::add_spmm_nm();
  prune::bench::add_spmm_bitmask();
  prune::bench::add_spmm_csr();
  prune::bench::add_spmm_bsr();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
