"""prune bench --compare: what it says of two runs, and whether it can be trusted as a gate. --gpu-table: what it
chooses by runs of another machine."""

import itertools
import json
import os
import random
import unittest

import benchmark_files
import safetensors_files
from program import DONE, MISMATCH, MODEL, REFUSED, USAGE, ProgramTest, prune

ROUNDS = 4 if os.environ.get("PRUNE_SANITIZE") else 20  # sanitizers look at the code, not at the odds
CASES = 12
REPETITIONS = 20
GATE = ("--fail-below", 0.95)


def noisy_run(seed, slow_down=None):
    """Twelve cases of twenty repetitions on a disturbed machine: each value is off by 3% either way, one in twelve is
    hit by other load and takes 10 to 60% longer, and the whole run is a little faster or slower than others. No two
    runs share a seed. The case number `slow_down` takes 10% longer than it should."""
    rng = random.Random(seed)
    drift = rng.lognormvariate(0, 0.005)
    rows = []
    for case in range(CASES):
        true = 0.1 * 1.7**case * (1.1 if case == slow_down else 1)
        times = [true * drift * rng.lognormvariate(0, 0.03) * (1 + rng.uniform(0.1, 0.6) * (rng.random() < 1 / 12))
                 for _ in range(REPETITIONS)]  # fmt: skip
        rows += benchmark_files.repetitions(case_name(case), times)
    return rows


def case_name(case):
    return benchmark_files.name_of("spmm_nm", n=case + 1)


def rank_sum_p(before, after):
    """P(as few pairs in which the new is faster), by going through every way to deal the ranks."""
    wins = sum(new < old for new, old in itertools.product(after, before))
    total = within = 0
    for chosen in itertools.combinations(range(len(before) + len(after)), len(after)):
        total += 1
        within += sum(rank - place for place, rank in enumerate(chosen)) <= wins
    return within / total


class CompareTest(ProgramTest):
    def files(self, before, after, **context):
        return (benchmark_files.write(self.folder / "old.json", before, **context),
                benchmark_files.write(self.folder / "new.json", after, **context))  # fmt: skip

    def compare(self, before, after, *options, code=DONE):
        return self.expect(code, "bench", "--compare", *self.files(before, after), *options)

    def compared(self, before, after, *options, code=DONE):
        return json.loads(self.compare(before, after, *options, "--json", code=code).stdout)


class Gate(CompareTest):
    def test_identical_builds_pass_twenty_of_twenty(self):
        for seed in range(ROUNDS):
            self.assertIn("Passed", self.compare(noisy_run(2 * seed), noisy_run(2 * seed + 1), *GATE).stdout)

    def test_a_planted_slow_down_of_a_tenth_is_caught_nineteen_of_twenty(self):
        caught = 0
        for seed in range(ROUNDS):
            planted = seed % CASES
            files = self.files(noisy_run(1000 + 2 * seed), noisy_run(1001 + 2 * seed, slow_down=planted))
            run = prune("bench", "--compare", *files, *GATE, "--json")
            caught += run.returncode == MISMATCH and json.loads(run.stdout)["regressions"] == [case_name(planted)]
        self.assertGreaterEqual(caught, ROUNDS - 1)

    def test_a_faster_case_does_not_hide_a_slower_one(self):
        steady = [1 + 0.001 * i for i in range(REPETITIONS)]
        old = [row for case in range(2) for row in benchmark_files.repetitions(case_name(case), steady)]
        new = benchmark_files.repetitions(case_name(0), [t / 2 for t in steady])
        new += benchmark_files.repetitions(case_name(1), [t * 1.2 for t in steady])
        found = self.compared(old, new, *GATE, code=MISMATCH)
        self.assertEqual(found["regressions"], [case_name(1)])
        self.assertEqual({c["name"]: c["verdict"] for c in found["cases"]},
                         {case_name(0): "faster", case_name(1): "slower"})  # fmt: skip

    def test_a_slow_down_beyond_noise_but_above_the_limit_passes(self):
        steady = [1 + 0.0001 * i for i in range(REPETITIONS)]
        old = benchmark_files.repetitions(case_name(0), steady)
        new = benchmark_files.repetitions(case_name(0), [t * 1.03 for t in steady])
        found = self.compared(old, new, *GATE)
        self.assertEqual((found["regressions"], found["cases"][0]["verdict"]), ([], "slower"))
        self.compare(old, new, "--fail-below", 0.99, code=MISMATCH)
        self.compare(old, new)

    def test_a_case_that_fails_now_is_a_regression(self):
        old = benchmark_files.repetitions(case_name(0), [1.0] * REPETITIONS)
        found = self.compared(old, benchmark_files.failed(case_name(0)), *GATE, code=MISMATCH)
        self.assertEqual(found["regressions"], [case_name(0)])
        self.compare(benchmark_files.failed(case_name(0)), old, code=REFUSED)

    def test_too_few_repetitions_are_refused_by_the_gate_and_named_without_it(self):
        old, new = (benchmark_files.repetitions(case_name(0), times) for times in ([1, 1.1], [2, 2.1]))
        self.assertIn("too few repetitions", self.compare(old, new).stdout)
        run = self.compare(old, new, *GATE, code=REFUSED)
        self.assertEqual(run.stdout, "")
        self.assert_one_line(run.stderr, "too few repetitions", "--benchmark_repetitions=5")

    def test_files_of_aggregates_alone_are_too_few_too(self):
        rows = benchmark_files.aggregates(case_name(0), 1.0)
        self.compare(rows, rows, *GATE, code=REFUSED)


