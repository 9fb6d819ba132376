#include "kernels/sparse/plan.h"

#include <algorithm>
#include <array>

#include "kernels/sparse/buffer.h"
#include "kernels/sparse/gemv/gemv.h"
#include "kernels/sparse/in_place/in_place.h"
#include "kernels/sparse/pattern_lists/pattern_lists.h"
#include "kernels/sparse/row_lists/row_lists.h"
#include "kernels/sparse/row_lists/staged_lists.h"
#include "kernels/sparse/row_source.h"
#include "kernels/sparse/spmm_bitmask/spmm_bitmask.h"
#include "kernels/sparse/spmm_bsr/spmm_bsr.h"
#include "kernels/sparse/spmm_csr/spmm_csr.h"
#include "kernels/sparse/spmm_nm/spmm_nm.h"
#include "kernels/sparse/spmm_windows/spmm_windows.h"
#include "kernels/sparse/staged/staged.h"
#include "kernels/sparse/threads.h"

namespace prune::kernels {
namespace {

// Up to this many rows of X, reading the weights costs more than multiplying them.
constexpr int64_t kMostFewRows = 8;
// The same, of weights that are laid out and of such that stay where they lie.
struct MostFewRows {
  int64_t laid_out = kMostFewRows;
  int64_t in_place = laid_out;
};
// In floats, lists are made for every batch of weights that stay where they lie. That takes as long as some
// more rows of X would, fewer of them where the lists are multiplied by wider vectors.
int64_t most_few_rows_of_floats(const PrepareOptions& options) {
  return isa::runs_on(isa::kAvx512, options.isa) ? 12 : 16;
}
bool takes_halves(const Weights& weights, const PrepareOptions& options) {
  return isa::runs_on(isa::kAvx512Bf16, options.isa) && fits_bf16(weights.type);
}
MostFewRows most_few_rows_of_masks(const BitmaskWeights& weights, const PrepareOptions& options) {
  if (takes_halves(weights, options)) return {};
  return {.in_place = most_few_rows_of_floats(options)};
}
// Of 2:4 with AVX-512, whose permutations find the inputs of every row of X at full speed, it is more; most
// of types of 16 bits and bytes, where the kernel for many rows takes 32 at least (f16 has none of its own,
// and stays longest). In place they are found four rows at a time only, by AVX2 two; and products of bytes
// take sixteen.
MostFewRows most_few_rows24(const NmWeights& weights, const PrepareOptions& options) {
  if (weights.keep != 2 || weights.group != 4) return {};
  const int64_t of_floats = most_few_rows_of_floats(options);
  if (!isa::runs_on(isa::kAvx512, options.isa)) return {.in_place = of_floats};
  if (weights.type == WeightType::kF32 || !isa::runs_on(isa::kAvx512Bf16, options.isa))
    return {.laid_out = 16, .in_place = of_floats};
  if (rounds_to_bytes(weights, options)) return {};
  if (weights.type == WeightType::kF16) return {.laid_out = 24, .in_place = of_floats};
  return {.laid_out = 18, .in_place = 10};
}
// Where they lie, of weights as column numbers: lists are made for every batch, and pay for that from more
// rows on.
constexpr int64_t kMostFewRowsOfCsr = 16, kMostFewRowsOfWindows = 32;
// Blocks are cut into strips for every batch, too: of floats where the kernel is one of floats, four times
// the bytes that int8 weights have where they lie.
MostFewRows most_few_rows_of_blocks(const BsrWeights& weights, const PrepareOptions& options) {
  if (takes_halves(weights, options)) return {};
  if (isa::runs_on(isa::kAvx512, options.isa)) return {.in_place = most_few_rows_of_floats(options)};
  return {.in_place = weights.type == WeightType::kI8 ? 40 : 24};
}
// Where lists multiply many rows in bytes, whose columns come by 32 and 64: up to this many lanes, by
// sixteen, are faster.
constexpr int64_t kMostRowLanes = 48;
// Bytes of weights times rows of X below which another thread costs more than it saves.
constexpr int64_t kWorkPerThread = int64_t{1} << 17;

int useful_threads(size_t bytes, int64_t n) {
  const int64_t work = static_cast<int64_t>(bytes) * n / kWorkPerThread;
  return static_cast<int>(std::clamp<int64_t>(work, 1, available_threads()));
}

// Scratch memory of the calling thread, as large as its largest batch.
void* thread_workspace(size_t bytes) {
  thread_local Buffer scratch;
  if (scratch.size() < bytes) scratch = Buffer(bytes);
  return scratch.as<void>();
}

std::unique_ptr<const Layout> make_lists_of_pairs(const RowSource& source, const PrepareOptions& options) {
  const RowListsKernel* kernel = choose_row_lists_kernel(source, options);
  return kernel == nullptr ? nullptr : make_row_lists(source, *kernel);
}
std::unique_ptr<const Layout> make_lists(const RowSource& source, const PrepareOptions& options) {
  auto lists = make_pattern_lists(source, options);
  return lists != nullptr ? std::move(lists) : make_lists_of_pairs(source, options);
}

// Per cent of the weights up to which column numbers are faster than a bitmask. Spreading values by a bitmask
// costs the same however few stay, column numbers cost by the value.
int64_t most_percent_by_column(WeightType type, uint32_t isa) {
  if (isa::runs_on(isa::kAvx512 | isa::kAvx512Bf16, isa)) return type == WeightType::kF32 ? 16 : 11;
  if (isa::runs_on(isa::kAvx2, isa)) return 20;
  // Counted, not measured: two to three cycles for four weights of a bitmask, one for a column number.
  return isa::runs_on(isa::kNeon, isa) ? 50 : 100;
}
template <class W>
bool is_better_by_column(const W& weights, int64_t count, uint32_t isa) {
  return 100 * count <= most_percent_by_column(weights.type, isa) * weights.rows * weights.cols;
}
// Whether weights are multiplied where they lie. Column numbers are not where more stay, or it is not known
// how many: a bitmask of them is worth the time that it takes to lay out. Nor is a bitmask where column
// numbers are, but by kernels that read it at the speed of memory.
bool may_lie_by_column(const CsrWeights& weights, const PrepareOptions& options) {
  if (!options.in_place) return false;
  if (!options.kernel.empty()) return true;
  return isa::runs_on(isa::kAvx2, options.isa) && weights.values_count > 0 &&
         is_better_by_column(weights, weights.values_count, options.isa);
}
bool may_lie_by_mask(const BitmaskWeights& weights, const PrepareOptions& options) {
  if (!options.in_place) return false;
  if (!options.kernel.empty() || weights.values_count == 0) return true;
  return takes_halves(weights, options) || !is_better_by_column(weights, weights.values_count, options.isa);
}

// The weights as they are, where that is allowed.
template <class W>
std::unique_ptr<const Layout> make_where_it_lies(const W& weights, const PrepareOptions& options) {
  return options.in_place ? make_in_place(weights, options) : nullptr;
}

// And many rows: staged for a kernel of their own, or as lists.
template <class W>
std::unique_ptr<const Layout> make_many_where_they_lie(const W& weights, const PrepareOptions& options) {
  auto many = make_staged(weights, options);
  return many != nullptr ? std::move(many) : make_staged_lists(weights, options);
}

// Weights without a pattern, for a few rows of X.
std::unique_ptr<const Layout> make_few_unstructured(const RowSource& source, const PrepareOptions& options) {
  const bool named = !options.kernel.empty();
  if (named || !is_better_by_column(source, source.kept, options.isa)) {
    auto few = make_bitmask(source, options);
    if (few != nullptr) return few;
  }
  if (named || isa::runs_on(isa::kAvx512, options.isa)) {
    auto few = make_windows(source, options);
    if (few != nullptr) return few;
  }
  return make_csr(source, options);
}

// A plan of the layouts that the options ask for. One that takes no memory is preferred for a few rows
// (make_few_free()), and one for many is welcome in any plan (make_many_free()).
template <class MakeFewFree, class MakeFew, class MakeMany, class MakeManyFree>
Plan make_plan(const Weights& weights, const PrepareOptions& options, MakeFewFree make_few_free,
               MakeFew make_few, MakeMany make_many, const MostFewRows& most, MakeManyFree make_many_free) {
  const bool named = !options.kernel.empty();
  const bool only_in_place = options.use == Use::kInPlace || options.use == Use::kManyRowsInPlace;
  const bool many_only = options.use == Use::kManyRowsInPlace || (options.use == Use::kManyRows && !named);
  std::unique_ptr<const Layout> few;
  if (!many_only) few = make_few_free();
  if (options.use == Use::kInPlace && few == nullptr) return Plan();
  if (!many_only && few == nullptr) few = make_few();
  std::unique_ptr<const Layout> many;
  // Not beside a copy: the packed arrays would be held as well.
  if (options.in_place && (few == nullptr || few->is_in_place())) many = make_many_free();
  if (many == nullptr && !only_in_place && (options.use != Use::kFewRows || named)) many = make_many();
  if (few == nullptr && many == nullptr) return Plan();
  const int64_t most_few_rows = few != nullptr && few->is_in_place() ? most.in_place : most.laid_out;
  return Plan(weights.rows, weights.cols, std::move(few), std::move(many), most_few_rows);
}

}  // namespace

Plan::Plan(int64_t rows, int64_t cols, std::unique_ptr<const Layout> few, std::unique_ptr<const Layout> many,
           int64_t most_few_rows)
    : rows_(rows), cols_(cols), few_(std::move(few)), many_(std::move(many)), most_few_rows_(most_few_rows) {}

void Plan::set_between(std::unique_ptr<const Layout> between, int64_t most_rows) {
  between_ = std::move(between);
  most_between_rows_ = most_rows;
}

const Layout& Plan::layout(int64_t n) const {
  if (many_ == nullptr || (few_ != nullptr && n <= most_few_rows_)) return *few_;
  return between_ != nullptr && n <= most_between_rows_ ? *between_ : *many_;
}

size_t Plan::bytes() const {
  size_t bytes = 0;
  for (const auto* layout : {&few_, &between_, &many_}) bytes += *layout == nullptr ? 0 : (*layout)->bytes();
  return bytes;
}

size_t Plan::own_bytes() const {
  size_t bytes = 0;
  for (const auto* layout : {&few_, &between_, &many_})
    bytes += *layout == nullptr ? 0 : (*layout)->own_bytes();
  return bytes;
}

bool Plan::is_in_place() const {
  return std::ranges::any_of(std::array{&few_, &between_, &many_}, [](const auto* layout) {
    return *layout != nullptr && (*layout)->is_in_place();
  });
}

size_t Plan::workspace_bytes(int64_t n) const {
  const Layout& chosen = layout(n);
  return chosen.workspace_bytes(n, useful_threads(chosen.bytes(), n));
}

void Plan::run(const Batch& batch) const { run(batch, thread_workspace(workspace_bytes(batch.n))); }

void Plan::run(const Batch& batch, void* workspace) const {
  const Layout& chosen = layout(batch.n);
  chosen.run(batch, useful_threads(chosen.bytes(), batch.n), workspace);
}

// Rows are read where a layout asks for them: of weights that are multiplied where they lie none is.
Plan prepare(const NmWeights& weights, const PrepareOptions& options) {
  const auto make_few = [&] {
    // Patterns other than 2:4 are as regular as any bitmask.
    auto few = make_nm24(weights, options);
    return few != nullptr ? std::move(few) : make_bitmask(read_rows(weights), options);
  };
  std::unique_ptr<const Layout> between;
  const auto make_many = [&] {
    const RowSource source = read_rows(weights);
    auto many = make_staged(weights, options);
    if (many == nullptr) return make_lists(source, options);
    if (!options.int8_inputs || !options.kernel.empty()) return many;
    auto lists = make_pattern_lists(source, options, /*may_round=*/true);
    if (lists == nullptr) return many;
    between = std::move(many);
    return lists;
  };
  Plan plan = make_plan(
      weights, options, [&] { return make_where_it_lies(weights, options); }, make_few, make_many,
      most_few_rows24(weights, options), [&] { return make_many_where_they_lie(weights, options); });
  if (between != nullptr) plan.set_between(std::move(between), kMostRowLanes);
  return plan;
}

Plan prepare(const BitmaskWeights& weights, const PrepareOptions& options) {
  const bool may_lie = may_lie_by_mask(weights, options);
  return make_plan(
      weights, options, [&] { return may_lie ? make_in_place(weights, options) : nullptr; },
      [&] { return make_few_unstructured(read_rows(weights), options); },
      [&] { return make_lists(read_rows(weights), options); }, most_few_rows_of_masks(weights, options),
      [&] { return make_many_where_they_lie(weights, options); });
}

Plan prepare(const CsrWeights& weights, const PrepareOptions& options) {
  const bool may_lie = may_lie_by_column(weights, options);
  return make_plan(
      weights, options, [&] { return may_lie ? make_csr_in_place(weights, options) : nullptr; },
      [&] { return make_few_unstructured(read_rows(weights), options); },
      [&] { return make_lists(read_rows(weights), options); }, {.in_place = kMostFewRowsOfCsr},
      [&] { return make_staged_lists(weights, options); });
}

Plan prepare(const BsrWeights& weights, const PrepareOptions& options) {
  // Blocks too low for a strip are but rows of nonzeros.
  const auto make_few = [&] {
    auto few = make_bsr_few(weights, options);
    return few != nullptr ? std::move(few) : make_few_unstructured(read_rows(weights), options);
  };
  const auto make_many = [&] {
    auto many = make_bsr_tiles(weights, options);
    // Neighbours of one block have one pattern: lists of four rows are of very unequal lengths.
    return many != nullptr ? std::move(many) : make_lists_of_pairs(read_rows(weights), options);
  };
  return make_plan(
      weights, options, [&] { return make_where_it_lies(weights, options); }, make_few, make_many,
      most_few_rows_of_blocks(weights, options), [&] { return make_bsr_tiles(weights, options); });
}

Plan prepare(const WindowsWeights& weights, const PrepareOptions& options) {
  // Without permutations of vectors the order has no use.
  const bool may_lie =
      options.in_place && (isa::runs_on(isa::kAvx512, options.isa) || !options.kernel.empty());
  return make_plan(
      weights, options, [&] { return may_lie ? make_windows_in_place(weights, options) : nullptr; },
      [&] { return make_few_unstructured(read_rows(weights), options); },
      [&] { return make_lists(read_rows(weights), options); }, {.in_place = kMostFewRowsOfWindows},
      [&] { return make_staged_lists(weights, options); });
}

Plan prepare(const DenseWeights& weights, const PrepareOptions& options) {
  return Plan(weights.rows, weights.cols, make_gemv(weights, options), nullptr, kMostFewRows);
}

}  // namespace prune::kernels
