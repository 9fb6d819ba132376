// Text for people: tables, numbers with units, a progress bar.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "libprune/io/text.h"
#include "libprune/model/progress.h"

namespace prune::app {

std::string human_bytes(uint64_t bytes);  // "13.1 MB": powers of ten, as disks and Hugging Face count
std::string human_count(int64_t count);   // "29.4 M"
std::string percent(double share);        // 0.5 -> "50.00%"

// Each word once, in the order of first appearance: "up_proj, down_proj"; "" for none.
std::string join_distinct(const std::vector<std::string>& words, std::string_view between = ", ");

// A document as people read it. Paths and names need not be UTF-8, JSON has to: what is not gets replaced.
std::string json_text(const nlohmann::json& document);

// Columns aligned, the first left and the others right, with a line under the titles.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) : titles_(std::move(titles)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void add_rule() { rows_.emplace_back(); }
  std::string text() const;

 private:
  std::vector<std::string> titles_;
  std::vector<std::vector<std::string>> rows_;
};

// Writes to stderr whatever becomes of it: a message that nobody can read must not end the work, or hide why
// it ended.
void say(std::string_view text);

// Whether a stream takes colour: a terminal, and neither NO_COLOR (not empty) nor TERM=dumb; FORCE_COLOR
// wins.
bool takes_colour(int file_descriptor);
std::string bold(std::string_view text, int file_descriptor);
std::string red(std::string_view text, int file_descriptor);

enum class ProgressUnit { kBytes, kCount };

// Progress on stderr: a bar that redraws on a terminal, elsewhere a line every ten seconds.
class ProgressBar {
 public:
  explicit ProgressBar(std::string verb, ProgressUnit unit = ProgressUnit::kBytes);
  ~ProgressBar();  // clears the bar
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  Progress callback();

 private:
  void update(uint64_t done, uint64_t total, std::string_view what);

  std::string verb_;
  ProgressUnit unit_;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace prune::app