class Statistics(CompareTest):
    def test_p_values_are_those_of_every_way_to_deal_the_ranks(self):
        rng = random.Random(7)
        for before, after in ((5, 5), (4, 7), (6, 3)):
            old, new = ([round(rng.lognormvariate(0, 0.3), 6) for _ in range(n)] for n in (before, after))
            found = self.compared(benchmark_files.repetitions("a", old), benchmark_files.repetitions("a", new))
            self.assertAlmostEqual(found["cases"][0]["p_slower"], rank_sum_p(old, new), places=12)
            self.assertAlmostEqual(found["cases"][0]["p_faster"], rank_sum_p(new, old), places=12)

    def test_aggregates_beside_repetitions_change_nothing(self):
        plain = noisy_run(1)
        mixed = plain + [row for case in range(CASES) for row in benchmark_files.aggregates(case_name(case), 9.0)]
        other = noisy_run(2)
        self.assertEqual(self.compared(plain, other), self.compared(mixed, other))

    def test_a_counter_takes_out_what_disturbs_both_sides(self):
        """The machine became 20% slower; the speed-up over a peer timed in turns did not change."""
        rng = random.Random(3)
        runs = []
        for slower in (1, 1.2):
            ours = [slower * rng.lognormvariate(0, 0.01) for _ in range(REPETITIONS)]
            speedup = [slower * 1.5 * rng.lognormvariate(0, 0.01) / t for t in ours]
            runs.append(benchmark_files.repetitions(case_name(0), ours, speedup=speedup))
        self.compare(*runs, *GATE, code=MISMATCH)
        self.compare(*runs, *GATE, "--counter", "speedup")

    def test_cases_of_one_run_only_are_named(self):
        old = benchmark_files.repetitions("gone", [1.0]) + benchmark_files.repetitions("both", [1.0])
        new = benchmark_files.repetitions("both", [1.0]) + benchmark_files.repetitions("new", [1.0])
        text = self.compare(old, new).stdout
        self.assertIn("Only in the old run: 'gone'", text)
        self.assertIn("Only in the new run: 'new'", text)


