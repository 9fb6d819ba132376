// model_logits MODEL LENGTH < IDS > LOGITS: what a model says of sequences of LENGTH token ids, for a
// comparison with another program. IDS are int32, LOGITS float32 [ids, vocabulary], both raw.
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "libprune/io/checkpoint.h"
#include "libprune/model/decoder/forward.h"
#include "libprune/model/decoder/head.h"

namespace prune {
namespace {

std::vector<int32_t> read_ids(int64_t length) {
  std::vector<int32_t> ids;
  for (int32_t id; std::fread(&id, sizeof id, 1, stdin) == 1;) ids.push_back(id);
  if (length < 1 || ids.empty() || int64_t(ids.size()) % length != 0)
    throw std::runtime_error("the ids are not whole sequences");
  return ids;
}

FloatMatrix logits_of(const Decoder& decoder, const std::vector<int32_t>& ids, int64_t length) {
  const Sequences sequences(int64_t(ids.size()) / length, length);
  const RopeTable rope(decoder.config().rope, length);
  FloatMatrix hidden(sequences.tokens(), decoder.config().width);
  decoder.embed(ids, sequences, hidden.data());
  LayerActivations activations;
  for (int64_t i = 0; i < decoder.config().layers; ++i)
    forward_layer(decoder.load_layer(i), rope, sequences, hidden.data(), hidden.data(), activations);
  return compute_logits(decoder, hidden.data(), hidden.rows());
}

}  // namespace
}  // namespace prune

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: model_logits MODEL LENGTH < IDS > LOGITS");
  const int64_t length = std::stoll(argv[2]);
  const prune::Checkpoint checkpoint{std::filesystem::path(argv[1])};
  const prune::FloatMatrix logits =
      prune::logits_of(prune::Decoder(checkpoint), prune::read_ids(length), length);
  const auto size = size_t(logits.size());
  return std::fwrite(logits.data(), sizeof(float), size, stdout) == size ? 0 : 1;
} catch (const std::exception& fault) {
  std::fprintf(stderr, "model_logits: %s\n", fault.what());
  return 1;
}
