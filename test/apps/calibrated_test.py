"""Methods that look at what the model does with some text, against a llama of NumPy in double precision."""

import json
import os
import re
import unittest

import numpy as np

import reference_masks
import safetensors_files
from program import DONE, MISMATCH, MODEL, REFUSED, SHARED, SOURCE, USAGE, ProgramTest, needs_shared, tensors_of

GOLDEN = SOURCE / "test/golden/docs-llama-4m.safetensors"  # holds input_ids, two sequences of 64
CALIBRATION = ("--calib", GOLDEN, "--samples", "2", "--seqlen", "64")
# Runs its arguments, and prints the most bytes that were resident.
MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); \
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
SITES = {
    "self_attn.q_proj": "attention", "self_attn.k_proj": "attention", "self_attn.v_proj": "attention",
    "self_attn.o_proj": "context", "mlp.gate_proj": "mlp", "mlp.up_proj": "mlp", "mlp.down_proj": "inner",
}  # fmt: skip
is_watched = bool(os.environ.get("PRUNE_SANITIZE"))


class Llama:
    """A decoder layer at a time. Inputs of linear layers are kept by name in `seen`."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = {n: t.values().astype(np.float64) for n, t in tensors_of(folder).items()}

    def norm(self, x, name):
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        return x / scale * self.tensors[name + ".weight"]

    def rotate(self, x):
        half = x.shape[-1] // 2
        angles = np.arange(x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def layer(self, index, x):
        prefix = f"model.layers.{index}."
        linear = lambda name, inputs: inputs @ self.tensors[f"{prefix}{name}.weight"].T
        heads, kv = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        seen = {"attention": self.norm(x, prefix + "input_layernorm")}
        split = lambda name, count: linear(name, seen["attention"]).reshape(*x.shape[:2], count, -1)
        q = self.rotate(split("self_attn.q_proj", heads))
        k = np.repeat(self.rotate(split("self_attn.k_proj", kv)), heads // kv, axis=2)
        v = np.repeat(split("self_attn.v_proj", kv), heads // kv, axis=2)
        scores = np.einsum("sihd,sjhd->shij", q, k) / np.sqrt(q.shape[-1])
        scores += np.triu(np.full(scores.shape[-2:], -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        seen["context"] = np.einsum("shij,sjhd->sihd", weights, v).reshape(*x.shape[:2], -1)
        seen["before context"] = x
        x = x + linear("self_attn.o_proj", seen["context"])
        seen["before inner"] = x
        seen["mlp"] = self.norm(x, prefix + "post_attention_layernorm")
        gate = linear("mlp.gate_proj", seen["mlp"])
        seen["inner"] = gate / (1 + np.exp(-gate)) * linear("mlp.up_proj", seen["mlp"])
        return x + linear("mlp.down_proj", seen["inner"]), seen


def gram(x):
    x = x.reshape(-1, x.shape[-1])
    return x.T @ x


def least_squares(weights, masks, g, rhs, damping):
    """Rows w that are 0 where not masked, of the least 1/2 w G w - b w + 1/2 damping |w - dense|^2; and the sum of those
    values as a function of rows."""
    h = g + damping * np.eye(len(g))
    rhs = rhs + damping * weights
    solved = np.zeros_like(weights)
    for row, kept, b in zip(solved, masks, rhs):
        row[kept] = np.linalg.solve(h[np.ix_(kept, kept)], b[kept])
    return solved, lambda w: 0.5 * np.sum(w @ h * w) - np.sum(rhs * w)


def prune_by_wanda(model, ids):
    """Masks by name. Each layer's inputs come from the pruned layers before it."""
    x, masks = model.tensors["model.embed_tokens.weight"][ids], {}
    for index in range(model.config["num_hidden_layers"]):
        _, seen = model.layer(index, x)
        for name, site in SITES.items():
            tensor = f"model.layers.{index}.{name}.weight"
            weights = model.tensors[tensor]
            scores = np.abs(weights) * np.sqrt(np.diag(gram(seen[site])))
            masks[tensor] = reference_masks.keep_n_of_m(scores, 2, 4)
            model.tensors[tensor] = np.where(masks[tensor], weights, 0)
        x, _ = model.layer(index, x)
    return masks


