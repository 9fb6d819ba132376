#!/usr/bin/env python3
"""Perplexity of a model pruned by every recipe that trains, at one budget of tokens: one table, and JSON.

    bench/recovery.py build/release/apps/prune/prune MODEL --train train.jsonl --eval eval.jsonl -o recovery.json --jobs 4 --threads 2

Each recipe runs with and without distillation from MODEL itself, with the settings that --help shows. Cells are
independent: --jobs runs as many at a time. The JSON file is written after each cell, and cells that it holds already are
not run again; --only and --recipe split the work over runs with files of their own, which
"recovery.py --merge a.json b.json ... -o recovery.json" joins into one table.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import shlex
import shutil
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
GLOBAL = ["--scope", "global"]  # one threshold for the whole model; N:M has none to share


@dataclasses.dataclass(frozen=True)
class Recipe:
    """`one_shot` makes the masks before `prune recover`, or `masks` are the options of a method that trains itself."""

    one_shot: str = ""
    masks: tuple = ()
    training: tuple = ()  # in place of the options of all
    takes_nm: bool = True
    is_asked: bool = False  # runs only where --recipe names it

    def words(self, pattern):
        scope = () if pattern == "2:4" else GLOBAL if "--scope" not in self.masks else ()
        return [*self.masks, *scope]


MOVEMENT = ("--method", "movement")
TAYLOR = ("--scores", "taylor", "--score-optimizer", "sgd", "--score-rate", "0.005")
RECIPES = {
    "magnitude + fine-tune": Recipe("magnitude"),
    "movement (hard)": Recipe(masks=(*MOVEMENT, *TAYLOR)),
    "movement (soft)": Recipe(masks=(*MOVEMENT, "--soft", *TAYLOR), takes_nm=False),
    "gradual": Recipe(masks=("--method", "gradual", "--scores", "taylor")),
    "one-shot best + recovery": Recipe("best"),
    "movement (hard) from zero": Recipe(masks=(*MOVEMENT, "--scores", "zero", "--scope", "layer"), is_asked=True),
    "gradual magnitude": Recipe(masks=("--method", "gradual", "--scope", "layer"), is_asked=True),
    "learned masks": Recipe(masks=("--method", "gradual", "--straight-through", "--scope", "layer"), is_asked=True),
}
# Options that change which cells are made, or where and how fast, but none of their numbers.
NOT_FACTS = ("program", "output", "scratch", "only", "recipe", "merge", "threads", "jobs")


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

    def training(self, recipe, distils):
        o = self.options
        words = ["--train", o.train, "--steps", o.steps, "--batch", o.batch, "--seqlen", o.seqlen, "--warm-up", o.warm_up,
                 "--learning-rate", o.learning_rate]  # fmt: skip
        teacher = ["--teacher", o.model, "--distillation", o.distillation] if distils else []
        return words + teacher + list(recipe.training) + shlex.split(o.extra)

    def one_shot_place(self, method, pattern):
        return self.folder / f"{method} {pattern}"

    def one_shot(self, method, pattern):
        """The model that recovery starts from, for both ways of training; {perplexity, seconds}."""
        output = self.one_shot_place(method, pattern)
        calib = ["--calib", self.options.calib, "--seqlen", self.options.seqlen, "--samples", self.options.samples]
        if method == "best" and self.options.one_shot_steps:
            calib += ["--steps", self.options.one_shot_steps]
        _, seconds = self.prune(self.options.model, "-o", output, "--force", "--method", method, *PATTERNS[pattern],
                                *(calib if method != "magnitude" else []))  # fmt: skip
        return self.evaluate(output) | {"seconds": seconds}

    def measure(self, name, pattern, distils):
        recipe = RECIPES[name]
        output = self.folder / f"trained {cell_name(name, pattern, distils)}"
        training = ["-o", output, "--force", *self.training(recipe, distils)]
        if recipe.one_shot:
            report, seconds = self.prune("recover", self.one_shot_place(recipe.one_shot, pattern), *training)
        else:
            report, seconds = self.prune(self.options.model, *PATTERNS[pattern], *recipe.words(pattern), *training)
        self.verify(output, recipe, pattern)
        cell = self.evaluate(output)
        shutil.rmtree(output)
        training = report["training"]
        return cell | {"sparsity": report["sparsity"]["achieved"], "tokens": training["tokens"], "seconds": seconds,
                       "tokens_per_second": training["tokens_per_second"],
                       "waiting_seconds": training["waiting_seconds"]}  # fmt: skip

    def verify(self, model, recipe, pattern):
        scope = [] if recipe.one_shot or "layer" in recipe.masks or pattern == "2:4" else GLOBAL
        words = [self.options.program, "verify", model, *PATTERNS[pattern], *scope]
        subprocess.run([str(w) for w in words], stdout=subprocess.DEVNULL, check=True)


def cell_name(recipe, pattern, distils):
    return f"{recipe}{', distilled' if distils else ''} | {pattern}"


def table(cells, patterns):
    lines = ["| recipe | " + " | ".join(patterns) + " |", "| --- " * (len(patterns) + 1) + "|"]
    if "dense" in cells:
        lines[0] = f"| recipe (dense: {cells['dense']['perplexity']:.3f}) | " + " | ".join(patterns) + " |"
    rows = [f"{recipe.one_shot}, untrained" for recipe in RECIPES.values() if recipe.one_shot]
    rows += [f"{name}{end}" for name in RECIPES for end in ("", ", distilled")]
    for row in rows:
        found = [cells.get(f"{row} | {pattern}") for pattern in patterns]
        if any(found):
            lines.append(f"| {row} | " + " | ".join(f"{cell['perplexity']:.2f}" if cell else "" for cell in found) + " |")
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
    parser.add_argument("--one-shot-steps", type=int, help="of training each layer, and each two, with best")
    parser.add_argument("--seqlen", type=int, default=512, help="tokens a sequence, of all")
    parser.add_argument("--tokens", type=int, default=1228800, help="to train on, in each cell")
    parser.add_argument("--batch", type=int, default=2, help="sequences a step")
    parser.add_argument("--warm-up", type=int, default=40, help="steps")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--distillation", type=float, default=0.9, help="share of the teacher in the loss")
    parser.add_argument("--extra", default="", help="more options for every training")
    parser.add_argument("--only", choices=list(PATTERNS), action="append", help="pattern to measure (may be repeated)")
    parser.add_argument("--recipe", choices=RECIPES, action="append", help="recipe to measure (may be repeated)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time")
    parser.add_argument("--threads", type=int, help="of each (default: all processors, shared by the jobs)")
    parser.add_argument("--scratch", type=pathlib.Path, help="a folder for the pruned models")
    parser.add_argument("--merge", type=pathlib.Path, nargs="+", help="files of several runs, to be joined")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("recovery.json"))
    options = parser.parse_args()
    if not options.merge and not (options.program and options.model and options.train and options.eval):
        parser.error("PROGRAM, MODEL, --train and --eval are needed")
    if options.jobs > 1 and not options.threads:
        options.threads = max(1, os.cpu_count() // options.jobs)
    options.calib = options.calib or options.train
    options.steps = options.tokens // (options.batch * options.seqlen)
    return options


def wanted(options):
    """(recipe, pattern, distils) of every cell."""
    names = options.recipe or [name for name, recipe in RECIPES.items() if not recipe.is_asked]
    return [(name, pattern, distils) for pattern in options.only or PATTERNS for name in names for distils in (True, False)
            if pattern != "2:4" or RECIPES[name].takes_nm]  # fmt: skip


def fill(bench, cells, options):
    """Measures what is missing. Models of the one-shot methods come first, what is trained from them last."""
    missing = [cell for cell in wanted(options) if cell_name(*cell) not in cells.document["cells"]]
    missing.sort(key=lambda cell: RECIPES[cell[0]].one_shot == "best")
    starts = dict.fromkeys((RECIPES[name].one_shot, pattern) for name, pattern, _ in missing if RECIPES[name].one_shot)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        # A model that an earlier run measured is made again: what it left is gone.
        made = {start: pool.submit(bench.one_shot, *start) for start in starts}

        def measure(name, pattern, distils):
            method = RECIPES[name].one_shot
            if method:
                cells.get(f"{method}, untrained | {pattern}", made[method, pattern].result)
            return bench.measure(name, pattern, distils)

        running = [pool.submit(cells.get, "dense", lambda: bench.evaluate(options.model))]
        running += [pool.submit(cells.get, cell_name(*cell), lambda cell=cell: measure(*cell)) for cell in missing]
        for cell in concurrent.futures.as_completed(running):
            if cell.exception():
                pool.shutdown(wait=False, cancel_futures=True)
            cell.result()


def main():
    options = arguments()
    if options.merge:
        return merge(options)
    version = subprocess.run([options.program, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    facts = {"program": version.stdout.strip(), "machine": platform.machine(), "processors": os.cpu_count(),
             "options": {k: str(v) for k, v in vars(options).items() if v is not None and k not in NOT_FACTS},
             "recipes": {name: shlex.join([recipe.one_shot, *recipe.masks, *recipe.training]) for name, recipe in RECIPES.items()}}  # fmt: skip
    cells = Cells(options.output, facts)
    with tempfile.TemporaryDirectory(prefix="recovery-", dir=options.scratch) as folder:
        fill(Bench(options, pathlib.Path(folder)), cells, options)
    print(table(cells.document["cells"], options.only or list(PATTERNS)))


if __name__ == "__main__":
    main()
