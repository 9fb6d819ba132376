"""prune recover: training under the zeros of a pruned model."""

import json
import shutil
import unittest

import numpy as np

from program import (DONE, FAILED, MODEL, REFUSED, SHARED, USAGE, ProgramTest, needs_shared, prune, tensors_of)  # fmt: skip


def zero_masks(model):
    return {name: tensor.values() == 0 for name, tensor in tensors_of(model).items()}


class Recover(ProgramTest):
    def ids(self, count, vocabulary):
        """A text that is easy to learn: a short phrase again and again."""
        path = self.folder / f"ids-{count}.npy"
        np.save(path, (np.arange(count) % 13 * 31 % vocabulary).astype(np.int32))
        return path

    def pruned(self, *options):
        self.expect(DONE, MODEL, "-o", self.folder / "pruned", "--quiet", *options)
        return self.folder / "pruned"

    def recover(self, model, text, *options, exit_code=DONE):
        return self.expect(exit_code, "recover", model, "-o", self.folder / "out", "--train", text, "--quiet",
                           "--batch", 2, "--seqlen", 32, "--warm-up", 0, *options)  # fmt: skip

    def test_learns_and_keeps_zeros(self):
        pruned = self.pruned("--pattern", "2:4")
        run = self.recover(pruned, self.ids(640, 4096), "--steps", 6, "--teacher", MODEL, "--distillation", 0.2, "--threads", 2, "--json")
        result = json.loads(run.stdout)
        steps = result["training"]["steps"]
        self.assertLess(steps[-1]["cross_entropy"], 0.8 * steps[0]["cross_entropy"])
        self.assertEqual((len(steps), result["training"]["tokens"]), (6, 6 * 64))
        self.assertEqual(result["sparsity"]["achieved"], 0.5)
        before, after = zero_masks(pruned), zero_masks(self.folder / "out")
        self.assertEqual(list(before), list(after))
        for name in before:
            if name.endswith("_proj.weight"):
                np.testing.assert_array_equal(after[name], before[name], name)
        self.expect(DONE, "verify", self.folder / "out", "--pattern", "2:4")
        self.assertEqual((self.folder / "out/config.json").read_bytes(), (MODEL / "config.json").read_bytes())

    def expect_unchanged_without_a_step_to_speak_of(self, model, vocabulary):
        self.recover(model, self.ids(64, vocabulary), "--steps", 1, "--learning-rate", 1e-12, "--force")
        before, after = tensors_of(model), tensors_of(self.folder / "out")
        self.assertEqual(list(before), list(after))
        for name, tensor in before.items():
            self.assertEqual(after[name].dtype, tensor.dtype)
            # Gemma's norms are stored less 1, which rounds.
            tolerance = 1e-7 if "norm" in name else 0
            np.testing.assert_allclose(after[name].values(), tensor.values(), 0, tolerance, err_msg=f"{model.name}: {name}")

    def test_writes_what_it_read(self):
        self.expect_unchanged_without_a_step_to_speak_of(MODEL, 4096)

    @needs_shared
    def test_writes_what_it_read_of_every_family(self):
        families = sorted((SHARED / "families").iterdir())
        self.assertGreaterEqual(len(families), 10)
        for family in families:
            vocabulary = json.loads((family / "config.json").read_text())["vocab_size"]
            self.expect_unchanged_without_a_step_to_speak_of(family, vocabulary)

    def test_is_the_same_twice(self):
        text = self.ids(640, 4096)
        self.recover(MODEL, text, "--steps", 2, "--seed", 5, "--threads", 2)
        first = self.folder / "first"
        shutil.move(self.folder / "out", first)
        self.recover(MODEL, text, "--steps", 2, "--seed", 5, "--threads", 2)
        for name, tensor in tensors_of(first).items():
            np.testing.assert_array_equal(tensors_of(self.folder / "out")[name].values(), tensor.values())

    def test_divergence_fails_and_leaves_nothing(self):
        run = self.recover(MODEL, self.ids(640, 4096), "--steps", 20, "--learning-rate", 100, "--clip", 0, exit_code=FAILED)
        self.assertIn("smaller learning rate", run.stderr)
        self.assertFalse((self.folder / "out").exists())

    def test_multiplies_in_bf16(self):
        losses = {}
        for precision in ("fp32", "bf16"):
            words = ("--steps", 1, "--teacher", MODEL, "--precision", precision, "--force", "--json")
            run = prune("recover", MODEL, "-o", self.folder / "out", "--train", self.ids(64, 4096), "--batch", 2, "--seqlen", 32, *words)
            if precision == "bf16" and run.returncode == USAGE:
                self.skipTest("this processor has no products of bf16")
            losses[precision] = json.loads(run.stdout)["training"]["steps"][0]["cross_entropy"]
        self.assertNotEqual(losses["bf16"], losses["fp32"])
        self.assertAlmostEqual(losses["bf16"] / losses["fp32"], 1, delta=0.01)

    def test_refuses(self):
        short = self.ids(16, 4096)
        self.assertIn("16 tokens, at least 32 are needed", self.recover(MODEL, short, exit_code=REFUSED).stderr)
        foreign = self.folder / "foreign.npy"
        np.save(foreign, np.full(64, 5000))
        self.assertIn("outside the model's vocabulary", self.recover(MODEL, foreign, exit_code=REFUSED).stderr)
        self.recover(MODEL, self.ids(64, 4096), "--distillation", 2, exit_code=USAGE)
        self.assertIn("--train", self.expect(USAGE, "recover", MODEL, "-o", self.folder / "out").stderr)
        self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
