"""`prune verify` finds what is planted: exit code 4 for a broken promise, 3 for a broken file."""

import json
import shutil
import unittest

import numpy as np

import packed_files
import safetensors_files
from program import DONE, MISMATCH, MODEL, REFUSED, ProgramTest, shard_paths


class VerifyTest(ProgramTest):
    """Pruned to 2:4 once; every test damages a copy of its own."""

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.expect(DONE, MODEL, "-o", self.model, "--pattern", "2:4", "--quiet")

    def shard(self, model=None):
        """The path, the tensors and the metadata of the first shard, to change and write back."""
        path = shard_paths(model or self.model)[0]
        file = safetensors_files.File(path)
        tensors = {n: safetensors_files.Tensor(t.dtype, t.bits.copy()) for n, t in file.tensors().items()}
        return path, tensors, dict(file.metadata)

    def change(self, edit, model=None):
        path, tensors, metadata = self.shard(model)
        edit(tensors, metadata)
        safetensors_files.write(path, tensors, metadata)

    def linear(self, tensors):
        return next(tensors[n] for n in tensors if n.endswith("_proj.weight"))

    def verify(self, code, *arguments, model=None, parts=()):
        run = self.expect(code, "verify", model or self.model, *arguments)
        for part in parts:
            self.assertIn(part, run.stdout + run.stderr)
        return run


