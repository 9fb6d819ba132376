"""What a pruned checkpoint is: the same files, names, types, shapes, order and bytes, but for zeros in linear weights."""

import hashlib
import json
import os
import shutil
import unittest

import numpy as np

import safetensors_files
from program import DONE, MODEL, REFUSED, SHARED, USAGE, ProgramTest, files_below, needs_shared, shard_paths, tensors_of

try:
    import safetensors
except ImportError:
    safetensors = None

PASS = ("--sparsity", 0.5, "--pattern", "2:4")


def is_linear(name):
    return ".layers." in name and name.endswith("_proj.weight")


def digest(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files_below(folder)}


class OutputTest(ProgramTest):
    def check_contract(self, model, output):
        """Everything that pruning to 2:4 promises, of a whole folder."""
        self.assertEqual(files_below(model), files_below(output))
        shards = {path.name for path in shard_paths(model)}
        for name in files_below(model):
            if name.name not in shards:
                self.assertEqual((model / name).read_bytes(), (output / name).read_bytes(), f"{name} differs")
        for name in shards:
            self.check_shard(model / name, output / name)

    def check_shard(self, before_path, after_path):
        before, after = safetensors_files.File(before_path), safetensors_files.File(after_path)
        self.assertEqual(before.header_text, after.header_text)
        self.assertEqual(after.metadata.get("format"), "pt")
        pruned = 0
        for name in before.names():
            if is_linear(name):
                self.check_pruned(before[name], after[name])
                pruned += 1
            else:
                self.assertTrue(before[name] == after[name], f"{name} differs")
        self.assertGreater(pruned, 0)

    def check_pruned(self, before, after):
        kept = after.bits != 0
        self.assertTrue(np.array_equal(after.bits[kept], before.bits[kept]), "kept weights differ")
        groups = kept.reshape(kept.shape[0], -1, 4).sum(axis=2)
        self.assertLessEqual(groups.max(), 2)
        self.assertFalse((after.bits == 0x8000).any() and not (before.bits == 0x8000).any(), "a new -0")

    def copy_of_model(self, name="model"):
        return shutil.copytree(MODEL, self.folder / name)


class Contract(OutputTest):
    def test_sharded_folder(self):
        self.expect(DONE, MODEL, "-o", self.folder / "out", *PASS)
        self.check_contract(MODEL, self.folder / "out")

    @needs_shared
    def test_five_shards(self):
        model = SHARED / "models/docs-llama-30m"
        self.expect(DONE, model, "-o", self.folder / "out", *PASS)
        self.check_contract(model, self.folder / "out")

    @unittest.skipUnless(safetensors, "the safetensors package is not installed")
    def test_the_safetensors_package_reads_it(self):
        self.expect(DONE, MODEL, "-o", self.folder / "out", *PASS)
        for path in shard_paths(self.folder / "out"):
            ours = safetensors_files.File(path)
            theirs = dict(safetensors.deserialize(path.read_bytes()))
            self.assertEqual(sorted(theirs), sorted(ours.names()))
            for name, tensor in theirs.items():
                self.assertEqual((tensor["dtype"], tensor["shape"]), (ours[name].dtype, ours[name].shape))
                self.assertEqual(bytes(tensor["data"]), ours[name].bits.tobytes())
            with safetensors.safe_open(path, framework="np") as opened:
                self.assertEqual(opened.metadata(), {"format": "pt"})

    def test_pruning_twice_is_pruning_once(self):
        once, twice = self.folder / "once", self.folder / "twice"
        for pattern in ("2:4", "unstructured", "16x16"):
            self.expect(DONE, MODEL, "-o", once, "--force", "--sparsity", 0.5, "--pattern", pattern)
            self.expect(DONE, once, "-o", twice, "--force", "--sparsity", 0.5, "--pattern", pattern)
            self.assert_same_folders(once, twice)

    def test_thread_counts_do_not_change_a_byte(self):
        for pattern, scope in (("unstructured", "layer"), ("unstructured", "global"), ("16x16", "global")):
            for threads in (1, 3):
                self.expect(DONE, MODEL, "-o", self.folder / str(threads), "--force", "--sparsity", 0.6,
                            "--pattern", pattern, "--scope", scope, "--threads", threads)  # fmt: skip
            self.assert_same_folders(self.folder / "1", self.folder / "3")

    def test_counts_are_exact(self):
        for sparsity in (0.5, 0.613):
            self.expect(DONE, MODEL, "-o", self.folder / "out", "--force", "--pattern", "unstructured",
                        "--sparsity", sparsity)  # fmt: skip
            for name, tensor in tensors_of(self.folder / "out").items():
                if is_linear(name):
                    self.assertEqual(int((tensor.bits == 0).sum()), int(tensor.bits.size * sparsity), name)


