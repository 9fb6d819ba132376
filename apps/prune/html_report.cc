#include "apps/prune/html_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <prune/error.h>

#include "apps/prune/layer_rows.h"
#include "apps/prune/terminal.h"
#include "apps/prune/text_file.h"
#include "apps/prune/training_curves.h"
#include "libprune/model/report_json.h"

namespace prune::app {
namespace {

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pruning report</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
div.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #8884}
th:first-child,td:first-child{text-align:left;word-break:break-all}
meter{width:8rem}
</style></head><body>
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string summary(const PruneReport& r) {
  return fmt::format(
      "<h1>{}, {}</h1>\n<p>{} &rarr; {}</p>\n<p>{} of {} weights are zero: {} (wanted {}). {} written in "
      "{:.1f} s.</p>\n",
      escaped(r.pattern), escaped(r.method), escaped(r.model), escaped(r.output),
      human_count(r.zeros_after()), human_count(r.pruned_weights()), percent(r.achieved_sparsity()),
      percent(r.sparsity), human_bytes(uint64_t(r.bytes_written)), r.seconds);
}

std::string tensor_row(const TensorReport& t) {
  std::string shape;
  for (const int64_t extent : t.shape) shape += (shape.empty() ? "" : " &times; ") + std::to_string(extent);
  const double weights = double(t.numel());
  const double before = weights > 0 ? double(t.zeros_before) / weights : 0;
  const double after = weights > 0 ? double(t.zeros_after) / weights : 0;
  return fmt::format(
      "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><meter "
      "value=\"{:.4f}\">{}</meter></td></tr>\n",
      escaped(t.name), t.dtype, shape, percent(before), percent(after), after, percent(after));
}

}  // namespace

std::string html_report(const PruneReport& report) {
  std::string page(kHead);
  page += summary(report);
  if (report.training) page += training_curves(*report.training);
  page +=
      "<div class=\"wide\"><table>\n<tr><th>tensor</th><th>type</th><th>shape</th><th>zeros "
      "before</th><th>zeros after</th><th></th></tr>\n";
  int copied = 0;
  for (const TensorReport& tensor : report.tensors) {
    if (tensor.pruned)
      page += tensor_row(tensor);
    else
      ++copied;
  }
  page += fmt::format("</table></div>\n<p>{} other tensors were copied as they are.</p>\n</body></html>\n",
                      copied);
  return page;
}

// The model is in place when its report is written: a fault must not sound as if it were not.
void write_report(const std::string& path, const PruneReport& report) try {
  write_text_file(path, path.ends_with(".html") ? html_report(report) : json_text(to_json(report)));
} catch (const Error& fault) {
  throw_runtime("the pruned model is in place at " + shown(report.output) +
                ", but not its report: " + fault.what());
}

}  // namespace prune::app
