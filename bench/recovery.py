#!/usr/bin/env python3
"""Perplexity of a model pruned by every recipe that trains, at one budget of tokens: one table, and JSON.

    bench/recovery.py build/release/apps/prune/prune MODEL --train train.jsonl --eval eval.jsonl -o recovery.json

Each recipe runs without and with distillation from MODEL itself. The JSON file is written after each cell, and cells
that it holds already are not run again; --only splits the work over runs with files of their own, which
"recovery.py --merge a.json b.json ... -o recovery.json" joins into one table.
"""

import argparse
import json
import os
import pathlib
import platform
import shlex
import subprocess
import tempfile

from cells import Cells, run

PATTERNS = {
    "unstructured 50%": ["--pattern", "unstructured", "--sparsity", "0.5"],
    "unstructured 80%": ["--pattern", "unstructured", "--sparsity", "0.8"],
    "2:4": ["--pattern", "2:4"],
    "16x16 50%": ["--pattern", "16x16", "--sparsity", "0.5"],
    "32x32 30%": ["--pattern", "32x32", "--sparsity", "0.3"],
}
# What makes the mask: one-shot methods are followed by `prune recover`, the others train themselves.
ONE_SHOT = {"magnitude + fine-tune": "magnitude", "one-shot best + recovery": "best"}
TRAINED = {
    "gradual magnitude": ["--method", "gradual"],
    "gradual taylor": ["--method", "gradual", "--scores", "taylor"],
    "movement (hard)": ["--method", "movement"],
    "movement (soft)": ["--method", "movement", "--soft", "--scores", "zero", "--score-rate", "0.03"],
    "learned masks": ["--method", "gradual", "--straight-through"],
}
# Where one threshold for the whole model is better than one for each matrix, and there is a sparsity to share.
GLOBAL = ["gradual taylor", "movement (hard)", "movement (soft)"]
WITHOUT_NM = ["movement (soft)"]
RECIPES = list(ONE_SHOT) + list(TRAINED)
# Options that change which cells are made, or where and how fast, but none of their numbers.
NOT_FACTS = ("program", "output", "scratch", "only", "recipe", "merge", "threads")


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder

    def prune(self, *words):
        threads = ["--threads", self.options.threads] if self.options.threads else []
        return run([self.options.program, *words, *threads, "--json", "-q"])

    def evaluate(self, model):
        found, _ = self.prune("eval", model, "--text", self.options.eval, "--seqlen", self.options.seqlen)
        return {"perplexity": found["perplexity"]}

    def training(self, distils):
        o = self.options
        words = ["--train", o.train, "--steps", o.steps, "--batch", o.batch, "--seqlen", o.seqlen, "--warm-up", o.warm_up,
                 "--learning-rate", o.learning_rate, *shlex.split(o.extra)]  # fmt: skip
        return words + (["--teacher", o.model, "--distillation", o.distillation] if distils else [])

    def one_shot(self, method, pattern):
        """The model that recovery starts from; made once for both ways of training."""
        output = self.folder / f"{method} {pattern}"
        if not output.exists():
            calib = ["--calib", self.options.calib, "--seqlen", self.options.seqlen, "--samples", self.options.samples]
            self.prune(self.options.model, "-o", output, "--method", method, *PATTERNS[pattern], *(calib if method != "magnitude" else []))
        return output

    def measure(self, recipe, pattern, distils):
        output = self.folder / "trained"
        force = ["-o", output, "--force"]
        if recipe in ONE_SHOT:
            model = self.one_shot(ONE_SHOT[recipe], pattern)
            before = self.evaluate(model)["perplexity"]
            report, seconds = self.prune("recover", model, *force, *self.training(distils))
        else:
            scope = ["--scope", "global"] if recipe in GLOBAL and pattern != "2:4" else []
            before = None
            report, seconds = self.prune(self.options.model, *force, *PATTERNS[pattern], *TRAINED[recipe], *scope,
                                         *self.training(distils))  # fmt: skip
        self.verify(output, recipe, pattern)
        training = report["training"]
        cell = self.evaluate(output) | {"sparsity": report["sparsity"]["achieved"], "tokens": training["tokens"],
                                        "seconds": seconds, "tokens_per_second": training["tokens_per_second"],
                                        "waiting_seconds": training["waiting_seconds"]}  # fmt: skip
        return cell | ({"before": before} if before else {})

    def verify(self, model, recipe, pattern):
        scope = ["--scope", "global"] if recipe in GLOBAL and pattern != "2:4" else []
        words = [self.options.program, "verify", model, *PATTERNS[pattern], *scope]
        subprocess.run([str(w) for w in words], stdout=subprocess.DEVNULL, check=True)


