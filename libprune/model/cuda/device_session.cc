#include "libprune/model/cuda/device_session.h"

#include <algorithm>
#include <numeric>

#include "libprune/io/staging.h"
#include "libprune/model/decoder/finite.h"
#include "libprune/model/decoder/rope.h"

namespace prune::gpu {
namespace {

constexpr int64_t kLogitFloats = int64_t{1} << 26;  // held at once: 256 MB

// Tokens that the sequences before each have room for.
std::vector<int64_t> begins_of(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> begins(lengths.size());
  std::exclusive_scan(lengths.begin(), lengths.end(), begins.begin(), int64_t{0});
  return begins;
}

RopeTable rope_of(const DecoderConfig& config, const std::vector<int64_t>& lengths) {
  return {config.rope, lengths.empty() ? 0 : *std::ranges::max_element(lengths)};
}

std::vector<float> table_of(const RopeTable& rope, const float* first) {
  return rope.half() == 0 ? std::vector<float>()
                          : std::vector<float>(first, first + rope.length() * rope.half());
}

AttentionCall attention_shape(const DecoderConfig& config) {
  AttentionCall call;
  call.heads = int(config.heads);
  call.kv_heads = int(config.kv_heads);
  call.head_dim = int(config.head_dim);
  return call;
}

// Rows whose logits are held at once: at least one of each sequence.
int most_logit_rows(const DecoderConfig& config, size_t sequences, int64_t chunk) {
  const int64_t most = std::max<int64_t>(kLogitFloats / config.vocabulary, 1);
  return int(std::max(int64_t(sequences), std::min(most, chunk)));
}

}  // namespace

DeviceSession::DeviceSession(const DeviceDecoder& model, const std::vector<int64_t>& lengths, int64_t chunk)
    : model_(model),
      stream_(model.context().stream.get()),
      lengths_(lengths),
      begins_(begins_of(lengths)),
      ends_(lengths.size()),
      chunk_(std::min(chunk, std::accumulate(lengths.begin(), lengths.end(), int64_t{0}))),
      inputs_(size_t(chunk_), lengths.size()),
      most_logit_rows_(most_logit_rows(model.config(), lengths.size(), chunk_)),
      chosen_here_(size_t(most_logit_rows_)) {
  const RopeTable rope = rope_of(model.config(), lengths);
  cos_ = DeviceArray<float>(table_of(rope, rope.cos(0)));
  sin_ = DeviceArray<float>(table_of(rope, rope.sin(0)));
  rope_half_ = int(rope.half());
  reserve(lengths);
}

void DeviceSession::prepare_decoding() {
  const auto n = int(lengths_.size());
  if (n > chunk_) return;
  constexpr int kSmall = 0x3c;  // a bf16 of such bytes is 0.011
  for (const DeviceArray<Bf16>* x : {&x_, &context_, &inner_})
    cuda(cudaMemsetAsync(x->get(), kSmall, x->bytes(), stream_));
  for (size_t i = 0; i < size_t(model_.config().layers); ++i) {
    const DeviceLayer& layer = model_.layer(i);
    layer.qkv.run(x_.get(), n, qkv_.get());
    layer.output.run(context_.get(), n, y_.get());
    layer.expanding.run(x_.get(), n, expanded_.get());
    layer.contracting.run(inner_.get(), n, y_.get());
  }
  model_.project_to_vocabulary(x_.get(), n, logits_.get());
  cuda(cudaStreamSynchronize(stream_));
}

// Caches, and activations of a chunk.
void DeviceSession::reserve(const std::vector<int64_t>& lengths) {
  const DecoderConfig& c = model_.config();
  const int64_t all = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const auto pool = size_t(c.layers * all * c.kv_heads * c.head_dim), n = size_t(chunk_);
  const auto logits = size_t(most_logit_rows_) * size_t(model_.logit_stride());
  const size_t widths =  // in elements of 16 bits
      size_t(4 * c.width + c.qkv_width() + c.context_width() + c.expanded_width() + c.inner);
  require_device_memory(
      (2 * pool + n * widths) * sizeof(Bf16) + logits * sizeof(float),
      "caches for " + std::to_string(all) +
          " tokens, and activations (fewer or shorter sequences and smaller chunks need less" +
          (model_.keeps_dense() ? ", and --lean leaves more" : "") + "), take");
  keys_ = DeviceArray<Bf16>(pool);
  values_ = DeviceArray<Bf16>(pool);
  hidden_ = DeviceArray<float>(n * size_t(c.width));
  x_ = DeviceArray<Bf16>(n * size_t(c.width));
  qkv_ = DeviceArray<Bf16>(n * size_t(c.qkv_width()));
  context_ = DeviceArray<Bf16>(n * size_t(c.context_width()));
  y_ = DeviceArray<Bf16>(n * size_t(c.width));
  expanded_ = DeviceArray<Bf16>(n * size_t(c.expanded_width()));
  inner_ = DeviceArray<Bf16>(n * size_t(c.inner));
  logits_ = DeviceArray<float>(logits);
  losses_ = DeviceArray<float>(size_t(most_logit_rows_));
  chosen_ = DeviceArray<int32_t>(size_t(most_logit_rows_));
}

DeviceSession::~DeviceSession() {
  if (pinned_logits_ != nullptr) cudaHostUnregister(pinned_logits_);
}

DeviceSession::Batch DeviceSession::begin(std::span<const NextTokens> next) {
  check_next_tokens(next, ends_, lengths_, chunk_, model_.config().vocabulary);
  check_interrupted();
  Batch batch{.is_decoding = true};
  inputs_.lay_out(std::accumulate(next.begin(), next.end(), size_t{0},
                                  [](size_t sum, const NextTokens& n) { return sum + n.ids.size(); }));
  const BatchInputs::View& to = inputs_.host();
  for (const NextTokens& n : next) {
    const auto count = int32_t(n.ids.size());
    TokenPlace place{begins_[n.sequence], int32_t(lengths_[n.sequence]), int32_t(ends_[n.sequence])};
    for (int32_t i = 0; i < count; i += kQueryTile) {
      to.tiles[batch.tiles++] = {place, batch.tokens + i, std::min(kQueryTile, count - i)};
      to.tiles[batch.tiles - 1].place.position += i;
    }
    for (int32_t i = 0; i < count; ++i) {
      to.ids[batch.tokens + i] = n.ids[size_t(i)];
      to.places[batch.tokens + i] = place;
      ++place.position;
    }
    batch.tokens += count;
    batch.is_decoding &= count == 1 && n.wants_logits;
    if (n.wants_logits) to.wanted[batch.wanted++] = batch.tokens - 1;
    ends_[n.sequence] += count;
  }
  return batch;
}

CacheView DeviceSession::cache(size_t layer) const {
  const size_t own = keys_.size() / size_t(model_.config().layers);
  return {keys_.get() + layer * own, values_.get() + layer * own};
}

NormCall DeviceSession::norm(const Bf16* y, const float* bias, const float* weight) const {
  return {.hidden = hidden_.get(),
          .y = y,
          .bias = bias,
          .weight = weight,
          .epsilon = model_.config().norm_epsilon,
          .width = int(model_.config().width),
          .rows = nullptr,
          .x = x_.get()};
}

HeadsCall DeviceSession::heads(size_t index) const {
  const DecoderConfig& c = model_.config();
  const DeviceLayer& layer = model_.layer(index);
  return {.qkv = qkv_.get(),
          .bias = layer.qkv_bias.get(),
          .q_norm = layer.q_norm.get(),
          .k_norm = layer.k_norm.get(),
          .epsilon = c.norm_epsilon,
          .cos = cos_.get(),
          .sin = sin_.get(),
          .half = rope_half_,
          .heads = int(c.heads),
          .kv_heads = int(c.kv_heads),
          .head_dim = int(c.head_dim),
          .places = inputs_.device().places,
          .cache = cache(index)};
}

void DeviceSession::attend(size_t index, const Batch& batch) {
  const DeviceLayer& layer = model_.layer(index);
  AttentionCall call = attention_shape(model_.config());
  call.qkv = qkv_.get();
  call.cache = cache(index);
  call.context = context_.get();
  call.scale = layer.scale;
  call.window = layer.window;
  if (batch.is_decoding) {
    const int splits = decode_splits(call, batch.tokens, *std::ranges::max_element(lengths_),
                                     model_.context().traits.multiprocessors);
    attend_decoding(call, heads(index), batch.tokens, splits, stream_);
  } else {
    place_heads(heads(index), batch.tokens, stream_);
    attend_prefilling(call, inputs_.device().tiles, batch.tiles, stream_);
  }
}

// decoder/forward.h has the equations. What a half leaves in y_ is added to the hidden state by the next
// norm.
void DeviceSession::forward_layer(size_t index, const Batch& batch) {
  const DecoderConfig& c = model_.config();
  const DeviceLayer& layer = model_.layer(index);
  const int n = batch.tokens;
  const bool is_first = index == 0;
  add_and_norm(
      norm(is_first ? nullptr : y_.get(), is_first ? nullptr : model_.layer(index - 1).contracting_bias.get(),
           layer.attention_norm.get()),
      n, stream_);
  layer.qkv.run(x_.get(), n, qkv_.get());
  attend(index, batch);
  layer.output.run(context_.get(), n, y_.get());
  add_and_norm(norm(y_.get(), layer.output_bias.get(), layer.feed_forward_norm.get()), n, stream_);
  layer.expanding.run(x_.get(), n, expanded_.get());
  activate_and_multiply(c.activation, expanded_.get(), layer.expanding_bias.get(), n, int(c.inner),
                        inner_.get(), stream_);
  layer.contracting.run(inner_.get(), n, y_.get());
}

void DeviceSession::forward(const Batch& batch) {
  const DecoderConfig& c = model_.config();
  embed(model_.embedding(), inputs_.device().ids, batch.tokens, int(c.width), c.embedding_scale,
        hidden_.get(), stream_);
  for (size_t i = 0; i < size_t(c.layers); ++i) forward_layer(i, batch);
}

// Of the rows wanted: the last norm, logits, and the largest of them.
void DeviceSession::finish(const Batch& batch) {
  if (batch.wanted == 0) return;
  NormCall last = norm(y_.get(), model_.layer(size_t(model_.config().layers) - 1).contracting_bias.get(),
                       model_.final_norm());
  last.rows = inputs_.device().wanted;
  add_and_norm(last, batch.wanted, stream_);
  model_.project_to_vocabulary(x_.get(), batch.wanted, logits_.get());
  find_largest(logit_rows(), batch.wanted, chosen_.get(), stream_);
}

LogitRows DeviceSession::logit_rows() const {
  return {logits_.get(), int(model_.config().vocabulary), model_.logit_stride()};
}

// The second decoding step of so many sequences is captured; from then on it is replayed.
void DeviceSession::step(const Batch& batch) {
  inputs_.upload(stream_);
  const auto all = [&] {
    forward(batch);
    finish(batch);
  };
  if (!batch.is_decoding) return all();
  const auto [place, is_first] = graphs_.try_emplace(batch.tokens);
  if (is_first) return all();
  std::optional<CapturedGraph>& graph = place->second;
  if (!graph) graph.emplace(stream_, all);
  graph->launch(stream_);
}

std::vector<int32_t> DeviceSession::run_greedily(std::span<const NextTokens> next) {
  const Batch batch = begin(next);
  step(batch);
  cuda(cudaMemcpyAsync(chosen_here_.get(), chosen_.get(), size_t(batch.wanted) * sizeof(int32_t),
                       cudaMemcpyDeviceToHost, stream_));
  cuda(cudaStreamSynchronize(stream_));
  std::vector<int32_t> ids(chosen_here_.get(), chosen_here_.get() + batch.wanted);
  if (std::ranges::find(ids, -1) != ids.end()) throw_not_finite(model_.decoder().head_name());
  return ids;
}

// To logits_here_, when the stream is through.
void DeviceSession::fetch_logits(int64_t rows) {
  const int64_t columns = model_.config().vocabulary;
  if (rows > 0 && pinned_logits_ == nullptr) {
    logits_here_.resize(int64_t(lengths_.size()), columns);  // never more, so that it stays where it is
    cuda(cudaHostRegister(logits_here_.data(), size_t(logits_here_.size()) * sizeof(float),
                          cudaHostRegisterDefault));
    pinned_logits_ = logits_here_.data();
  }
  logits_here_.resize(rows, columns);
  if (rows > 0) {
    const auto row = size_t(columns) * sizeof(float);
    cuda(cudaMemcpy2DAsync(logits_here_.data(), row, logits_.get(),
                           size_t(model_.logit_stride()) * sizeof(float), row, size_t(rows),
                           cudaMemcpyDeviceToHost, stream_));
  }
  cuda(cudaStreamSynchronize(stream_));
}

const FloatMatrix& DeviceSession::run(std::span<const NextTokens> next) {
  const Batch batch = begin(next);
  step(batch);
  fetch_logits(batch.wanted);
  require_finite(logits_here_.data(), logits_here_.size(), model_.decoder().head_name());
  return logits_here_;
}

void DeviceSession::lose(int64_t seqlen, std::span<const int32_t> ids, std::span<const int32_t> targets,
                         std::span<float> losses) {
  std::ranges::fill(ends_, 0);
  std::vector<NextTokens> next;
  for (size_t s = 0; s * size_t(seqlen) < ids.size(); ++s)
    next.push_back({s, ids.subspan(s * size_t(seqlen), size_t(seqlen)), false});
  Batch batch = begin(next);
  const BatchInputs::View& to = inputs_.host();
  std::ranges::copy(targets, to.targets);
  for (int32_t i = 0; i < batch.tokens; ++i) to.wanted[i] = i;
  inputs_.upload(stream_);
  batch.is_decoding = false;
  forward(batch);
  NormCall last = norm(y_.get(), model_.layer(size_t(model_.config().layers) - 1).contracting_bias.get(),
                       model_.final_norm());
  for (int done = 0; done < batch.tokens; done += most_logit_rows_) {
    const int n = std::min(most_logit_rows_, batch.tokens - done);
    last.rows = inputs_.device().wanted + done;
    add_and_norm(last, n, stream_);
    model_.project_to_vocabulary(x_.get(), n, logits_.get());
    gpu::lose(logit_rows(), inputs_.device().targets + done, n, losses_.get(), stream_);
    cuda(cudaMemcpyAsync(losses.data() + done, losses_.get(), size_t(n) * sizeof(float),
                         cudaMemcpyDeviceToHost, stream_));
    cuda(cudaStreamSynchronize(stream_));
  }
  require_finite(losses.data(), int64_t(losses.size()), model_.decoder().head_name());
}

}  // namespace prune::gpu
