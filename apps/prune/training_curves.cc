#include "apps/prune/training_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "apps/prune/terminal.h"

namespace prune::app {
namespace {

constexpr double kWidth = 640, kHeight = 200, kLeft = 56, kBottom = 24, kTop = 8;

struct Curve {
  const char* name;
  const char* colour;
  std::vector<double> values;
};

double x_of(size_t i, size_t count) {
  return kLeft + (kWidth - kLeft) * (count < 2 ? 0.5 : double(i) / double(count - 1));
}

std::string polyline(const Curve& curve, double low, double high) {
  std::string points;
  for (size_t i = 0; i < curve.values.size(); ++i) {
    const double y = kTop + (kHeight - kTop) * (1 - (curve.values[i] - low) / (high - low));
    points += fmt::format("{:.1f},{:.1f} ", x_of(i, curve.values.size()), y);
  }
  return fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>\n",
                     curve.colour, points);
}

// Curves over the same steps and one scale, whose ends are written beside it.
std::string chart(const std::vector<Curve>& curves, double low, double high, const TrainingReport& training) {
  if (!(high > low)) high = low + 1;
  std::string svg = fmt::format(
      "<svg role=\"img\" viewBox=\"0 0 {} {}\" style=\"max-width:48rem;width:100%;font-size:11px\">\n"
      "<path d=\"M{} {}V{}H{}\" fill=\"none\" stroke=\"currentColor\" opacity=\".4\"/>\n",
      kWidth, kHeight + kBottom, kLeft, kTop, kHeight, kWidth);
  const auto label = [&](double x, double y, const char* anchor, const std::string& text) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\" fill=\"currentColor\">{}</text>\n", x, y,
                       anchor, text);
  };
  label(kLeft - 4, kTop + 8, "end", fmt::format("{:.4g}", high));
  label(kLeft - 4, kHeight, "end", fmt::format("{:.4g}", low));
  label(kLeft, kHeight + 16, "start", fmt::format("step {}", training.steps.front().step));
  label(kWidth, kHeight + 16, "end", fmt::format("{}", training.steps.back().step));
  std::string legend;
  for (const Curve& curve : curves) {
    svg += polyline(curve, low, high);
    legend += fmt::format(" <span style=\"color:{}\">&#9632;</span> {}", curve.colour, curve.name);
  }
  return "<p>" + legend + "</p>\n" + svg + "</svg>\n";
}

Curve curve_of(const char* name, const char* colour, const TrainingReport& training,
               double TrainingStep::*value) {
  Curve curve{name, colour, {}};
  for (const TrainingStep& step : training.steps) curve.values.push_back(step.*value);
  return curve;
}

}  // namespace

std::string training_curves(const TrainingReport& training) {
  if (training.steps.empty()) return "";
  std::vector<Curve> losses = {curve_of("loss", "#d62728", training, &TrainingStep::loss),
                               curve_of("cross-entropy", "#1f77b4", training, &TrainingStep::cross_entropy)};
  if (training.steps.back().divergence > 0)
    losses.push_back(curve_of("divergence from the teacher", "#9467bd", training, &TrainingStep::divergence));
  double high = 0;
  for (const Curve& curve : losses) high = std::max(high, *std::ranges::max_element(curve.values));
  return fmt::format(
             "<h2>Training</h2>\n<p>{} tokens in {:.1f} s, {:.0f} tokens/s, {:.1f} s of waiting for "
             "data.</p>\n",
             human_count(training.tokens), training.seconds, training.tokens_per_second(), training.waiting) +
         chart(losses, 0, high, training) +
         chart({curve_of("share of zeros", "#2ca02c", training, &TrainingStep::sparsity)}, 0, 1, training);
}

}  // namespace prune::app