def cell_name(recipe, pattern, distils):
    return f"{recipe}{', distilled' if distils else ''} | {pattern}"


def table(cells, patterns):
    lines = ["| recipe | " + " | ".join(patterns) + " |", "| --- " * (len(patterns) + 1) + "|"]
    if "dense" in cells:
        lines[0] = f"| recipe (dense: {cells['dense']['perplexity']:.3f}) | " + " | ".join(patterns) + " |"
    for recipe in RECIPES:
        for distils in (False, True):
            row = [cells.get(cell_name(recipe, pattern, distils)) for pattern in patterns]
            if not any(row):
                continue
            shown = [f"{cell['perplexity']:.2f}" if cell else "" for cell in row]
            lines.append(f"| {recipe}{', distilled' if distils else ''} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def merge(options):
    whole = {"facts": None, "cells": {}}
    for path in options.merge:
        part = json.loads(path.read_text())
        whole["facts"] = whole["facts"] or part["facts"]
        whole["cells"] |= part["cells"]
    options.output.write_text(json.dumps(whole, indent=2) + "\n")
    print(table(whole["cells"], list(PATTERNS)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, nargs="?")
    parser.add_argument("model", type=pathlib.Path, nargs="?")
    parser.add_argument("--train", type=pathlib.Path, help="text or token ids to train on")
    parser.add_argument("--eval", type=pathlib.Path, help="text or token ids to measure on")
    parser.add_argument("--calib", type=pathlib.Path, help="text or token ids of the one-shot methods (default: --train)")
    parser.add_argument("--samples", type=int, default=256, help="sequences to calibrate on")
    parser.add_argument("--seqlen", type=int, default=512, help="tokens a sequence, of all")
    parser.add_argument("--tokens", type=int, default=1228800, help="to train on, in each cell")
    parser.add_argument("--batch", type=int, default=8, help="sequences a step")
    parser.add_argument("--warm-up", type=int, default=20, help="steps")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--distillation", type=float, default=0.8, help="share of the teacher in the loss")
    parser.add_argument("--extra", default="", help="more options for every training")
    parser.add_argument("--only", choices=list(PATTERNS), action="append", help="pattern to measure (may be repeated)")
    parser.add_argument("--recipe", choices=RECIPES, action="append", help="recipe to measure (may be repeated)")
    parser.add_argument("--threads", type=int, help="of the program (default: all processors)")
    parser.add_argument("--scratch", type=pathlib.Path, help="a folder for the pruned models")
    parser.add_argument("--merge", type=pathlib.Path, nargs="+", help="files of several runs, to be joined")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("recovery.json"))
    options = parser.parse_args()
    if not options.merge and not (options.program and options.model and options.train and options.eval):
        parser.error("PROGRAM, MODEL, --train and --eval are needed")
    options.calib = options.calib or options.train
    options.steps = options.tokens // (options.batch * options.seqlen)
    return options


def main():
    options = arguments()
    if options.merge:
        return merge(options)
    version = subprocess.run([options.program, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    facts = {"program": version.stdout.strip(), "machine": platform.machine(), "processors": os.cpu_count(),
             "options": {k: str(v) for k, v in vars(options).items() if v is not None and k not in NOT_FACTS}}  # fmt: skip
    cells = Cells(options.output, facts)
    with tempfile.TemporaryDirectory(prefix="recovery-", dir=options.scratch) as folder:
        bench = Bench(options, pathlib.Path(folder))
        cells.get("dense", lambda: bench.evaluate(options.model))
        for pattern in options.only or PATTERNS:
            for recipe in options.recipe or RECIPES:
                if pattern == "2:4" and recipe in WITHOUT_NM:
                    continue
                for distils in (True, False):
                    cells.get(cell_name(recipe, pattern, distils), lambda: bench.measure(recipe, pattern, distils))
    print(table(cells.document["cells"], options.only or list(PATTERNS)))


if __name__ == "__main__":
    main()
