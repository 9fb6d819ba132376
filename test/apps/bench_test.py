"""The benchmark program: every operation gives the right product, results are read by the rest, mistakes are named."""

import json
import os
import pathlib
import re
import subprocess
import unittest

from program import DONE, MODEL, USAGE, ProgramTest

BENCH = os.environ.get("PRUNE_BENCH")
NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)?/(f32|f16|bf16|i8)/isa:\w+/m:\d+/k:\d+/n:\d+/sparsity:\d+(/mask:[\w.]+)?/manual_time$")
ONE = "spmm_nm/f32/m:256/k:256/n:32/sparsity:50"
OPERATIONS = {"dense/onednn", "dense/gemv", "dense/plain", "spmm_nm", "spmm_nm_4of8", "spmm_nm_in_place", "spmm_bitmask", "spmm_bitmask_in_place", "spmm_csr",
              "spmm_csr_in_place", "csr/eigen",
              "spmm_bsr_1x16", "spmm_bsr_4x1", "spmm_bsr_4x4", "spmm_bsr_8x8", "spmm_bsr_16x1", "spmm_bsr_16x16",
              "spmm_bsr_32x32", "spmm_bsr_64x64", "spmm_bsr_16x16_in_place"}  # fmt: skip


@unittest.skipUnless(BENCH, "the benchmark program is not built")
class Bench(ProgramTest):
    def bench(self, *arguments, code=0):
        run = subprocess.run([BENCH, "--no-pin", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False,
                             env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        self.assertEqual(run.returncode, code, run.stderr)
        return run

    def measured(self, *arguments, seconds=0.004):
        self.file = self.folder / "run.json"
        self.log = self.bench("--seconds", seconds, f"--benchmark_out={self.file}", *arguments)
        return json.loads(self.file.read_text())["benchmarks"]

    def test_every_operation_is_right_and_read_by_the_program(self):
        """A product that is not the reference's is an error of its case."""
        rows = self.measured("--shapes", "64x192", "--rows", 1, "--rows", 33)
        self.assertEqual([row for row in rows if "error_message" in row], [])
        self.assertGreaterEqual({row["name"].split("/f32")[0].split("/bf16")[0].split("/i8")[0] for row in rows}, OPERATIONS)
        for row in rows:
            self.assertRegex(row["name"], NAME)
            self.assertGreater(min(row["speedup"], row["roofline"], row["GFLOP/s"], row["GB/s"], row["real_time"]), 0)
        self.expect(DONE, "dashboard", self.file, "-o", self.folder / "page.html")
        for form in ("googlecpp", "github-action-benchmark", "bencher", "csv", "prometheus"):
            self.expect(DONE, "dashboard", self.file, "--export", form)
        self.expect(DONE, "bench", "--compare", self.file, self.file)

    def test_a_case_says_when_its_interval_stays_wide(self):
        row = self.measured("--no-roof", "--case", ONE, seconds=1e-6)[0]
        self.assertEqual(row["rounds"], 6)  # the fewest that have an interval
        if row["interval"] >= 0.03:
            self.assertIn("3% not reached in 1e-06 s", row["label"])
            self.assertIn("1 measurements did not reach", self.log.stderr)

    def test_a_planted_slow_down_is_in_the_times(self):
        both = [self.measured("--no-roof", "--case", ONE, "--slow-down", by, "--benchmark_repetitions=3", seconds=0.05) for by in (1, 3)]
        plain, slowed = (min(row["real_time"] for row in rows if row["run_type"] == "iteration") for rows in both)
        self.assertGreater(slowed / plain, 2)

    def test_a_checkpoint_gives_shapes_and_masks(self):
        pruned = self.folder / "pruned"
        self.expect(DONE, MODEL, "-o", pruned, "--pattern", "2:4")
        for form in ("dense", "packed"):
            if form == "packed":
                self.expect(DONE, "pack", pruned, "-o", self.folder / "packed")
            rows = self.measured("--checkpoint", pruned if form == "dense" else self.folder / "packed", "--rows", 3, "--no-roof",
                                 "--benchmark_filter=^(spmm_nm|spmm_nm_4of8|spmm_bitmask|spmm_csr)/(bf16|i8)")  # fmt: skip
            operations = {row["name"].split("/")[0] for row in rows if "error_message" not in row}
            self.assertEqual(operations, {"spmm_nm", "spmm_nm_4of8", "spmm_bitmask", "spmm_csr"})
            self.assertTrue(all("sparsity:50/mask:model.layers.0." in row["name"] for row in rows))
            self.assertEqual(len({row["name"].split("/m:")[1].split("/n:")[0] for row in rows}), 4)
        rows = self.measured("--checkpoint", pruned, "--random-masks", "--rows", 3, "--no-roof", "--benchmark_filter=^spmm_nm/")
        masked, random = ([row["name"] for row in rows if ("/mask:" in row["name"]) == is_masked] for is_masked in (True, False))
        self.assertEqual(sorted(name.split("/mask:")[0] for name in masked), sorted(name.removesuffix("/manual_time") for name in random))
        self.assertEqual(len(masked), 4 * 4)  # shapes by types
        self.assertIn("no weight is pruned", self.bench("--checkpoint", MODEL, code=USAGE).stderr)

    def test_passes_and_a_model_are_timed_by_their_own_program(self):
        out = self.folder / "model.json"
        run = subprocess.run([pathlib.Path(BENCH).with_name("pass_bench"), MODEL, "--benchmark_min_time=0.001",
                              f"--benchmark_out={out}"], capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stderr)
        rows = {row["name"].split("/sparsity")[0]: row for row in json.loads(out.read_text())["benchmarks"]}
        self.assertEqual(set(rows), {"checkpoint/magnitude", "checkpoint/pack", "load/dense", "load/packed", "prompt/dense",
                                     "prompt/packed", "decode/dense", "decode/packed"})  # fmt: skip
        self.assertGreater(min(rows["checkpoint/magnitude"]["GB/s"], rows["decode/packed"]["tokens/s"]), 0)
        self.expect(DONE, "dashboard", out, "-o", self.folder / "page.html")

    def test_mistakes(self):
        for arguments in (("--shapes", "llama-9b"), ("--shapes", "4x"), ("--rows", 0), ("--mode", "slow"), ("--nonsense",),
                          ("--case", "spmm_nm/f32"), ("--case", "spmm/f32/m:8/k:8"), ("--case", "spmm_nm/f32/m:8/k:9"),
                          ("--case", ONE, "--rows", 1), ("--slow-down", 0.5), ("--seconds", 0),
                          ("--checkpoint", self.folder / "none"), ("--random-masks",)):  # fmt: skip
            self.assert_one_line(self.bench(*arguments, code=USAGE).stderr, "spmm_bench: ")
        listed = self.bench("--shapes", "bert-base", "--rows", 2, "--benchmark_list_tests", "--no-roof").stdout
        self.assertIn("spmm_nm/bf16", listed)
        for shape in ("m:768/k:768/", "m:3072/k:768/", "m:768/k:3072/"):
            self.assertIn(shape, listed)


if __name__ == "__main__":
    unittest.main()
