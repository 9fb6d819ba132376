"""The page in a browser: filters, a point under the pointer, themes, two runs compared, hostile names."""

import json
import os
import pathlib
import random
import re
import unittest

import benchmark_files
import browser
from program import DONE, ProgramTest, prune

SPARSITIES = {"spmm_nm": (50, 75), "spmm_bitmask": (50, 60, 70, 80), "spmm_csr": (50, 70, 90)}
HOSTILE = "<img src=x onerror=\"document.title='owned'\">/bf16/isa:avx512/m:4096/k:4096/n:1/sparsity:60/manual_time"
SLOWER = benchmark_files.name_of("spmm_csr", sparsity=70)
FASTER = benchmark_files.name_of("spmm_nm", dtype="f32", sparsity=75)


def synthetic_run(seed, changes=None):
    rng = random.Random(seed)
    rows = []
    for dtype in ("bf16", "f32"):
        for n in (1, 128):
            for op, sparsities in ({"dense/onednn": (0,)} | SPARSITIES).items():
                for sparsity in sparsities:
                    name = benchmark_files.name_of(op, dtype=dtype, n=n, sparsity=sparsity)
                    speedup = 1.0 if op.startswith("dense") else (0.9 if op == "spmm_nm" else 0.5) / (1 - sparsity / 100)
                    true = n**0.5 / speedup * (changes or {}).get(name, 1)
                    times = [true * rng.lognormvariate(0, 0.01) for _ in range(12)]
                    rows += benchmark_files.repetitions(
                        name, times, label=f"{op}_avx512bf16 vs peer", speedup=[n**0.5 / t for t in times],
                        roofline=[0.7 * true / t for t in times], GFLOP_per_s=[20 * n / t for t in times],
                        GB_per_s=[20 / t for t in times])  # fmt: skip
    return rows