class Places(OutputTest):
    def test_in_the_models_own_folder_with_no_other_argument(self):
        model = self.copy_of_model()
        before = digest(model)
        self.expect(DONE, *PASS, cwd=model)
        self.assertEqual(digest(model), before)
        self.check_contract(model, self.folder / "model-2of4")

    def test_nothing_else_appears_beside_it(self):
        self.copy_of_model()
        self.expect(DONE, *PASS, cwd=self.folder / "model")
        self.assertEqual(sorted(os.listdir(self.folder)), ["model", "model-2of4"])

    def test_default_names_say_the_pattern(self):
        model = self.copy_of_model()
        for pattern, name in (("1:4", "model-1of4"), ("unstructured", "model-unstructured"), ("16x16", "model-16x16")):
            self.expect(DONE, f"{model}/", "--pattern", pattern, *(() if ":" in pattern else ("--sparsity", 0.5)))
            self.assertTrue((self.folder / name).is_dir(), os.listdir(self.folder))

    def test_output_may_not_be_the_model_or_hold_it(self):
        model = self.copy_of_model()
        before = digest(self.folder)
        for output in (model, self.folder, ".", "..", model / "model-00001-of-00002.safetensors"):
            run = self.expect(USAGE, "-o", output, "--force", "--quiet", *PASS, cwd=model)
            self.assert_one_line(run.stderr, "prune: ")
        self.assertEqual(digest(self.folder), before)

    def test_download_cache_of_links(self):
        """A snapshot folder of links into blobs, as the Hugging Face cache has it."""
        blobs, snapshot = self.folder / "blobs", self.folder / "snapshots/0123abcd"
        blobs.mkdir()
        snapshot.mkdir(parents=True)
        for path in MODEL.iterdir():
            name = hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copyfile(path, blobs / name)
            (snapshot / path.name).symlink_to(os.path.join("../../blobs", name))
        before = digest(blobs)
        self.expect(DONE, snapshot, "-o", self.folder / "out", *PASS)
        self.check_contract(MODEL, self.folder / "out")
        self.assertFalse([p for p in (self.folder / "out").rglob("*") if p.is_symlink()])
        self.assertEqual(digest(blobs), before)

    def test_one_file(self):
        file = shutil.copyfile(shard_paths(MODEL)[0], self.folder / "model-a.safetensors")
        self.expect(DONE, file, *PASS)
        self.check_shard(file, self.folder / "model-a-2of4.safetensors")
        self.expect(DONE, file, "-o", self.folder / "other", *PASS)
        self.assertEqual((self.folder / "other").read_bytes(), (self.folder / "model-a-2of4.safetensors").read_bytes())
        self.assertEqual(len(os.listdir(self.folder)), 3)

    def test_folders_and_other_weights_are_carried_along(self):
        model = self.copy_of_model()
        (model / "onnx").mkdir()
        (model / "onnx/model.onnx").write_bytes(b"onnx")
        (model / ".git").mkdir()
        (model / ".git/HEAD").write_text("ref")
        script = model / "run me.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        run = self.expect(DONE, model, "-o", self.folder / "out", *PASS)
        self.assertEqual((self.folder / "out/onnx/model.onnx").read_bytes(), b"onnx")
        self.assertEqual((self.folder / "out/run me.sh").stat().st_mode & 0o777, 0o755)
        self.assertFalse((self.folder / "out/.git").exists())
        self.assertIn("note: onnx/model.onnx is copied as it is", run.stderr)

    def test_output_through_a_link_lands_where_it_points(self):
        (self.folder / "disk").mkdir()
        (self.folder / "link").symlink_to(self.folder / "disk")
        self.expect(DONE, MODEL, "-o", self.folder / "link/out", *PASS)
        self.check_contract(MODEL, self.folder / "disk/out")

    def test_names_that_need_care(self):
        for name in ("with space", "umlaut-ä", "-o", "2:4", "inspect"):
            shutil.copytree(MODEL, self.folder / name)
            self.expect(DONE, f"./{name}", *PASS, cwd=self.folder)
            self.check_contract(MODEL, self.folder / f"{name}-2of4")


