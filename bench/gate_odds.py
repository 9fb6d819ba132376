#!/usr/bin/env python3
"""How often the gate is wrong on this machine as it is now.

    bench/gate_odds.py PRUNE SPMM_BENCH [--trials 20]

A trial runs one build as old, as new, and as new with one of the usual cases drawn out to 1.1 times its time, in turns, and asks
the gate (bench/gate.py) about both. Then each case is measured twice in one run, and the difference of the two medians printed.
"""

import argparse
import json
import statistics

import gate

SLOW_DOWN = "1.1"
COUNTERS = (gate.COUNTER, "best_GB/s", "time", "speedup")  # the first is the gate's own


def is_of(row, case):
    operation, rest = case.split("/m:")
    return row["name"].startswith(operation + "/") and f"/m:{rest}/" in row["name"]


def trial(arguments, slowed):
    """(identical passes, slow-down is caught) for each counter; rounds; the spread of each case's rounds."""
    sides = {"old": (arguments.bench, gate.USUAL), "new": (arguments.bench, gate.USUAL),
             "slow": (arguments.bench, ["--case", slowed, "--slow-down", SLOW_DOWN, *gate.EFFORT])}  # fmt: skip
    files = gate.in_turns(sides, lambda files: gate.is_narrow(arguments.prune, files["old"], files["new"], gate.COUNTER))
    planted = {"context": files["new"]["context"],
               "benchmarks": [row for row in files["new"]["benchmarks"] if not is_of(row, slowed)]
               + files["slow"]["benchmarks"]}  # fmt: skip

    def code(new, counter):
        return gate.compare(arguments.prune, files["old"], new, counter).returncode

    verdicts = {counter: (code(files["new"], counter) == 0, code(planted, counter) == 4) for counter in COUNTERS}
    return verdicts, len(files["slow"]["benchmarks"]), spreads(files["old"])


def values_by_case(rows):
    times = {}
    for row in rows:
        times.setdefault(row["name"], []).append(row["real_time"])
    return times


def spreads(document):
    """Standard deviation over mean of a case's rounds."""
    return [statistics.stdev(v) / statistics.mean(v) for v in values_by_case(document["benchmarks"]).values()]


def twice(bench):
    options = [word for case in gate.CASES for word in ("--case", case)] + ["--benchmark_repetitions=2", "--seconds", "2"]
    return {name: abs(a - b) / min(a, b) for name, (a, b) in values_by_case(gate.measure(bench, options)[1]).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prune")
    parser.add_argument("bench")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to go on with")
    arguments = parser.parse_args()
    passed, caught = dict.fromkeys(COUNTERS, 0), dict.fromkeys(COUNTERS, 0)
    for index in range(arguments.first, arguments.first + arguments.trials):
        verdicts, rounds, spread = trial(arguments, gate.CASES[index % len(gate.CASES)])
        wrong = []
        for counter, (is_passed, is_caught) in verdicts.items():
            passed[counter] += is_passed
            caught[counter] += is_caught
            wrong += [f"false alarm by {counter}"] * (not is_passed) + [f"missed by {counter}"] * (not is_caught)
        print(json.dumps({"trial": index, "rounds": rounds, "wrong": wrong, "spread": [round(s, 3) for s in spread]}), flush=True)
    for counter in COUNTERS:
        print(f"{counter}: identical builds pass {passed[counter]} of {arguments.trials}, "
              f"a slow-down of a tenth is caught {caught[counter]} of {arguments.trials}")  # fmt: skip
    for name, difference in twice(arguments.bench).items():
        print(f"measured twice in one run, the medians differ by {difference:.1%}: {name}")


if __name__ == "__main__":
    main()
