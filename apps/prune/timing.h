// What a series of timings says, and whether it says anything.
//
// Other load only ever adds time: it never makes a product faster. So the time of a product is the shortest
// that was seen, and the question is whether the machine was quiet enough to show it. A series is cut into
// parts in the order of time; where more than half of the parts, each on its own, give the time of the
// fastest, it was.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace prune::app {

// The seconds of one side: a pass is one product with each weight of a shape, in turn.
using Passes = std::vector<std::vector<double>>;

inline constexpr size_t kParts = 8;
inline constexpr size_t kLeastPasses = 2 * kParts;
inline constexpr double kSteady = 0.1;  // largest spread of a time that is believed

struct Timing {
  double seconds = 0;  // of a product: the shortest over the passes, the mean over the weights
  double spread = 0;   // (fifth - smallest) / smallest of the eight parts' own times

  bool is_steady() const { return spread <= kSteady; }
};

// passes: at least kLeastPasses, all of the same weights.
Timing evaluate(const Passes& passes);

// Dense time over sparse time; nothing when either is not to be believed.
std::optional<double> speedup(const Timing& dense, const Timing& sparse);
// Of the speed-up, to first order.
double spread(const Timing& dense, const Timing& sparse);

// Which side to use: "sparse" or "dense" where the speed-up and its spread lie on one side of 1, "either"
// where they do not, "-" where there is none.
std::string_view faster(const Timing& dense, const Timing& sparse);

}  // namespace prune::app