class Refusals(CompareTest):
    def refuse(self, text, *parts):
        good = benchmark_files.write(self.folder / "good.json", benchmark_files.repetitions("a", [1.0]))
        bad = self.folder / "bad.json"
        bad.write_text(text)
        for order in ((good, bad), (bad, good)):
            run = self.expect(REFUSED, "bench", "--compare", *order)
            self.assertEqual(run.stdout, "")
            self.assert_one_line(run.stderr, "bad.json", *parts)

    def test_what_is_no_result_of_a_benchmark(self):
        self.refuse("", "not JSON")
        self.refuse("[]", "benchmarks", "--benchmark_out")
        self.refuse('{"threads": 2, "cases": []}', "benchmarks")
        self.refuse('{"benchmarks": []}', "holds no benchmark")
        self.refuse('{"benchmarks": [3]}', "benchmarks[0]", "expected an object")
        self.refuse('{"benchmarks": [{}]}', "benchmarks[0]", "no name")
        self.refuse('{"benchmarks": [{"name": "a", "real_time": 1}, {"name": "b"}]}', "benchmarks[1], 'b'", "real_time")
        self.refuse('{"benchmarks": [{"name": "a", "real_time": "1"}]}', "expected a number")
        self.refuse('{"benchmarks": [{"name": "a", "real_time": -1}]}', "negative")
        self.refuse('{"benchmarks": [{"name": "a", "real_time": NaN}]}', "not JSON")
        self.refuse('{"benchmarks": [{"name": "a", "real_time": 1, "time_unit": "h"}]}', "time_unit 'h'")
        self.refuse('{"context": 3, "benchmarks": []}', "context")
        self.refuse('{"context": {"json_schema_version": 2}, "benchmarks": []}', "json_schema_version '2'")
        self.refuse('{"benchmarks": [{"name": "other", "real_time": 1}]}', "no case of one name")

    def test_names_cannot_break_the_line(self):
        self.refuse(json.dumps({"benchmarks": [{"name": "a\nb\x1b[31m", "real_time": -1}]}), "a\\nb\\x1b")

    def test_the_command_line(self):
        one = benchmark_files.write(self.folder / "one.json", benchmark_files.repetitions("a", [1.0]))
        for arguments in (("--compare", one), ("--compare", one, one, one), ("--fail-below", 0.9),
                          ("--compare", one, one, "--fail-below", 1.5), ("--compare", one, one, "--fail-below", 0),
                          (MODEL, "--compare", one, one), ("--compare", one, one, "--rows", 1),
                          ("--counter", "speedup")):  # fmt: skip
            self.assert_one_line(self.expect(USAGE, "bench", *arguments).stderr, "prune: ")
        self.expect(REFUSED, "bench", "--compare", one, self.folder / "none.json")
        self.expect(REFUSED, "bench", "--compare", one, one, "--counter", "speedup")


def gpu_case(kernel, n, microseconds, speedup, family="spmm_nm/bf16", m=256, k=768, sparsity=50, more=""):
    """A row as the programs of bench/gpu write it."""
    name = f"{family}/isa:sm90a/m:{m}/k:{k}/n:{n}/sparsity:{sparsity}{more}/kernel:{kernel}"
    return {"name": name, "run_type": "iteration", "real_time": microseconds, "time_unit": "us", "speedup": speedup}


