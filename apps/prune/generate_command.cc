// prune generate MODEL --prompt TEXT: text from a checkpoint, dense or packed.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/command.h"
#include "apps/prune/exit_codes.h"
#include "apps/prune/memory_use.h"
#include "apps/prune/runtime_options.h"
#include "apps/prune/terminal.h"
#include "libprune/io/corpus.h"
#include "libprune/io/posix.h"
#include "libprune/io/token_ids.h"
#include "libprune/model/elapsed.h"
#include "libprune/model/parallel.h"
#include "libprune/model/runtime/generation.h"
#include "libprune/model/runtime/stop_ids.h"
#include "libprune/model/runtime/text_stream.h"

namespace prune::app {
namespace {

using Prompts = std::vector<std::vector<int32_t>>;

CommandLine make_generate_line() {
  CommandLine line(
      "prune generate [MODEL] --prompt TEXT... [options]",
      "Continues a text with a checkpoint, dense or packed: packed layers run on the sparse kernels.",
      "Without --temperature the most probable token is taken each time. Several prompts run together, and "
      "their "
      "texts are\nprinted when all are complete; one is printed as it comes.\n"
      "\nExamples:\n  prune generate Llama-3.2-1B-packed --prompt 'The file is' -n 64\n"
      "  prune generate Llama-3.2-1B --prompt 'Once' --temperature 0.8 --top-p 0.95 --seed 7 --json\n");
  line.positional("model");
  const auto count = [] { return po::value<int>()->value_name("N"); };
  const auto number = [](double value, const char* text) {
    return po::value<double>()->default_value(value, text)->value_name("X");
  };
  line.options()("prompt,p", po::value<std::vector<std::string>>()->composing()->value_name("TEXT"),
                 "the text to continue; may be repeated for a batch")(
      "prompt-file", po::value<std::vector<std::string>>()->composing()->value_name("FILE"),
      "one prompt: .txt, or token ids as .npy or .safetensors; may be repeated")(
      "new-tokens,n", count(), "tokens to add at most (default 128)")(
      "temperature", number(0, "0"), "0: the most probable token; 1: tokens by their probabilities")(
      "top-k", count(), "draw among the N most probable tokens only")(
      "top-p", number(1, "1"), "draw among the fewest tokens that together have this probability")(
      "seed", count(), "of the draws (default 0)")("ignore-eos", po::bool_switch(),
                                                   "go on after a token that ends a text")(
      "chunk", count(),
      "tokens of the prompts that go through the model at once (default 512, on a GPU 2048)");
  add_device_option(line);
  add_runtime_options(line);
  add_running_options(line);
  return line;
}

GenerationOptions generation_options(const CommandLine& line) {
  GenerationOptions options;
  if (line.has("new-tokens")) options.new_tokens = line.count("new-tokens", 1);
  options.chunk = line.has("chunk") ? line.count("chunk", 1) : on_gpu(line) ? kGpuChunk : kProcessorChunk;
  options.sampling.temperature = *line.maybe_number("temperature");
  options.sampling.top_p = *line.maybe_number("top-p");
  options.sampling.top_k = line.count("top-k", 0);
  options.sampling.seed = uint64_t(line.count("seed", 0));
  [[maybe_unused]] const Sampler refuses_what_cannot_be(options.sampling, 0);
  return options;
}

// A folder without a tokenizer can still continue token ids.
std::optional<Tokenizer> load_tokenizer(const Checkpoint& checkpoint, bool is_needed) {
  const auto has = [&](const char* name) {
    std::error_code ignored;
    return std::filesystem::exists(checkpoint.path() / name, ignored);
  };
  if (!is_needed && !has("tokenizer.json") && !has("tokenizer.model")) return std::nullopt;
  return Tokenizer::load(checkpoint.path());
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids = tokenizer.encode(text);
  if (const auto bos = tokenizer.bos_id()) ids.insert(ids.begin(), *bos);
  return ids;
}

// Those of --prompt, then those of --prompt-file.
Prompts read_prompts(const CommandLine& line, const Checkpoint& checkpoint,
                     const std::optional<Tokenizer>& tokenizer, int64_t vocabulary) {
  Prompts prompts;
  for (const std::string& text : line.texts("prompt")) prompts.push_back(encode(*tokenizer, text));
  for (const std::string& file : line.texts("prompt-file")) {
    if (file.ends_with(".jsonl"))
      throw_usage("--prompt-file " + file + ": expected .txt, .npy or .safetensors");
    prompts.push_back(load_corpus(file, checkpoint.path(), {.vocabulary_size = vocabulary}));
  }
  for (const auto& prompt : prompts) check_token_ids(prompt, vocabulary, "the prompt");
  return prompts;
}

// What a model says must not steer the terminal: control characters but line feed and tab become U+FFFD
// there.
std::string harmless(std::string text) {
  if (::isatty(STDOUT_FILENO) == 0) return text;
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool second_set =
        c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (second_set) ++i;
    const bool is_control = second_set || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
    result += is_control ? "\xEF\xBF\xBD" : std::string(1, text[i]);
  }
  return result;
}

void put(const std::string& text) {
  if (text.empty()) return;
  const std::string shown = harmless(text);
  if (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || std::fflush(stdout) != 0)
    throw_runtime("the result cannot be written: " + system_reason(errno));
}

std::string ids_in_words(const std::vector<int32_t>& ids) { return fmt::format("{}", fmt::join(ids, " ")); }

// The only text as it comes, several at their end.
class Printer {
 public:
  Printer(const std::optional<Tokenizer>& tokenizer, const Prompts& prompts, bool streams)
      : streams_(streams) {
    if (!tokenizer) return;
    for (const auto& prompt : prompts) streams_of_.emplace_back(*tokenizer, prompt);
    texts_.resize(prompts.size());
  }

