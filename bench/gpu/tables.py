#!/usr/bin/env python3
"""Puts what run_all.sh measured into docs/performance-gpu.md: each table between "<!-- NAME -->" and "<!-- end -->".

    bench/gpu/tables.py build/gpu-results docs/performance-gpu.md
    bench/gpu/tables.py build/gpu-results --picture docs/measurements/gpu-2of4.png

Ratios are to dense cuBLASLt of the same program; two numbers in a cell are alone and overlapped. The picture needs
matplotlib.
"""

import argparse
import csv as csv_format
import json
import pathlib
import re
import sys

SHAPES = ((4096, 4096), (14336, 4096), (4096, 14336), (8192, 8192), (28672, 8192))
FEW = (1, 8, 16, 32, 64)


class Results:
    """What all programs measured, by the parts of a name: {"op", "type", "m", "k", "n", "kernel", ...} -> counters."""

    def __init__(self, folder):
        self.folder = folder
        self.cases = []
        self.context = {}
        for path in sorted(folder.glob("*.json")):
            document = json.loads(path.read_text())
            self.context = self.context or document["context"]
            self.cases += [(parts(case["name"]), case) for case in document["benchmarks"]]
        self.summary = (folder / "summary.txt").read_text()

    def find(self, overlap=False, **wanted):
        """The case with these parts, alone or overlapped; None where it was not measured."""
        wanted = {key: str(value) for key, value in wanted.items()}
        for found, case in self.cases:
            if wanted.items() <= found.items() and ("overlap" in found) == overlap and "epilogue" not in found:
                return case
        return None


def parts(name):
    op, kind, *rest = name.split("/")
    return {"op": op, "type": kind} | dict(part.split(":", 1) for part in rest if ":" in part)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def both(results, **wanted):
    """Ratios to dense, alone and overlapped."""
    return ", ".join(number(case["speedup"]) for overlap in (False, True) if (case := results.find(overlap, **wanted)))


def dense_us(results, **wanted):
    """The time of dense beside a case, from its own ratio."""
    case = results.find(**wanted)
    return number(case["real_time"] * case["speedup"], 1) if case else ""


def shape(m, k):
    return f"{m} x {k}"


def fastest(results, kernels=("decode24", "gemm24"), **wanted):
    """Of these kernels, the one with the better ratio alone: "alone, overlapped (kernel)"."""
    found = [(case["speedup"], kernel) for kernel in kernels if (case := results.find(kernel=kernel, **wanted))]
    if not found:
        return ""
    kernel = max(found)[1]
    return f"{both(results, kernel=kernel, **wanted)} ({kernel.removesuffix('24').removeprefix('decode_')})"


def few_tokens(results):
    rows = []
    for m, k in SHAPES:
        for n in FEW:
            case = {"op": "spmm_nm", "m": m, "k": k, "n": n}
            rows.append([shape(m, k), str(n), dense_us(results, type="bf16", kernel="decode24", **case),
                         *(fastest(results, type=kind, **case) for kind in ("bf16", "int8", "int4"))])  # fmt: skip
    return table(["out x in", "tokens", "dense, us", "bfloat16", "int8", "int4"], rows)


def many_tokens(results):
    rows = []
    for kind in ("bf16", "int8", "int4"):  # against dense bfloat16; eight bits on both sides have a peer of their own
        for m, k in SHAPES:
            for n in (64, 128, 256, 1024, 4096, 8192):
                case = {"op": "spmm_nm", "type": kind, "m": m, "k": k, "n": n, "kernel": "gemm24"}
                if alone := results.find(**case):
                    overlapped = results.find(True, **case)
                    rows.append([kind, shape(m, k), str(n), dense_us(results, **case), number(alone["real_time"]),
                                 number(alone["speedup"]), number(alone.get("speedup_cusparselt")),
                                 number(overlapped and overlapped["real_time"])])  # fmt: skip
    return table(["weights", "out x in", "tokens", "dense, us", "ours, us", "to dense", "to cuSPARSELt", "overlapped, us"], rows)


def eight_bits(results):
    """Products of two 8-bit operands, against dense and cuSPARSELt of the same type."""
    rows = []
    for kind, label in (("int8x8", "int8"), ("fp8x8", "e4m3"), ("fp8x8-fast", "e4m3, fast")):
        for m, k in SHAPES:
            for n in (64, 1024, 4096):
                wanted = dict(op="spmm_nm", type=kind, m=m, k=k, n=n, kernel="gemm24")
                if case := results.find(**wanted):
                    us, to_peer = case["real_time"], case["speedup_cusparselt"]
                    rows.append([label, shape(m, k), str(n), dense_us(results, **wanted), number(us * to_peer, 1), number(us, 1),
                                 number(case["speedup"]), number(to_peer)])  # fmt: skip
    return table(["type", "out x in", "tokens", "dense, us", "cuSPARSELt, us", "ours, us", "to dense", "to cuSPARSELt"], rows)


