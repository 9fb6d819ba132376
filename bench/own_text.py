#!/usr/bin/env python3
"""Text that a model writes itself, as token ids: for --calib, or for --train of a model that was pruned.

    bench/own_text.py build/release/apps/prune/prune MODEL --text calib.npy --sequences 2369 --seqlen 1024 -o own.npy

Every sequence begins with --prompt tokens from a random place of the first --tokens of the text, ids as .npy, and is
continued by `prune generate` with the model's own probabilities, --batch sequences at a time. `prune --own-samples`
does this by itself, for its own run; this keeps the text.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np

from cells import run


def written(options, prompts, seed):
    with tempfile.TemporaryDirectory(prefix="own-text-") as folder:
        words = [options.program, "generate", options.model, "-n", options.seqlen - options.prompt, "--temperature", 1, "--seed", seed,
                 "--device", options.device, "--ignore-eos", "--json", "-q"]  # fmt: skip
        for i, prompt in enumerate(prompts):
            np.save(pathlib.Path(folder) / f"{i}.npy", prompt)
            words += ["--prompt-file", pathlib.Path(folder) / f"{i}.npy"]
        document, _ = run(words)
    return [np.concatenate([p, np.array(s["ids"], dtype=np.int32)]) for p, s in zip(prompts, document["sequences"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path, required=True, help="token ids, .npy")
    parser.add_argument("--tokens", type=int, default=131072, help="of the text that are used")
    parser.add_argument("--sequences", type=int, default=384)
    parser.add_argument("--seqlen", type=int, default=1024)
    parser.add_argument("--prompt", type=int, default=64, help="tokens that each begins with")
    parser.add_argument("--batch", type=int, default=64, help="sequences that are written together")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; a GPU writes several hundred sequences together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("own.npy"))
    options = parser.parse_args()
    text = np.load(options.text)[: options.tokens].astype(np.int32)
    places = np.random.default_rng(options.seed).integers(0, len(text) - options.prompt + 1, options.sequences)
    prompts = [text[place : place + options.prompt] for place in places]
    sequences = []
    for first in range(0, len(prompts), options.batch):
        sequences += written(options, prompts[first : first + options.batch], options.seed + first)
        np.save(options.output, np.concatenate(sequences))
    print(f"{len(sequences)} sequences of {options.seqlen} tokens in {options.output}")


if __name__ == "__main__":
    main()
