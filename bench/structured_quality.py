#!/usr/bin/env python3
"""Perplexity of a model from which whole units were removed: one table, and JSON.

    bench/structured_quality.py build/release/apps/prune/prune MODEL --calib calib.npy --eval eval.npy --seqlen 1024 -o structured.json

Every cell is one run of `prune` and one of `prune eval`, as they are printed on stderr. The JSON file is written
after each cell, and cells that it holds already are not run again; several runs with other --rows or --methods may
fill one file at the same time. --train TEXT adds rows of --trained-rows after training with the dense model as
teacher, --train-steps of --train-batch sequences (600 of 2 of 1024 tokens: 1,228,800 tokens): hours for a large model. With --scratch
the smaller models that will be trained are kept there, and not made twice.
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


def prune(options, method, row, output):
    words = [options.program, options.model, "-o", output, "--force", "--method", method, *ROWS[row], "--json", "-q"]
    if method != "magnitude":
        words += ["--calib", options.calib, "--seqlen", options.seqlen, "--samples", options.samples]
        words += shlex.split(options.extra)
    if method == "best":
        words += shlex.split(options.best)
    return run(words)


def kept_place(options, method, row):
    """Where a model stays that will be trained; None: nowhere."""
    is_trained = options.train and row in options.trained_rows
    return options.scratch / f"{method}-{row}".replace(" ", "-") if options.scratch and is_trained else None


def measure(options, method, row):
    with tempfile.TemporaryDirectory(prefix="structured-", dir=options.scratch) as folder:
        output = kept_place(options, method, row) or pathlib.Path(folder) / "smaller"
        report, seconds = prune(options, method, row, output)
        return evaluate(options, output) | {"prune_seconds": seconds, "after": report["after"],
                                            "share": report["sparsity"]["achieved"], "bytes": report["bytes"]}  # fmt: skip


def recover(options, method, row):
    with tempfile.TemporaryDirectory(prefix="structured-", dir=options.scratch) as folder:
        smaller, output = kept_place(options, method, row), pathlib.Path(folder) / "recovered"
        if smaller is None or not smaller.exists():
            smaller = pathlib.Path(folder) / "smaller"
            prune(options, method, row, smaller)
        _, seconds = run([options.program, "recover", smaller, "--teacher", options.model, "--train", options.train,
                          "-o", output, "--steps", options.train_steps, "--batch", options.train_batch, "--seqlen", options.seqlen,
                          *shlex.split(options.recover), "--json", "-q"])  # fmt: skip
        return evaluate(options, output) | {"seconds": seconds}


def line_of(title, share, dense, cells, seconds):
    values = [f"{cell['perplexity']:.3f} ({cell[seconds]:.0f} s)" if cell else "" for cell in cells]
    return f"| {title} | {share} | {dense:.3f} | " + " | ".join(values) + " |"


def table(options, cells):
    lines = ["| | share removed | dense | " + " | ".join(options.methods) + " |", "| --- " * (len(options.methods) + 3) + "|"]
    dense = cells["dense"]["perplexity"]
    for row in options.rows:
        found = [cells.get(f"{method} {row}") for method in options.methods]
        share = next((f"{cell['share']:.1%}" for cell in found if cell), "")
        lines.append(line_of(row, share, dense, found, "prune_seconds"))
        trained = [cells.get(f"{method} {row} trained") for method in options.methods]
        if any(trained):
            lines.append(line_of(f"{row}, trained", share, dense, trained, "seconds"))
    return "\n".join(lines)


def main():
    parser = text_arguments(__doc__)
    parser.add_argument("--methods", type=words_of(METHODS), default=METHODS, help="separated by commas")
    parser.add_argument("--rows", type=words_of(list(ROWS)), default=list(ROWS))
    parser.add_argument("--train", type=pathlib.Path, help="text or token ids to train what is left on")
    parser.add_argument("--train-steps", type=int, default=600)
    parser.add_argument("--train-batch", type=int, default=2, help="sequences a step")
    parser.add_argument("--trained-rows", type=words_of(list(ROWS)), default=["mixed 25%"])
    parser.add_argument("--recover", default="--learning-rate 1.5e-4 --warm-up 40 --distillation 0.9", help="options of prune recover")
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
            if options.train and row in options.trained_rows:
                cells.get(f"{method} {row} trained", lambda: recover(options, method, row))
    print(table(options, cells.document["cells"]))


if __name__ == "__main__":
    main()
