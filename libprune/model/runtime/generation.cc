#include "libprune/model/runtime/generation.h"

#include <algorithm>
#include <chrono>
#include <string>

#include <prune/error.h>

#include "libprune/model/elapsed.h"
#include "libprune/model/parallel.h"

namespace prune {
namespace {

using Clock = std::chrono::steady_clock;
using Prompts = std::vector<std::vector<int32_t>>;

class Generator {
 public:
  Generator(const ReadyModel& model, const Prompts& prompts, const GenerationOptions& options,
            const TokenObserver& observer)
      : prompts_(prompts),
        options_(options),
        observer_(observer),
        sequences_(model.start(cache_lengths(model.config(), prompts, options),
                               std::max(options.chunk, int64_t(prompts.size())))) {
    for (size_t s = 0; s < prompts.size(); ++s) {
      samplers_.emplace_back(options.sampling, s);
      result_.prompt_tokens += int64_t(prompts[s].size());
    }
    result_.ids.resize(prompts.size());
    result_.stopped.resize(prompts.size());
    result_.cache_bytes = sequences_->cache_bytes();
  }

  Generation run() {
    prefill();
    result_.prefill_seconds = seconds_since(start_);
    const auto start = Clock::now();
    while (decode_step()) {
    }
    result_.decode_seconds = seconds_since(start);
    return std::move(result_);
  }

 private:
  // Whole prompts and parts of prompts, as many tokens as a chunk takes.
  void prefill() {
    size_t sequence = 0, offset = 0;
    while (sequence < prompts_.size()) {
      std::vector<NextTokens> next;
      size_t room = size_t(options_.chunk);
      while (room > 0 && sequence < prompts_.size()) {
        const std::span<const int32_t> rest = std::span(prompts_[sequence]).subspan(offset);
        const size_t count = std::min(room, rest.size());
        next.push_back({sequence, rest.first(count), count == rest.size()});
        room -= count;
        offset += count;
        if (count == rest.size()) ++sequence, offset = 0;
      }
      step(next);
    }
  }

  // False when no sequence goes on.
  bool decode_step() {
    std::vector<NextTokens> next;
    for (size_t s = 0; s < prompts_.size(); ++s) {
      if (!result_.stopped[s] && int64_t(result_.ids[s].size()) < options_.new_tokens)
        next.push_back({s, std::span(result_.ids[s]).last(1), true});
    }
    if (next.empty()) return false;
    step(next);
    result_.decoded_tokens += int64_t(next.size());
    return true;
  }

  void step(const std::vector<NextTokens>& next) {
    const std::vector<int32_t> ids =
        options_.sampling.temperature == 0 ? sequences_->run_greedily(next) : draw(next);
    auto id = ids.begin();
    for (const NextTokens& n : next) {
      if (n.wants_logits) accept(n.sequence, *id++);
    }
  }

  std::vector<int32_t> draw(const std::vector<NextTokens>& next) {
    const FloatMatrix& logits = sequences_->run(next);
    std::vector<size_t> drawing;  // sequences
    for (const NextTokens& n : next) {
      if (n.wants_logits) drawing.push_back(n.sequence);
    }
    std::vector<int32_t> ids(drawing.size());
    parallel_for(ids.size(), 0, [&](size_t i) {
      ids[i] = samplers_[drawing[i]].choose({logits.row(int64_t(i)), size_t(logits.cols())});
    });
    return ids;
  }

  void accept(size_t s, int32_t id) {
    if (s == 0 && result_.ids[0].empty()) result_.first_token_seconds = seconds_since(start_);
    result_.stopped[s] = std::ranges::find(options_.stop_ids, id) != options_.stop_ids.end();
    if (result_.stopped[s]) return;
    result_.ids[s].push_back(id);
    if (observer_) observer_(s, id);
  }

  const Prompts& prompts_;
  const GenerationOptions& options_;
  const TokenObserver& observer_;
  Clock::time_point start_ = Clock::now();
  std::unique_ptr<RunningSequences> sequences_;
  std::vector<Sampler> samplers_;
  Generation result_;
};

}  // namespace

// The last token that is chosen never goes through the model.
std::vector<int64_t> cache_lengths(const DecoderConfig& config, const Prompts& prompts,
                                   const GenerationOptions& options) {
  if (options.new_tokens < 1)
    throw_usage("new tokens " + std::to_string(options.new_tokens) + ": expected at least 1");
  if (options.chunk < 1) throw_usage("chunk " + std::to_string(options.chunk) + ": expected at least 1");
  if (prompts.empty()) throw_input("no prompt");
  std::vector<int64_t> lengths;
  for (const auto& prompt : prompts) {
    if (prompt.empty()) throw_input("a prompt without tokens: the model has none that begins a text");
    const int64_t most = config.max_positions, given = int64_t(prompt.size());
    if (given > most || options.new_tokens > most - given) {
      throw_input("a prompt of " + std::to_string(given) + " tokens with " +
                  std::to_string(options.new_tokens) + " new ones is longer than the " +
                  std::to_string(most) +
                  " positions that the model was made for: shorten it, or ask for less");
    }
    lengths.push_back(given + options.new_tokens - 1);
  }
  return lengths;
}

Generation generate(const ReadyModel& model, const Prompts& prompts, const GenerationOptions& options,
                    const TokenObserver& observer) {
  return Generator(model, prompts, options, observer).run();
}

}  // namespace prune
