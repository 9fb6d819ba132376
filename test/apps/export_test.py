"""prune dashboard --export: each format read by the rules of the tool that it is for."""

import csv
import importlib.util
import io
import json
import pathlib
import re
import statistics
import subprocess
import sys
import unittest

import benchmark_files
from program import DONE, REFUSED, USAGE, ProgramTest

COMPARE = pathlib.Path("/usr/share/benchmark/compare.py")
FORMATS = ("googlecpp", "github-action-benchmark", "bencher", "csv", "prometheus")
NAME = benchmark_files.name_of("spmm_nm")
HOSTILE = 'a",b\\c\nd</script><img src=x onerror=alert(1)>=1+1'
TIMES = [1.5, 1.2, 1.3, 1.9, 1.4, 1.25, 1.6]
# The values between which the median of seven lies with 98.4%: all of them.
MEDIAN, LOW, HIGH = 1.4, 1.2, 1.9


def rows():
    return [*benchmark_files.repetitions(NAME, TIMES, speedup=[3.0 / t for t in TIMES], roofline=0.8,
                                         GFLOP_per_s=[10.0 / t for t in TIMES], GB_per_s=20.0),
            *benchmark_files.aggregates(NAME, 1.4), *benchmark_files.failed("broken"),
            *benchmark_files.repetitions(HOSTILE, [0.002, 0.002]),
            *benchmark_files.repetitions("=cmd()", [5.0], label="@sum")]  # fmt: skip


class ExportTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.run_file = benchmark_files.write(self.folder / "run.json", rows())

    def export(self, form, *files):
        return self.expect(DONE, "dashboard", *(files or [self.run_file]), "--export", form).stdout


class GoogleCpp(ExportTest):
    """extractGoogleCppResult of github-action-benchmark takes name, real_time, time_unit, iterations, cpu_time and
    threads of every row. Bencher's cpp_google adapter fails as a whole where context.caches is missing, a row has no
    real_time, or a unit is unknown, and keeps the last of two rows of one name."""

    def test_both_consumers_take_every_row_once(self):
        document = json.loads(self.export("googlecpp"))
        self.assertIsInstance(document["context"]["caches"], list)
        names = [row["name"] for row in document["benchmarks"]]
        self.assertEqual(names, [NAME, HOSTILE, "=cmd()"])
        for row in document["benchmarks"]:
            self.assertIn(row["time_unit"], ("ns", "us", "ms", "s"))
            self.assertNotRegex(row["name"], "_(mean|median|stddev|cv|BigO|RMS)$")
            for key in ("real_time", "cpu_time", "iterations", "threads"):
                self.assertGreater(row[key], 0)

    def test_times_are_medians(self):
        row = json.loads(self.export("googlecpp"))["benchmarks"][0]
        self.assertAlmostEqual(row["real_time"], MEDIAN * 1e6, places=3)
        self.assertAlmostEqual(row["speedup"], statistics.median(3.0 / t for t in TIMES))

    def test_the_program_reads_it_again(self):
        again = self.folder / "again.json"
        self.expect(DONE, "dashboard", self.run_file, "--export", "googlecpp", "-o", again)
        first, second = (json.loads(self.export("googlecpp", file)) for file in (self.run_file, again))
        for one, other in zip(first["benchmarks"], second["benchmarks"], strict=True):
            self.assertEqual(one["name"], other["name"])
            self.assertAlmostEqual(one["real_time"], other["real_time"], places=6)


class GithubAction(ExportTest):
    def test_entries_have_what_the_chart_needs(self):
        """extractCustomBenchmarkResult: a list, not empty, of name, unit, value and optionally range and extra."""
        entries = json.loads(self.export("github-action-benchmark"))
        self.assertEqual([entry["name"] for entry in entries], [f"{NAME} GFLOP/s", f"{NAME} speedup"])
        for entry in entries:
            self.assertLessEqual(set(entry), {"name", "unit", "value", "range", "extra"})
            self.assertIsInstance(entry["value"], float)
            self.assertTrue(entry["unit"])
        self.assertAlmostEqual(entries[1]["value"], 3.0 / MEDIAN)

    def test_a_run_without_these_counters_is_refused(self):
        bare = benchmark_files.write(self.folder / "bare.json", benchmark_files.repetitions("a", [1.0]))
        self.expect(REFUSED, "dashboard", bare, "--export", "github-action-benchmark")


