"""Magnitude masks the straightforward way: a stable sort, largest first, so that of equal weights the first one stays."""

import math

import numpy as np


def _largest_first(scores):
    """Positions along the last axis; equal scores in their order."""
    return np.argsort(-scores, axis=-1, kind="stable")


def _keep_first(scores, keep):
    kept = np.zeros(scores.shape, bool)
    np.put_along_axis(kept, _largest_first(scores)[..., :keep], True, axis=-1)
    return kept


def kept_count(count, sparsity):
    return count - math.floor(count * sparsity)


def keep_n_of_m(weights, keep, group):
    rows, columns = weights.shape
    return _keep_first(np.abs(weights).reshape(rows, columns // group, group), keep).reshape(rows, columns)


def unstructured(matrices, sparsity, scope):
    """One mask for each matrix; `scope` is row, layer or global (over all of them, in order)."""
    magnitudes = [np.abs(m) for m in matrices]
    if scope == "row":
        return [_keep_first(m, kept_count(m.shape[1], sparsity)) for m in magnitudes]
    if scope == "layer":
        return [_keep_first(m.reshape(-1), kept_count(m.size, sparsity)).reshape(m.shape) for m in magnitudes]
    everything = np.concatenate([m.reshape(-1) for m in magnitudes])
    kept = _keep_first(everything, kept_count(everything.size, sparsity))
    parts = np.split(kept, np.cumsum([m.size for m in magnitudes])[:-1])
    return [part.reshape(m.shape) for part, m in zip(parts, magnitudes)]


def _block_scores(weights, rows, columns, norm):
    blocks = weights.astype(np.float64).reshape(weights.shape[0] // rows, rows, weights.shape[1] // columns, columns)
    return (np.abs(blocks) if norm == "l1" else blocks * blocks).sum(axis=(1, 3))


def blocks(matrices, rows, columns, sparsity, scope="layer", norm="l2"):
    chosen = unstructured([_block_scores(m, rows, columns, norm) for m in matrices], sparsity, scope)
    return [np.kron(c, np.ones((rows, columns), bool)) for c in chosen]
