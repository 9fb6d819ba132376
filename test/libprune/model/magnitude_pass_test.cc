#include "libprune/model/magnitude_pass.h"

#include <mutex>
#include <random>
#include <variant>

#include "libprune/model/checkpoint_rewrite.h"
#include "test/libprune/include/reference_select.h"
#include "test/libprune/model/checkpoints.h"

namespace prune {
namespace {

using testing::dtype_name;
using testing::refusal;
using testing::small_weights;
using testing::TempFolder;
using testing::tensor_of;
using testing::TestTensor;
using testing::transposed;
using testing::value_of;

PruneReport prune_folder(const std::filesystem::path& folder, const std::filesystem::path& output,
                         const PruneOptions& options, const Progress& progress = {}) {
  const Checkpoint checkpoint(folder);
  return prune_by_magnitude(checkpoint, plan_pruning(checkpoint, options), output, {}, progress);
}

// --- the reference: magnitudes as doubles, sorted

template <class T>
std::vector<double> magnitudes(const Matrix<T>& w) {
  std::vector<double> values = testing::values_in_order(w);
  for (double& value : values) value = std::abs(value);
  return values;
}

template <class T>
Matrix<double> block_scores(const Matrix<T>& w, Block block, BlockNorm norm) {
  Matrix<double> scores = Matrix<double>::Zero(w.rows() / block.rows, w.cols() / block.cols);
  for (Index i = 0; i < w.rows(); ++i) {
    for (Index j = 0; j < w.cols(); ++j) {
      const double m = std::abs(value_of(w(i, j)));
      scores(i / block.rows, j / block.cols) += norm == BlockNorm::kL1 ? m : m * m;
    }
  }
  return scores;
}

template <class T>
Mask reference_mask(const Matrix<T>& w, const PruneOptions& options) {
  if (const NM* nm = std::get_if<NM>(&options.pattern))
    return testing::keep_in_stretches(magnitudes(w), w.rows(), w.cols(), nm->group, nm->keep);
  if (const Block* block = std::get_if<Block>(&options.pattern)) {
    const Matrix<double> scores = block_scores(w, *block, options.block_norm);
    return testing::reference_expand(testing::reference_select(scores, *options.sparsity, options.scope),
                                     *block);
  }
  const Index stretch = options.scope == Scope::kRow ? w.cols() : w.size();
  return testing::keep_in_stretches(magnitudes(w), w.rows(), w.cols(), stretch,
                                    stretch - testing::pruned_of(stretch, *options.sparsity));
}

template <class T>
Matrix<T> masked(const Matrix<T>& w, const Mask& mask) {
  Matrix<T> pruned = w;
  for (Index i = 0; i < w.rows(); ++i) {
    for (Index j = 0; j < w.cols(); ++j) {
      if (!mask(i, j)) pruned(i, j) = testing::from_bits<T>(0);
    }
  }
  return pruned;
}

// --- tests

template <class T>
class MagnitudePass : public ::testing::Test {
 protected:
  std::filesystem::path in() const { return folder_ / "in"; }
  std::filesystem::path out() const { return folder_ / "out"; }
  std::filesystem::path expected() const { return folder_ / "expected"; }

  // Prunes a model whose weights are `weights`, each [out, in], and compares the whole output folder with one
  // written by hand.
  void expect_pruned(const std::string& model_type,
                     const std::vector<std::pair<std::string, Matrix<T>>>& weights,
                     const PruneOptions& options, size_t extra_spaces = 0) {
    const bool turned = model_type == "gpt2";
    std::vector<TestTensor> before = others(), after = others();
    for (const auto& [name, w] : weights) {
      const Matrix<T> pruned = masked(w, reference_mask(w, options));
      before.push_back(tensor_of(name, turned ? transposed(w) : w));
      after.push_back(tensor_of(name, turned ? transposed(pruned) : pruned));
    }
    testing::write_model(in(), model_type, before, extra_spaces);
    testing::write_model(expected(), model_type, after, extra_spaces);
    prune_folder(in(), out(), options);
    EXPECT_EQ(testing::folder_difference(expected(), out()), "") << to_string(options.pattern);
    std::filesystem::remove_all(out());
  }

