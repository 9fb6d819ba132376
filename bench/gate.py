#!/usr/bin/env python3
"""The gate for speed between two builds, on a machine that other work disturbs.

    bench/gate.py PRUNE OLD_BENCH NEW_BENCH [--counter NAME] [options of spmm_bench]

Runs the two benchmark programs in turns, the first of a round being the second of the next, so that both meet the same
disturbances, until the 99% interval of every case's ratio is narrower than 8%, at least 20 and at most 60 rounds. Then
'prune bench --compare' judges all rounds: exit code 4 where NEW is slower beyond noise. It compares the speed-up over the
dense peer by the shortest times of each round (best_speedup), which other load lengthens least; --counter time takes the median
time. Without options of spmm_bench four usual cases are measured, on one thread unless OMP_NUM_THREADS says more. OLD.json and
NEW.json stay in --keep FOLDER.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

CASES = ("spmm_nm/bf16/m:1024/k:2048/n:12/sparsity:50", "spmm_nm/bf16/m:1024/k:2048/n:64/sparsity:50",
         "spmm_bitmask/bf16/m:1024/k:2048/n:32/sparsity:70", "spmm_bsr_16x16/f32/m:1024/k:2048/n:64/sparsity:80")  # fmt: skip
EFFORT = ["--seconds", "0.03"]
USUAL = [word for case in CASES for word in ("--case", case)] + EFFORT
COUNTER = "best_speedup"
FAIL_BELOW = "0.95"
WIDEST = 0.08
LEAST_ROUNDS, MOST_ROUNDS, STEP = 20, 60, 10


def measure(program, options):
    """One run: the context, and the rows of the repetitions."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        run = subprocess.run([program, "--no-roof", f"--benchmark_out={out.name}", *options], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True, check=False,
                             env={"OMP_NUM_THREADS": "1"} | os.environ)  # fmt: skip
        if run.returncode != 0:
            sys.exit(f"{program}: {run.stderr.strip()}")
        document = json.load(out)
    return document["context"], [row for row in document["benchmarks"] if row["run_type"] == "iteration"]


def in_turns(sides, is_enough):
    """sides: (program, options) for each name. Files of all rounds for each name, when is_enough(files) says so."""
    files = {}
    for i in range(MOST_ROUNDS):
        for name in list(sides) if i % 2 == 0 else reversed(sides):
            context, rows = measure(*sides[name])
            file = files.setdefault(name, {"context": context, "benchmarks": []})
            file["benchmarks"] += rows
        if i + 1 >= LEAST_ROUNDS and (i + 1) % STEP == 0 and is_enough(files):
            break
    return files


def compare(prune, old, new, counter, *options):
    """The finished process of the gate."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / name for name in ("OLD.json", "NEW.json")]
        for path, document in zip(paths, (old, new), strict=True):
            path.write_text(json.dumps(document))
        command = [prune, "bench", "--compare", *paths, "--fail-below", FAIL_BELOW, *options]
        return subprocess.run(command + ([] if counter == "time" else ["--counter", counter]), capture_output=True, text=True,
                              check=False)  # fmt: skip


def is_narrow(prune, old, new, counter):
    cases = json.loads(compare(prune, old, new, counter, "--json").stdout)["cases"]
    return all(case["ratio_high"] - case["ratio_low"] < WIDEST for case in cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("prune", "old", "new"):
        parser.add_argument(name)
    parser.add_argument("--counter", default=COUNTER, help="of which more is better, or time")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for OLD.json and NEW.json")
    arguments, options = parser.parse_known_args()
    options = options or USUAL
    files = in_turns({"old": (arguments.old, options), "new": (arguments.new, options)},
                     lambda files: is_narrow(arguments.prune, files["old"], files["new"], arguments.counter))  # fmt: skip
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        for name in ("old", "new"):
            (arguments.keep / f"{name.upper()}.json").write_text(json.dumps(files[name]))
    verdict = compare(arguments.prune, files["old"], files["new"], arguments.counter)
    print(verdict.stdout + verdict.stderr, end="")
    sys.exit(verdict.returncode)


if __name__ == "__main__":
    main()
