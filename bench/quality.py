#!/usr/bin/env python3
"""Perplexity of a model pruned by every method to every pattern: one table, and JSON.

    bench/quality.py build/release/apps/prune/prune MODEL --calib calib.npy --eval eval.npy --seqlen 1024 -o quality.json

Every cell is one run of `prune` and one of `prune eval`, as they are printed on stderr. The JSON file is written
after each cell, and cells that it holds already are not run again.
"""

import os
import pathlib
import platform
import shlex
import subprocess
import tempfile

from cells import Cells, run, text_arguments, words_of

PATTERNS = {
    "50%": ["--pattern", "unstructured", "--sparsity", "0.5"],
    "2:4": ["--pattern", "2:4"],
    "4:8": ["--pattern", "4:8"],
    "70%": ["--pattern", "unstructured", "--sparsity", "0.7"],
    "16x16 30%": ["--pattern", "16x16", "--sparsity", "0.3"],
    "32x32 30%": ["--pattern", "32x32", "--sparsity", "0.3"],
}
METHODS = ["magnitude", "wanda", "ria", "sparsegpt", "refit", "swap", "admm", "best"]
WITHOUT_BLOCKS = ["swap"]


def evaluate(options, model):
    found, seconds = run([options.program, "eval", model, "--text", options.eval, "--seqlen", options.seqlen,
                          "--json", "-q"])  # fmt: skip
    return {"perplexity": found["perplexity"], "eval_seconds": seconds}


def measure(options, method, pattern):
    with tempfile.TemporaryDirectory(prefix="quality-", dir=options.scratch) as folder:
        output = pathlib.Path(folder) / "pruned"
        words = [options.program, options.model, "-o", output, "--method", method, *PATTERNS[pattern], "--json", "-q"]
        if method != "magnitude":
            words += ["--calib", options.calib, "--seqlen", options.seqlen, "--samples", options.samples]
            words += shlex.split(options.extra)
        if method == "best":
            words += shlex.split(options.best)
        report, seconds = run(words)
        errors = [t["error_after"] for t in report["tensors"] if "error_after" in t]
        cell = evaluate(options, output) | {"prune_seconds": seconds, "sparsity": report["sparsity"]["achieved"]}
        if errors:
            cell["mean_error"] = sum(errors) / len(errors)
        return cell


def table(options, cells):
    lines = ["| | dense | " + " | ".join(options.methods) + " |", "| --- " * (len(options.methods) + 2) + "|"]
    dense = cells["dense"]["perplexity"]
    for pattern in options.patterns:
        line = f"| {pattern} | {dense:.3f} "
        for method in options.methods:
            cell = cells.get(f"{method} {pattern}")
            line += f"| {cell['perplexity']:.3f} ({cell['prune_seconds']:.0f} s) " if cell else "| "
        lines.append(line + "|")
    return "\n".join(lines)


def main():
    parser = text_arguments(__doc__)
    parser.add_argument("--methods", type=words_of(METHODS), default=METHODS, help="separated by commas")
    parser.add_argument("--patterns", type=words_of(list(PATTERNS)), default=list(PATTERNS))
    parser.add_argument("--scratch", type=pathlib.Path, help="a folder for the pruned models")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("quality.json"))
    options = parser.parse_args()
    version = subprocess.run([options.program, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    facts = {"program": version.stdout.strip(), "machine": platform.machine(), "processors": os.cpu_count(),
             "samples": options.samples, "seqlen": options.seqlen, "extra": options.extra, "best": options.best}  # fmt: skip
    cells = Cells(options.output, facts)
    cells.get("dense", lambda: evaluate(options, options.model))
    for pattern in options.patterns:
        for method in options.methods:
            if "x" in pattern and method in WITHOUT_BLOCKS:
                continue
            cells.get(f"{method} {pattern}", lambda: measure(options, method, pattern))
    print(table(options, cells.document["cells"]))


if __name__ == "__main__":
    main()
