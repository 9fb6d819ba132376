// How fast pruning, packing, loading and decoding are: names <what>/<type>/m:<out>/k:<in>/..., results as
// Google Benchmark writes them, for the dashboard and the gate.
//
//   build/release/bench/pass_bench [MODEL] [--benchmark_out=FILE] [--benchmark_repetitions=N]
//
// Without a model: magnitude 2:4 selection beside a plain read of the same weights, in a cache (64 x 8192)
// and from memory (8192 x 8192); packing of the same weights, and back; calibrated methods on one matrix of
// 2048 x 2048 with 2:4. With one: magnitude pruning of the checkpoint to 2:4, packing, loading, a prompt of
// 128 tokens, and tokens one by one, from a temporary folder.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "apps/prune/temporary_folder.h"
#include "bench/machine.h"
#include "libprune/model/calibrated/layer_method.h"
#include "libprune/model/calibrated/update_products.h"
#include "libprune/model/gemm.h"
#include "libprune/model/magnitude_pass.h"
#include "libprune/model/pack24.h"
#include "libprune/model/pack_checkpoint.h"
#include "libprune/model/runtime/session.h"
#include "libprune/model/select24.h"

namespace prune::bench {
namespace {

constexpr Index kSide = 2048;
constexpr int64_t kPromptTokens = 128, kNewTokens = 32;

Matrix<float> normal(Index rows, Index cols, unsigned seed) {
  std::minstd_rand random(seed);
  std::normal_distribution<float> distribution;
  Matrix<float> matrix(rows, cols);
  for (Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = distribution(random);
  return matrix;
}

// Of inputs whose sizes differ, as those of a transformer do.
Matrix<float> gram_of_inputs() {
  Matrix<float> x = normal(2 * kSide, kSide, 2), gram(kSide, kSide);
  for (Index j = 0; j < kSide; ++j) x.col(j) *= 0.2F + float(j % 17) / 8;
  gemm({.m = kSide, .n = kSide, .k = 2 * kSide, .transpose_a = Transpose::kYes}, x.data(), kSide, x.data(),
       kSide, gram.data(), kSide);
  return gram;
}

void set_bytes(benchmark::State& state, double bytes) {
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}

void add_methods() {
  static const Matrix<float> weights = normal(kSide, kSide, 1), gram = gram_of_inputs();
  for (const LayerMethod& method : layer_methods()) {
    if (method.reconstructs) continue;
    const std::string name = "pass/" + std::string(method.name) + "/f32/m:" + std::to_string(kSide) +
                             "/k:" + std::to_string(kSide) + "/sparsity:50";
    benchmark::RegisterBenchmark(name.c_str(),
                                 [&method](benchmark::State& state) {
                                   LayerTask task{.dense = view(weights), .gram = view(gram)};
                                   task.damping = method.damping;
                                   for (auto _ : state)
                                     benchmark::DoNotOptimize(method.run(task).weights.data());
                                   set_bytes(state, double(weights.size()) * sizeof(float));
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

// Calls use(stripe) for stripes of a matrix, whose masks stay in a cache, on all threads.
template <class T, class Use>
void visit_stripes(benchmark::State& state, const Matrix<T>& weights, Use&& use) {
  constexpr Index kRows = 32;
  for (auto _ : state) {
#pragma omp parallel for
    for (Index top = 0; top < weights.rows(); top += kRows)
      use(view(weights.row(top).data(), kRows, weights.cols()));
  }
  set_bytes(state, double(weights.size()) * sizeof(T));
}

template <class T>
void add_selection(const std::string& type, Index rows) {
  const auto weights = std::make_shared<Matrix<T>>(normal(rows, 4 * kSide, 3).template cast<T>());
  const auto add = [&](const std::string& what, auto use) {
    const std::string name =
        what + "/" + type + "/m:" + std::to_string(rows) + "/k:" + std::to_string(4 * kSide);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State& state) { visit_stripes(state, *weights, use); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("read", [](ConstView<T> w) {
    const auto* data = reinterpret_cast<const uint64_t*>(w.data());
    benchmark::DoNotOptimize(sum_lines(data, w.size() * Index{sizeof(T)} / 64));
  });
  add("select24", [](ConstView<T> w) { benchmark::DoNotOptimize(select24_magnitude(w).row(0).data()); });
  add("select24_portable", [](ConstView<T> w) {
    benchmark::DoNotOptimize(select_magnitude(w, NM{2, 4}, 0.5).row(0).data());
  });
}

// Packing of a pruned matrix in one piece, as the program does a tensor, with its memory, and unpacking.
template <class T>
void add_packing(const std::string& type) {
  const auto add = [&](const std::string& what, const Pattern& pattern, double sparsity, auto use) {
    const auto weights = std::make_shared<Matrix<T>>(normal(kSide, 2 * kSide, 3).template cast<T>());
    apply(select_magnitude(*weights, pattern, sparsity), *weights);
    const std::string name =
        what + "/" + type + "/m:" + std::to_string(kSide) + "/k:" + std::to_string(2 * kSide);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [=](benchmark::State& state) {
                                   use(state, view(*weights));
                                   set_bytes(state, double(weights->size()) * sizeof(T));
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  const auto time = [](auto pack) {
    return [=](benchmark::State& state, ConstView<T> w) {
      for (auto _ : state) benchmark::DoNotOptimize(pack(w));
    };
  };
  const auto time_back = [](auto pack) {
    return [=](benchmark::State& state, ConstView<T> w) {
      const auto packed = pack(w);
      for (auto _ : state) benchmark::DoNotOptimize(unpack(packed));
    };
  };
  const auto nm = [](ConstView<T> w) { return pack_nm(w, NM{2, 4}); };
  const auto bitmask = [](ConstView<T> w) { return pack_bitmask(w); };
  const auto bsr = [](ConstView<T> w) { return pack_bsr(w, Block{16, 16}); };
  add("pack24", NM{2, 4}, 0.5, time([](ConstView<T> w) { return pack24(w); }));
  add("pack24_portable", NM{2, 4}, 0.5, time(nm));
  add("unpack24", NM{2, 4}, 0.5, time_back(nm));
  add("pack_bitmask", Unstructured{}, 0.7, time(bitmask));
  add("unpack_bitmask", Unstructured{}, 0.7, time_back(bitmask));
  add("pack_csr", Unstructured{}, 0.9, time([](ConstView<T> w) { return pack_csr(w); }));
  add("pack_bsr", Block{16, 16}, 0.5, time(bsr));
  add("unpack_bsr", Block{16, 16}, 0.5, time_back(bsr));
}

void add_packings() {
  add_packing<float>("f32");
  add_packing<bf16>("bf16");
}

// 64 rows stay in a cache of the second or third level, 8192 in none.
void add_selections() {
  for (const Index rows : {Index{64}, 4 * kSide}) {
    add_selection<float>("f32", rows);
    add_selection<bf16>("bf16", rows);
  }
}

// The model's checkpoint pruned and packed once, for those that start from it.
struct Stages {
  explicit Stages(const std::filesystem::path& path) : folder("pass-bench"), dense(path) {}
  std::filesystem::path place(const char* name) const { return folder.path() / name; }
  void prune(const std::filesystem::path& to) const {
    prune_by_magnitude(dense, plan_pruning(dense, {}), to, {.force = true}, {});
  }

  app::TemporaryFolder folder;
  Checkpoint dense;
};

void prune_model(benchmark::State& state, const Stages& stages) {
  for (auto _ : state) stages.prune(stages.place("again"));
  set_bytes(state, double(stages.dense.tensor_bytes()));
}

void pack_model(benchmark::State& state, const Stages& stages) {
  const Checkpoint pruned(stages.place("pruned"));
  for (auto _ : state) pack_checkpoint(pruned, {}, stages.place("packed-again"), {.force = true}, {});
  set_bytes(state, double(pruned.tensor_bytes()));
}

void load_model(benchmark::State& state, const std::filesystem::path& path) {
  for (auto _ : state) {
    const Checkpoint checkpoint(path);
    benchmark::DoNotOptimize(PreparedDecoder(checkpoint).config().vocabulary);
  }
}

// A prompt, or tokens one by one after it.
void run_model(benchmark::State& state, const std::filesystem::path& path, bool is_prompt) {
  const Checkpoint checkpoint(path);
  const PreparedDecoder model(checkpoint);
  const std::vector<int32_t> ids(size_t(kPromptTokens), 1);
  for (auto _ : state) {
    state.PauseTiming();
    Session session(model, {kPromptTokens + kNewTokens}, kPromptTokens);
    const NextTokens prompt[] = {{0, ids, true}};
    if (is_prompt) state.ResumeTiming();
    session.run(prompt);
    if (is_prompt) continue;
    state.ResumeTiming();
    for (int64_t i = 0; i < kNewTokens; ++i) {
      const NextTokens next[] = {{0, std::span(ids).first(1), true}};
      session.run(next);
    }
  }
  state.counters["tokens/s"] = benchmark::Counter(double(is_prompt ? kPromptTokens : kNewTokens),
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

void add_model(const Stages& stages) {
  const auto add = [](const std::string& name, auto body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  stages.prune(stages.place("pruned"));
  pack_checkpoint(Checkpoint(stages.place("pruned")), {}, stages.place("packed"), {}, {});
  add("checkpoint/magnitude/sparsity:50", [&](benchmark::State& state) { prune_model(state, stages); });
  add("checkpoint/pack/sparsity:50", [&](benchmark::State& state) { pack_model(state, stages); });
  for (const bool is_packed : {false, true}) {
    const std::filesystem::path path = is_packed ? stages.place("packed") : stages.dense.path();
    const std::string end = is_packed ? "/packed/sparsity:50" : "/dense/sparsity:0";
    add("load" + end, [path](benchmark::State& state) { load_model(state, path); });
    add("prompt" + end, [path](benchmark::State& state) { run_model(state, path, true); });
    add("decode" + end, [path](benchmark::State& state) { run_model(state, path, false); });
  }
}

void add_context() {
  benchmark::AddCustomContext("commit", PRUNE_GIT_COMMIT);
  benchmark::AddCustomContext("compiler", PRUNE_COMPILER);
  benchmark::AddCustomContext("build_type", PRUNE_BUILD_TYPE);
  benchmark::AddCustomContext("cpu", processor_name());
  benchmark::AddCustomContext("threads", std::to_string(thread_count()));
}

}  // namespace
}  // namespace prune::bench

int main(int argc, char** argv) try {
  benchmark::Initialize(&argc, argv);
  if (argc > 2) {
    std::fprintf(stderr, "pass_bench: expected one model at most\n");
    return 2;
  }
  prune::use_gemm_in_updates();
  prune::bench::add_context();
  std::optional<prune::bench::Stages> stages;
  if (argc == 2) {
    stages.emplace(argv[1]);
    prune::bench::add_model(*stages);
  } else {
    prune::bench::add_selections();
    prune::bench::add_packings();
    prune::bench::add_methods();
  }
  return benchmark::RunSpecifiedBenchmarks() == 0 ? 2 : 0;
} catch (const std::exception& fault) {
  std::fprintf(stderr, "pass_bench: %s\n", fault.what());
  return 1;
}