class Headers(OutputTest):
    """Files as other writers leave them."""

    def prune_file(self, content):
        path = self.folder / "in.safetensors"
        path.write_bytes(content)
        self.expect(DONE, path, "-o", self.folder / "out.safetensors", "--force", *PASS)
        return safetensors_files.File(path), safetensors_files.File(self.folder / "out.safetensors")

    @staticmethod
    def content(header, data, padding=0):
        text = json.dumps(header).encode() + b" " * padding
        return len(text).to_bytes(8, "little") + text + data

    @staticmethod
    def entry(begin, end, shape, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    def weight_data(self):
        return safetensors_files.normal("F32", (2, 8), 1).bits.tobytes()

    def test_metadata_without_format_gets_it(self):
        for metadata in (None, {}, {"who": "a test", "text": "ä\n"}):
            header = {"a.weight": self.entry(0, 64, [2, 8])}
            if metadata is not None:
                header = {"__metadata__": metadata, **header}
            before, after = self.prune_file(self.content(header, self.weight_data()))
            self.assertEqual(after.metadata, {**(metadata or {}), "format": "pt"})
            self.assertEqual(after.entries, before.entries)
            self.check_pruned(before["a.weight"], after["a.weight"])

    def test_other_format_and_odd_headers_stay(self):
        for padding in range(4):
            header = {"__metadata__": {"format": "tf"}, "a.weight": self.entry(0, 64, [2, 8])}
            before, after = self.prune_file(self.content(header, self.weight_data(), padding))
            self.assertEqual(after.header_text, before.header_text)
            self.check_pruned(before["a.weight"], after["a.weight"])

    def test_header_order_other_than_data_order(self):
        header = {
            "__metadata__": {"format": "pt"},
            "z.weight": self.entry(64, 128, [2, 8]),
            "empty.weight": self.entry(64, 64, [0, 8]),
            "a.weight": self.entry(0, 64, [2, 8]),
        }
        before, after = self.prune_file(self.content(header, self.weight_data() * 2))
        self.assertEqual(after.header_text, before.header_text)
        for name in ("a.weight", "z.weight"):
            self.check_pruned(before[name], after[name])

    def test_types_that_are_no_weights_are_copied(self):
        header = {"__metadata__": {"format": "pt"}, "a.weight": self.entry(0, 64, [2, 8])}
        data, at = self.weight_data(), 64
        for dtype, size in (("I64", 8), ("U8", 1), ("BOOL", 1), ("I32", 4), ("U16", 2), ("F8_E8M0", 1)):
            header[f"{dtype}.weight"] = self.entry(at, at + 16 * size, [2, 8], dtype)
            data += bytes(i * 7 & 255 for i in range(16 * size))
            at += 16 * size
        before, after = self.prune_file(self.content(header, data))
        self.assertEqual(after.data[64:], before.data[64:])

    def test_not_a_number_is_refused(self):
        for dtype in ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"):
            tensor = safetensors_files.normal(dtype, (4, 8), 2)
            tensor.bits[2, 5] = ~tensor.bits.dtype.type(0)
            safetensors_files.write(self.folder / "nan.safetensors", {"layer.weight": tensor}, {"format": "pt"})
            for pattern, scope in (("2:4", "layer"), ("unstructured", "layer"), ("unstructured", "row"),
                                   ("unstructured", "global"), ("4x8", "layer"), ("4x8", "global")):  # fmt: skip
                run = self.expect(REFUSED, self.folder / "nan.safetensors", "-o", self.folder / "out", "--quiet",
                                  "--sparsity", 0.5, "--pattern", pattern,
                                  *(() if pattern == "2:4" else ("--scope", scope)))  # fmt: skip
                self.assert_one_line(run.stderr, "nan.safetensors", "layer.weight", "NaN at row 2, column 5")
                self.assert_nothing_left(self.folder / "out")


if __name__ == "__main__":
    unittest.main()
