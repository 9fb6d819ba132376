#!/usr/bin/env python3
"""`prune eval` beside Hugging Face transformers on the CPU: tokens a second, in turn on one machine.

    pip install torch transformers
    bench/eval_speed.py build/release/apps/prune/prune MODEL TOKENS.npy --seqlen 1024 --windows 16 --threads 1

Both sides take the same windows, one number of threads and one type; transformers gets two windows at a time, its
model loaded and one pass made before the clock runs, while ours is the whole program with its start. Beside the time
that passed is the processor time that was used, which other load on the machine disturbs less. Both perplexities are
shown: they must agree.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def ours(options, ids, precision, folder):
    text = folder / "ids.npy"
    np.save(text, ids.ravel())
    words = [options.program, "eval", options.model, "--text", text, "--seqlen", options.seqlen, "--precision", precision,
             "--json", "-q"]  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run([str(w) for w in words], check=True, text=True, stdout=subprocess.PIPE,
                         env=os.environ | {"OMP_NUM_THREADS": str(options.threads)})  # fmt: skip
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used, json.loads(run.stdout)["perplexity"]


def theirs(model, ids):
    start, used, total = time.perf_counter(), time.process_time(), 0.0
    for first in range(0, len(ids), 2):
        part = torch.from_numpy(ids[first : first + 2].astype(np.int64))
        logits = model(part).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
    perplexity = np.exp(total / (len(ids) * (ids.shape[1] - 1)))
    return time.perf_counter() - start, time.process_time() - used, perplexity


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("tokens", type=pathlib.Path)
    parser.add_argument("--seqlen", type=int, default=1024)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repetitions", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    ids = np.load(options.tokens)[: options.windows * options.seqlen].reshape(options.windows, options.seqlen)
    print("type  side          tokens/s  tokens/processor second  perplexity")
    with tempfile.TemporaryDirectory() as folder:
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype)
            theirs(model, ids[:2])
            runs = {"prune": [], "transformers": []}
            for _ in range(options.repetitions):
                runs["prune"].append(ours(options, ids, precision, pathlib.Path(folder)))
                runs["transformers"].append(theirs(model, ids))
            for side, found in runs.items():
                seconds, used = (min(run[i] for run in found) for i in (0, 1))
                print(f"{precision}  {side:12} {ids.size / seconds:9.0f} {ids.size / used:24.0f} {found[0][2]:11.4f}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
