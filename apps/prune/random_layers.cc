#include "apps/prune/random_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <random>
#include <vector>

#include <prune/error.h>

#include "libprune/io/safetensors.h"
#include "libprune/io/text.h"
#include "libprune/model/magnitude_pass.h"
#include "libprune/model/pack_checkpoint.h"
#include "libprune/model/prune_plan.h"

namespace prune::app {
namespace {

constexpr uint64_t kEnoughBytes = uint64_t(96) << 20;  // beyond last-level caches, as a whole model is
constexpr int64_t kMostWeights = int64_t(1) << 31;     // of a shape

struct Shape {
  int64_t out = 0, in = 0;
};

Shape parse_shape(const std::string& text) {
  Shape shape;
  const char* const end = text.data() + text.size();
  const auto [x, out_fault] = std::from_chars(text.data(), end, shape.out);
  const bool is_pair = out_fault == std::errc() && x != end && *x == 'x';
  const auto [rest, in_fault] = std::from_chars(is_pair ? x + 1 : end, end, shape.in);
  if (!is_pair || in_fault != std::errc() || rest != end || shape.out < 1 || shape.in < 1 ||
      shape.out > kMostWeights / shape.in)
    throw_usage("--shape " + quote_name(text) + ": expected OUTxIN, as 4096x11008, of at most 2^31 weights");
  return shape;
}

DType parse_type(const std::string& text) {
  if (text == "bf16") return DType::kBF16;
  if (text == "f32") return DType::kF32;
  throw_usage("--type " + quote_name(text) + ": expected bf16 or f32");
}

// [out, in] of one tensor, rounded towards zero to bf16 where that is the type.
std::vector<std::byte> random_weights(const Shape& shape, DType type, uint32_t seed) {
  const auto count = size_t(shape.out * shape.in), size = size_t(bits(type) / 8);
  std::vector<std::byte> bytes(count * size);
  std::minstd_rand random(seed);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < count; ++i) {
    const float value = normal(random);
    const auto* low = reinterpret_cast<const std::byte*>(&value);
    std::memcpy(&bytes[i * size], low + sizeof value - size, size);
  }
  return bytes;
}

void write_dense(const std::filesystem::path& path, const std::vector<std::string>& shapes, DType type) {
  std::vector<TensorInfo> tensors;
  for (const std::string& text : shapes) {
    const Shape shape = parse_shape(text);
    const uint64_t bytes = uint64_t(shape.out) * uint64_t(shape.in) * uint64_t(bits(type)) / 8;
    for (uint64_t i = 0; i <= kEnoughBytes / bytes && i < 64; ++i) {
      tensors.push_back({.name = fmt::format("{}.{}.random.weight", text, i),
                         .dtype = type,
                         .shape = {shape.out, shape.in}});
    }
  }
  SafetensorsWriter writer(path, tensors, {});
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Shape shape{tensors[i].shape[0], tensors[i].shape[1]};
    writer.write(i, 0, random_weights(shape, type, uint32_t(i) + 1));
  }
  writer.finish();
}

}  // namespace

void add_shape_options(CommandLine& line) {
  line.options()("shape", po::value<std::vector<std::string>>()->composing()->value_name("OUTxIN"),
                 "time random weights of this shape instead of a model's, may be repeated")(
      "pattern,p", po::value<std::string>()->value_name("P"),
      "with --shape: 2:4 (default), another N:M, 16x16 or another block, or unstructured")(
      "sparsity,s", po::value<double>()->value_name("S"),
      "with --shape: the share of zeros, where the pattern does not say it")(
      "type", po::value<std::string>()->value_name("T"), "with --shape: bf16 (default) or f32");
}

void refuse_shape_options(const CommandLine& line) {
  if (line.has("shape"))
    throw_usage("--shape times random weights alone: it goes without --compare, --whole and --gpu-table");
  for (const char* name : {"pattern", "sparsity", "type"}) {
    if (line.has(name)) throw_usage(fmt::format("--{} goes with --shape", name));
  }
}

std::filesystem::path write_random_layers(const CommandLine& line, const TemporaryFolder& folder) {
  if (line.has("model")) throw_usage("--shape takes the place of MODEL");
  PruneOptions options;
  options.pattern = parse_pattern(line.maybe_text("pattern").value_or("2:4"));
  options.sparsity = line.maybe_number("sparsity");
  options.threads = line.threads();
  const DType type = parse_type(line.maybe_text("type").value_or("bf16"));
  const std::filesystem::path dense = folder.path() / "dense.safetensors";
  const std::filesystem::path pruned = folder.path() / "pruned.safetensors";
  std::filesystem::path packed = folder.path() / "packed.safetensors";
  write_dense(dense, line.texts("shape"), type);
  const Checkpoint weights(dense);
  prune_by_magnitude(weights, plan_pruning(weights, options), pruned, {}, {});
  pack_checkpoint(Checkpoint(pruned), {.threads = options.threads}, packed, {}, {});
  return packed;
}

}  // namespace prune::app
