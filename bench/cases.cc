#include "bench/cases.h"

#include <memory>
#include <stdexcept>

#include "bench/checkpoint_masks.h"
#include "bench/harness.h"
#include "bench/shapes.h"

namespace prune::bench {
namespace {

constexpr int64_t kBatches[] = {1, 4, 8, 32, 128, 512};
constexpr int64_t kQuickBatches[] = {1, 128};
constexpr double kQuickSeconds = 0.5, kFullSeconds = 2;

Effort effort_of(const Options& options, Roof* roof) {
  return {options.seconds.value_or(options.is_quick ? kQuickSeconds : kFullSeconds), options.slow_down, roof};
}

std::vector<int64_t> rows_of(const Options& options) {
  if (!options.rows.empty()) return options.rows;
  if (options.is_quick) return {std::begin(kQuickBatches), std::end(kQuickBatches)};
  return {std::begin(kBatches), std::end(kBatches)};
}

void add_random(const Case& c, const Operation& operation, const Effort& effort) {
  if (!operation.takes(c)) return;
  add(
      c, operation,
      [c, &operation] { return with_random_values(operation.random(c.shape, c.percent), c.type); }, effort);
}

// All cases of an operation and a shape, those that share weights together.
void add_shape(const Operation& operation, const Shape& shape, const std::vector<int64_t>& rows,
               const Options& options, const Effort& effort) {
  for (const WeightType type : operation.types) {
    // oneDNN's bf16 is what quick runs compare with; float peers are there for those that have no other type.
    const bool is_float_only = operation.types.size() == 1 && type == WeightType::kF32;
    if (options.is_quick && type != WeightType::kBf16 && !is_float_only) continue;
    for (const int percent : operation.percents) {
      for (const int64_t n : rows) add_random({operation.name, type, shape, n, percent}, operation, effort);
    }
  }
}

void add_shapes(const Options& options, const Effort& effort) {
  std::vector<std::string> names = options.shapes;
  if (names.empty())
    names = options.is_quick ? std::vector<std::string>{"4096x4096"}
                             : std::vector<std::string>{"common", "large"};
  for (const Operation& operation : all_operations()) {
    if (options.is_quick && !operation.is_in_quick) continue;
    for (const std::string& name : names) {
      const ShapeSet* set = find_shape_set(name);
      std::vector<int64_t> rows = rows_of(options);
      if (set != nullptr && set->is_for_few_rows_only)
        std::erase_if(rows, [](int64_t n) { return n > kMemoryBoundRows; });
      for (const Shape& shape : set != nullptr ? set->shapes : std::vector{*parse_shape(name)})
        add_shape(operation, shape, rows, options, effort);
    }
  }
}

void add_one(const std::string& name, const Effort& effort) {
  const auto c = parse_case(name);
  if (!c || !c->mask.empty())
    throw std::runtime_error("--case " + name + ": expected OP/TYPE/m:OUT/k:IN/n:ROWS/sparsity:PERCENT");
  const Operation* operation = find_operation(c->op);
  if (operation == nullptr) {
    std::string names;
    for (const Operation& known : all_operations()) names += " " + known.name;
    throw std::runtime_error("--case " + name + ": no operation " + c->op + "; there are" + names);
  }
  if (!operation->takes(*c))
    throw std::runtime_error("--case " + name + ": not for this type, shape or rows");
  add_random(*c, *operation, effort);
}

// A layer's mask, in every operation and type that takes it.
void add_mask(const std::shared_ptr<const LayerMask>& mask, const Options& options, const Effort& effort) {
  for (const Operation& operation : all_operations()) {
    if (operation.adopt == nullptr || !operation.adopt(mask->places)) continue;
    for (const WeightType type : operation.types) {
      Case c{operation.name, type, mask->places.shape, 1, mask->percent, mask->layer};
      const auto weights = [mask, type, &operation] {
        return with_random_values(*operation.adopt(mask->places), type);
      };
      for (const int64_t n : rows_of(options)) {
        c.n = n;
        if (operation.takes(c)) add(c, operation, weights, effort);
      }
      c.mask.clear();
      for (const int64_t n : options.has_random_masks ? rows_of(options) : std::vector<int64_t>()) {
        c.n = n;
        add_random(c, operation, effort);
      }
    }
  }
}

}  // namespace

void add_cases(const Options& options, Roof* roof) {
  const Effort effort = effort_of(options, roof);
  if (!options.cases.empty()) {
    for (const std::string& name : options.cases) add_one(name, effort);
  } else if (!options.checkpoint.empty()) {
    for (LayerMask& mask : masks_of_checkpoint(options.checkpoint))
      add_mask(std::make_shared<const LayerMask>(std::move(mask)), options, effort);
  } else {
    add_shapes(options, effort);
  }
}

}  // namespace prune::bench