  void add(size_t sequence, int32_t id) {
    if (!streams_of_.empty()) return give(sequence, streams_of_[sequence].add(id));
    if (streams_) put(fmt::format("{} ", id));
  }
  void finish() {
    for (size_t s = 0; s < streams_of_.size(); ++s) give(s, streams_of_[s].finish());
    if (streams_) put("\n");
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  void give(size_t sequence, const std::string& text) {
    texts_[sequence] += text;
    if (streams_) put(text);
  }

  bool streams_;
  std::vector<TextStream> streams_of_;
  std::vector<std::string> texts_;
};

double per_second(int64_t tokens, double seconds) { return seconds > 0 ? double(tokens) / seconds : 0; }

std::string times_in_words(const Generation& g) {
  std::string text = fmt::format("{} prompt tokens in {:.2f} s, {:.0f} tokens/s", g.prompt_tokens,
                                 g.prefill_seconds, per_second(g.prompt_tokens, g.prefill_seconds));
  if (g.decoded_tokens > 0) {
    text += fmt::format("; {} more in {:.2f} s, {:.1f} tokens/s", g.decoded_tokens, g.decode_seconds,
                        per_second(g.decoded_tokens, g.decode_seconds));
  }
  return fmt::format("{}; cache {}, resident {}\n", text, human_bytes(g.cache_bytes),
                     human_bytes(memory_use().resident));
}

nlohmann::json document(const Checkpoint& checkpoint, const ReadyModel& model, const Prompts& prompts,
                        const Generation& g, const std::vector<std::string>& texts, const CommandLine& line) {
  nlohmann::json sequences = nlohmann::json::array();
  for (size_t s = 0; s < prompts.size(); ++s) {
    sequences.push_back(
        {{"prompt_tokens", prompts[s].size()}, {"ids", g.ids[s]}, {"stopped", bool(g.stopped[s])}});
    if (!texts.empty()) sequences.back()["text"] = texts[s];
  }
  nlohmann::json result = {{"model", checkpoint.path().string()},
                           {"sequences", sequences},
                           {"prompt_tokens", g.prompt_tokens},
                           {"prefill_seconds", g.prefill_seconds},
                           {"first_token_seconds", g.first_token_seconds},
                           {"decoded_tokens", g.decoded_tokens},
                           {"decode_seconds", g.decode_seconds},
                           {"decode_tokens_per_second", per_second(g.decoded_tokens, g.decode_seconds)},
                           {"cache_bytes", g.cache_bytes},
                           {"resident_bytes", memory_use().resident}};
  result.update(prepared_json(model, line));
  return result;
}

void print_batch(const Prompts& prompts, const Generation& g, const std::vector<std::string>& texts) {
  for (size_t s = 0; s < prompts.size(); ++s)
    put(fmt::format("[{}] {}\n", s + 1, texts.empty() ? ids_in_words(g.ids[s]) : texts[s]));
}

}  // namespace

int generate_command(const Arguments& arguments) {
  CommandLine line = make_generate_line();
  if (!line.parse(arguments)) return kDone;
  GenerationOptions options = generation_options(line);
  if (!line.has("prompt") && !line.has("prompt-file"))
    throw_usage("--prompt TEXT is missing: the text to continue");
  require_device(line);
  const ThreadCount threads(line.threads());
  const auto start = std::chrono::steady_clock::now();
  const Checkpoint checkpoint(line.maybe_text("model").value_or("."));
  const double open_seconds = seconds_since(start);
  const std::optional<Tokenizer> tokenizer = load_tokenizer(checkpoint, line.has("prompt"));
  const DecoderConfig config = read_decoder_config(checkpoint);
  const Prompts prompts = read_prompts(line, checkpoint, tokenizer, config.vocabulary);
  cache_lengths(config, prompts, options);  // what cannot be, before the model is loaded
  if (!line.flag("ignore-eos")) options.stop_ids = stop_ids_of(checkpoint.path());
  const auto model = prepare_model(line, checkpoint);
  const bool streams = prompts.size() == 1 && !line.flag("json");
  Printer printer(tokenizer, prompts, streams);
  const Generation g = generate(*model, prompts, options, [&](size_t s, int32_t id) { printer.add(s, id); });
  printer.finish();
  if (line.flag("json")) {
    nlohmann::json result = document(checkpoint, *model, prompts, g, printer.texts(), line);
    result["open_seconds"] = open_seconds;
    fmt::print("{}", json_text(result));
  } else if (!streams) {
    print_batch(prompts, g, printer.texts());
  }
  if (!line.flag("quiet")) say(times_in_words(g));
  return kDone;
}

}  // namespace prune::app
