// Measuring a product beside its peer.
//
// A measurement is a series of rounds. Each runs the peer and then the product, and times both, so that
// whatever disturbs the machine disturbs both: `speedup` is the ratio of the medians. Rounds go on until the
// 95% intervals of both medians are narrower than 3% of them, or the time for the case is used up, which the
// case's label then says. Products that are wrong are not timed.
#pragma once

#include <benchmark/benchmark.h>

#include <vector>

#include "bench/machine.h"
#include "bench/operation.h"

namespace prune::bench {

struct Effort {
  double seconds = 2;    // for a case, at most
  double slow_down = 1;  // every run of the product is drawn out to so many times its time, to try gates
  Roof* roof = nullptr;  // where there is one, results have a `roofline`
};

// The weights of a case: random ones, or with the places of a real mask.
using MakeWeights = std::function<TestWeights()>;

// Registers one benchmark.
void add(const Case& c, const Operation& operation, MakeWeights weights, const Effort& effort);

// How many cases did not reach the interval, and of which the widest was; for people, empty where none.
std::string intervals_not_reached();

}  // namespace prune::bench
