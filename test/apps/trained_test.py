"""prune --method movement and gradual: pruning while training."""

import json
import unittest

import numpy as np

from program import DONE, MODEL, REFUSED, USAGE, ProgramTest, tensors_of


class Trained(ProgramTest):
    def ids(self, count):
        """A text that is easy to learn: a short phrase again and again."""
        path = self.folder / f"ids-{count}.npy"
        np.save(path, (np.arange(count) % 13 * 31).astype(np.int32))
        return path

    def train(self, *options, exit_code=DONE, steps=6):
        return self.expect(exit_code, MODEL, "-o", self.folder / "out", "--force", "--train", self.ids(640), "--quiet",
                           "--batch", 2, "--seqlen", 32, "--warm-up", 0, "--steps", steps, *options)  # fmt: skip

    def verify(self, *promise):
        self.expect(DONE, "verify", self.folder / "out", *promise)

    def test_movement_learns_and_prunes(self):
        run = self.train("--method", "movement", "--pattern", "2:4", "--teacher", MODEL, "--distillation", 0.2, "--json")
        report = json.loads(run.stdout)
        steps = report["training"]["steps"]
        self.assertEqual([s["step"] for s in steps], list(range(1, 7)))
        self.assertLess(steps[-1]["cross_entropy"], 0.8 * steps[0]["cross_entropy"])
        self.assertEqual((steps[0]["sparsity"], steps[-1]["sparsity"]), (0, 0.5))
        self.assertEqual(report["training"]["tokens"], 6 * 64)
        self.assertEqual(report["sparsity"]["achieved"], 0.5)
        pruned = {t["name"] for t in report["tensors"] if t["pruned"]}
        self.assertEqual(len(pruned), 28)
        self.assertTrue(all(name.endswith("_proj.weight") for name in pruned))
        self.verify("--pattern", "2:4")
        for name, tensor in tensors_of(MODEL).items():
            self.assertEqual(tensors_of(self.folder / "out")[name].dtype, tensor.dtype)
        self.assertEqual((self.folder / "out/config.json").read_bytes(), (MODEL / "config.json").read_bytes())

    def test_every_way_passes_verify(self):
        for options, promise in [
            (["--method", "gradual", "--scores", "taylor", "--scope", "global"],
             ["--pattern", "unstructured", "--sparsity", 0.8, "--scope", "global"]),
            (["--method", "movement", "--soft", "--scores", "zero"],
             ["--pattern", "16x16", "--sparsity", 0.5, "--scope", "global"]),
            (["--method", "gradual", "--straight-through"], ["--pattern", "32x32", "--sparsity", 0.3125]),
        ]:  # fmt: skip
            self.train(*options, *[p for p in promise if p not in ("--scope", "global")], steps=4)
            self.verify(*promise)

    def test_prunes_what_it_is_told(self):
        self.train("--method", "gradual", "--pattern", "2:4", "--include", "*.down_proj", steps=2)
        for name, tensor in tensors_of(self.folder / "out").items():
            share = float(np.mean(tensor.values() == 0))
            self.assertEqual(share, 0.5 if "down_proj" in name else share)
            if "down_proj" not in name:
                self.assertLess(share, 0.01)

    def test_refuses(self):
        nothing = self.folder / "empty.jsonl"
        nothing.write_text("")
        for words, code, part in [
            (["--method", "movement", "--pattern", "2:4"], USAGE, "--train"),
            (["--method", "magnitude", "--pattern", "2:4", "--train", "x.npy"], USAGE, "does not train"),
            (["--method", "movement", "--pattern", "2:4", "--calib", "x.npy", "--train", "x.npy"], USAGE, "--calib"),
            (["--method", "movement", "--pattern", "2:4", "--soft", "--train", "x.npy"], USAGE, "N:M"),
            (["--method", "movement", "--pattern", "2:4", "--scores", "taylor", "--train", "x.npy"], USAGE, "taylor"),
            (["--method", "gradual", "--pattern", "2:4", "--train", nothing], REFUSED, "too short"),
        ]:
            run = self.expect(code, MODEL, "-o", self.folder / "none", *words)
            self.assertIn(part, run.stderr)
            self.assertFalse((self.folder / "none").exists())


if __name__ == "__main__":
    unittest.main()
