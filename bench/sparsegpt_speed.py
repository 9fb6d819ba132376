#!/usr/bin/env python3
"""update::sparsegpt beside the published algorithm in PyTorch, on the CPU, in turn on one machine.

    pip install torch
    bench/sparsegpt_speed.py build/release/bench/update_bench --threads 2

The PyTorch side is Frantar and Alistarh's algorithm (arXiv 2301.00774, algorithm 1) as its authors structure it: the
inverse of the damped Hessian by Cholesky, its upper Cholesky factor, blocks of 128 columns that are gone through one by
one, and a lazy update of all later columns after each block. Both sides get float32, matrices of one size and pattern,
and one number of threads. The table has the shortest times, and the share of oneDNN's GEMM that ours reaches.
"""

import argparse
import json
import os
import subprocess
import time

import torch


def sparsegpt(weights, hessian, pattern, sparsity, damping=0.01, block=128):
    """weights [out, in] are pruned in place."""
    columns = weights.shape[1]
    dead = hessian.diagonal() == 0
    hessian[dead, dead] = 1
    weights[:, dead] = 0
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    upper = torch.linalg.cholesky(inverse, upper=True)
    keep, group = map(int, pattern.split(":")) if ":" in pattern else (0, 0)
    for begin in range(0, columns, block):
        end = min(begin + block, columns)
        part, factor = weights[:, begin:end].clone(), upper[begin:end, begin:end]
        errors = torch.zeros_like(part)
        result = torch.zeros_like(part)
        pruned = torch.zeros_like(part, dtype=torch.bool)
        if not group:
            scores = part**2 / factor.diagonal() ** 2
            threshold = torch.sort(scores.flatten())[0][int(scores.numel() * sparsity)]
            pruned = scores <= threshold
        for i in range(end - begin):
            if group and i % group == 0:
                scores = part[:, i : i + group] ** 2 / factor.diagonal()[i : i + group] ** 2
                pruned.scatter_(1, i + torch.topk(scores, group - keep, dim=1, largest=False)[1], True)
            column, pivot = part[:, i], factor[i, i]
            kept = column.masked_fill(pruned[:, i], 0)
            result[:, i] = kept
            error = (column - kept) / pivot
            part[:, i:] -= error.unsqueeze(1) @ factor[i, i:].unsqueeze(0)
            errors[:, i] = error
        weights[:, begin:end] = result
        weights[:, end:] -= errors @ upper[begin:end, end:]
    return weights


def reference(out, inputs, pattern, sparsity):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(inputs // 2, inputs, generator=generator)
    weights = torch.randn(out, inputs, generator=generator)
    hessian = x.T @ x
    start = time.perf_counter()
    sparsegpt(weights, hessian, pattern, sparsity)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shapes", nargs="+", default=["4096x4096", "4096x14336"], help="OUTxIN")
    parser.add_argument("--patterns", nargs="+", default=["2:4", "unstructured"])
    parser.add_argument("--repetitions", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    print("out x in      pattern       PyTorch      ours  times  GFLOP/s  oneDNN GEMM  share")
    for shape in options.shapes:
        out, inputs = map(int, shape.split("x"))
        for pattern in options.patterns:
            theirs, ours = [], []
            for _ in range(options.repetitions):
                run = subprocess.run([options.program, str(out), str(inputs), pattern, "0.5", "2"], check=True, text=True,
                                     env=os.environ | {"OMP_NUM_THREADS": str(options.threads)}, stdout=subprocess.PIPE)  # fmt: skip
                ours.append(json.loads(run.stdout))
                theirs.append(reference(out, inputs, pattern, 0.5))
            best = min(ours, key=lambda run: run["seconds"])
            print(f"{shape:13} {pattern:12} {min(theirs):7.2f} s {best['seconds']:7.3f} s "
                  f"{min(theirs) / best['seconds']:5.1f}x {best['gflops']:8.0f} {best['gemm_gflops']:12.0f} "
                  f"{best['share_of_gemm']:6.0%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
