#include "apps/prune/unit_check.h"

#include <fmt/format.h>

#include <algorithm>

#include <prune/error.h>

#include "apps/prune/terminal.h"
#include "libprune/io/staging.h"
#include "libprune/io/text.h"
#include "libprune/model/decoder/decoder.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/structured/model_shape.h"

namespace prune::app {
namespace {

constexpr double kShareSlack = 0.005;

void check_shapes(const Decoder& decoder, std::vector<std::string>& findings) {
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer) {
    check_interrupted();
    try {
      decoder.load_layer(layer);
    } catch (const Error& fault) {
      findings.emplace_back(fault.what());
    }
  }
}

bool may_differ(UnitKind allowed, UnitKind units) {
  return allowed == units || (allowed == UnitKind::kMixed && units != UnitKind::kExperts);
}

void check_config(const DecoderConfig& config, const DecoderConfig& original, UnitKind units,
                  std::vector<std::string>& findings) {
  struct Count {
    const char* name;
    int64_t now, before;
    UnitKind units;
  };
  const Count counts[] = {{"layers", config.layers, original.layers, UnitKind::kLayers},
                          {"query heads", config.heads, original.heads, UnitKind::kHeads},
                          {"key-value heads", config.kv_heads, original.kv_heads, UnitKind::kHeads},
                          {"channels", config.inner, original.inner, UnitKind::kChannels},
                          {"experts", config.experts, original.experts, UnitKind::kExperts}};
  for (const Count& count : counts) {
    const bool fits = may_differ(units, count.units) ? count.now <= count.before : count.now == count.before;
    if (!fits)
      findings.push_back(fmt::format("{} {}, of {} in the original", count.now, count.name, count.before));
  }
  const bool is_same = config.family == original.family && config.width == original.width &&
                       config.vocabulary == original.vocabulary && config.head_dim == original.head_dim &&
                       config.experts_per_token == original.experts_per_token;
  if (!is_same) findings.emplace_back("config.json is of another model than the original's");
}

bool is_in_layers(const Decoder& decoder, const std::string& tensor) {
  std::string list = decoder.layer_name(0);
  list.pop_back();
  return tensor.starts_with(list);
}

void check_other_tensors(const Decoder& model, const Decoder& original, std::vector<std::string>& findings) {
  for (const SafetensorsFile& shard : original.checkpoint().shards()) {
    for (const TensorInfo& tensor : shard.tensors()) {
      check_interrupted();
      if (is_in_layers(original, tensor.name)) continue;
      const auto found = model.checkpoint().find(tensor.name);
      const bool is_equal = found && model.checkpoint().tensor(*found).dtype == tensor.dtype &&
                            model.checkpoint().tensor(*found).shape == tensor.shape &&
                            std::ranges::equal(model.checkpoint().data(*found), shard.data(tensor));
      if (!is_equal)
        findings.push_back(
            fmt::format("'{}' {}", tensor.name, found ? "differs from the original's" : "is missing"));
    }
  }
}

}  // namespace

std::vector<std::string> check_units(const Checkpoint& model, const Checkpoint* original,
                                     const UnitPromise& promise) {
  if (PackedCheckpoint::is_packed(model))
    throw_input(shown(model.path()) + ": is packed; 'prune unpack' makes it dense first");
  std::vector<std::string> findings;
  const Decoder decoder(model);
  check_shapes(decoder, findings);
  if (original == nullptr) return findings;
  const Decoder dense(*original);
  check_config(decoder.config(), dense.config(), promise.units, findings);
  check_other_tensors(decoder, dense, findings);
  const double share =
      1 - double(block_parameters(decoder.config())) / double(block_parameters(dense.config()));
  if (promise.sparsity && share < *promise.sparsity - kShareSlack)
    findings.push_back(fmt::format("{} of the decoder blocks' parameters went, {} promised", percent(share),
                                   percent(*promise.sparsity)));
  return findings;
}

}  // namespace prune::app
