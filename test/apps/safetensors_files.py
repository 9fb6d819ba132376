"""A safetensors reader and writer that shares nothing with the program: json, struct and NumPy."""

import json
import struct

import numpy as np

BITS_TYPE = {  # the unsigned integer that holds a value's bits
    "F64": np.uint64, "F32": np.uint32, "F16": np.uint16, "BF16": np.uint16, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8,
    "I64": np.uint64, "I32": np.uint32, "I16": np.uint16, "I8": np.uint8, "U64": np.uint64, "U32": np.uint32,
    "U16": np.uint16, "U8": np.uint8, "BOOL": np.uint8,
}  # fmt: skip


class Tensor:
    """A tensor as it lies in a file: its type, and its bits as unsigned integers."""

    def __init__(self, dtype, bits):
        self.dtype = dtype
        self.bits = np.asarray(bits, dtype=BITS_TYPE[dtype])

    @property
    def shape(self):
        return list(self.bits.shape)

    def values(self):
        return decode(self.dtype, self.bits)

    def __eq__(self, other):
        return self.dtype == other.dtype and self.shape == other.shape and np.array_equal(self.bits, other.bits)


class File:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.content = file.read()
        (length,) = struct.unpack("<Q", self.content[:8])
        self.header_text = self.content[8 : 8 + length]
        header = json.loads(self.header_text)
        self.metadata = header.pop("__metadata__", {})
        self.entries = header
        self.data = self.content[8 + length :]

    def names(self):
        """In the order of the header."""
        return list(self.entries)

    def __getitem__(self, name):
        entry = self.entries[name]
        begin, end = entry["data_offsets"]
        bits = np.frombuffer(self.data[begin:end], BITS_TYPE[entry["dtype"]]).reshape(entry["shape"])
        return Tensor(entry["dtype"], bits)

    def tensors(self):
        return {name: self[name] for name in self.entries}


def write(path, tensors, metadata=None, misalign=0):
    """The data starts `misalign` bytes after a multiple of eight."""
    header, offset = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, offset + tensor.bits.nbytes],
        }  # fmt: skip
        offset += tensor.bits.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + misalign)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.bits.tobytes())


def _e4m3_table():
    """The 256 values of F8_E4M3: bias 7, no infinity, NaN where all other bits are set."""
    table = []
    for bits in range(256):
        exponent, mantissa = bits >> 3 & 15, bits & 7
        size = mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        if bits & 127 == 127:
            size = float("nan")
        table.append(-size if bits & 128 else size)
    return np.array(table, np.float32)


E4M3 = _e4m3_table()


def decode(dtype, bits):
    """The numbers, exactly: as float32, or as float64 where float32 does not hold them."""
    if dtype == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E4M3":
        return E4M3[bits]
    if dtype == "F8_E5M2":
        return (bits.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    if dtype == "F16":
        return bits.view(np.float16).astype(np.float32)
    return bits.view({"F32": np.float32, "F64": np.float64}[dtype])


def encode(dtype, values):
    """Numbers that the type holds exactly, to bits."""
    values = np.asarray(values, np.float64)
    if dtype == "BF16":
        bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    elif dtype == "F8_E4M3":
        order = np.argsort(E4M3[:127], kind="stable")
        bits = order[np.searchsorted(E4M3[:127][order], np.abs(values))].astype(np.uint8)
        bits |= np.where(np.signbit(values), 128, 0).astype(np.uint8)
    elif dtype == "F8_E5M2":
        bits = (values.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    else:
        bits = values.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype])
        bits = bits.view(BITS_TYPE[dtype])
    if not np.array_equal(decode(dtype, bits), values.astype(decode(dtype, bits).dtype)):
        raise ValueError(f"{dtype} does not hold these values")
    return Tensor(dtype, bits)


def normal(dtype, shape, seed):
    """Normal numbers, cut to the type. F8_E4M3 takes random patterns that are no NaN."""
    random = np.random.default_rng(seed)
    if dtype == "F8_E4M3":
        return Tensor(dtype, random.integers(0, 127, shape) + 128 * random.integers(0, 2, shape))
    values = random.standard_normal(shape)
    if dtype == "BF16":
        return Tensor(dtype, values.astype(np.float32).view(np.uint32) >> 16)
    if dtype == "F8_E5M2":
        return Tensor(dtype, values.astype(np.float16).view(np.uint16) >> 8)
    kind = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]
    return Tensor(dtype, values.astype(kind).view(BITS_TYPE[dtype]))
