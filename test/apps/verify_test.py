"""`prune verify` finds what is planted: exit code 4 for a broken promise, 3 for a broken file."""

import json
import shutil
import unittest

import numpy as np

import packed_files
import safetensors_files
from program import DONE, MISMATCH, MODEL, REFUSED, ProgramTest, shard_paths, tensors_of


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

    def test_a_sparsity_as_round_as_it_is_printed(self):
        """1:3 removes two thirds, which 0.6667 names: what is promised is the pattern's own share."""
        rows, columns = 2048, 96
        weight = safetensors_files.normal("BF16", (rows, columns), 7)
        safetensors_files.write(self.folder / "in.safetensors", {"model.layers.0.mlp.up_proj.weight": weight}, {})
        third = self.folder / "third.safetensors"
        promise = ("--pattern", "1:3", "--sparsity", 0.6667)
        self.expect(DONE, self.folder / "in.safetensors", "-o", third, "--quiet", *promise)
        self.verify(DONE, *promise, model=third)

    def test_nothing_to_be_true_of(self):
        for arguments in (("--pattern", "2:4", "--include", "nosuch"), ("--sparsity", 0.5, "--exclude", "*")):
            self.verify(REFUSED, *arguments, parts=["no weight matrix"])

    def test_what_was_left_alone_because_it_does_not_fit(self):
        some = self.folder / "some"
        self.expect(DONE, MODEL, "-o", some, "--quiet", "--pattern", "1:3", "--skip-unfit")
        self.verify(MISMATCH, "--pattern", "1:3", model=some)
        self.verify(DONE, "--pattern", "1:3", "--skip-unfit", "--against", MODEL, model=some)

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

    def test_every_other_file_is_compared(self):
        original = shutil.copytree(MODEL, self.folder / "original")
        (original / "notes").mkdir()
        (original / "notes" / "a.txt").write_bytes(b"1\n")
        (original / "empty").touch()
        self.expect(DONE, original, "-o", self.model, "--force", "--quiet", "--pattern", "2:4")
        against = ("--against", original)
        self.verify(DONE, *against)
        (self.model / "config.json").write_bytes((original / "config.json").read_bytes() + b" ")
        self.verify(MISMATCH, *against, parts=["file 'config.json' differs"])
        shutil.copyfile(original / "config.json", self.model / "config.json")
        (self.model / "notes" / "a.txt").write_bytes(b"2\n")
        self.verify(MISMATCH, *against, parts=["file 'notes/a.txt' differs"])
        (self.model / "notes" / "a.txt").unlink()
        self.verify(MISMATCH, *against, parts=["file 'notes/a.txt' of the original is missing"])
        shutil.copyfile(original / "notes" / "a.txt", self.model / "notes" / "a.txt")
        (self.model / "empty").write_bytes(b"x")
        run = self.verify(MISMATCH, *against, parts=["file 'empty' differs"])
        self.assertEqual(run.stdout.count("mismatch:"), 1)
        (self.model / "empty").write_bytes(b"")
        (self.model / "more.txt").touch()
        self.verify(MISMATCH, *against, parts=["file 'more.txt' is not in the original"])

    def test_a_file_has_no_other_files(self):
        shard = shard_paths(self.model)[0]
        self.verify(DONE, "--against", shard_paths(MODEL)[0], model=shard)

    def test_what_every_pattern_and_scope_promises(self):
        pruned = self.folder / "pruned"
        for pattern in ("unstructured", "16x16", "4x8"):
            for scope in ("row", "layer", "global"):
                with self.subTest(pattern=pattern, scope=scope):
                    promise = ("--pattern", pattern, "--sparsity", 0.7, "--scope", scope)
                    self.expect(DONE, MODEL, "-o", pruned, "--force", "--quiet", *promise)
                    self.verify(DONE, *promise, "--against", MODEL, model=pruned)
                    # One weight more than promised: of a block, all of it is lost.
                    self.change(self.revive, pruned)
                    self.verify(MISMATCH, *promise, model=pruned, parts=["fewer than sparsity 0.7 promises"])
        for pattern, sparsity in (("2:4", 0.5), ("1:4", 0.75), ("3:8", 0.625)):
            with self.subTest(pattern=pattern):
                promise = ("--pattern", pattern, "--sparsity", sparsity)
                self.expect(DONE, MODEL, "-o", pruned, "--force", "--quiet", *promise)
                self.verify(DONE, *promise, "--against", MODEL, model=pruned)
                self.change(self.revive, pruned)
                self.verify(MISMATCH, *promise, model=pruned, parts=["fewer than", "breaks pattern"])

    def revive(self, tensors, _):
        """Sets a pruned weight to one."""
        weight = self.linear(tensors)
        row, column = np.argwhere(weight.bits == 0)[0]
        weight.bits[row, column] = 0x3F80

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

    def test_an_order_that_is_not_the_models(self):
        """A square weight said to be stored the other way round would be unpacked turned."""
        self.pack("2:4")

        def edit(_, metadata):
            layout = json.loads(metadata["prune.layout"])
            name = next(n for n in layout if n.endswith("q_proj.weight"))
            layout[name]["dense_order"] = "in_out"
            metadata["prune.layout"] = json.dumps(layout)

        self.change(edit, self.packed)
        self.verify(MISMATCH, "--pattern", "2:4", model=self.packed, parts=["packed in another order"])

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

    def test_windows(self):
        self.pack("unstructured", "--format", "windows")
        column = int(np.flatnonzero(self.part(tensors_of(self.packed), "values").bits)[0])
        self.refuse(lambda t: self.part(t, "columns").bits.__setitem__(column, 32), "its window")
        self.refuse(lambda t: self.part(t, "tail_columns").bits.__setitem__(0, 1 << 15), "tail")
        self.refuse(lambda t: self.part(t, "tail_counts").bits.__setitem__(0, 1 << 31), "tail")
        self.refuse(lambda t: self.part(t, "tail_counts").bits.__setitem__(0, 9999), "tail")
        # A weight that its row no longer counts would be lost without a word.
        counts = self.part(tensors_of(self.packed), "tail_counts").bits
        last = int(np.flatnonzero(counts)[-1])
        fault = "do not add up" if counts.sum() % 4 == 1 else "no row counts"
        self.refuse(lambda t: self.part(t, "tail_counts").bits.__setitem__(last, counts[last] - 1), fault)

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

    def change_packed_embedding(self):
        """An embedding is no linear weight; packed by name it still has to be the original's."""
        embedding = "model.embed_tokens.weight"
        self.expect(DONE, MODEL, "-o", self.model, "--force", "--quiet", "--pattern", "2:4", "--include", embedding)
        self.packed = self.folder / "packed"
        self.expect(DONE, "pack", self.model, "-o", self.packed, "--quiet", "--include", embedding)
        self.assertNotIn(embedding, tensors_of(self.packed))
        self.verify(DONE, "--against", self.model, model=self.packed)
        self.verify(DONE, "--against", self.packed)
        self.verify(DONE, "--against", self.packed, model=self.packed)
        path = next(p for p in shard_paths(self.model) if embedding in safetensors_files.File(p).names())
        file = safetensors_files.File(path)
        tensors = dict(file.tensors())
        changed = tensors[embedding].bits.copy()
        changed[np.nonzero(changed)[0][0], np.nonzero(changed)[1][0]] = 0  # a weight's zero would pass as pruned
        tensors[embedding] = safetensors_files.Tensor(tensors[embedding].dtype, changed)
        safetensors_files.write(path, tensors, dict(file.metadata))
        return f"'{embedding}' differs from the original"

    def test_a_tensor_packed_in_one_folder_alone(self):
        fault = self.change_packed_embedding()
        self.verify(MISMATCH, "--against", self.packed, parts=[fault])
        self.verify(MISMATCH, "--against", self.model, model=self.packed, parts=[fault])

    def test_packed_tensors_are_sound_selected_or_not(self):
        self.pack("2:4")
        self.change(lambda t, _: self.part(t, "indices").bits.__setitem__((0, 0), 0b0101_0101), self.packed)
        run = self.verify(REFUSED, "--exclude", "*", model=self.packed)
        self.assert_one_line(run.stderr, "does not ascend")

    def test_orientations_do_not_mix(self):
        """The same shape in the file, packed once as [out, in] and once as [in, out], is the same matrix."""
        bits = np.where(np.arange(32).reshape(4, 8) % 2, 0, 0x3F80).astype(np.uint16)
        bits[:2] = 0
        for name, kind in (("a", "gpt2"), ("b", "llama")):
            (self.folder / name).mkdir()
            (self.folder / name / "config.json").write_text(json.dumps({"model_type": kind}))
            weight = safetensors_files.Tensor("BF16", bits)
            safetensors_files.write(self.folder / name / "model.safetensors", {"h.0.mlp.c_fc.weight": weight},
                                    {"format": "pt"})  # fmt: skip
            self.expect(DONE, "pack", self.folder / name, "-o", self.folder / f"{name}-packed", "--format", "bitmask",
                        "--include", "*c_fc")  # fmt: skip
        for one, other in (("a-packed", "b-packed"), ("b-packed", "a-packed"), ("a-packed", "b"), ("b", "a-packed")):
            run = self.verify(MISMATCH, "--against", self.folder / other, "--include", "*c_fc", model=self.folder / one)
            self.assertEqual(run.stdout.count("mismatch:"), 1, run.stdout)  # config.json
            self.assertIn("config.json", run.stdout)

    def test_not_a_number_in_packed_values(self):
        self.pack("2:4")
        self.change(lambda tensors, _: self.part(tensors, "values").bits.__setitem__((0, 0), 0x7FC0), self.packed)
        self.verify(MISMATCH, model=self.packed, parts=["NaN at row 0"])


if __name__ == "__main__":
    unittest.main()
