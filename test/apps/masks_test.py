"""Masks equal those of a straightforward NumPy implementation, bit for bit."""

import unittest

import numpy as np

import reference_masks
import safetensors_files
from program import DONE, MODEL, SHARED, ProgramTest, needs_shared, tensors_of
from safetensors_files import encode, normal

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# Values with many ties, both zeros and the largest magnitudes that the type has.
LEVELS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -2.0]
LARGEST = {"F8_E4M3": 448.0}


def is_linear(name):
    return name.endswith(tuple(f"{module}.weight" for module in LINEAR))


def n_of_m(matrices, keep, group):
    return [reference_masks.keep_n_of_m(m, keep, group) for m in matrices]


class MaskTest(ProgramTest):
    def check(self, model, arguments, reference):
        """Prunes and compares every linear weight with `reference`, a function of all of them."""
        output = self.folder / "out"
        self.expect(DONE, model, "-o", output, "--force", "--quiet", *arguments)
        before, after = tensors_of(model), tensors_of(output)
        names = [name for name in before if is_linear(name)]
        masks = reference([before[name].values() for name in names])
        for name, mask in zip(names, masks):
            expected = np.where(mask, before[name].bits, 0)
            wrong = np.argwhere(after[name].bits != expected)
            self.assertEqual(len(wrong), 0, f"{arguments} {name}: {len(wrong)} differ, the first at {wrong[:1]}")

    def check_patterns(self, model):
        for keep, group in ((2, 4), (4, 8), (1, 4)):
            sparsity = 1 - keep / group
            with self.subTest(pattern=f"{keep}:{group}"):
                self.check(model, ["--pattern", f"{keep}:{group}", "--sparsity", sparsity],
                           lambda m, k=keep, g=group: n_of_m(m, k, g))  # fmt: skip

    def check_blocks(self, model, rows=16, columns=16, scopes=("layer",)):
        for norm in ("l2", "l1"):
            for scope in scopes:
                with self.subTest(block=(rows, columns), norm=norm, scope=scope):
                    arguments = ["--pattern", f"{rows}x{columns}", "--sparsity", 0.5, "--block-norm", norm]
                    self.check(model, [*arguments, "--scope", scope],
                               lambda m, n=norm, s=scope: reference_masks.blocks(m, rows, columns, 0.5, s, n))

    def check_unstructured(self, model, sparsities=(0.5, 0.7)):
        for sparsity in sparsities:
            for scope in ("layer", "row", "global"):
                with self.subTest(sparsity=sparsity, scope=scope):
                    arguments = ["--pattern", "unstructured", "--sparsity", sparsity, "--scope", scope]
                    self.check(model, arguments, lambda m, p=sparsity, s=scope: reference_masks.unstructured(m, p, s))


class TrainedModel(MaskTest):
    def test_n_of_m(self):
        self.check_patterns(MODEL)

    def test_blocks(self):
        self.check_blocks(MODEL, scopes=("layer", "global"))

    def test_unstructured(self):
        self.check_unstructured(MODEL)


@needs_shared
class LargerTrainedModel(MaskTest):
    def setUp(self):
        super().setUp()
        self.model = SHARED / "models/docs-llama-30m"

    def test_n_of_m(self):
        self.check_patterns(self.model)

    def test_blocks(self):
        self.check_blocks(self.model)

    def test_unstructured(self):
        self.check_unstructured(self.model)


class MadeModel(MaskTest):
    """Every prunable type, in one file that is aligned and one that is not."""

    def make(self, shape, values):
        self.model = self.folder / "model"
        self.model.mkdir()
        dtypes = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
        tensors = {
            f"model.layers.{i}.mlp.{module}.weight": values(dtype, shape, seed)
            for i, dtype in enumerate(dtypes)
            for seed, module in enumerate(("up_proj", "down_proj"), 10 * i)
        }
        (self.model / "config.json").write_text('{"model_type": "llama"}')
        for misalign in (0, 1):
            safetensors_files.write(self.model / "model.safetensors", tensors, {"format": "pt"}, misalign)
            yield

    @staticmethod
    def tied(dtype, shape, seed):
        largest = LARGEST.get(dtype, float("inf"))
        levels = np.array([*LEVELS, largest, -largest])
        return encode(dtype, levels[np.random.default_rng(seed).integers(0, len(levels), shape)])

    @staticmethod
    def all_equal(dtype, shape, seed):
        return encode(dtype, np.full(shape, 1.0 if seed % 2 else -0.0))

    def check_all(self, shape, values):
        for _ in self.make(shape, values):
            self.check_patterns(self.model)
            self.check_unstructured(self.model)
            if shape[0] % 16 == 0:
                self.check_blocks(self.model, scopes=("layer", "row", "global"))

    def test_ties_zeros_and_infinities(self):
        self.check_all((48, 96), self.tied)

    def test_normal_numbers(self):
        self.check_all((32, 192), normal)

    def test_rows_that_end_in_half_a_byte(self):
        for _ in self.make((7, 12), self.tied):
            for keep, group in ((2, 4), (1, 4), (3, 4), (1, 2), (5, 6), (7, 12)):
                self.check(self.model, ["--pattern", f"{keep}:{group}"], lambda m, k=keep, g=group: n_of_m(m, k, g))
            self.check_unstructured(self.model, (0.0, 0.31, 0.99))

    def test_wide_groups(self):
        for _ in self.make((5, 224), self.tied):
            for keep, group in ((16, 32), (1, 32), (31, 32), (5, 28), (3, 7), (8, 16)):
                self.check(self.model, ["--pattern", f"{keep}:{group}"], lambda m, k=keep, g=group: n_of_m(m, k, g))

    def test_oblong_blocks(self):
        for _ in self.make((24, 64), self.tied):
            self.check_blocks(self.model, 1, 64)
            self.check_blocks(self.model, 8, 4)
            self.check_blocks(self.model, 24, 1)

    def test_nothing_but_equal_weights(self):
        self.check_all((16, 32), self.all_equal)


if __name__ == "__main__":
    unittest.main()
