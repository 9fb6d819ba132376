"""Files in the sparse formats of older compressed-tensors, written here from their description, made dense."""

import json
import unittest

import numpy as np

from program import DONE, REFUSED, ProgramTest, tensors_of
from safetensors_files import Tensor, normal, write

CONFIG = {
    "model_type": "llama",
    "rms_norm_eps": 1e-05,
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "dense",
        "sparsity_config": {"format": "sparse-24-bitmask", "sparsity_structure": "2:4"},
    },
}


def mask_of(kept):
    return Tensor("U8", np.packbits(kept, axis=1, bitorder="little"))


def two_of_four(base, bits):
    """The two largest of every four stay; of three or more zeros, which two are named is the first ones' luck."""
    groups = np.abs(bits.values()).reshape(-1, 4)
    kept = np.zeros(groups.shape, bool)
    np.put_along_axis(kept, np.argsort(-groups, axis=1, kind="stable")[:, :2], True, axis=1)
    kept = kept.reshape(bits.bits.shape)
    rows, columns = kept.shape
    return {
        base + ".compressed": Tensor(bits.dtype, bits.bits[kept].reshape(rows, columns // 2)),
        base + ".bitmask": mask_of(kept),
        base + ".shape": Tensor("I64", [[rows], [columns]]),
    }


def any_zeros(base, bits):
    kept = bits.bits != 0
    return {
        base + ".compressed": Tensor(bits.dtype, bits.bits[kept]),
        base + ".bitmask": mask_of(kept),
        base + ".shape": Tensor("I64", kept.shape),
        base + ".row_offsets": Tensor("I64", np.concatenate([[0], np.cumsum(kept.sum(axis=1))[:-1]])),
    }


class CompressedTensorsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model, self.dense = self.folder / "model", self.folder / "dense"
        self.model.mkdir()
        (self.model / "config.json").write_text(json.dumps(CONFIG))
        self.pruned = normal("BF16", (6, 20), 1)
        self.pruned.bits[:, 1::4] = self.pruned.bits[:, 2::4] = 0
        self.pruned.bits[0, :8] = 0  # groups of zeros, two of which are stored
        self.sparse = normal("F16", (5, 13), 2)
        self.sparse.bits[np.random.default_rng(3).random((5, 13)) < 0.6] = 0
        self.norm = normal("BF16", (7,), 4)
        # Both ways to name them.
        self.parts = two_of_four("model.layers.0.mlp.up_proj", self.pruned)
        self.parts |= any_zeros("model.layers.0.mlp.down_proj.weight", self.sparse)
        self.parts["model.norm.weight"] = self.norm

    def unpack(self, code=DONE):
        write(self.model / "model.safetensors", self.parts, {"format": "pt"})
        return self.expect(code, "unpack", self.model, "-o", self.dense, "--force", "--quiet")

    def test_dense_weights_come_back(self):
        self.unpack()
        names = ["model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight", "model.norm.weight"]
        dense = tensors_of(self.dense)
        self.assertEqual(sorted(dense), sorted(names))
        for name, expected in zip(names, (self.pruned, self.sparse, self.norm)):
            self.assertEqual(dense[name], expected, name)
        config = json.loads((self.dense / "config.json").read_text())
        self.assertEqual(config, {key: CONFIG[key] for key in ("model_type", "rms_norm_eps")})

    def test_the_documented_bytes(self):
        row = Tensor("I8", np.array([[0, 5, 0, -7, 1, 0, 0, 2, 0, 0]], np.int8).view(np.uint8))
        self.parts = any_zeros("m", row)
        self.assertEqual(self.parts["m.bitmask"].bits.tolist(), [[0x9A, 0]])
        self.unpack()
        self.assertEqual(tensors_of(self.dense)["m.weight"], row)

    def test_another_quantization_stays(self):
        quantized = dict(CONFIG["quantization_config"], format="float-quantized", config_groups={"group_0": {}})
        (self.model / "config.json").write_text(json.dumps({"quantization_config": quantized, "sparsity_config": {}}))
        self.unpack()
        del quantized["sparsity_config"]
        config = json.loads((self.dense / "config.json").read_text())
        self.assertEqual(config, {"quantization_config": quantized})

    def test_malformed_files_are_refused(self):
        two, any_ = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj.weight"

        def change(name, index, value):
            self.parts[name].bits[index] = value

        faults = {
            "two of every four": lambda: change(two + ".bitmask", (2, 0), 0x37),
            "behind the last column": lambda: change(any_ + ".bitmask", (4, 1), 0x80),
            "number of bits before it": lambda: change(any_ + ".row_offsets", 2, 1 << 60),
            "bits are set": lambda: self.parts.update(
                {any_ + ".compressed": Tensor("F16", np.append(self.parts[any_ + ".compressed"].bits, 1))}
            ),
            "than there are values": lambda: self.parts.update(
                {any_ + ".compressed": Tensor("F16", self.parts[any_ + ".compressed"].bits[:-1])}
            ),
            "'.bitmask' is missing": lambda: self.parts.pop(two + ".bitmask"),
            "another type": lambda: self.parts.update({two + ".shape": Tensor("I32", [6, 20])}),
            "the extent 0": lambda: self.parts.update({two + ".shape": Tensor("I64", [0, 20])}),
            "not the shape that it claims": lambda: self.parts.update({two + ".shape": Tensor("I64", [6, 40])}),
            "no row_offsets": lambda: self.parts.pop(any_ + ".row_offsets"),
            "dense and compressed": lambda: self.parts.update({two + ".weight": self.pruned}),
        }
        for message, damage in faults.items():
            with self.subTest(message):
                before = dict(self.parts)
                self.parts = {name: Tensor(t.dtype, t.bits.copy()) for name, t in before.items()}
                damage()
                self.assert_one_line(self.unpack(REFUSED).stderr, message)
                self.assertFalse(self.dense.exists())
                self.parts = before


if __name__ == "__main__":
    unittest.main()
