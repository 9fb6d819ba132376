#include "apps/prune/whole_bench.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <random>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/exit_codes.h"
#include "apps/prune/gpu_driver.h"
#include "apps/prune/gpu_model.h"
#include "apps/prune/memory_use.h"
#include "apps/prune/runtime_options.h"
#include "apps/prune/temporary_folder.h"
#include "apps/prune/terminal.h"
#include "libprune/io/staging.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/packed_checkpoint.h"
#include "libprune/model/parallel.h"
#include "libprune/model/runtime/prepared_decoder.h"
#include "libprune/model/unpack_checkpoint.h"

namespace prune::app {
namespace {

using Clock = std::chrono::steady_clock;

struct Plan {
  int64_t prompt_tokens = 512;
  int64_t new_tokens = 32;
  int rounds = 5;
  bool on_gpu = false, lean = false;
  RuntimeOptions options = {};  // of the processor
};

// One round of one model.
struct Round {
  double load_seconds = 0;
  double prefill_seconds = 0;  // of the prompt, to its last token's logits
  double step_seconds = 0;     // of a token: the median of the round's
  uint64_t memory = 0;         // resident, or of the GPU: weights and cache
};

struct Contestant {
  std::string name;
  std::filesystem::path path;
  uint64_t file_bytes = 0;
  PreparedWeights prepared;
  std::vector<Round> rounds;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

template <class Get>
std::vector<double> of_rounds(const Contestant& c, Get get) {
  std::vector<double> values;
  for (const Round& round : c.rounds) values.push_back(double(std::invoke(get, round)));
  return values;
}

// How many times as fast as the first, round by round: other load comes and goes, but hits both sides of a
// ratio.
struct Ratio {
  double middle = 1, spread = 0;  // the median, and half of the range over it
};

Ratio ratio(const Contestant& first, const Contestant& other, double Round::*seconds) {
  std::vector<double> ratios;
  for (size_t r = 0; r < other.rounds.size(); ++r)
    ratios.push_back(first.rounds[r].*seconds / other.rounds[r].*seconds);
  const auto [least, most] = std::ranges::minmax(ratios);
  const double middle = median(ratios);
  return {middle, (most - least) / 2 / middle};
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocabulary) {
  std::mt19937 random(1);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(int32_t(random() % uint64_t(vocabulary)));
  return ids;
}

std::unique_ptr<ReadyModel> load(const Checkpoint& checkpoint, const Plan& plan) {
  if (plan.on_gpu) return prepare_on_gpu(checkpoint, plan.lean, {});
  return std::make_unique<PreparedDecoder>(checkpoint, plan.options);
}

// Throws Error(kUsage) for a prompt that is too long for one of the models.
void require_positions(const std::vector<Contestant>& contestants, const Plan& plan) {
  for (const Contestant& c : contestants) {
    const int64_t most = read_decoder_config(Checkpoint(c.path)).max_positions,
                  tokens = plan.prompt_tokens + plan.new_tokens;
    if (tokens > most) {
      throw_usage(fmt::format("--prompt-tokens and --new-tokens: {} is longer than the {} positions of {}",
                              tokens, most, shown(c.path)));
    }
  }
}

Round run_once(Contestant& contestant, const Plan& plan) {
  Round round;
  auto start = Clock::now();
  const Checkpoint checkpoint(contestant.path);
  const std::unique_ptr<ReadyModel> ready = load(checkpoint, plan);
  const ReadyModel& model = *ready;
  round.load_seconds = seconds_since(start);
  contestant.prepared = model.prepared();
  const std::vector<int32_t> ids =
      random_ids(plan.prompt_tokens + plan.new_tokens, model.config().vocabulary);
  const int64_t chunk = plan.on_gpu ? kGpuChunk : kProcessorChunk;
  const std::unique_ptr<RunningSequences> session = model.start({int64_t(ids.size())}, chunk);
  const auto feed = [&](int64_t at, int64_t count, bool wants_logits) {
    const NextTokens next[] = {{0, std::span(ids).subspan(size_t(at), size_t(count)), wants_logits}};
    const auto from = Clock::now();
    session->run(next);
    return seconds_since(from);
  };
  for (int64_t at = 0; at < plan.prompt_tokens; at += chunk) {
    const int64_t count = std::min(chunk, plan.prompt_tokens - at);
    round.prefill_seconds += feed(at, count, at + count == plan.prompt_tokens);
  }
  std::vector<double> steps;
  for (int64_t i = 0; i < plan.new_tokens; ++i) steps.push_back(feed(plan.prompt_tokens + i, 1, true));
  round.step_seconds = median(steps);
  round.memory = plan.on_gpu ? model.prepared().bytes + session->cache_bytes() : memory_use().resident;
  return round;
}

uint64_t file_bytes(const std::filesystem::path& path) {
  uint64_t sum = 0;
  const Checkpoint checkpoint(path);
  for (const SafetensorsFile& shard : checkpoint.shards()) sum += shard.map().bytes().size();
  return sum;
}

std::string machine(const Plan& plan) {
  if (!plan.on_gpu) return fmt::format("{} threads", omp_get_max_threads());
  const GpuDriver driver = ask_gpu_driver();
  return driver.gpus.empty() ? "no GPU" : printable(driver.gpus.front().name);
}

std::string human_seconds(double seconds) {
  return seconds < 0.1 ? fmt::format("{:.1f} ms", seconds * 1e3) : fmt::format("{:.2f} s", seconds);
}

std::string percent_of(double share) { return fmt::format("±{:.0f}%", share * 100); }

std::string table(const std::vector<Contestant>& contestants, const Plan& plan) {
  Table table({"model", "files", plan.on_gpu ? "GPU memory" : "resident", "load", "first token", "prefill",
               "", "decode", ""});
  for (const Contestant& c : contestants) {
    const double prefill = median(of_rounds(c, &Round::prefill_seconds));
    const double step = median(of_rounds(c, &Round::step_seconds));
    const auto in_words = [&](const Ratio& r) {
      return &c == contestants.data() ? std::string()
                                      : fmt::format("{:.2f} {}", r.middle, percent_of(r.spread));
    };
    table.add({printable(c.name), human_bytes(c.file_bytes),
               human_bytes(uint64_t(median(of_rounds(c, &Round::memory)))),
               human_seconds(median(of_rounds(c, &Round::load_seconds))), human_seconds(prefill),
               fmt::format("{:.0f} tokens/s", double(plan.prompt_tokens) / prefill),
               in_words(ratio(contestants.front(), c, &Round::prefill_seconds)),
               fmt::format("{:.1f} tokens/s", 1 / step),
               in_words(ratio(contestants.front(), c, &Round::step_seconds))});
  }
  return table.text();
}

std::string fine_print(const std::vector<Contestant>& contestants, const Plan& plan) {
  std::string text = fmt::format(
      "{} prompt tokens, then {} one by one; {} rounds in turns, {}. Medians; ratios are to the "
      "first line, "
      "round by round.\n",
      plan.prompt_tokens, plan.new_tokens, plan.rounds, machine(plan));
  const auto counted = [](const std::map<std::string, int64_t>& kernels) {
    std::string list;
    for (const auto& [kernel, layers] : kernels) list += fmt::format(" {} x {}", layers, kernel);
    return list;
  };
  for (const Contestant& c : contestants) {
    text += fmt::format("{}: one token{}; {} tokens{}\n", printable(c.name), counted(c.prepared.kernels),
                        kPromptRows, counted(c.prepared.prompt_kernels));
  }
  return text;
}

nlohmann::json to_json(const Contestant& first, const Contestant& c, const Plan& plan) {
  const double prefill = median(of_rounds(c, &Round::prefill_seconds));
  const double step = median(of_rounds(c, &Round::step_seconds));
  const Ratio prefill_ratio = ratio(first, c, &Round::prefill_seconds);
  const Ratio decode_ratio = ratio(first, c, &Round::step_seconds);
  return {{"model", c.name},
          {"file_bytes", c.file_bytes},
          {plan.on_gpu ? "gpu_bytes" : "resident_bytes", median(of_rounds(c, &Round::memory))},
          {"prepared_bytes", c.prepared.bytes},
          {"in_place_bytes", c.prepared.in_place},
          {"kernels", c.prepared.kernels},
          {"prompt_kernels", c.prepared.prompt_kernels},
          {"load_seconds", median(of_rounds(c, &Round::load_seconds))},
          {"first_token_seconds", prefill},
          {"prefill_tokens_per_second", double(plan.prompt_tokens) / prefill},
          {"prefill_speedup", prefill_ratio.middle},
          {"prefill_spread", prefill_ratio.spread},
          {"decode_tokens_per_second", 1 / step},
          {"decode_speedup", decode_ratio.middle},
          {"decode_spread", decode_ratio.spread}};
}

nlohmann::json document(const std::vector<Contestant>& contestants, const Plan& plan) {
  nlohmann::json models = nlohmann::json::array();
  for (const Contestant& c : contestants) models.push_back(to_json(contestants.front(), c, plan));
  return {{"machine", machine(plan)},
          {"threads", omp_get_max_threads()},
          {"prompt_tokens", plan.prompt_tokens},
          {"new_tokens", plan.new_tokens},
          {"rounds", plan.rounds},
          {"models", models}};
}

// What the others are compared with comes first: the first --beside, or MODEL made dense again in `folder`.
std::vector<Contestant> contestants_of(const CommandLine& line, const TemporaryFolder& folder) {
  const std::filesystem::path model = line.maybe_text("model").value_or(".");
  std::vector<Contestant> list;
  const auto add = [&](const std::string& name, const std::filesystem::path& path) {
    list.push_back(
        {.name = name, .path = path, .file_bytes = file_bytes(path), .prepared = {}, .rounds = {}});
  };
  for (const std::string& beside : line.texts("beside")) add(beside, beside);
  const Checkpoint checkpoint(model);
  if (list.empty() && PackedCheckpoint::is_packed(checkpoint)) {
    ProgressBar bar("unpacking");
    unpack_checkpoint(checkpoint, folder.path() / "dense", {}, line.threads(),
                      line.flag("quiet") ? Progress() : bar.callback());
    add("dense", folder.path() / "dense");
  }
  add(model.string(), model);
  return list;
}

}  // namespace

void add_whole_options(CommandLine& line) {
  line.options()(
      "whole", po::bool_switch(),
      "time whole models instead: loading, a prompt, and tokens one by one; a packed model beside itself "
      "made dense again, in turns")(
      "beside", po::value<std::vector<std::string>>()->composing()->value_name("MODEL"),
      "with --whole: compare with this one instead (may be repeated; ratios are to the first)")(
      "prompt-tokens", po::value<int>()->value_name("N"), "with --whole: tokens of the prompt (default 512)")(
      "new-tokens", po::value<int>()->value_name("N"), "with --whole: tokens after it (default 32)")(
      "rounds", po::value<int>()->value_name("N"),
      "with --whole: how often each model takes its turn (default 5)");
  add_runtime_options(line);
}

void refuse_whole_options(const CommandLine& line) {
  for (const char* name : {"beside", "prompt-tokens", "new-tokens", "rounds"}) {
    if (line.has(name)) throw_usage(fmt::format("--{} goes with --whole", name));
  }
  for (const char* name : {"float32", "int8-inputs", "retune", "lean"}) {
    if (line.flag(name)) throw_usage(fmt::format("--{} goes with --whole", name));
  }
}

int whole_bench_command(const CommandLine& line) {
  Plan plan;
  if (line.has("prompt-tokens")) plan.prompt_tokens = line.count("prompt-tokens", 1);
  if (line.has("new-tokens")) plan.new_tokens = line.count("new-tokens", 1);
  if (line.has("rounds")) plan.rounds = line.count("rounds", 1);
  const ThreadCount threads(line.threads());
  plan.on_gpu = on_gpu(line);
  plan.lean = line.flag("lean");
  plan.options = runtime_options(line);
  const TemporaryFolder folder("prune-bench");
  std::vector<Contestant> contestants = contestants_of(line, folder);
  require_positions(contestants, plan);
  // The first loading may measure and brings files into memory, and a GPU's dense products are tried with as
  // many tokens as come: it is no round.
  Plan first = plan;
  if (!plan.on_gpu) first.prompt_tokens = first.new_tokens = 1;
  for (Contestant& c : contestants) run_once(c, first);
  ProgressBar bar("measuring", ProgressUnit::kCount);
  const Progress progress = line.flag("quiet") ? Progress() : bar.callback();
  ProgressCounter counter(progress, uint64_t(plan.rounds) * contestants.size());
  for (int round = 0; round < plan.rounds; ++round) {
    for (Contestant& c : contestants) {
      c.rounds.push_back(run_once(c, plan));
      counter.add(1, c.name);
    }
  }
  fmt::print("{}", line.flag("json") ? json_text(document(contestants, plan))
                                     : table(contestants, plan) + "\n" + fine_print(contestants, plan));
  return kDone;
}

}  // namespace prune::app
