"""Packed tensors made dense again, from what the format says: see docs/formats.md. Nothing here is the program's."""

import json

import numpy as np


def layout(metadata):
    return json.loads(metadata.get("prune.layout", "{}"))


def _indices_of_groups(words, groups, keep, group):
    """[rows, groups * keep] columns: each index in ceil(log2(group)) bits, low bits first, one after the other."""
    width = max(1, (group - 1).bit_length())
    bits = np.unpackbits(words, axis=1, bitorder="little")[:, : groups * keep * width]
    values = (bits.reshape(len(words), groups * keep, width) << np.arange(width)).sum(axis=2)
    return values + np.repeat(np.arange(groups), keep) * group


def _unpack_nm(parts, shape, pattern):
    keep, group = map(int, pattern.split(":"))
    columns = _indices_of_groups(parts["indices"], shape[1] // group, keep, group)
    dense = np.zeros(shape, parts["values"].dtype)
    np.put_along_axis(dense, columns, parts["values"], axis=1)
    return dense


def _unpack_bitmask(parts, shape):
    kept = np.unpackbits(parts["bitmask"], axis=1, bitorder="little")[:, : shape[1]].astype(bool)
    dense = np.zeros(shape, parts["values"].dtype)
    dense[kept] = parts["values"]
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    if not np.array_equal(offsets, parts["row_offsets"]):
        raise ValueError("row_offsets do not count the bits")
    return dense


def _rows_of(indptr):
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr.astype(np.int64)))


def _unpack_csr(parts, shape):
    dense = np.zeros(shape, parts["values"].dtype)
    dense[_rows_of(parts["indptr"]), parts["indices"]] = parts["values"]
    return dense


def _unpack_bsr(parts, shape, pattern):
    rows, columns = map(int, pattern.split("x"))
    blocks = np.zeros((shape[0] // rows, shape[1] // columns, rows, columns), parts["values"].dtype)
    blocks[_rows_of(parts["indptr"]), parts["indices"]] = parts["values"]
    return blocks.transpose(0, 2, 1, 3).reshape(shape)


def _unpack_windows(parts, shape, steps):
    """Sixteen rows side by side, pairs of windows of 32 columns, `steps` places a row in each; then the tail."""
    groups, pairs = -(-shape[0] // 16), -(-shape[1] // 64)
    order = (groups, pairs, steps, 2, 16)
    places = int(np.prod(order))
    group, pair, _, window, row = (i.ravel() for i in np.indices(order))
    rows, columns = 16 * group + row, 64 * pair + 32 * window + parts["columns"]
    dense = np.zeros((16 * groups, 64 * pairs), parts["values"].dtype)
    kept = parts["values"][:places] != 0
    dense[rows[kept], columns[kept]] = parts["values"][:places][kept]
    counts = parts["tail_counts"]
    tail = np.repeat(np.arange(len(counts)), counts)
    dense[tail, parts["tail_columns"][: len(tail)]] = parts["values"][places : places + len(tail)]
    if np.count_nonzero(dense) != np.count_nonzero(dense[: shape[0], : shape[1]]) or len(parts["values"]) % 4 != 0:
        raise ValueError("weights outside the matrix, or a tail that is not filled")
    return dense[: shape[0], : shape[1]]


def unpack(file, name, entry):
    """The stored values of a packed weight as [out, in]: bits, or int8 to be scaled."""
    prefix = name + "."
    parts = {n.removeprefix(prefix): file[n].bits for n in file.names() if n.startswith(prefix)}
    shape = tuple(entry["shape"])
    if entry["format"] == "nm":
        return _unpack_nm(parts, shape, entry["pattern"])
    if entry["format"] == "bitmask":
        return _unpack_bitmask(parts, shape)
    if entry["format"] == "csr":
        return _unpack_csr(parts, shape)
    if entry["format"] == "windows":
        return _unpack_windows(parts, shape, entry["steps"])
    return _unpack_bsr(parts, shape, entry["pattern"])