def older_gpus(results):
    rows = []
    for m, k in SHAPES:
        for n in (1024, 4096, 8192):
            if case := results.find(kernel="gemm24_mma", type="bf16", m=m, k=k, n=n):
                rows.append([shape(m, k), str(n), number(case["real_time"] * case["speedup_dense_mma"]),
                             number(case["real_time"]), number(case["GFLOP/s"] / 1000, 0), number(case["speedup_dense_mma"]),
                             number(case["speedup"])])  # fmt: skip
    return table(["out x in", "tokens", "dense mma.sync, us", "ours, us", "TFLOP/s", "ratio", "to cuBLASLt"], rows)


def by_column(results, kernel, tokens, column, values, cell):
    """A row for each shape and number of tokens, a column for each value of `column`."""
    rows = []
    for m, k in SHAPES:
        for n in tokens:
            case = {"kernel": kernel, "m": m, "k": k, "n": n}
            if results.find(**case):
                rows.append([shape(m, k), str(n), dense_us(results, **case), *(cell(case | {column: v}) for v in values)])
    return rows


def blocks_many(results):
    def cell(case):
        found = results.find(**case)
        return f"{found['speedup']:.2f}, {found['of_dense_rate']:.2f}" if found else ""

    sizes = [f"{b}x{b}" for b in (16, 32, 64, 128)]
    return table(["out x in", "tokens", "dense, us", *sizes],
                 by_column(results, "gemm_bsr", (256, 1024, 4096), "block", sizes, cell))  # fmt: skip


def blocks_few(results):
    sizes = [f"{b}x{b}" for b in (16, 32, 64, 128)]
    return table(["out x in", "tokens", "dense, us", *sizes],
                 by_column(results, "decode_bsr", FEW, "block", sizes, lambda case: both(results, **case)))  # fmt: skip


def bitmask(results):
    kernels = ("decode_relative", "decode_bitmask")
    rows = []
    for m, k in SHAPES:
        for n in (1, 2, 4, 8, 16):
            case = {"op": "spmm_bitmask", "m": m, "k": k, "n": n}
            if results.find(**case):
                rows.append([shape(m, k), str(n), dense_us(results, **case),
                             *(fastest(results, kernels, sparsity=zeros, **case) for zeros in (50, 60, 70, 80))])  # fmt: skip
    return table(["out x in", "tokens", "dense, us", "50%", "60%", "70%", "80%"], rows)


def csr(results):
    rows = []
    for m, k in SHAPES:
        for zeros in (90, 95):
            for n in FEW:
                case = {"kernel": "decode_csr", "m": m, "k": k, "n": n, "sparsity": zeros}
                alone, overlapped = results.find(**case), results.find(True, **case)
                if alone and overlapped:
                    rows.append([shape(m, k), f"{zeros}%", str(n), dense_us(results, **case),
                                 number(alone["real_time"] * alone["to_cusparse"], 1) if "to_cusparse" in alone else "",
                                 number(alone["real_time"]), number(alone["speedup"]), number(alone.get("to_cusparse")),
                                 number(overlapped["real_time"]), number(overlapped["speedup"])])  # fmt: skip
    return table(["out x in", "zeros", "tokens", "dense, us", "cuSPARSE, us", "ours, us", "to dense", "to cuSPARSE",
                  "overlapped, us", "to dense"], rows)  # fmt: skip


def passes(results):
    names = {"pack24_magnitude": "2:4 selection and packing", "transposable_mask": "transposable mask",
             "transposable_prune": "mask and pruned weights"}  # fmt: skip
    rows = []
    for m, k in SHAPES:
        if copy := results.find(op="copy", m=m, k=k):
            found = [results.find(op=name, m=m, k=k) for name in names]
            rows.append([shape(m, k), number(copy["GB/s"] / 1000),
                         *(f"{case['real_time']:.1f} us, {case['of_copy']:.2f}" for case in found if case)])  # fmt: skip
    return table(["out x in", "copy, TB/s", *names.values()], rows)


COUNTERS = {"dram__throughput": "memory", "lts__t_sectors": "L2", "sm__inst_issued": "issue slots",
            "l1tex__data_pipe_lsu_wavefronts.": "first-level cache and shared memory", "l1tex__data_pipe_lsu_wavefronts_mem_shared": "shared memory",
            "l1tex__m_xbar2l1tex_read_bytes": "from the L2", "sm__pipe_tensor_cycles_active": "tensor cores",
            "sm__warps_active": "warps resident"}  # fmt: skip
SHOWN_TOKENS = ("1", "8", "16", "256", "4096", "8192")


def percent(text):
    try:
        return f"{float(text.replace(',', '')):.0f}"
    except ValueError:  # a counter that this GPU does not have
        return ""


