#!/usr/bin/env python3
"""Writes a random bf16 checkpoint in the layout of a Hugging Face folder: names and shapes of a real model, as many
decoder layers as fill the wanted size. The weights are one block of normal numbers, read from another place for every
tensor, so that gigabytes take seconds; the same arguments give the same bytes.

    bench/make_checkpoint.py /tmp/model --gigabytes 8 --shards 4 --odd-alignment
    bench/make_checkpoint.py /tmp/model --shapes llama-1b-like --layers 16
"""

import argparse
import json
import math
import os
import struct

import numpy as np

# name: (hidden size, feed-forward size, rows of k_proj and v_proj)
SHAPES = {
    "llama-8b-like": (4096, 14336, 1024),
    "llama-1b-like": (2048, 8192, 512),
    "llama-100m-like": (768, 2048, 256),
}
VOCABULARY = 1024
HEAD_SIZE = 64
BLOCK_VALUES = 1 << 24
STANDARD_DEVIATION = 0.02


def layer_tensors(number, hidden, feed_forward, key_value):
    prefix = f"model.layers.{number}."
    return [
        (prefix + "input_layernorm.weight", (hidden,)),
        (prefix + "self_attn.q_proj.weight", (hidden, hidden)),
        (prefix + "self_attn.k_proj.weight", (key_value, hidden)),
        (prefix + "self_attn.v_proj.weight", (key_value, hidden)),
        (prefix + "self_attn.o_proj.weight", (hidden, hidden)),
        (prefix + "post_attention_layernorm.weight", (hidden,)),
        (prefix + "mlp.gate_proj.weight", (feed_forward, hidden)),
        (prefix + "mlp.up_proj.weight", (feed_forward, hidden)),
        (prefix + "mlp.down_proj.weight", (hidden, feed_forward)),
    ]


def size_of(tensors):
    return sum(2 * math.prod(shape) for _, shape in tensors)


def model_tensors(sizes, wanted_bytes, layers):
    hidden = sizes[0]
    ends = [("model.embed_tokens.weight", (VOCABULARY, hidden))], [
        ("model.norm.weight", (hidden,)),
        ("lm_head.weight", (VOCABULARY, hidden)),
    ]
    layers = layers or max(1, round((wanted_bytes - size_of(ends[0] + ends[1])) / size_of(layer_tensors(0, *sizes))))
    middle = [tensor for number in range(layers) for tensor in layer_tensors(number, *sizes)]
    return ends[0] + middle + ends[1], layers


def split(tensors, count):
    """Consecutive tensors in `count` shards of about the same size, none empty."""
    if count > len(tensors):
        raise SystemExit(f"--shards {count}: the model has only {len(tensors)} tensors")
    total = size_of(tensors)
    shards = [[] for _ in range(count)]
    done, current = 0, 0
    for position, tensor in enumerate(tensors):
        left_for_others = len(tensors) - position <= count - 1 - current
        if shards[current] and current + 1 < count and (done * count >= total * (current + 1) or left_for_others):
            current += 1
        shards[current].append(tensor)
        done += size_of([tensor])
    return shards


def random_block(seed):
    """Normal numbers as the upper halves of float32, which is what bf16 is."""
    values = np.random.default_rng(seed).standard_normal(BLOCK_VALUES, dtype=np.float32) * STANDARD_DEVIATION
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_values(file, count, block, start):
    start %= len(block)
    while count > 0:
        piece = block[start : start + count]
        file.write(memoryview(piece))
        count -= len(piece)
        start = 0


def write_shard(path, tensors, block, starts, odd):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        end = offset + size_of([(name, shape)])
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 + (1 if odd else 0))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            write_values(file, math.prod(shape), block, next(starts))


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def config(sizes, layers):
    hidden, feed_forward, key_value = sizes
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_attention_heads": hidden // HEAD_SIZE,
        "num_key_value_heads": key_value // HEAD_SIZE,
        "head_dim": HEAD_SIZE,
        "num_hidden_layers": layers,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "max_position_embeddings": 8192,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def make_checkpoint(folder, shapes="llama-8b-like", gigabytes=8.0, layers=None, shards=4, odd_alignment=False, seed=0):
    sizes = SHAPES[shapes]
    tensors, layers = model_tensors(sizes, gigabytes * 1e9, layers)
    block = random_block(seed)
    starts = iter(np.random.default_rng(seed + 1).integers(0, BLOCK_VALUES, len(tensors)).tolist())
    os.makedirs(folder)
    weight_map = {}
    for number, part in enumerate(split(tensors, shards), 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        write_shard(os.path.join(folder, name), part, block, starts, odd_alignment and number == shards)
        weight_map.update((tensor, name) for tensor, _ in part)
    if shards > 1:
        index = {"metadata": {"total_size": size_of(tensors)}, "weight_map": weight_map}
        write_json(os.path.join(folder, "model.safetensors.index.json"), index)
    write_json(os.path.join(folder, "config.json"), config(sizes, layers))
    return layers, size_of(tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="made here; must not exist")
    parser.add_argument("--shapes", choices=SHAPES, default="llama-8b-like")
    parser.add_argument("--gigabytes", type=float, default=8.0, help="about this size, at least one layer (default 8)")
    parser.add_argument("--layers", type=int, help="decoder layers, whatever the size")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--odd-alignment", action="store_true", help="the last shard's data starts at an odd offset")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.shards < 1:
        parser.error("--shards: at least 1")
    layers, size = make_checkpoint(**vars(arguments))
    print(f"{arguments.folder}: {layers} layers, {size / 1e9:.2f} GB in {arguments.shards} shards")


if __name__ == "__main__":
    main()