  // Tensors that must come through untouched.
  std::vector<TestTensor> others() {
    std::mt19937 rng(7);
    return {tensor_of("lm_head.weight", small_weights<T>(3, 5, rng)),
            testing::list_of<int64_t>("model.layers.0.ids", {1, -2, 3}),
            {"model.layers.7.mlp.up_proj.weight", dtype_name<T>(), {0, 8}, ""},
            {"h.7.mlp.c_fc.weight", dtype_name<T>(), {8, 0}, ""},
            {"model.scalar", "U8", {}, "x"}};
  }

  std::vector<PruneOptions> all_options() const {
    std::vector<PruneOptions> list = {
        {.pattern = NM{2, 4}}, {.pattern = NM{4, 8}}, {.pattern = NM{1, 4}}, {.pattern = NM{5, 8}}};
    for (const double sparsity : testing::kSparsities) {
      list.push_back({.pattern = Unstructured{}, .sparsity = sparsity});
      list.push_back({.pattern = Unstructured{}, .sparsity = sparsity, .scope = Scope::kRow});
      list.push_back({.pattern = Block{4, 8}, .sparsity = sparsity});
      list.push_back({.pattern = Block{2, 4}, .sparsity = sparsity, .scope = Scope::kRow});
    }
    list.push_back({.pattern = Block{4, 4}, .sparsity = 0.5, .block_norm = BlockNorm::kL1});
    return list;
  }

  TempFolder folder_;
  std::mt19937 rng_{testing::test_seed()};
};
TYPED_TEST_SUITE(MagnitudePass, testing::AllTypes);

TYPED_TEST(MagnitudePass, MatchesTheReference) {
  using T = TypeParam;
  for (const PruneOptions& options : this->all_options()) {
    this->expect_pruned(
        "llama",
        {{"model.layers.0.mlp.up_proj.weight", small_weights<T>(12, 40, this->rng_)},
         {"model.layers.0.mlp.down_proj.weight", testing::random_matrix<T>(8, 16, this->rng_)}},
        options);
  }
}

TYPED_TEST(MagnitudePass, Conv1DIsPrunedDownItsColumns) {
  using T = TypeParam;
  for (const PruneOptions& options : this->all_options()) {
    this->expect_pruned("gpt2",
                        {{"h.0.mlp.c_fc.weight", small_weights<T>(12, 40, this->rng_)},
                         {"h.0.mlp.c_proj.weight", testing::random_matrix<T>(8, 16, this->rng_)}},
                        options);
  }
}

TYPED_TEST(MagnitudePass, DataMayLieMisaligned) {
  using T = TypeParam;
  for (const size_t shift : {1, 2, 4}) {
    for (const std::string model_type : {"llama", "gpt2"}) {
      const std::string name =
          model_type == "llama" ? "model.layers.0.mlp.up_proj.weight" : "h.0.mlp.c_fc.weight";
      const Matrix<T> w = small_weights<T>(8, 24, this->rng_);
      this->expect_pruned(model_type, {{name, w}}, {.pattern = NM{2, 4}}, shift);
      this->expect_pruned(model_type, {{name, w}}, {.pattern = Unstructured{}, .sparsity = 0.5}, shift);
      this->expect_pruned(model_type, {{name, w}},
                          {.pattern = Unstructured{}, .sparsity = 0.5, .scope = Scope::kGlobal}, shift);
    }
  }
}

TYPED_TEST(MagnitudePass, NanIsRefusedByNameAndPosition) {
  using T = TypeParam;
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  Matrix<T> w = small_weights<T>(4, 8, this->rng_);
  w(2, 5) = testing::quiet_nan<T>();
  testing::write_model(this->in(), "llama",
                       {tensor_of("model.layers.0.mlp.down_proj.weight", small_weights<T>(4, 8, this->rng_)),
                        tensor_of(name, w)});
  for (const PruneOptions& options :
       {PruneOptions{.pattern = NM{2, 4}}, PruneOptions{.pattern = Block{2, 2}, .sparsity = 0.5},
        PruneOptions{.pattern = Unstructured{}, .sparsity = 0.5},
        PruneOptions{.pattern = Unstructured{}, .sparsity = 0.5, .scope = Scope::kGlobal},
        PruneOptions{.pattern = Block{2, 2}, .sparsity = 0.5, .scope = Scope::kGlobal}}) {
    const std::string place = "model.safetensors: tensor '" + name + "': NaN at row 2, column 5";
    EXPECT_EQ(refusal(ErrorKind::kInput, place, [&] { prune_folder(this->in(), this->out(), options); }), "")
        << to_string(options.pattern);
    EXPECT_EQ(refusal(ErrorKind::kInput, "", [&] { prune_folder(this->in(), this->out(), options); }), "");
    EXPECT_FALSE(std::filesystem::exists(this->out()));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(this->folder_.path()), {}),
              1);  // nothing staged
  }
}