class Calibrated(ProgramTest):
    def prune(self, *arguments, name="out"):
        output, report = self.folder / name, self.folder / (name + ".json")
        self.expect(DONE, MODEL, "-o", output, "--force", "-q", "--report", report, *arguments)
        tensors = {t["name"]: t | {"weights": int(np.prod(t["shape"]))} for t in json.loads(report.read_text())["tensors"]
                   if t["pruned"]}  # fmt: skip
        return tensors_of(output), tensors

    def test_wanda_prunes_layer_after_layer_as_a_reference_does(self):
        ids = safetensors_files.File(GOLDEN)["input_ids"].bits.astype(np.int64)
        masks = prune_by_wanda(Llama(MODEL), ids)
        before, (after, report) = tensors_of(MODEL), self.prune("--method", "wanda", "--pattern", "2:4", *CALIBRATION)
        for name, tensor in before.items():
            if name not in masks:
                self.assertTrue(after[name] == tensor, name)
                continue
            kept = after[name].bits != 0
            agreement = (kept == masks[name]).mean()  # float and double part where scores are nearly equal
            self.assertGreater(agreement, 0.9995, name)
            self.assertTrue(np.array_equal(after[name].bits[kept], tensor.bits[kept]), name)
            self.assertEqual(report[name]["error_before"], report[name]["error_after"])
        self.assertEqual(len(report), len(masks))

    @unittest.skipIf(is_watched, "takes minutes; the methods are tested one by one")
    def test_refit_makes_up_for_half_of_what_the_hidden_state_lacks(self):
        ids = safetensors_files.File(GOLDEN)["input_ids"].bits.astype(np.int64)
        self.prune("--method", "refit", "--pattern", "2:4", "--damping", "0.1", *CALIBRATION)
        dense, pruned = Llama(MODEL), Llama(self.folder / "out")
        x = dense.tensors["model.embed_tokens.weight"][ids]
        wanted, _ = dense.layer(0, x)
        own, _ = pruned.layer(0, x)
        (_, wanted_seen), (_, own_seen) = dense.layer(1, wanted), dense.layer(1, own)  # pruned all at once
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            tensor, flat = f"model.layers.1.{name}.weight", lambda x: x.reshape(-1, x.shape[-1])
            inputs, followed = flat(own_seen[SITES[name]]), flat(wanted_seen[SITES[name]])
            before = "before " + SITES[name]
            lacking = flat(wanted_seen[before] - own_seen[before])
            weights, found, g = dense.tensors[tensor], pruned.tensors[tensor], gram(inputs)
            half = 0.5 * (inputs + followed) @ weights.T
            damping = 0.1 * np.mean(np.diag(g))
            best, value = least_squares(weights, found != 0, g, (half + 0.5 * lacking).T @ inputs, damping)
            without, _ = least_squares(weights, found != 0, g, half.T @ inputs, damping)
            self.assertLess(value(found) - value(best), 0.05 * (value(without) - value(best)), name)

    @unittest.skipIf(is_watched, "takes minutes; the methods are tested one by one")
    def test_errors_in_the_report_are_those_of_the_outputs(self):
        ids = safetensors_files.File(GOLDEN)["input_ids"].bits.astype(np.int64)
        after, report = self.prune("--method", "sparsegpt", "--pattern", "unstructured", "-s", "0.6", *CALIBRATION)
        model, pruned = Llama(MODEL), Llama(self.folder / "out")
        x = model.tensors["model.embed_tokens.weight"][ids]
        for index in range(2):
            model_layer, pruned_layer = model.layer(index, x), pruned.layer(index, x)
            for name, site in SITES.items():
                tensor = f"model.layers.{index}.{name}.weight"
                dense, change = model.tensors[tensor], pruned.tensors[tensor] - model.tensors[tensor]
                g = gram(model_layer[1][site])
                error = np.sum(change @ g * change) / np.sum(dense @ g * dense)
                self.assertAlmostEqual(report[tensor]["error_after"] / error, 1, delta=1e-3)
                self.assertLess(report[tensor]["error_after"], report[tensor]["error_before"])
                self.assertEqual(np.count_nonzero(after[tensor].bits == 0), int(dense.size * 0.6))
                self.assertEqual(report[tensor]["damping"], 0.01)
            x = pruned_layer[0]

    @unittest.skipIf(is_watched, "takes minutes; the methods are tested one by one")
    def test_better_methods_leave_smaller_errors_in_the_first_layer(self):
        errors = {}
        for method in ("wanda", "refit", "swap", "admm"):
            _, report = self.prune("--method", method, *CALIBRATION, "--follow", "0") if method != "wanda" else \
                self.prune("--method", method, *CALIBRATION)  # fmt: skip
            errors[method] = sum(report[f"model.layers.0.{name}.weight"]["error_after"] for name in SITES)
        self.assertLess(errors["refit"], 0.8 * errors["wanda"])
        self.assertLess(errors["swap"], errors["refit"])
        self.assertLess(errors["admm"], 0.9 * errors["refit"])

    @unittest.skipIf(is_watched, "takes minutes; reconstruction is tested by itself")
    def test_best_trains_layers_under_their_masks(self):
        found = {}
        for method, options in (("admm", ()), ("best", ("--steps", "40"))):
            out = self.folder / method
            self.expect(DONE, MODEL, "-o", out, "--pattern", "2:4", "--method", method, *CALIBRATION, *options, "--quiet")
            self.expect(DONE, "verify", out, "--pattern", "2:4", "--against", MODEL, "--updated")
            strict = self.expect(MISMATCH, "verify", out, "--pattern", "2:4", "--against", MODEL)
            self.assertIn("--updated", strict.stdout)
            found[method] = {n: t.values() for n, t in tensors_of(out).items()}
        for name, before in found["admm"].items():
            after = found["best"][name]
            if not name.endswith("_proj.weight"):
                np.testing.assert_array_equal(after, before, name)
            elif name.startswith("model.layers.0."):  # later layers see other inputs, and get other masks
                np.testing.assert_array_equal(after == 0, before == 0, name)
                self.assertFalse(np.array_equal(after, before), name)

    @unittest.skipIf(is_watched, "takes minutes; the methods are tested one by one")
    def test_owl_gives_layers_with_more_outliers_less_sparsity(self):
        ids = safetensors_files.File(GOLDEN)["input_ids"].bits.astype(np.int64)
        model, shares = Llama(MODEL), []
        x = model.tensors["model.embed_tokens.weight"][ids]
        for index in range(model.config["num_hidden_layers"]):
            after, seen = model.layer(index, x)
            scores = np.concatenate([
                (np.abs(model.tensors[f"model.layers.{index}.{name}.weight"]) * np.sqrt(np.diag(gram(seen[site])))).ravel()
                for name, site in SITES.items()])  # fmt: skip
            shares.append((scores > 5 * scores.mean()).mean())
            x = after
        stretched = (np.array(shares) - min(shares)) / (max(shares) - min(shares)) * 2 * 0.08
        wanted = 0.6 - (stretched - stretched.mean())
        _, report = self.prune("--method", "sparsegpt", "-p", "unstructured", "-s", "0.6", "--allocation", "owl",
                               *CALIBRATION)  # fmt: skip
        for name, tensor in report.items():
            layer = int(name.split(".")[2])
            self.assertAlmostEqual(tensor["wanted_sparsity"], wanted[layer], delta=2e-3, msg=name)
            self.assertAlmostEqual(tensor["sparsity"], tensor["wanted_sparsity"], delta=1e-4, msg=name)
        zeros, size = (sum(t[k] for t in report.values()) for k in ("zeros_after", "weights"))
        self.assertLess(abs(zeros - 0.6 * size), len(report))

    @unittest.skipIf(is_watched, "takes minutes; the methods are tested one by one")
    def test_sparsity_by_error_leaves_smaller_errors(self):
        errors = {}
        for pattern, sparsity in (("unstructured", "0.5"), ("16x16", "0.25")):
            for allocation in ("uniform", "error"):
                _, report = self.prune("--method", "ria", "-p", pattern, "-s", sparsity, "--allocation", allocation,
                                       *CALIBRATION)  # fmt: skip
                errors[allocation] = sum(t["error_after"] for t in report.values())
                wanted = {t["wanted_sparsity"] for t in report.values()}
                self.assertEqual(len(wanted) > 1, allocation == "error")
                zeros, size = (sum(t[k] for t in report.values()) for k in ("zeros_after", "weights"))
                self.assertAlmostEqual(zeros / size, float(sparsity), delta=1e-3)
            self.assertLess(errors["error"], 0.95 * errors["uniform"])

    def test_text_is_read_with_the_model_s_tokenizer(self):
        text = self.folder / "text.txt"
        text.write_bytes((SOURCE / "README.md").read_bytes())
        self.expect(DONE, MODEL, "-o", self.folder / "out", "--pattern", "2:4", "--method", "wanda", "--calib", text,
                    "--samples", "4", "--seqlen", "128", "--quiet")  # fmt: skip
        self.expect(DONE, "verify", self.folder / "out", "--pattern", "2:4", "--against", MODEL)
        run = self.expect(REFUSED, MODEL, "-o", self.folder / "none", "--pattern", "2:4", "--method", "wanda", "--calib",
                          text, "--samples", "4000", "--seqlen", "128", "--quiet")  # fmt: skip
        self.assert_one_line(run.stderr, "too few for 4000 sequences of 128")

    @needs_shared
    @unittest.skipIf(is_watched, "sanitizers need memory of their own")
    def test_memory_is_what_the_dry_run_says(self):
        model = SHARED / "models/docs-llama-30m"
        for method, samples in (("wanda", 16), ("admm", 2)):
            arguments = (model, "-o", self.folder / method, "--pattern", "2:4", "--method", method,
                         "--calib", model / "calib.tokens.npy", "--seqlen", "1024", "--samples", str(samples))  # fmt: skip
            plan = json.loads(self.expect(DONE, *arguments, "--dry-run", "--json").stdout)["memory"]
            run = self.expect(DONE, *arguments, "-q", command=("/usr/bin/env", "python3", "-c", MEASURE))
            measured = int(run.stdout.split()[-1])
            self.assertAlmostEqual(measured / plan["resident"], 1, delta=0.2, msg=method)
            if method == "wanda":  # with 128 samples more hidden states are held, and nothing else
                self.assertLess(measured + 112 * 1024 * 512 * 4, 400e6)

    @needs_shared
    def test_8_bit_floats_are_refused_before_the_work(self):
        model = self.folder / "narrow"
        model.mkdir()
        tensors = tensors_of(MODEL)
        name = "model.layers.3.mlp.down_proj.weight"
        values = tensors[name].bits
        tensors[name] = safetensors_files.Tensor("F8_E4M3", values >> 8)
        safetensors_files.write(model / "model.safetensors", tensors, {"format": "pt"})
        (model / "config.json").write_bytes((MODEL / "config.json").read_bytes())
        for dry_run in ((), ("--dry-run",)):
            run = self.expect(REFUSED, model, "-o", self.folder / "out", "-q", "--method", "admm", *CALIBRATION, *dry_run)
            self.assert_one_line(run.stderr, name, "F8_E4M3", "--exclude")
            self.assert_nothing_left(self.folder / "out")

    def test_where_states_are_kept_changes_nothing(self):
        arguments = ("--method", "refit", *CALIBRATION)
        inside, _ = self.prune(*arguments)
        outside, _ = self.prune(*arguments, "--memory", "1", name="spilled")
        for name, tensor in inside.items():
            self.assertTrue(outside[name] == tensor, name)

    def test_true_sequential_shows_later_matrices_the_earlier_ones_pruned(self):
        at_once, _ = self.prune("--method", "wanda", *CALIBRATION)
        staged, _ = self.prune("--method", "wanda", *CALIBRATION, "--true-sequential", name="staged")
        first = "model.layers.0."
        for name, site in SITES.items():
            same = staged[f"{first}{name}.weight"] == at_once[f"{first}{name}.weight"]
            self.assertEqual(same, site == "attention", name)

    def test_old_zeros_stay(self):
        self.prune("--pattern", "unstructured", "-s", "0.3", name="once")
        once = self.folder / "once"
        output = self.folder / "twice"
        for method in ("wanda", "sparsegpt", "admm"):
            self.expect(DONE, once, "-o", output, "-f", "-q", "--method", method, "--keep-zeros", *CALIBRATION)
            after = tensors_of(output)
            for name, tensor in tensors_of(once).items():
                self.assertFalse(np.any(after[name].bits[tensor.bits == 0]), f"{method} {name}")

    def test_sequences_are_the_first_or_random_ones(self):
        first, _ = self.prune("--method", "wanda", "--calib", GOLDEN, "--samples", "1", "--seqlen", "64")
        both, _ = self.prune("--method", "wanda", *CALIBRATION, name="both")
        one = self.prune("--method", "wanda", *CALIBRATION, "--seed", "1", name="one")[0]
        again = self.prune("--method", "wanda", *CALIBRATION, "--seed", "1", name="again")[0]
        other = self.prune("--method", "wanda", *CALIBRATION, "--seed", "2", name="other")[0]
        name = "model.layers.3.mlp.down_proj.weight"
        self.assertTrue(one[name] == again[name])
        for a, b in ((first, both), (both, one), (one, other)):
            self.assertFalse(a[name] == b[name])

    def test_a_finished_run_is_known_by_its_text_and_options(self):
        arguments = (MODEL, "-o", self.folder / "out", "--resume", "--method", "wanda", *CALIBRATION)
        self.expect(DONE, *arguments)
        again = self.expect(DONE, *arguments)
        self.assertIn("nothing", again.stdout + again.stderr)
        self.expect(USAGE, *arguments, "--seed", "1")

    def test_refused_in_one_line_and_nothing_written(self):
        def ids(name, values):
            np.save(self.folder / name, np.array(values, np.uint16))
            return self.folder / name

        short, foreign = ids("short.npy", [1] * 100), ids("foreign.npy", [1] * 40 + [4096] + [1] * 99)
        few = ("--samples", "2", "--seqlen", "64")
        wanda = ("--method", "wanda")
        for code, arguments, words in (
            (USAGE, wanda, ["wanda", "--calib FILE"]),
            (USAGE, ("--calib", GOLDEN), ["magnitude", "--calib"]),
            (USAGE, ("--keep-zeros",), ["magnitude", "--keep-zeros"]),
            (USAGE, (*wanda, *CALIBRATION, "--scope", "row"), ["--scope"]),
            (USAGE, (*wanda, *CALIBRATION, "--damping", "0.1"), ["damping"]),
            (USAGE, (*wanda, *CALIBRATION, "--follow", "0.1"), ["follow"]),
            (USAGE, (*wanda, "--calib", GOLDEN, "--seqlen", "1025"), ["--seqlen 1025", "1024"]),
            (USAGE, (*wanda, "--calib", GOLDEN, "--samples", "0"), ["--samples"]),
            (USAGE, (*wanda, *CALIBRATION, "--memory", "2Q"), ["2Q"]),
            (USAGE, (*wanda, *CALIBRATION, "--allocation", "best"), ["--allocation best", "owl"]),
            (USAGE, (*wanda, *CALIBRATION, "--allocation", "owl"), ["N:M", "--allocation"]),
            (USAGE, (*wanda, *CALIBRATION, "--precision", "f16"), ["--precision f16", "bf16"]),
            (USAGE, ("--method", "swap", "-p", "4x4", "-s", "0.5", *CALIBRATION), ["swap", "blocks"]),
            (REFUSED, (*wanda, "--calib", short, *few), ["short.npy", "100 tokens", "2 sequences of 64"]),
            (REFUSED, (*wanda, "--calib", foreign, *few), ["foreign.npy", "4096"]),
            (REFUSED, (*wanda, "--calib", self.folder / "none.npy"), ["none.npy"]),
            (REFUSED, (*wanda, *CALIBRATION, "--include", "model.embed_tokens"), ["model.embed_tokens.weight"]),
        ):  # fmt: skip
            with self.subTest(arguments=arguments):
                output = self.folder / "out"
                run = self.expect(code, MODEL, "-o", output, "-q", *arguments)
                self.assert_one_line(run.stderr, *words)
                self.assert_nothing_left(output)

    def test_inputs_that_are_not_finite_name_the_layer(self):
        model = self.folder / "broken"
        model.mkdir()
        tensors = tensors_of(MODEL)
        tensors["model.layers.1.post_attention_layernorm.weight"].bits = np.full(256, 0x7F80, np.uint16)  # infinity
        safetensors_files.write(model / "model.safetensors", tensors, {"format": "pt"})
        (model / "config.json").write_bytes((MODEL / "config.json").read_bytes())
        run = self.expect(REFUSED, model, "-o", self.folder / "out", "-q", "--method", "admm", *CALIBRATION)
        self.assert_one_line(run.stderr, "model.layers.1.mlp.gate_proj", "infinity")
        self.assert_nothing_left(self.folder / "out")

    def test_text_needs_a_tokenizer(self):
        model = self.folder / "plain"
        model.mkdir()
        for path in MODEL.glob("*"):
            if path.name != "tokenizer.json":
                (model / path.name).write_bytes(path.read_bytes())
        text = self.folder / "text.txt"
        text.write_text("words\n" * 1000)
        run = self.expect(REFUSED, model, "-o", self.folder / "out", "-q", "--method", "wanda", "--calib", text)
        self.assert_one_line(run.stderr, "no tokenizer.json or tokenizer.model")
        self.assert_nothing_left(self.folder / "out")

    def test_architectures_without_a_forward_pass_are_refused(self):
        model = self.folder / "other"
        model.mkdir()
        safetensors_files.write(model / "model.safetensors", tensors_of(MODEL), {"format": "pt"})
        config = json.loads((MODEL / "config.json").read_text()) | {"model_type": "mamba"}
        (model / "config.json").write_text(json.dumps(config))
        run = self.expect(REFUSED, model, "-o", self.folder / "out", "-q", "--method", "wanda", *CALIBRATION)
        self.assert_one_line(run.stderr, "mamba")
        self.assert_nothing_left(self.folder / "out")

    @needs_shared
    def test_every_family_can_be_calibrated(self):
        for family in sorted((SHARED / "families").iterdir()):
            with self.subTest(family=family.name):
                output = self.folder / family.name
                text = ("--calib", family / "golden.safetensors", "--samples", "2", "--seqlen", "48")
                self.expect(DONE, family, "-o", output, "-q", "--method", "admm", "--pattern", "2:4", *text)
                self.expect(DONE, "verify", output, "--pattern", "2:4")
                experts = [n for n in tensors_of(output) if re.search(r"experts\.\d+\.w2", n)]
                self.assertEqual(bool(experts), "mixtral" in family.name)


if __name__ == "__main__":
    unittest.main()
