#!/usr/bin/env python3
"""`prune recover` beside PyTorch's eager training on the CPU: tokens a second and memory, in turn on one machine.

    pip install torch transformers
    bench/training_speed.py build/release/apps/prune/prune MODEL TOKENS.npy --threads 2 --precision fp32

MODEL may be pruned: its zeros stay zeros on both sides. Both train transformers' or our model of the same folder on the same
number of tokens: cross-entropy, AdamW in float32 over all parameters, gradients clipped and masked where weights are 0; bf16
is autocast there and --precision bf16 here.
Each is a process of its own and warm before its clock runs; medians of the rounds, the ratio with its spread, of the
processor's time too, which other load on the machine disturbs less. Beside them is what each makes of the rate of PyTorch's
product of 2048 x 2048 matrices (MKL's or oneDNN's), counting the products of linear layers and attention, forward and backward.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def measured(words, threads):
    """The last line of what a child prints, as JSON, and its highest resident memory in bytes."""
    with subprocess.Popen([str(w) for w in words], text=True, stdout=subprocess.PIPE, start_new_session=True,
                          env=os.environ | {"OMP_NUM_THREADS": str(threads)}) as child:  # fmt: skip
        text = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"training_speed.py: {words[0]} failed")
    return json.loads(text), {"memory": usage.ru_maxrss * 1024, "processor": usage.ru_utime + usage.ru_stime}


def ours(options, folder):
    """Tokens a second, those of the processor's seconds, memory; a run of one step tells what starting and that step take."""
    words = [options.program, "recover", options.model, "-o", os.path.join(folder, "trained"), "--force", "--train", options.tokens,
             "--batch", options.batch, "--seqlen", options.seqlen, "--warm-up", 1, "--precision", options.precision,
             "--threads", options.threads, "--json", "-q"]  # fmt: skip
    first, first_usage = measured([*words, "--steps", 1], options.threads)
    report, usage = measured([*words, "--steps", options.steps + 1], options.threads)
    tokens = options.steps * options.batch * options.seqlen
    return {"rate": tokens / (report["training"]["seconds"] - first["training"]["seconds"]),
            "processor_rate": tokens / (usage["processor"] - first_usage["processor"]), "memory": usage["memory"]}  # fmt: skip


def theirs(options):
    words = [sys.executable, __file__, options.program, options.model, options.tokens, "--peer", "--precision", options.precision,
             "--batch", options.batch, "--seqlen", options.seqlen, "--threads", options.threads, "--steps", options.steps]  # fmt: skip
    report, usage = measured(words, options.threads)
    return report | {"memory": usage["memory"]}


def peer(options):
    """What the child of theirs() does: one step to warm up, then the steps that count."""
    import numpy as np
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).train()
    model.config.use_cache = False
    masks = [(p, p != 0) for name, p in model.named_parameters() if name.endswith("_proj.weight")]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.0)
    ids = torch.from_numpy(np.load(options.tokens).ravel()[: options.batch * options.seqlen].astype(np.int64))
    ids = ids.view(options.batch, options.seqlen)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            loss = model(ids, labels=ids).loss
        loss.backward()
        for p, mask in masks:
            p.grad.mul_(mask)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    start, used = time.perf_counter(), time.process_time()
    for _ in range(options.steps):
        step()
    tokens = options.steps * options.batch * options.seqlen
    seconds, used = time.perf_counter() - start, time.process_time() - used
    print(json.dumps({"rate": tokens / seconds, "processor_rate": tokens / used, "flops": flops_per_token(model, options.seqlen),
                      "peak": peak(options)}))  # fmt: skip


def flops_per_token(model, seqlen):
    """Multiplications and additions of products, forward and twice as many backward; attention looks at half of seqlen."""
    config = model.config
    weights = sum(p.numel() for name, p in model.named_parameters() if name.endswith("_proj.weight"))
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_dim * seqlen
    return 3 * 2 * (weights + config.vocab_size * config.hidden_size + attention)


def peak(options):
    """FLOP/s of the fastest of ten dense products of PyTorch's."""
    import torch

    a = torch.ones(2048, 2048, dtype=torch.bfloat16 if options.precision == "bf16" else torch.float32)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(10):
            start = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def ratio(our_rounds, their_rounds, key):
    found = sorted(a[key] / b[key] for a, b in zip(our_rounds, their_rounds))
    middle = statistics.median(found)
    return f"{middle:.2f} ±{100 * (found[-1] - found[0]) / 2 / middle:.0f}%"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("tokens", help="token ids as .npy")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(options)
        return
    our_rounds, their_rounds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            our_rounds.append(ours(options, folder))
            their_rounds.append(theirs(options))
    print(f"{options.model}, {options.precision}, {options.threads} threads, {options.batch} x {options.seqlen} tokens a step, "
          f"{options.rounds} rounds of {options.steps} steps")  # fmt: skip
    flops, top = their_rounds[0]["flops"], statistics.median(r["peak"] for r in their_rounds)
    for name, rounds in (("prune recover", our_rounds), ("PyTorch", their_rounds)):
        rate = statistics.median(r["rate"] for r in rounds)
        print(f"{name}: {rate:.0f} tokens/s, {rate * flops / top:.0%} of the product's {top / 1e9:.0f} GFLOP/s, "
              f"{max(r['memory'] for r in rounds) / 1e9:.2f} GB")  # fmt: skip
    print(f"speed {ratio(our_rounds, their_rounds, 'rate')}, of the processor's time {ratio(our_rounds, their_rounds, 'processor_rate')}, "
          f"memory {ratio(our_rounds, their_rounds, 'memory')}")  # fmt: skip


if __name__ == "__main__":
    main()
