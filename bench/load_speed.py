#!/usr/bin/env python3
"""From the folder to a model that is ready, and to the first token after a prompt: models in turns, each time a process of its own.

    bench/load_speed.py build/release/apps/prune/prune DENSE PACKED [PACKED ...] --rounds 31 --threads 2
    bench/load_speed.py build/release/apps/prune/prune DENSE PACKED [PACKED ...] --rounds 3 --prompt-tokens 512

Medians in ms, in brackets the shortest: opening the folder (headers, index, config), getting the layers ready (the layout
of a packed folder, norms), both together, and the program from its start to its end with one token. A round before the
clock runs brings files into memory and fills the tuning table; with --cold the system is told to forget the model's files
before each run.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np


def forget(model):
    for file in filter(pathlib.Path.is_file, pathlib.Path(model).iterdir()):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())  # what is not on the disk yet can't be forgotten
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(options, model, prompt):
    if options.cold:
        forget(model)
    words = [options.program, "generate", model, "--prompt-file", prompt, "-n", 1, "--json", "-q", "--threads", options.threads]
    start = time.perf_counter()
    done = subprocess.run([str(w) for w in words], check=True, text=True, stdout=subprocess.PIPE)
    whole = time.perf_counter() - start
    result = json.loads(done.stdout)
    opened, ready = result["open_seconds"], result["load_seconds"]
    return opened, ready, opened + ready, whole


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--prompt-tokens", type=int, default=1)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    rounds = {model: [] for model in options.models}
    with tempfile.TemporaryDirectory() as folder:
        prompt = pathlib.Path(folder) / "ids.npy"
        np.save(prompt, np.random.default_rng(1).integers(0, 1000, options.prompt_tokens, dtype=np.int32))
        for i in range(options.rounds + 1):
            for model in options.models:
                times = run(options, model, prompt)
                if i > 0:
                    rounds[model].append(times)
    print("| | opened | layers ready | together | start to end |\n| --- | --- | --- | --- | --- |")
    for model in options.models:
        cells = [f"{1e3 * statistics.median(c):.2f} ({1e3 * min(c):.2f})" for c in zip(*rounds[model])]
        print("| " + " | ".join([pathlib.Path(model).name, *cells]) + " |")


if __name__ == "__main__":
    main()
