#!/usr/bin/env python3
"""What pruning a checkpoint costs beside copying it: `prune` against `cp -r` and `sync` of the same folder, in turns, in
the same state of the page cache, and the most anonymous memory that prune holds. Exits 1 when a bar is missed.

    bench/checkpoint_speed.py build/release/apps/prune/prune MODEL [--rounds 3] [--json FILE]

The copies are made beside MODEL (on the same disk), one at a time, and removed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

# name: (arguments, most times the copy's time)
PASSES = {
    "2:4": (["--pattern", "2:4", "--sparsity", "0.5"], 1.3),
    "unstructured 0.5": (["--pattern", "unstructured", "--sparsity", "0.5", "--scope", "layer"], 2.0),
}
MOST_ANONYMOUS_BYTES = 1 << 30
SAMPLE_SECONDS = 0.005


def anonymous_bytes(pid):
    """Resident memory that is not backed by a file; 0 once the process is gone."""
    total = 0
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


class MemoryWatch(threading.Thread):
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()

    def run(self):
        while not self.done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, anonymous_bytes(self.pid))


def seconds_to_copy(model, target):
    start = time.monotonic()
    subprocess.run(["cp", "-r", model, target], check=True)
    os.sync()
    return time.monotonic() - start


def seconds_to_prune(program, arguments, model, target):
    start = time.monotonic()
    process = subprocess.Popen([program, model, "-o", target, "--quiet", *arguments], stdout=subprocess.DEVNULL)
    watch = MemoryWatch(process.pid)
    watch.start()
    code = process.wait()
    seconds = time.monotonic() - start
    watch.done.set()
    watch.join()
    if code != 0:
        raise SystemExit(f"prune {' '.join(arguments)} exited with {code}")
    return seconds, watch.peak


def settle(target):
    """Nothing left over: the target gone, and no dirty page waiting for the disk."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()


def warm(model):
    """The model read once, so that the first run finds the page cache as the later ones do."""
    for folder, _, files in os.walk(model):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                while file.read(1 << 24):
                    pass


def measure(program, model, rounds):
    seconds = {name: [] for name in ("copy", *PASSES)}
    peaks = dict.fromkeys(PASSES, 0)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(model)), prefix="speed-") as place:
        target = os.path.join(place, "out")
        warm(model)
        for number in range(rounds):
            settle(target)
            seconds["copy"].append(seconds_to_copy(model, target))
            for name, (arguments, _) in PASSES.items():
                settle(target)
                taken, peak = seconds_to_prune(program, arguments, model, target)
                seconds[name].append(taken)
                peaks[name] = max(peaks[name], peak)
            settle(target)
            print(f"round {number + 1}: " + ", ".join(f"{n} {s[-1]:.2f} s" for n, s in seconds.items()), flush=True)
    return seconds, peaks


def summarise(seconds, peaks):
    """One row a pass; the ratio is that of the medians, its spread that of the rounds."""
    rows = []
    for name, (_, bar) in PASSES.items():
        ratios = sorted(ours / copy for ours, copy in zip(seconds[name], seconds["copy"]))
        ratio = statistics.median(seconds[name]) / statistics.median(seconds["copy"])
        rows.append({
            "pass": name, "ratio": ratio, "lowest": ratios[0], "highest": ratios[-1], "bar": bar,
            "anonymous_bytes": peaks[name], "met": ratio <= bar and peaks[name] <= MOST_ANONYMOUS_BYTES,
        })
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    seconds, peaks = measure(arguments.program, arguments.model, arguments.rounds)
    rows = summarise(seconds, peaks)
    print(f"copy: median {statistics.median(seconds['copy']):.2f} s")
    for row in rows:
        print(f"{row['pass']}: {row['ratio']:.2f} times the copy ({row['lowest']:.2f} to {row['highest']:.2f}), "
              f"bar {row['bar']}; {row['anonymous_bytes'] / 2**20:.0f} MiB anonymous, bar "
              f"{MOST_ANONYMOUS_BYTES >> 20}: {'met' if row['met'] else 'MISSED'}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"seconds": seconds, "passes": rows}, file, indent=2)
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