def counters(results):
    """Nsight Compute's counters in percent: a row for each line that the program printed, of its first call; the most telling ones."""
    rows = []
    for path in sorted(results.folder.glob("counters_*.csv")):
        program = path.stem.removeprefix("counters_")
        log = (results.folder / f"counters-{program}.log").read_text()
        own_lines = "mma" if program == "gemm24_mma" else "(?!mma)"
        cases = re.findall(rf"^({own_lines}\S.*? n +(\d+)) +dense ", log, re.MULTILINE)
        head, _, *calls = csv_format.reader(line for line in path.read_text().splitlines() if line.startswith('"'))
        if not cases or not calls or len(calls) % len(cases):
            continue  # a profile that was cut off
        columns = [next((i for i, name in enumerate(head) if name.startswith(counter)), None) for counter in COUNTERS]
        for (case, tokens), call in zip(cases, calls[:: len(calls) // len(cases)]):
            shown = tokens in SHOWN_TOKENS or re.search(r"\b4096 +x +4096 n +(32|64|128)$", case)
            if not shown or re.search(r" (60|70|95)%", case):
                continue
            rows.append([program, " ".join(case.split()),
                         *(percent(call[i]) if i else "" for i in columns)])  # fmt: skip
    return table(["kernel", "case", *COUNTERS.values()], rows)


def machine(results):
    """The GPU, its driver and clocks as the run's summary has them, the commit and the date."""
    before, after = re.findall(r"^.*MHz.*$", results.summary, re.MULTILINE)[:2]
    name, driver, *_ = before.split(", ")
    context = results.context
    major, minor = int(context["cuda_runtime"]) // 1000, int(context["cuda_runtime"]) % 1000 // 10
    return (f"{name}, driver {driver}, CUDA {major}.{minor}, {context['date'][:10]}, commit {context['commit'][:12]}. SM clock, memory clock, "
            f"power and temperature after the run: {after.replace(', ', ' / ')}.")  # fmt: skip


def checks(results):
    """What the run checked: tests by the number of their checks, sanitizers by the programs that they found clean."""
    rows, clean = [], {}
    for name, outcome, found in re.findall(r"^(\S+) +(ok|FAILED) +\d+ s *(.*)$", results.summary, re.MULTILINE):
        if name.endswith("_test") or name == "machine_code":
            rows.append([name, found.split(": ", 1)[-1].strip() if outcome == "ok" else outcome])
        elif "-" in name and not name.startswith("counters-"):
            tool, program = name.split("-", 1)
            clean.setdefault(tool, []).append(program if outcome == "ok" else f"{program} {outcome}")
    rows = sorted(rows) + [[tool, "clean: " + ", ".join(sorted(programs))] for tool, programs in sorted(clean.items())]
    return table(["check", "outcome"], [[name, outcome or "as meant, no local memory"] for name, outcome in rows])


TABLES = {function.__name__: function for function in
          (machine, few_tokens, many_tokens, eight_bits, older_gpus, blocks_few, blocks_many, bitmask, csr, passes, counters, checks)}  # fmt: skip


def filled(page, results):
    """The page with every table made anew."""

    def fill(found):
        return f"<!-- {found[1]} -->\n\n{TABLES[found[1]](results)}\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n(?:.*?\n)??<!-- end -->", fill, page, flags=re.DOTALL)


def draw(results, path):
    """Speed-up over dense against tokens, 2:4 decode, a line for each type of values."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SHAPES), figsize=(16, 3.4), sharey=True, layout="constrained")
    for axis, (m, k) in zip(axes, SHAPES):
        for kind in ("bf16", "int8", "int4"):
            line = []
            for n in (1, 8, 16, 32, 64, 128, 256):
                kernels = (results.find(op="spmm_nm", type=kind, m=m, k=k, n=n, kernel=kernel) for kernel in ("decode24", "gemm24"))
                if speeds := [case["speedup"] for case in kernels if case]:
                    line.append((n, max(speeds)))
            axis.plot(*zip(*line), marker="o", markersize=3, label=f"2:4 {kind}")
        axis.axhline(1, color="grey", linewidth=1)
        axis.set(title=shape(m, k), xscale="log", xlabel="tokens")
        axis.set_xticks((1, 8, 64, 256), labels=("1", "8", "64", "256"), minor=False)
        axis.minorticks_off()
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("speed-up over dense bf16 cuBLASLt")
    axes[-1].legend()
    figure.suptitle(f"{results.context['gpu']}, one product alone")
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("page", type=pathlib.Path, nargs="?")
    parser.add_argument("--picture", type=pathlib.Path)
    arguments = parser.parse_args()
    results = Results(arguments.results)
    if arguments.picture:
        draw(results, arguments.picture)
    if arguments.page:
        arguments.page.write_text(filled(arguments.page.read_text(), results))
    elif not arguments.picture:
        sys.exit("tables.py: name the page to fill, or --picture")


if __name__ == "__main__":
    main()