class Bencher(ExportTest):
    def test_it_fits_the_schema_of_bmf(self):
        """bencher.dev/bmf.json: objects of objects with a number "value", optionally lower_value and upper_value."""
        document = json.loads(self.export("bencher"))
        self.assertEqual(list(document), [NAME, HOSTILE, "=cmd()"])
        for name, measures in document.items():
            self.assertLessEqual(len(name), 1024)
            self.assertTrue(measures)
            for slug, metric in measures.items():
                self.assertRegex(slug, "^[a-z0-9-]{1,64}$")
                self.assertLessEqual(set(metric), {"value", "lower_value", "upper_value"})
                self.assertLessEqual(metric["lower_value"], metric["value"])
                self.assertLessEqual(metric["value"], metric["upper_value"])

    def test_built_in_measures_have_their_units(self):
        """Latency is in nanoseconds, throughput in operations per second."""
        measures = json.loads(self.export("bencher"))[NAME]
        self.assertAlmostEqual(measures["latency"]["value"], MEDIAN * 1e6, places=3)
        self.assertAlmostEqual(measures["latency"]["lower_value"], LOW * 1e6, places=3)
        self.assertAlmostEqual(measures["latency"]["upper_value"], HIGH * 1e6, places=3)
        self.assertAlmostEqual(measures["throughput"]["value"] / 1e9, 10 / MEDIAN)

    def test_a_name_that_is_too_long_is_refused(self):
        long = benchmark_files.write(self.folder / "long.json", benchmark_files.repetitions("a" * 1025, [1.0]))
        self.expect(REFUSED, "dashboard", long, "--export", "bencher")


class Csv(ExportTest):
    def table(self, *files):
        return list(csv.DictReader(io.StringIO(self.export("csv", *files), newline=""), strict=True))

    def test_values_and_names_come_back(self):
        table = self.table()
        self.assertEqual([line["name"] for line in table], [NAME, "broken", HOSTILE, "'=cmd()"])
        self.assertAlmostEqual(float(table[0]["seconds"]), MEDIAN / 1e3)
        self.assertAlmostEqual(float(table[0]["speedup low"]), 3.0 / HIGH)
        self.assertEqual(table[0]["commit"], "0123456789ab")
        self.assertEqual((table[1]["error"], table[1]["seconds"]), ("no such instruction", ""))
        self.assertTrue(all(None not in line and None not in line.values() for line in table))

    def test_no_cell_is_a_formula(self):
        for line in self.table():
            for cell in line.values():
                self.assertNotRegex(cell, r"^[=+@\t\r]|^-(?!\d)")

    def test_many_runs_make_one_table(self):
        other = benchmark_files.write(self.folder / "other.json", rows(), commit="fedcba987654")
        self.assertEqual({line["commit"] for line in self.table(self.run_file, other)}, {"0123456789ab", "fedcba987654"})


class Prometheus(ExportTest):
    LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)$')
    LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

    def samples(self):
        """By the text exposition format: HELP and TYPE once before a metric's samples, which lie together."""
        text = self.export("prometheus")
        self.assertTrue(text.endswith("\n"))
        typed, samples = [], []
        for line in text[:-1].split("\n"):
            if line.startswith("# TYPE "):
                typed.append(line.split()[2])
                self.assertEqual(line.split()[3], "gauge")
            elif not line.startswith("# HELP "):
                metric, labels, value = self.LINE.match(line).groups()
                self.assertEqual(metric, typed[-1])
                unescape = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
                found = {k: re.sub(r'\\["\\n]', lambda m: unescape[m[0]], v) for k, v in self.LABEL.findall(labels)}
                samples.append((metric, found, float(value)))
        self.assertEqual(len(typed), len(set(typed)))
        return samples

    def test_samples_are_unique_and_in_base_units(self):
        samples = self.samples()
        keys = [(metric, tuple(sorted(labels.items()))) for metric, labels, _ in samples]
        self.assertEqual(len(keys), len(set(keys)))
        of_case = {metric: value for metric, labels, value in samples if labels["name"] == NAME}
        self.assertAlmostEqual(of_case["prune_benchmark_seconds"], MEDIAN / 1e3)
        self.assertAlmostEqual(of_case["prune_benchmark_bytes_per_second"], 20e9)
        self.assertAlmostEqual(of_case["prune_benchmark_flops_per_second"] / 1e9, 10 / MEDIAN)
        self.assertIn(HOSTILE, {labels["name"] for _, labels, _ in samples})