class GpuTable(ProgramTest):
    CARD = {"gpu": "Imaginary 100"}

    def packed(self, *options):
        """A packed model that has 256 x 768 weights."""
        pruned, packed = self.folder / "pruned", self.folder / "packed"
        self.expect(DONE, MODEL, "-o", pruned, "--force", "-q", *options)
        self.expect(DONE, "pack", pruned, "-o", packed, "--force", "-q")
        return packed

    def table(self, *rows, name="table.json", **context):
        return benchmark_files.write(self.folder / name, list(rows), **(context or self.CARD))

    def chosen(self, packed, table, *tokens):
        arguments = [word for n in tokens for word in ("-n", n)]
        run = self.expect(DONE, "bench", packed, "--gpu-table", table, *arguments, "--json")
        return [case for case in json.loads(run.stdout)["cases"] if (case["out"], case["in"]) == (256, 768)]

    def test_never_slower_than_dense(self):
        table = self.table(gpu_case("decode24", 1, 10, 1.6), gpu_case("gemm24", 16, 14, 1.2),
                           gpu_case("decode24", 16, 15, 1.1), gpu_case("gemm24", 64, 20, 0.9),
                           gpu_case("decode24", 1, 2, 8, more="/overlap:1"),
                           gpu_case("decode24", 1, 3, 6, family="spmm_nm/int8"),
                           gpu_case("gemm24", 1, 2, 2, family="spmm_nm/int8x8"),
                           gpu_case("decode24", 1, 4, 4, m=512))  # fmt: skip
        cases = self.chosen(self.packed("--pattern", "2:4", "--sparsity", 0.5), table, 1, 8, 16, 17, 64, 65)
        self.assertEqual([c["use"] for c in cases], ["decode24", "gemm24", "gemm24", "dense", "dense", "dense"])
        # 8 tokens take no more than 16 do, and dense no less than with 1. 65 were never measured.
        self.assertEqual([c["sparse_seconds"] and round(c["sparse_seconds"] * 1e6, 3) for c in cases],
                         [10, 14, 14, 20, 20, None])  # fmt: skip
        self.assertEqual([round(c["dense_seconds"] * 1e6, 3) for c in cases], [16, 16, 16.5, 16.5, 18, 18])

    def test_measured_with_no_more_zeros(self):
        packed = self.packed("--pattern", "unstructured", "--sparsity", 0.7, "--scope", "row")
        rows = [gpu_case("decode_bitmask", 1, 30 - s / 10, 2, family="spmm_bitmask/bf16", sparsity=s)
                for s in (50, 70, 80)]  # fmt: skip
        case = self.chosen(packed, self.table(*rows), 1)[0]
        self.assertEqual((case["format"], case["use"]), ("bitmask", "decode_bitmask"))
        self.assertAlmostEqual(case["sparse_seconds"], (25 if case["zeros"] < 0.7 else 23) * 1e-6)
        case = self.chosen(packed, self.table(rows[2]), 1)[0]
        self.assertEqual((case["use"], case["sparse_seconds"]), ("dense", None))

    def test_windows_are_csr_there(self):
        packed = self.packed("--pattern", "unstructured", "--sparsity", 0.97, "--scope", "row")
        case = self.chosen(packed, self.table(gpu_case("decode_csr", 1, 5, 3, family="spmm_csr/bf16", sparsity=95)), 1)[0]
        self.assertEqual((case["format"].split()[0], case["use"]), ("windows", "decode_csr"))

    def test_values_of_another_type_have_no_kernel(self):
        """bf16 values of F16 weights, which pack does not write, but a file may hold."""
        model, packed = self.folder / "model", self.folder / "packed"
        model.mkdir()
        weight = safetensors_files.normal("F32", (256, 768), 1)
        safetensors_files.write(model / "model.safetensors", {"model.layers.0.up_proj.weight": weight}, {"format": "pt"})
        self.expect(DONE, model, "-o", self.folder / "pruned", "-q", "--pattern", "2:4")
        self.expect(DONE, "pack", self.folder / "pruned", "-o", packed, "-q", "--values", "bf16")
        file = packed / "model.safetensors"
        content = file.read_bytes()
        self.assertEqual(content.count(rb'\"dtype\":\"F32\"'), 1)
        file.write_bytes(content.replace(rb'\"dtype\":\"F32\"', rb'\"dtype\":\"F16\"'))
        case = self.chosen(packed, self.table(gpu_case("decode24", 1, 10, 1.6)), 1)[0]
        self.assertEqual(case["use"], "dense")

    def test_in_words(self):
        packed = self.packed("--pattern", "2:4", "--sparsity", 0.5)
        text = self.expect(DONE, "bench", packed, "-n", 1, "--gpu-table", self.table(gpu_case("decode24", 1, 10, 1.6))).stdout
        for words in ("Imaginary 100", "decode24", "10.0 us", "16.0 us", "1.60", "not measured"):
            self.assertIn(words, text)

    def test_refusals(self):
        packed = self.packed("--pattern", "2:4", "--sparsity", 0.5)
        one = self.table(gpu_case("decode24", 1, 10, 1.6))
        for other, words in ((self.table(gpu_case("decode24", 1, 9, 2), name="b.json", gpu="Another"), "Another"),
                             (self.table(gpu_case("decode24", 1, 9, 2), name="c.json", cpu="one"), "names no GPU")):
            run = self.expect(REFUSED, "bench", packed, "--gpu-table", one, "--gpu-table", other)
            self.assertIn(words, run.stderr)
        empty = self.table({**gpu_case("x", 1, 10, 1), "name": "copy/bf16/m:256/k:768"}, name="d.json")
        self.assertIn("no product", self.expect(REFUSED, "bench", packed, "--gpu-table", empty).stderr)
        self.expect(REFUSED, "bench", MODEL, "--gpu-table", one)
        self.expect(DONE, "pack", MODEL, "-o", self.folder / "dense", "-q")
        self.assertIn("holds no packed weight", self.expect(REFUSED, "bench", self.folder / "dense", "--gpu-table", one).stderr)


if __name__ == "__main__":
    unittest.main()