TEST(MagnitudePass, NanOfATurnedTensorIsPlacedInTheMatrixAndSaysSo) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  Matrix<bf16> w = small_weights<bf16>(4, 8, rng);
  w(2, 5) = testing::quiet_nan<bf16>();
  testing::write_model(folder / "in", "gpt2", {tensor_of("h.0.mlp.c_fc.weight", transposed(w))});
  const std::string place =
      "tensor 'h.0.mlp.c_fc.weight' as [out, in] (the file has [in, out]): NaN at row 2, column 5";
  for (const Scope scope : {Scope::kLayer, Scope::kGlobal}) {
    const PruneOptions options{.pattern = Unstructured{}, .sparsity = 0.5, .scope = scope};
    EXPECT_EQ(
        refusal(ErrorKind::kInput, place, [&] { prune_folder(folder / "in", folder / "out", options); }), "");
  }
}

// --- the whole model under one threshold

// Weights of every type in two shards, one of them empty.
struct MixedModel {
  explicit MixedModel(std::mt19937& rng)
      : f64(small_weights<double>(4, 8, rng)),
        e5m2(small_weights<f8_e5m2>(8, 12, rng)),
        f32(small_weights<float>(12, 4, rng)),
        half(small_weights<f16>(4, 8, rng)),
        e4m3(small_weights<f8_e4m3>(4, 4, rng)),
        brain(small_weights<bf16>(8, 8, rng)) {}

  // Calls visit(matrix) in the order of the data.
  template <class Visit>
  void each(Visit visit) {
    visit(f64), visit(e5m2), visit(f32), visit(half), visit(e4m3), visit(brain);
  }

  void write(const std::filesystem::path& folder) const {
    const auto name = [](int layer) {
      return "model.layers." + std::to_string(layer) + ".mlp.up_proj.weight";
    };
    const TestTensor empty{"model.layers.9.mlp.up_proj.weight", "F32", {0, 4}, ""};
    const TestTensor norm = testing::list_of<float>("model.norm.weight", {0.125f, 100.0f});
    testing::write_shards(
        folder, "llama",
        {{tensor_of(name(0), f64), norm, tensor_of(name(1), e5m2), tensor_of(name(2), f32)},
         {tensor_of(name(3), half), empty, tensor_of(name(4), e4m3), tensor_of(name(5), brain)}});
  }

  // Prunes with the candidates of all tensors in one list, in order.
  void prune_globally(const PruneOptions& options) {
    const Block* block = std::get_if<Block>(&options.pattern);
    std::vector<double> all;
    each([&](const auto& w) {
      const auto scores =
          block ? testing::values_in_order(block_scores(w, *block, options.block_norm)) : magnitudes(w);
      all.insert(all.end(), scores.begin(), scores.end());
    });
    const int64_t count = int64_t(all.size());
    const std::vector<bool> kept =
        testing::keep_largest(all, count - testing::pruned_of(count, *options.sparsity));
    size_t next = 0;
    each([&](auto& w) {
      Mask mask = block ? Mask(w.rows() / block->rows, w.cols() / block->cols) : Mask(w.rows(), w.cols());
      for (Index i = 0; i < mask.rows(); ++i) {
        for (Index j = 0; j < mask.cols(); ++j) mask.set(i, j, kept[next++]);
      }
      w = masked(w, block ? testing::reference_expand(mask, *block) : mask);
    });
  }

  Matrix<double> f64;
  Matrix<f8_e5m2> e5m2;
  Matrix<float> f32;
  Matrix<f16> half;
  Matrix<f8_e4m3> e4m3;
  Matrix<bf16> brain;
};