class Data(ProgramTest):
    """What the page is made of, without a browser."""

    def test_one_sample_brings_its_own_interval(self):
        name = benchmark_files.name_of("spmm_nm", sparsity=50)
        path = benchmark_files.write(self.folder / "run.json", benchmark_files.repetitions(name, [2.0], interval=0.1))
        self.expect(DONE, "dashboard", path, "-o", self.folder / "page.html")
        page = (self.folder / "page.html").read_text()
        runs = json.loads(re.search(r'<script[^>]*id="runs"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
        median, low, high = runs[0]["cases"][0]["seconds"]
        self.assertAlmostEqual(low / median, 0.95)
        self.assertAlmostEqual(high / median, 1.05)


@unittest.skipUnless(browser.CHROMIUM and browser.DRIVER, "chromium and chromium-driver are not installed")
class Dashboard(ProgramTest):
    def setUp(self):
        super().setUp()
        changes = ({}, {}, {SLOWER: 1.15, FASTER: 0.85})
        self.files = []
        for day, change in enumerate(changes):
            rows = synthetic_run(day, change) + benchmark_files.repetitions(HOSTILE, [1.0] * 12, speedup=1.2, label=HOSTILE)
            self.files.append(benchmark_files.write(self.folder / f"run{day}.json", rows, commit=f"c0mm17{day}",
                                                    date=f"2026-03-0{day + 1}T00:00:00+00:00"))  # fmt: skip
        self.page = self.folder / "page.html"
        # In any order: the page sorts them.
        self.expect(DONE, "dashboard", *reversed(self.files), "-o", self.page)

    def open(self, **window):
        window = browser.Browser(**window)
        self.addCleanup(window.close)
        window.open(self.page)
        return window

    def rows_of(self, window, table):
        return window.run("return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
                          ".map(row => [...row.cells].map(cell => cell.textContent))", table)  # fmt: skip

    def labels(self, window, chart):
        return window.run("return Chart.getChart(arguments[0]).data.datasets.map(d => d.label)", chart)

    def assert_quiet(self, window):
        self.assertEqual(window.console(), [])
        self.assertEqual(window.requests(self.page), [self.page.as_uri()])

    def test_filters_choose_what_charts_and_tables_show(self):
        window = self.open()
        cases = 2 * 2 * (1 + sum(map(len, SPARSITIES.values()))) + 1
        self.assertEqual(len(self.rows_of(window, "#cases-table")), cases)
        self.assertEqual(len(self.rows_of(window, "#runs-table")), 3)
        window.choose("#filter-op", "spmm_bitmask")
        window.choose("#filter-type", "bf16")
        rows = self.rows_of(window, "#cases-table")
        self.assertEqual({tuple(row[:2]) for row in rows}, {("spmm_bitmask", "bf16")})
        self.assertEqual(len(rows), 8)
        self.assertIn(f"8 of {cases} cases", window.run("return document.querySelector('#count').textContent"))
        self.assertEqual(self.labels(window, "speedup-chart"), ["dense = 1", "spmm_bitmask", "roofline limit of spmm_bitmask"])
        window.click("#filters button[type=reset]")
        window.type("#filter-text", "n:128/")
        self.assertEqual({row[4] for row in self.rows_of(window, "#cases-table")}, {"128"})
        # Sorting by the header: the largest speed-up first after two clicks.
        for _ in range(2):
            window.click("#cases-table th:nth-child(8) button")
        shown = [float(row[7].split()[0]) for row in self.rows_of(window, "#cases-table")]
        self.assertEqual(shown, sorted(shown, reverse=True))
        self.assert_quiet(window)

    def test_a_point_under_the_pointer_says_what_it_is(self):
        window = self.open()
        place = window.run("""
            const canvas = document.getElementById('speedup-chart'), chart = Chart.getChart(canvas);
            canvas.scrollIntoView({block: 'center'});
            const box = canvas.getBoundingClientRect();
            const set = chart.data.datasets.findIndex(d => d.label === 'spmm_csr');
            const point = chart.getDatasetMeta(set).data[2];
            return [box.left + point.x, box.top + point.y];""")
        window.hover(*place)
        text = window.run("""const tip = Chart.getChart('speedup-chart').tooltip;
                             return [tip.opacity, tip.title.join(), tip.body.flatMap(b => b.lines).join('|')];""")
        self.assertEqual(text[:2], [1, "spmm_csr"])
        for part in ("90% zeros: ", "times dense", "roofline", "avx512bf16", "c0mm172"):
            self.assertIn(part, text[2])
        self.assert_quiet(window)

    def test_themes_follow_the_system_and_the_button(self):
        window = self.open()
        backgrounds, axes = [], []
        for _ in range(2):
            backgrounds.append(window.run("return getComputedStyle(document.body).backgroundColor"))
            axes.append(window.run("return Chart.getChart('speedup-chart').options.scales.x.ticks.color"))
            window.click("#theme")
        self.assertEqual(len(set(backgrounds)), 2)
        self.assertEqual(len(set(axes)), 2)
        window.cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        window.open(self.page)
        self.assertEqual(window.run("return document.documentElement.dataset.theme"), "dark")

    def test_two_runs_compared_say_what_the_gate_says(self):
        window = self.open()
        for old, new in ((1, 2), (0, 1), (2, 0)):
            window.choose("#compare-old", old)
            window.choose("#compare-new", new)
            run = prune("bench", "--compare", self.files[old], self.files[new], "--fail-below", 0.95, "--json")
            gate = json.loads(run.stdout)
            shown = self.rows_of(window, "#compare-table")
            self.assertEqual(len(shown), len(gate["cases"]))
            for row, case in zip(sorted(shown, key=lambda r: r[5]), sorted(gate["cases"], key=lambda c: c["name"])):
                self.assertEqual(row[5], case["name"].removesuffix("/manual_time"))
                self.assertAlmostEqual(float(row[1]), case["ratio"], delta=6e-4)
                low, high = map(float, row[2].split(" to "))
                self.assertAlmostEqual(low, case["ratio_low"], delta=6e-4)
                self.assertAlmostEqual(high, case["ratio_high"], delta=6e-4)
                self.assertIn(case["verdict"], row[0])
                self.assertEqual("regression" in row[0], case["name"] in gate["regressions"])
            if (old, new) == (1, 2):
                self.assertEqual(gate["regressions"], [SLOWER])
        self.assertIn("slower", window.run("return document.querySelector('#compare-summary').textContent"))
        window.click("#compare-only")
        self.assertLess(len(self.rows_of(window, "#compare-table")), len(gate["cases"]))
        self.assert_quiet(window)

    def test_the_history_of_a_case_is_in_the_order_of_time(self):
        window = self.open()
        window.choose("#history-case", SLOWER)
        window.choose("#history-value", "speedup")
        labels, band = window.run("""const chart = Chart.getChart('history-chart'); const [low, high, median] = chart.data.datasets;
            return [chart.data.labels, median.data.map((p, i) => [low.data[i].y, p.y, high.data[i].y])];""")
        self.assertEqual([label.split(",")[0] for label in labels], ["c0mm170", "c0mm171", "c0mm172"])
        self.assertTrue(all(low < median < high for low, median, high in band))
        self.assertAlmostEqual(band[1][1] / band[2][1], 1.15, delta=0.02)

    def test_runs_of_another_machine_are_of_another_history(self):
        other = benchmark_files.write(self.folder / "other.json", synthetic_run(3), commit="c0mm16f", threads="8",
                                      date="2026-02-01T00:00:00+00:00")  # fmt: skip
        self.expect(DONE, "dashboard", other, *self.files, "-o", self.page)
        window = self.open()
        window.choose("#history-case", SLOWER)
        labels = window.run("return Chart.getChart('history-chart').data.labels")
        self.assertEqual([label.split(",")[0] for label in labels], ["c0mm170", "c0mm171", "c0mm172"])

    def test_names_run_nothing(self):
        window = self.open()
        window.choose("#filter-op", HOSTILE.split("/bf16")[0])
        self.assertEqual(len(self.rows_of(window, "#cases-table")), 1)
        self.assertEqual(window.run("return [document.title, document.images.length]"), ["Sparse against dense", 0])
        # What gets in all the same may not run: the policy of the page forbids it.
        window.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
        self.assertEqual(window.run("return document.title"), "Sparse against dense")

    def test_it_fits_screens_and_readers(self):
        """PRUNE_SCREENSHOTS names a folder for pictures to look at."""
        for width, height in ((1440, 900), (390, 844)):
            window = self.open(width=width, height=height)
            self.assertEqual(window.run("return document.documentElement.scrollWidth"), width)
            unnamed = window.run("""return [...document.querySelectorAll('canvas, select, input, button, [role=region]')]
                .filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') ||
                               (e.tagName === 'BUTTON' && e.textContent.trim()))).map(e => e.outerHTML)""")
            self.assertEqual(unnamed, [])
            self.assertIn("series", window.run("return document.querySelector('#speedup-chart').getAttribute('aria-label')"))
            if os.environ.get("PRUNE_SCREENSHOTS"):
                for theme in ("light", "dark"):
                    window.screenshot(pathlib.Path(os.environ["PRUNE_SCREENSHOTS"]) / f"{theme}-{width}.png")
                    window.click("#theme")
            window.close()
        self.doCleanups()


if __name__ == "__main__":
    unittest.main()
