#!/usr/bin/env python3
"""`prune bench --whole` beside Hugging Face transformers on the CPU, both in bf16: a prompt, and tokens one by one.

    pip install torch transformers
    bench/generation_speed.py build/release/apps/prune/prune DENSE PACKED [PACKED ...] --threads 2

DENSE is a folder with weights in bf16 that transformers loads, PACKED the same packed by `prune pack`. Rounds take turns:
the program with every folder, then transformers with the dense one; medians, and the ratio to transformers with
its spread over the rounds. Each side is warm before its clock runs. Token ids are random; both sides keep a cache and
compute the logits of the prompt's last token only, then of one token after another.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
import warnings

import torch
import transformers


def ours(options):
    """Seconds of the prompt and of a token, by folder."""
    words = [options.program, "bench", "--whole", options.packed[-1], "--rounds", 1, "--prompt-tokens", options.prompt_tokens,
             "--new-tokens", options.new_tokens, "--threads", options.threads, "--json", "-q"]  # fmt: skip
    for folder in [options.dense, *options.packed[:-1]]:
        words += ["--beside", folder]
    run = subprocess.run([str(w) for w in words], check=True, text=True, stdout=subprocess.PIPE)
    return {m["model"]: (m["first_token_seconds"], 1 / m["decode_tokens_per_second"]) for m in json.loads(run.stdout)["models"]}


def theirs(model, options):
    ids = torch.randint(model.config.vocab_size, (1, options.prompt_tokens), generator=torch.Generator().manual_seed(1))
    steps = []
    start = time.perf_counter()
    out = model(ids, use_cache=True, logits_to_keep=1)
    prompt = time.perf_counter() - start
    for _ in range(options.new_tokens):
        start = time.perf_counter()
        out = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
        steps.append(time.perf_counter() - start)
    return prompt, statistics.median(steps)


def shown(name, rounds, peer, options):
    cells = [name]
    for i, tokens in ((0, options.prompt_tokens), (1, 1)):
        seconds = statistics.median(r[i] for r in rounds)
        ratios = sorted(p[i] / r[i] for r, p in zip(rounds, peer))
        middle = statistics.median(ratios)
        spread = (ratios[-1] - ratios[0]) / 2 / middle
        cells += [f"{tokens / seconds:.1f} tokens/s", f"{middle:.2f} ±{100 * spread:.0f}%"]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("dense")
    parser.add_argument("packed", nargs="+")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of arguments that have new names in transformers 5
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(options.dense, dtype=torch.bfloat16).eval()
    our_rounds, their_rounds = [], []
    with torch.inference_mode():
        theirs(model, options)
        for _ in range(options.rounds):
            our_rounds.append(ours(options))
            their_rounds.append(theirs(model, options))
    print(f"PyTorch {torch.__version__}, {options.threads} threads, prompt of {options.prompt_tokens}, {options.rounds} rounds")
    print("| | prompt | | one by one | |\n| --- | --- | --- | --- | --- |")
    print(shown("transformers", their_rounds, their_rounds, options))
    for name in our_rounds[0]:
        print(shown(name, [r[name] for r in our_rounds], their_rounds, options))


if __name__ == "__main__":
    main()