TEST(MagnitudePassGlobal, OneThresholdOverTypesAndShards) {
  std::mt19937 rng(testing::test_seed());
  for (const Pattern& pattern : {Pattern(Unstructured{}), Pattern(Block{2, 4}), Pattern(Block{4, 1})}) {
    for (const double sparsity : testing::kSparsities) {
      for (const int threads : {1, 3}) {
        const TempFolder folder;
        MixedModel model(rng);
        model.write(folder / "in");
        const PruneOptions options{
            .pattern = pattern, .sparsity = sparsity, .scope = Scope::kGlobal, .threads = threads};
        const PruneReport report = prune_folder(folder / "in", folder / "out", options);
        model.prune_globally(options);
        model.write(folder / "expected");
        ASSERT_EQ(testing::folder_difference(folder / "expected", folder / "out"), "")
            << to_string(pattern) << " " << sparsity;
        EXPECT_EQ(report.pruned_weights(), 32 + 96 + 48 + 32 + 16 + 64);
      }
    }
  }
}

TEST(MagnitudePassGlobal, CountsAreExactOverDistinctWeights) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  std::vector<TestTensor> tensors;
  for (int layer = 0; layer < 3; ++layer) {
    Matrix<float> w(16, 16);
    for (Index i = 0; i < w.size(); ++i) w.data()[i] = float(rng()) + 1;
    tensors.push_back(tensor_of("model.layers." + std::to_string(layer) + ".mlp.up_proj.weight", w));
  }
  testing::write_model(folder / "in", "llama", tensors);
  const PruneReport report = prune_folder(
      folder / "in", folder / "out", {.pattern = Unstructured{}, .sparsity = 0.7, .scope = Scope::kGlobal});
  EXPECT_EQ(report.zeros_after(), 537);  // floor(768 * 0.7)
}

// --- the frame around every pass

TEST(RewriteCheckpoint, PreparesOnceAndOnlyForWork) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  const auto weights = [&](int layer) {
    return tensor_of("model.layers." + std::to_string(layer) + ".mlp.up_proj.weight",
                     small_weights<bf16>(4, 8, rng));
  };
  testing::write_shards(folder / "in", "llama", {{weights(0)}, {weights(1)}});
  const Checkpoint checkpoint(folder / "in");
  const PrunePlan plan = plan_pruning(checkpoint, {});
  int prepared = 0;
  const TensorRewriter copy{[&] { ++prepared; },
                            [&](const PlannedTensor& planned, TensorSink& sink) {
                              EXPECT_EQ(prepared, 1);
                              sink.append(checkpoint.data(planned.ref));
                              return describe_tensor(checkpoint, planned);
                            }};
  const StagingOptions options{.resume = true};
  EXPECT_EQ(rewrite_checkpoint(checkpoint, plan, folder / "out", options, copy, {}).tensors.size(), 2u);
  EXPECT_EQ(prepared, 1);
  EXPECT_THROW(rewrite_checkpoint(checkpoint, plan, folder / "out", options, copy, {}), AlreadyComplete);
  EXPECT_EQ(prepared, 1);
}

// The journal lies in a folder that others may write to: what it says of a shard is checked against the plan.
TEST(RewriteCheckpoint, RefusesAJournalThatDoesNotFitThePlan) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  const auto weights = [&](int layer) {
    return tensor_of("model.layers." + std::to_string(layer) + ".mlp.up_proj.weight",
                     small_weights<bf16>(4, 8, rng));
  };
  testing::write_shards(folder / "in", "llama", {{weights(0)}, {weights(1)}});
  const Checkpoint checkpoint(folder / "in");
  const PrunePlan plan = plan_pruning(checkpoint, {});
  const TensorRewriter copy_first_shard{[] {},
                                        [&](const PlannedTensor& planned, TensorSink& sink) {
                                          if (planned.ref.shard == 1) throw Interrupted{};
                                          sink.append(checkpoint.data(planned.ref));
                                          return describe_tensor(checkpoint, planned);
                                        }};
  const StagingOptions options{.resume = true};
  EXPECT_THROW(rewrite_checkpoint(checkpoint, plan, folder / "out", options, copy_first_shard, {}),
               Interrupted);

  const std::filesystem::path journal = folder / ".out.partial/journal";
  std::string lines = testing::read_file(journal);
  const size_t note = lines.find("\"note\":[{");
  ASSERT_NE(note, std::string::npos) << lines;
  lines.replace(note, lines.find(']', lines.find("}]", note)) + 1 - note, "\"note\":[]");
  testing::write_file(journal, lines);
  try {
    rewrite_checkpoint(checkpoint, plan, folder / "out", options, copy_first_shard, {});
    FAIL() << "taken over";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "the journal of the unfinished run does not fit the plan: run again without --resume");
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

