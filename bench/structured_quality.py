#!/usr/bin/env python3
"""Perplexity of a model from which whole units were removed: one table, and JSON.

    bench/structured_quality.py build/release/apps/prune/prune MODEL --calib calib.npy --eval eval.npy --seqlen 1024 -o structured.json

Every cell is one run of `prune` and one of `prune eval`, as they are printed on stderr. The JSON file is written
after each cell, and cells that it holds already are not run again. --train adds training of what is left with the
dense model as teacher: hours for a large model.
"""

import pathlib
import shlex
import tempfile

from cells import Cells, run, text_arguments, words_of
from quality import evaluate

# Shares of the decoder blocks' parameters. Of docs-llama-30m: 1/8, 1/4, 1/2 of the channels, 1 and 2 of 4 heads.
ROWS = {
    "channels 1/8": ["--pattern", "channels", "--sparsity", "0.0937"],
    "channels 1/4": ["--pattern", "channels", "--sparsity", "0.1874"],
    "channels 1/2": ["--pattern", "channels", "--sparsity", "0.3749"],
    "heads 1 of 4": ["--pattern", "heads", "--sparsity", "0.0625"],
    "heads 2 of 4": ["--pattern", "heads", "--sparsity", "0.125"],
    "layers 1 of 8": ["--pattern", "layers", "--sparsity", "0.125"],
    "layers 2 of 8": ["--pattern", "layers", "--sparsity", "0.25"],
    "mixed 25%": ["--pattern", "mixed", "--sparsity", "0.25"],
}
METHODS = ["magnitude", "activation", "refit", "obs", "best"]


def recover(options, smaller, output):
    run([options.program, "recover", smaller, "--teacher", options.model, "--train", options.train, "-o", output,
         "--steps", options.train_steps, "--seqlen", options.seqlen, *shlex.split(options.recover), "--json", "-q"])  # fmt: skip
    return evaluate(options, output)["perplexity"]


def measure(options, method, row):
    with tempfile.TemporaryDirectory(prefix="structured-", dir=options.scratch) as folder:
        output = pathlib.Path(folder) / "smaller"
        words = [options.program, options.model, "-o", output, "--method", method, *ROWS[row], "--json", "-q"]
        if method != "magnitude":
            words += ["--calib", options.calib, "--seqlen", options.seqlen, "--samples", options.samples]
            words += shlex.split(options.extra)
        if method == "best":
            words += shlex.split(options.best)
        report, seconds = run(words)
        cell = evaluate(options, output) | {"prune_seconds": seconds, "after": report["after"],
                                            "share": report["sparsity"]["achieved"], "bytes": report["bytes"]}  # fmt: skip
        if options.train:
            cell["perplexity_recovered"] = recover(options, output, pathlib.Path(folder) / "recovered")
        return cell


def table(options, cells):
    lines = ["| | share removed | dense | " + " | ".join(options.methods) + " |", "| --- " * (len(options.methods) + 3) + "|"]
    for row in options.rows:
        found = [cells.get(f"{method} {row}") for method in options.methods]
        share = next((f"{cell['share']:.1%}" for cell in found if cell), "")
        line = f"| {row} | {share} | {cells['dense']['perplexity']:.3f} "
        for cell in found:
            line += f"| {cell['perplexity']:.3f} ({cell['prune_seconds']:.0f} s) " if cell else "| "
        lines.append(line + "|")
    return "\n".join(lines)


def main():
    parser = text_arguments(__doc__)
    parser.add_argument("--methods", type=words_of(METHODS), default=METHODS, help="separated by commas")
    parser.add_argument("--rows", type=words_of(list(ROWS)), default=list(ROWS))
    parser.add_argument("--train", type=pathlib.Path, help="text or token ids to train what is left on")
    parser.add_argument("--train-steps", type=int, default=150, help="of --recover's batch")
    parser.add_argument("--recover", default="--batch 8", help="more options for prune recover")
    parser.add_argument("--scratch", type=pathlib.Path, help="a folder for the smaller models")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("structured.json"))
    options = parser.parse_args()
    facts = {"samples": options.samples, "seqlen": options.seqlen, "extra": options.extra, "best": options.best}
    cells = Cells(options.output, facts)
    cells.get("dense", lambda: evaluate(options, options.model))
    for row in options.rows:
        for method in options.methods:
            if method == "magnitude" and row.startswith("mixed"):
                continue
            cells.get(f"{method} {row}", lambda: measure(options, method, row))
    print(table(options, cells.document["cells"]))


if __name__ == "__main__":
    main()
