#include "apps/prune/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <nlohmann/json.hpp>

namespace prune::app {
namespace {

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

std::string scaled(double value, const char* const* units, int unit_count) {
  int unit = 0;
  while (value >= 999.95 && unit + 1 < unit_count) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} {}", value, units[0]) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string coloured(std::string_view text, int file_descriptor, int code) {
  return takes_colour(file_descriptor) ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

// Characters on the screen: bytes that do not continue a UTF-8 sequence.
size_t width_of(std::string_view text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string human_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  return scaled(double(bytes), kUnits, 6);
}

std::string human_count(int64_t count) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  std::string text = scaled(double(count), kUnits, 5);
  return text.ends_with(' ') ? text.substr(0, text.size() - 1) : text;
}

std::string percent(double share) { return fmt::format("{:.2f}%", share * 100); }

std::string join_distinct(const std::vector<std::string>& words, std::string_view between) {
  std::vector<std::string> distinct;
  for (const std::string& word : words) {
    if (std::ranges::find(distinct, word) == distinct.end()) distinct.push_back(word);
  }
  return fmt::format("{}", fmt::join(distinct, between));
}

std::string json_text(const nlohmann::json& document) {
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const std::string& title : titles_) widths.push_back(width_of(title));
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c]));
  }
  size_t total = 2 * (widths.size() - 1);
  for (const size_t w : widths) total += w;
  std::string text;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string row;
    for (size_t c = 0; c < cells.size(); ++c) {
      const std::string padding(widths[c] - width_of(cells[c]), ' ');
      row += (c == 0 ? "" : "  ") + (c == 0 ? cells[c] + padding : padding + cells[c]);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  };
  line(titles_);
  text += std::string(total, '-') + '\n';
  for (const auto& row : rows_) row.empty() ? void(text += std::string(total, '-') + '\n') : line(row);
  return text;
}

void say(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

bool takes_colour(int file_descriptor) {
  if (is_set("FORCE_COLOR")) return true;
  const char* term = std::getenv("TERM");
  if (is_set("NO_COLOR") || (term != nullptr && std::string_view(term) == "dumb")) return false;
  return isatty(file_descriptor) == 1;
}

std::string bold(std::string_view text, int file_descriptor) { return coloured(text, file_descriptor, 1); }
std::string red(std::string_view text, int file_descriptor) { return coloured(text, file_descriptor, 31); }

ProgressBar::ProgressBar(std::string verb, ProgressUnit unit)
    : verb_(std::move(verb)),
      unit_(unit),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

ProgressBar::~ProgressBar() {
  if (drawn_) say("\r\x1b[K");
}

Progress ProgressBar::callback() {
  return [this](uint64_t done, uint64_t total, std::string_view what) { update(done, total, what); };
}

void ProgressBar::update(uint64_t done, uint64_t total, std::string_view what) {
  using std::chrono::steady_clock;
  const auto now = steady_clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
  if (now - last_ < interval || total == 0) return;
  last_ = now;
  const double share = double(done) / double(total);
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double left = share > 0 ? elapsed * (1 - share) / share : 0;
  const auto shown = [&](uint64_t n) {
    return unit_ == ProgressUnit::kBytes ? human_bytes(n) : human_count(int64_t(n));
  };
  const std::string numbers = fmt::format("{} {:3.0f}%  {} of {}  {:.0f} s left", verb_, share * 100,
                                          shown(done), shown(total), left);
  if (!terminal_) return say(numbers + "\n");
  const int filled = int(share * 24);
  say(fmt::format("\r\x1b[K[{:=<{}}{: <{}}] {}  {:.40}", "", filled, "", 24 - filled, numbers,
                  printable(what)));
  drawn_ = true;
}

}  // namespace prune::app