// --- what the pass says about itself

TEST(MagnitudePassReport, CountsTypesAndReasons) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  Matrix<bf16> w = small_weights<bf16>(4, 8, rng);
  w(0, 0) = testing::exactly<bf16>(-0.0);
  testing::write_model(folder / "in", "gpt2",
                       {tensor_of("h.0.mlp.c_fc.weight", transposed(w)), tensor_of("wte.weight", w)});
  const PruneReport report = prune_folder(folder / "in", folder / "out", {});
  ASSERT_EQ(report.tensors.size(), 2u);
  const TensorReport& pruned = report.tensors[0];
  EXPECT_EQ(pruned.name, "h.0.mlp.c_fc.weight");
  EXPECT_EQ(pruned.dtype, "BF16");
  EXPECT_EQ(pruned.shape, (std::vector<int64_t>{8, 4}));
  EXPECT_TRUE(pruned.transposed);
  EXPECT_TRUE(pruned.pruned);
  EXPECT_EQ(pruned.zeros_before, 32 - nonzero_mask(w).count());
  const Matrix<bf16> after = testing::matrix_in<bf16>(Checkpoint(folder / "out"), "h.0.mlp.c_fc.weight");
  EXPECT_EQ(pruned.zeros_after, 32 - nonzero_mask(after).count());
  EXPECT_FALSE(report.tensors[1].pruned);
  EXPECT_EQ(report.tensors[1].reason, "outside the decoder blocks");
  EXPECT_EQ(report.model, (folder / "in").native());
  EXPECT_EQ(report.output, (folder / "out").native());
  EXPECT_EQ(report.pattern, "2:4");
  EXPECT_EQ(report.sparsity, 0.5);
  EXPECT_EQ(report.bytes_written, int64_t(std::filesystem::file_size(folder / "in/model.safetensors")));
}

TEST(MagnitudePassReport, ProgressReachesItsTotal) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  MixedModel(rng).write(folder / "in");
  uint64_t last = 0, announced = 0;
  prune_folder(folder / "in", folder / "out", {}, [&](uint64_t done, uint64_t total, std::string_view) {
    EXPECT_GE(done, last);
    last = done;
    announced = total;
  });
  EXPECT_EQ(last, announced);
  EXPECT_EQ(announced, Checkpoint(folder / "in").tensor_bytes());
}

// A tensor larger than what is gathered before it is written.
TEST(MagnitudePassLarge, WritesInSeveralPieces) {
  const TempFolder folder;
  Matrix<float> w(2500, 1000);
  for (Index i = 0; i < w.size(); ++i) w.data()[i] = float(i % 4 == 1 || i % 4 == 2 ? i + 2 : 1);
  testing::write_model(folder / "in", "llama", {tensor_of("model.layers.0.mlp.up_proj.weight", w)});
  const PruneReport report = prune_folder(folder / "in", folder / "out", {});
  for (Index i = 0; i < w.size(); i += 4) w.data()[i] = w.data()[i + 3] = 0;
  testing::write_model(folder / "expected", "llama", {tensor_of("model.layers.0.mlp.up_proj.weight", w)});
  EXPECT_EQ(testing::folder_difference(folder / "expected", folder / "out"), "");
  EXPECT_EQ(report.zeros_after(), w.size() / 2);
}

TEST(MagnitudePassSingleFile, PrunesAFileAlone) {
  std::mt19937 rng(testing::test_seed());
  const TempFolder folder;
  const Matrix<float> w = small_weights<float>(4, 8, rng);
  testing::write_file(folder / "in.safetensors", testing::file_of({tensor_of("dense.weight", w)}));
  prune_folder(folder / "in.safetensors", folder / "out.safetensors", {});
  const Matrix<float> pruned = masked(w, reference_mask(w, {}));
  EXPECT_EQ(testing::read_file(folder / "out.safetensors"),
            testing::file_of({tensor_of("dense.weight", pruned)}));
}

}  // namespace
}  // namespace prune
