// The benchmark program: every sparse product beside the dense one, in one process.
//   spmm_bench --mode quick --benchmark_out=results.json
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <vector>

#include "bench/cases.h"
#include "bench/harness.h"
#include "bench/machine.h"
#include "bench/peers/libxsmm.h"
#include "bench/peers/openblas.h"
#include "kernels/sparse/isa.h"
#include "libprune/model/dense_linear.h"

namespace {

using namespace prune;

void add_context(const bench::Options& options, const bench::Roof* roof) {
  benchmark::AddCustomContext("commit", PRUNE_GIT_COMMIT);
  benchmark::AddCustomContext("compiler", PRUNE_COMPILER);
  benchmark::AddCustomContext("build_type", PRUNE_BUILD_TYPE);
  benchmark::AddCustomContext("cpu", bench::processor_name());
  benchmark::AddCustomContext("isa", kernels::isa::level_name(kernels::isa::supported()));
  benchmark::AddCustomContext("threads", std::to_string(bench::thread_count()));
  benchmark::AddCustomContext("pinned", options.is_pinned ? "yes" : "no");
  benchmark::AddCustomContext("onednn", DenseLinear::library_version());
  benchmark::AddCustomContext("eigen", PRUNE_EIGEN_VERSION);
#ifdef PRUNE_HAS_OPENBLAS
  benchmark::AddCustomContext("openblas", bench::openblas_version());
#endif
#ifdef PRUNE_HAS_LIBXSMM
  benchmark::AddCustomContext("libxsmm", bench::libxsmm_version());
#endif
  if (options.slow_down > 1) benchmark::AddCustomContext("slow_down", std::to_string(options.slow_down));
  if (roof == nullptr) return;
  benchmark::AddCustomContext("read_bandwidth_GBps", std::to_string(roof->read_bandwidth() / 1e9));
  benchmark::AddCustomContext("fma_peak_GFLOPps", std::to_string(2 * roof->fma_peak() / 1e9));
}

void print_help() {
  std::fputs(bench::help_text().c_str(), stdout);
  std::exit(0);
}

constexpr double kRoofSeconds = 2;

// A case is measured as a whole in one iteration, which always takes long enough. (An explicit number of
// iterations would become part of every name.)
char kOneIteration[] = "--benchmark_min_time=0.000001";

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  arguments.push_back(kOneIteration);
  argc = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  argv = arguments.data();
  benchmark::Initialize(&argc, argv, print_help);
  std::optional<bench::Roof> roof;
  try {
    const bench::Options options = bench::read_options(argc, argv);
    if (options.is_pinned) bench::pin_threads();
    if (options.has_roof) roof.emplace(kRoofSeconds);
    bench::add_cases(options, roof ? &*roof : nullptr);
    add_context(options, roof ? &*roof : nullptr);
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "spmm_bench: %s\n", fault.what());
    return 2;
  }
  const size_t run = benchmark::RunSpecifiedBenchmarks();
  const std::string wide = bench::intervals_not_reached();
  if (!wide.empty()) std::fprintf(stderr, "%s\n", wide.c_str());
  benchmark::Shutdown();
  return run == 0 ? 2 : 0;
}
