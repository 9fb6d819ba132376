#include "libprune/model/cuda/batch_inputs.h"

#include <utility>

namespace prune::gpu {
namespace {

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

BatchInputs::View BatchInputs::view(uint8_t* at, size_t tokens) {
  const auto take = [&at](size_t bytes) { return std::exchange(at, at + aligned(bytes)); };
  View view{};
  view.ids = reinterpret_cast<int32_t*>(take(tokens * sizeof(int32_t)));
  view.targets = reinterpret_cast<int32_t*>(take(tokens * sizeof(int32_t)));
  view.places = reinterpret_cast<TokenPlace*>(take(tokens * sizeof(TokenPlace)));
  view.wanted = reinterpret_cast<int32_t*>(take(tokens * sizeof(int32_t)));
  view.tiles = reinterpret_cast<QueryTile*>(at);
  return view;
}

BatchInputs::BatchInputs(size_t tokens, size_t sequences)
    : sequences_(sequences), pinned_(bytes(tokens)), memory_(bytes(tokens)) {}

size_t BatchInputs::bytes(size_t tokens) const {
  return 3 * aligned(tokens * sizeof(int32_t)) + aligned(tokens * sizeof(TokenPlace)) +
         (tokens / kQueryTile + sequences_) * sizeof(QueryTile);
}

void BatchInputs::lay_out(size_t tokens) {
  used_ = bytes(tokens);
  host_ = view(pinned_.get(), tokens);
  device_ = view(memory_.get(), tokens);
}

void BatchInputs::upload(cudaStream_t stream) const {
  cuda(cudaMemcpyAsync(memory_.get(), pinned_.get(), used_, cudaMemcpyHostToDevice, stream));
}

}  // namespace prune::gpu