class Dense(VerifyTest):
    FULL = ("--pattern", "2:4", "--sparsity", 0.5, "--against", MODEL)

    def test_a_sound_model(self):
        self.verify(DONE, *self.FULL, parts=["sound"])
        self.verify(DONE)
        self.verify(DONE, model=MODEL)

    def test_one_weight_changed(self):
        def edit(tensors, _):
            weight = self.linear(tensors)
            row, column = np.argwhere(weight.bits != 0)[7]
            weight.bits[row, column] ^= 1

        self.change(edit)
        self.verify(DONE, "--pattern", "2:4")
        run = self.verify(MISMATCH, *self.FULL, parts=["neither zero nor the original's"])
        self.assertEqual(run.stdout.count("mismatch:"), 1)

    def test_a_pruned_weight_set_to_minus_zero(self):
        def edit(tensors, _):
            weight = self.linear(tensors)
            row, column = np.argwhere(weight.bits == 0)[0]
            weight.bits[row, column] = 0x8000

        self.change(edit)
        self.verify(MISMATCH, "--against", MODEL)

    def test_pattern_broken(self):
        self.change(lambda tensors, _: self.linear(tensors).bits[3, 8:12].fill(0x3F80))
        self.verify(MISMATCH, "--pattern", "2:4", parts=["row 3, columns 8 to 11"])
        self.verify(DONE)

    def test_blocks_broken(self):
        self.expect(DONE, MODEL, "-o", self.folder / "blocks", "--pattern", "16x16", "--sparsity", 0.5)
        self.verify(DONE, "--pattern", "16x16", "--sparsity", 0.5, model=self.folder / "blocks")
        self.verify(MISMATCH, "--pattern", "2:4", model=self.folder / "blocks")

    def test_too_few_zeros(self):
        self.verify(MISMATCH, "--sparsity", 0.5, model=MODEL, parts=["fewer than"])
        self.verify(MISMATCH, "--sparsity", 0.51)
        self.verify(DONE, "--sparsity", 0.5)

    def test_tensor_missing_and_tensor_too_many(self):
        removed = []

        def edit(tensors, _):
            removed.append(next(n for n in tensors if n.endswith("_proj.weight")))
            tensors["extra.weight"] = tensors.pop(removed[0])

        self.change(edit)
        index_path = self.model / "model.safetensors.index.json"
        index = json.loads(index_path.read_text())
        index["weight_map"]["extra.weight"] = index["weight_map"].pop(removed[0])
        index_path.write_text(json.dumps(index))
        self.verify(DONE)
        self.verify(MISMATCH, "--against", MODEL,
                    parts=[f"'{removed[0]}' of the original is missing", "'extra.weight' is not in the original"])

    def test_not_a_number(self):
        self.change(lambda tensors, _: self.linear(tensors).bits.__setitem__((2, 5), 0x7FC0))
        self.verify(MISMATCH, parts=["NaN at row 2, column 5"])

    def test_other_tensor_changed(self):
        def edit(tensors, _):
            name = next(n for n in tensors if "norm" in n or "embed" in n)
            tensors[name].bits.reshape(-1)[0] ^= 1

        self.change(edit)
        self.verify(DONE)
        self.verify(MISMATCH, "--against", MODEL)

    def test_type_and_shape_changed(self):
        def retype(tensors, _):
            name = next(n for n in tensors if n.endswith("_proj.weight"))
            tensors[name] = safetensors_files.Tensor("F16", tensors[name].bits)

        def turn(tensors, _):
            name = next(n for n in tensors if n.endswith("_proj.weight") and len(set(tensors[n].shape)) == 2)
            tensors[name] = safetensors_files.Tensor("BF16", tensors[name].bits.T.copy())

        for edit in (retype, turn):
            copy = shutil.copytree(self.model, self.folder / edit.__name__)
            self.change(edit, copy)
            self.verify(MISMATCH, "--against", MODEL, model=copy, parts=["another type or shape"])

    def test_config_changed(self):
        config = json.loads((self.model / "config.json").read_text())
        (self.model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
        self.verify(MISMATCH, "--against", MODEL, parts=["config.json"])

    def test_mismatches_as_json(self):
        self.change(lambda tensors, _: self.linear(tensors).bits[3, 8:12].fill(0x3F80))
        run = self.verify(MISMATCH, "--pattern", "2:4", "--json")
        document = json.loads(run.stdout)
        self.assertFalse(document["ok"])
        self.assertEqual(len(document["mismatches"]), 1)

    def test_a_cut_file_is_refused(self):
        path = shard_paths(self.model)[0]
        path.write_bytes(path.read_bytes()[:-1])
        run = self.verify(REFUSED)
        self.assert_one_line(run.stderr, path.name)


class Packed(VerifyTest):
    """Damage inside packed tensors is a broken file."""

    def pack(self, pattern, *arguments):
        self.expect(DONE, MODEL, "-o", self.model, "--force", "--quiet", "--pattern", pattern, "--sparsity", 0.5)
        self.packed = self.folder / "packed"
        self.expect(DONE, "pack", self.model, "-o", self.packed, "--force", "--quiet", *arguments)
        self.verify(DONE, "--against", self.model, model=self.packed)

    @staticmethod
    def part(tensors, suffix):
        return next(tensors[n] for n in sorted(tensors) if n.endswith(f"_proj.weight.{suffix}"))

    def refuse(self, edit, *parts, metadata=False):
        """A copy with the damage is refused by every command that reads packed weights, and nothing is written."""
        damaged, output = self.folder / "damaged", self.folder / "output"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(self.packed, damaged)
        self.change(lambda tensors, data: edit(data if metadata else tensors), damaged)
        for command in (("verify",), ("inspect",), ("unpack", "-o", output)):
            run = self.expect(REFUSED, command[0], damaged, *command[1:])
            self.assert_one_line(run.stderr, "prune: ", shard_paths(damaged)[0].name, *parts)
        self.assert_nothing_left(output)

    def test_nm(self):
        self.pack("2:4")
        for place, byte, fault in (((0, 0), 0b0101_0101, "does not ascend"), ((5, 2), 0b0100_0001, "row 5"),
                                   ((1, 1), 0b1110_0000, "row 1")):
            self.refuse(lambda t, p=place, b=byte: self.part(t, "indices").bits.__setitem__(p, b), fault)

    def test_nm_index_outside_the_group(self):
        model = self.folder / "made"
        model.mkdir()
        weight = safetensors_files.encode("F32", np.tile([0, 0, 0, 0, 1, 2], (4, 4)))
        safetensors_files.write(model / "model.safetensors", {"a.weight": weight}, {"format": "pt"})
        self.packed = self.folder / "packed"
        self.expect(DONE, "pack", model, "-o", self.packed, "--format", "nm", "--pattern", "2:6")
        self.refuse(lambda t: t["a.weight.indices"].bits.__setitem__((0, 0), 0b00_111_100), "outside the group")
        self.refuse(lambda t: t["a.weight.indices"].bits.__setitem__((0, 2), 0xFF))
        self.refuse(lambda t: t.pop("a.weight.indices"), "'indices' is missing")
        self.refuse(lambda t: t.pop("a.weight.values"), "'values' is missing")

    def test_bitmask(self):
        self.pack("unstructured", "--format", "bitmask")
        self.refuse(lambda t: self.part(t, "bitmask").bits.__setitem__((0, 0), self.part(t, "bitmask").bits[0, 0] ^ 1),
                    "row 0", "bits are set")
        self.refuse(lambda t: self.part(t, "row_offsets").bits.__setitem__(0, 1), "row_offsets")
        self.refuse(lambda t: self.part(t, "row_offsets").bits.__setitem__(2, 0), "row_offsets")
        self.refuse(lambda t: self.part(t, "row_offsets").bits.__setitem__(1, 1 << 63), "row_offsets")
        self.refuse(lambda t: self.part(t, "row_offsets").bits.__setitem__(-1, 1 << 40), "row_offsets")

    def test_csr(self):
        self.pack("unstructured", "--format", "csr")
        self.refuse(lambda t: self.part(t, "indices").bits.__setitem__(0, 1 << 20))
        self.refuse(lambda t: self.part(t, "indices").bits.__setitem__(0, 0xFFFFFFFF))
        self.refuse(lambda t: self.part(t, "indices").bits.__setitem__(1, self.part(t, "indices").bits[0]))
        self.refuse(lambda t: self.part(t, "indptr").bits.__setitem__(1, 1 << 62))
        self.refuse(lambda t: self.part(t, "indptr").bits.__setitem__(0, 5))

    def test_bsr(self):
        self.pack("16x16", "--format", "bsr")
        self.refuse(lambda t: self.part(t, "indices").bits.__setitem__(0, 1000))
        self.refuse(lambda t: self.part(t, "indptr").bits.__setitem__(-1, 1))

    def test_layout(self):
        self.pack("2:4")

        def broken(**changes):
            def edit(metadata):
                layout = packed_files.layout(metadata)
                name = sorted(layout)[0]
                entry = {k: v for k, v in (layout[name] | changes).items() if v is not None}
                metadata["prune.layout"] = json.dumps(layout | {name: entry})

            return edit

        for changes in ({"format": "zip"}, {"format": None}, {"format": 1}, {"shape": [256]}, {"shape": [0, 256]},
                        {"shape": [-256, 256]}, {"shape": [1 << 40, 1 << 40]}, {"shape": [256, 260]}, {"shape": "2"},
                        {"shape": [256.5, 256]}, {"pattern": "1:4"}, {"pattern": "4:2"}, {"pattern": None},
                        {"pattern": "16x16"}, {"dtype": "F16"}, {"dtype": "I64"}, {"dtype": "X"}, {"dtype": None},
                        {"dense_order": "sideways"}, {"dense_order": 1}):  # fmt: skip
            with self.subTest(changes=changes):
                self.refuse(broken(**changes), metadata=True)
        for text in ("", "[]", "{", "null", '{"a": 1}', "[" * 100000):
            self.refuse(lambda metadata, t=text: metadata.__setitem__("prune.layout", t), metadata=True)

    def test_components(self):
        self.pack("2:4")

        def shrink(tensors):
            name = next(n for n in sorted(tensors) if n.endswith("_proj.weight.values"))
            tensors[name] = safetensors_files.Tensor("BF16", tensors[name].bits[:, :-2])

        def retype(tensors):
            name = next(n for n in sorted(tensors) if n.endswith("_proj.weight.values"))
            tensors[name] = safetensors_files.Tensor("F16", tensors[name].bits)

        self.refuse(shrink)
        self.refuse(retype)

    def test_packed_weights_are_compared_too(self):
        self.pack("2:4")

        def edit(tensors, _):
            values = self.part(tensors, "values")
            values.bits[0, 0] ^= 1

        self.change(edit, self.packed)
        self.verify(MISMATCH, "--against", self.model, model=self.packed)
        self.verify(DONE, model=self.packed)

    def test_not_a_number_in_packed_values(self):
        self.pack("2:4")
        self.change(lambda tensors, _: self.part(tensors, "values").bits.__setitem__((0, 0), 0x7FC0), self.packed)
        self.verify(MISMATCH, model=self.packed, parts=["NaN at row 0"])


if __name__ == "__main__":
    unittest.main()
