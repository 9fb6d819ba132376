"""prune --method movement and gradual: pruning while training."""

import json
import shutil
import time
import unittest

import numpy as np

from program import DONE, FAILED, MODEL, REFUSED, USAGE, ProgramTest, start, tensors_of


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

    def kill_after_a_save(self, *words):
        """Starts the program, and ends it by SIGKILL once it has saved a state."""
        state = self.folder / ".killed.training"
        running = start(*words)
        deadline = time.monotonic() + 120
        while not state.exists():
            self.assertIsNone(running.poll(), "it ended before it was killed")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        running.kill()
        running.communicate()
        self.assertTrue(state.exists())
        self.assertFalse((self.folder / "killed").exists())
        return state

    def test_a_killed_run_goes_on_to_the_same_bits(self):
        for method in (["--method", "movement", "--pattern", "16x16", "--sparsity", 0.5, "--scope", "global"],
                       ["--method", "gradual", "--pattern", "2:4", "--straight-through"]):  # fmt: skip
            common = [*method, "--train", self.ids(4096), "--batch", 2, "--seqlen", 64, "--warm-up", 2, "--steps", 14,
                      "--threads", 1, "--quiet", "--teacher", MODEL]  # fmt: skip
            self.expect(DONE, MODEL, "-o", self.folder / "whole", "--force", *common)
            killed = [MODEL, "-o", self.folder / "killed", *common, "--save-every", 4]
            state = self.kill_after_a_save(*killed)
            other = [w if w != 14 else 15 for w in killed]
            self.assertIn("steps", self.expect(USAGE, *other, "--resume").stderr)
            run = self.expect(DONE, *killed, "--resume", "--json")
            self.assertGreater(json.loads(run.stdout)["training"]["steps"][0]["step"], 4)
            self.assertFalse(state.exists())
            self.assert_same_folders(self.folder / "whole", self.folder / "killed")
            shutil.rmtree(self.folder / "killed")

    def test_divergence_keeps_the_last_state(self):
        run = self.train("--method", "gradual", "--pattern", "2:4", "--learning-rate", 100, "--clip", 0,
                         "--save-every", 1, exit_code=FAILED, steps=40)  # fmt: skip
        self.assertIn("smaller learning rate", run.stderr)
        self.assertIn(".out.training", run.stderr)
        self.assertTrue((self.folder / ".out.training").exists())
        self.assertFalse((self.folder / "out").exists())

    def test_draws_curves(self):
        page = self.folder / "run.html"
        self.train("--method", "movement", "--pattern", "2:4", "--report", page, steps=3)
        text = page.read_text()
        self.assertEqual(text.count("<svg"), 2)
        self.assertEqual(text.count("<polyline"), 3)

    def test_refuses(self):
        nothing = self.folder / "empty.jsonl"
        nothing.write_text("")
        for words, code, part in [
            (["--method", "movement", "--pattern", "2:4"], USAGE, "--train"),
            (["--method", "magnitude", "--pattern", "2:4", "--train", "x.npy"], USAGE, "does not train"),
            (["--method", "movement", "--pattern", "2:4", "--calib", "x.npy", "--train", "x.npy"], USAGE, "--calib"),
            (["--method", "movement", "--pattern", "2:4", "--soft", "--train", "x.npy"], USAGE, "N:M"),
            (["--method", "gradual", "--pattern", "2:4", "--train", nothing], REFUSED, "too short"),
        ]:
            run = self.expect(code, MODEL, "-o", self.folder / "none", *words)
            self.assertIn(part, run.stderr)
            self.assertFalse((self.folder / "none").exists())


if __name__ == "__main__":
    unittest.main()
