#include "libprune/model/decoder/layer.h"

namespace prune {
namespace {

template <class Layer, class Pointer>
std::vector<Pointer> list_linears(Layer& layer) {
  std::vector<Pointer> list;
  for (auto& linear : layer.qkv) list.push_back(&linear);
  list.push_back(&layer.output);
  for (auto& expert : layer.experts) {
    for (auto& linear : expert.expanding) list.push_back(&linear);
    list.push_back(&expert.contracting);
  }
  return list;
}

}  // namespace

AttentionShape DecoderLayer::attention_shape() const {
  return {.heads = config->heads,
          .kv_heads = config->kv_heads,
          .head_dim = config->head_dim,
          .scale = config->attention_scales[size_t(index)],
          .window = config->windows[size_t(index)],
          .precision = output.precision};
}

std::vector<Linear*> DecoderLayer::linears() { return list_linears<DecoderLayer, Linear*>(*this); }
std::vector<const Linear*> DecoderLayer::linears() const {
  return list_linears<const DecoderLayer, const Linear*>(*this);
}

}  // namespace prune
