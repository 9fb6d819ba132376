"""The model families: which tensors are pruned, and along which side."""

import json
import re
import unittest

import numpy as np

import packed_files
import reference_masks
import safetensors_files
from program import DONE, SHARED, ProgramTest, needs_shared, shard_paths, tensors_of

LLAMA = r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.weight"

# Folder: what is pruned, how many of them in a layer.
FAMILIES = {
    "gemma": (LLAMA, 7),
    "gpt2-conv1d": (r"transformer\.h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight", 4),
    "llama3-gqa-rope-scaled": (LLAMA, 7),
    "llama3-legacy-config": (LLAMA, 7),
    "mistral": (LLAMA, 7),
    "mixtral-moe": (
        r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|block_sparse_moe\.experts\.\d+\.w[123])\.weight", 16),
    "opt": (r"model\.decoder\.layers\.\d+\.(self_attn\.([qkv]|out)_proj|fc[12])\.weight", 6),
    "phi3-fused": (r"model\.layers\.\d+\.(self_attn\.(qkv|o)_proj|mlp\.(gate_up|down)_proj)\.weight", 4),
    "qwen2-bias-tied": (LLAMA, 7),
    "qwen3-qknorm": (LLAMA, 7),
}  # fmt: skip


@needs_shared
class Families(ProgramTest):
    def prune_family(self, family, *arguments):
        output = self.folder / "out"
        run = self.expect(DONE, SHARED / "families" / family, "-o", output, "--force", *arguments)
        self.assertEqual(run.stderr.count("is not known"), 0, run.stderr)
        return tensors_of(SHARED / "families" / family), tensors_of(output)

    def linear(self, family, tensors):
        pattern, in_a_layer = FAMILIES[family]
        names = [name for name in tensors if re.fullmatch(pattern, name)]
        layers = {re.search(r"\.(\d+)\.", name)[1] for name in names}
        self.assertEqual(len(names), in_a_layer * len(layers), names)
        self.assertGreater(len(layers), 1)
        return names

    def test_there_is_no_other_family(self):
        self.assertEqual(sorted(p.name for p in (SHARED / "families").iterdir()), sorted(FAMILIES))

    def check_against_reference(self, arguments, reference):
        for family in FAMILIES:
            with self.subTest(family=family):
                before, after = self.prune_family(family, *arguments)
                linear = self.linear(family, before)
                for name, tensor in before.items():
                    if name not in linear:
                        self.assertTrue(after[name] == tensor, f"{name} is no linear weight and was changed")
                # Conv1D is stored [in, out]: the patterns run down the file's columns.
                turned = family.startswith("gpt2")
                weights = [before[n].values().T if turned else before[n].values() for n in linear]
                for name, mask in zip(linear, reference(weights)):
                    expected = np.where(mask.T if turned else mask, before[name].bits, 0)
                    self.assertTrue(np.array_equal(after[name].bits, expected), name)

    def test_two_of_four(self):
        self.check_against_reference(
            ("--pattern", "2:4"), lambda weights: [reference_masks.keep_n_of_m(w, 2, 4) for w in weights])

    def test_unstructured_per_row(self):
        self.check_against_reference(
            ("--pattern", "unstructured", "--sparsity", 0.5, "--scope", "row"),
            lambda weights: reference_masks.unstructured(weights, 0.5, "row"))

    def test_unstructured_over_the_model(self):
        self.check_against_reference(
            ("--pattern", "unstructured", "--sparsity", 0.7, "--scope", "global"),
            lambda weights: reference_masks.unstructured(weights, 0.7, "global"))

    def test_blocks(self):
        self.check_against_reference(
            ("--pattern", "8x16", "--sparsity", 0.5), lambda weights: reference_masks.blocks(weights, 8, 16, 0.5))

    def test_every_command_takes_the_same_weights(self):
        packed = self.folder / "packed"
        for family in FAMILIES:
            with self.subTest(family=family):
                model, output = SHARED / "families" / family, self.folder / "out"
                before, _ = self.prune_family(family, "--pattern", "unstructured", "--sparsity", 0.7)
                linear = self.linear(family, before)
                weights = sum(before[name].bits.size for name in linear)
                promise = ("--pattern", "unstructured", "--sparsity", 0.7, "--against", model, "--json")
                self.expect(DONE, "pack", output, "-o", packed, "--force", "--quiet", "--format", "bitmask")
                for folder in (output, packed):
                    verified = json.loads(self.expect(DONE, "verify", folder, *promise).stdout)
                    self.assertEqual((verified["matrices"], verified["weights"]), (len(linear), weights))
                layouts = [packed_files.layout(safetensors_files.File(p).metadata) for p in shard_paths(packed)]
                self.assertEqual(sorted(name for layout in layouts for name in layout), sorted(linear))
                for folder in (output, packed):
                    inspected = json.loads(self.expect(DONE, "inspect", folder, "--json").stdout)
                    self.assertEqual(sorted(t["name"] for t in inspected["weights"]), sorted(linear))

    def test_packing_gives_every_byte_back(self):
        pruned, packed, dense = (self.folder / name for name in ("pruned", "packed", "dense"))
        for family in FAMILIES:
            self.expect(DONE, SHARED / "families" / family, "-o", pruned, "--force", "--pattern", "2:4")
            self.expect(DONE, "pack", pruned, "-o", packed, "--force")
            self.expect(DONE, "unpack", packed, "-o", dense, "--force")
            self.assert_same_folders(pruned, dense)
            self.expect(DONE, "verify", packed, "--pattern", "2:4", "--sparsity", 0.5, "--against",
                        SHARED / "families" / family)  # fmt: skip


if __name__ == "__main__":
    unittest.main()
