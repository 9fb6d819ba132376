"""Files as Google Benchmark writes them, with whatever times a test wants."""

import json

CONTEXT = {
    "date": "2026-01-02T03:04:05+00:00", "host_name": "a-private-name", "executable": "/srv/private/spmm_bench",
    "num_cpus": 2, "mhz_per_cpu": 2400, "cpu_scaling_enabled": False, "caches": [], "load_avg": [0.5],
    "library_build_type": "debug", "commit": "0123456789ab", "cpu": "A processor", "isa": "avx512",
    "compiler": "GNU 12.2.0", "build_type": "Release", "threads": "2",
    "read_bandwidth_GBps": "30.0", "fma_peak_GFLOPps": "200.0",
}  # fmt: skip


def name_of(op, dtype="bf16", isa="avx512", m=4096, k=4096, n=1, sparsity=50):
    return f"{op}/{dtype}/isa:{isa}/m:{m}/k:{k}/n:{n}/sparsity:{sparsity}/manual_time"


def repetitions(name, milliseconds, label="a_kernel vs a peer", **counters):
    """One row a repetition; a counter is one number, or one for each repetition."""
    rows = []
    for index, time in enumerate(milliseconds):
        row = {"name": name, "family_index": 0, "per_family_instance_index": 0, "run_name": name,
               "run_type": "iteration", "repetitions": len(milliseconds), "repetition_index": index, "threads": 1,
               "iterations": 100, "real_time": time, "cpu_time": time * 1.01, "time_unit": "ms"}  # fmt: skip
        for key, value in counters.items():
            row[key.replace("_per_", "/")] = value[index] if isinstance(value, list) else value
        rows.append(row | {"label": label})
    return rows


def aggregates(name, milliseconds):
    """What Google Benchmark adds after the repetitions, with the rows that break readers."""
    base = {"run_name": name, "run_type": "aggregate", "repetitions": 10, "threads": 1, "time_unit": "ms"}
    rows = [base | {"name": f"{name}_{kind}", "aggregate_name": kind, "aggregate_unit": unit, "iterations": 10,
                    "real_time": value, "cpu_time": value}
            for kind, unit, value in (("mean", "time", milliseconds), ("median", "time", milliseconds),
                                      ("stddev", "time", 0.01), ("cv", "percentage", 0.02))]  # fmt: skip
    rows.append({k: v for k, v in base.items() if k != "time_unit"}
                | {"name": f"{name}_BigO", "aggregate_name": "BigO", "aggregate_unit": "time", "cpu_coefficient": 1.5,
                   "real_coefficient": 1.5, "big_o": "N", "time_unit": "ms"})  # fmt: skip
    rows.append(base | {"name": f"{name}_RMS", "aggregate_name": "RMS", "aggregate_unit": "percentage", "rms": 0.03})
    return rows


def failed(name, message="no such instruction"):
    return [{"name": name, "run_name": name, "run_type": "iteration", "repetitions": 1, "repetition_index": 0,
             "threads": 1, "error_occurred": True, "error_message": message, "iterations": 0, "real_time": 0.0,
             "cpu_time": 0.0, "time_unit": "ms"}]  # fmt: skip


def write(path, rows, **context):
    path.write_text(json.dumps({"context": CONTEXT | context, "benchmarks": rows}), encoding="utf-8")
    return path