class CompareTool(ExportTest):
    """compare.py of Debian's libbenchmark-tools, which needs SciPy, on what programs write and on what we export."""

    def setUp(self):
        super().setUp()
        if not COMPARE.is_file() or importlib.util.find_spec("scipy") is None:
            self.skipTest("libbenchmark-tools or SciPy is not installed")

    def test_it_compares_exports_and_runs(self):
        exported = self.folder / "exported.json"
        self.expect(DONE, "dashboard", self.run_file, "--export", "googlecpp", "-o", exported)
        plain = [row for row in rows() if row["run_type"] == "iteration" and "error_occurred" not in row]
        run = benchmark_files.write(self.folder / "plain.json", plain)
        for one in (exported, run):
            tool = subprocess.run([sys.executable, COMPARE, "--no-color", "benchmarks", one, one], capture_output=True,
                                  text=True, timeout=120, check=False)  # fmt: skip
            self.assertEqual(tool.returncode, 0, tool.stderr)
            self.assertIn(NAME, tool.stdout)
            self.assertIn("OVERALL_GEOMEAN", tool.stdout)


class Page(ExportTest):
    def page(self, *files):
        out = self.folder / "page.html"
        run = self.expect(DONE, "dashboard", *files, "-o", out)
        self.assertEqual(run.stderr, "")
        return out.read_text(encoding="utf-8")

    def test_names_stay_data(self):
        page = self.page(self.run_file)
        data = re.search(r'<script type="application/json" id="runs">(.*?)</script>', page, re.DOTALL)[1]
        self.assertNotIn("<", data)
        names = [case["name"] for case in json.loads(data)[0]["cases"]]
        self.assertEqual(names, [NAME, "broken", HOSTILE, "=cmd()"])
        self.assertEqual(len(re.findall("</script>", page)), 3)
        self.assertNotIn("onerror", page.replace(data, ""))

    def test_hosts_and_folders_stay_out(self):
        page = self.page(self.run_file)
        for private in ("a-private-name", "/srv/private", str(self.folder)):
            self.assertNotIn(private, page)

    def test_the_same_runs_make_the_same_page(self):
        self.assertEqual(self.page(self.run_file), self.page(self.run_file))

    def test_nothing_points_outside(self):
        page = self.page(self.run_file)
        self.assertNotRegex(page, r'(src|href)\s*=\s*"')
        self.assertIn("default-src 'none'", page)
        self.assertIn("Permission is hereby granted", page)

    def test_mistakes(self):
        page = self.folder / "page.html"
        for arguments in ((), (self.run_file,), (self.run_file, "--export", "excel"), (self.run_file, "-o", self.folder),
                          (self.run_file, "--json"), (self.run_file, self.run_file, "--export", "bencher")):  # fmt: skip
            self.assert_one_line(self.expect(USAGE, "dashboard", *arguments).stderr, "prune: ")
        self.assertIn("'prometheus'?", self.expect(USAGE, "dashboard", self.run_file, "--export", "prometeus").stderr)
        broken = self.folder / "broken.json"
        broken.write_text('{"benchmarks": [')
        self.assert_one_line(self.expect(REFUSED, "dashboard", self.run_file, broken, "-o", page).stderr, "broken.json")
        self.assertFalse(page.exists())
        only_failed = benchmark_files.write(self.folder / "failed.json", benchmark_files.failed("a"))
        for form in set(FORMATS) - {"csv"}:
            self.expect(REFUSED, "dashboard", only_failed, "--export", form)


if __name__ == "__main__":
    unittest.main()
