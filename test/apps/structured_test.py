"""Whole units out of a model: channels, heads, layers, experts. Against NumPy, and against Hugging Face transformers
where Python has it."""

import io
import json
import logging
import os
import subprocess
import unittest

import numpy as np

import safetensors_files
from calibrated_test import GOLDEN, Llama
from program import DONE, MISMATCH, MODEL, REFUSED, SHARED, USAGE, ProgramTest, needs_shared, tensors_of

try:
    import torch
    import transformers
except ImportError:
    transformers = None

QUARTER = 0.1875  # of the blocks' parameters: a quarter of the channels
LAYERS, CHANNELS, HEADS, HEAD_DIM = 4, 768, 4, 64
# Patterns and shares that every family can give.
FAMILY_CASES = {
    "channels": ("--pattern", "channels", "--sparsity", 0.25, "--multiple-of", 16),
    "heads": ("--pattern", "heads", "--sparsity", 0.15),
    "layers": ("--pattern", "layers", "--sparsity", 0.5),
    "experts": ("--pattern", "experts", "--sparsity", 0.35),
}
HEADS_SHARE_THE_WIDTH = ("gpt2-conv1d", "opt")


def kept_channels(report, layer):
    (gone,) = report["layers"][layer]["channels_gone"]
    return sorted(set(range(CHANNELS)) - set(gone))


def squares(tensor, axis):
    return (tensor.values().astype(np.float64) ** 2).sum(axis)


# Sanitizers look at the code: one method's numbers, and no search, will do.
is_watched = bool(os.environ.get("PRUNE_SANITIZE"))


class Structured(ProgramTest):
    def setUp(self):
        super().setUp()
        self.ids = np.random.default_rng(0).integers(0, 4096, (6, 256))
        np.save(self.folder / "calib.npy", self.ids.reshape(-1))
        self.calibration = ("--calib", self.folder / "calib.npy", "--samples", 6, "--seqlen", 256)

    def cut(self, *arguments, model=MODEL, name="out"):
        output = self.folder / name
        run = self.expect(DONE, model, "-o", output, "--force", "--json", *arguments)
        return output, json.loads(run.stdout)

    def evaluate(self, model, text=GOLDEN, seqlen=64):
        run = self.expect(DONE, "eval", model, "--text", text, "--seqlen", seqlen, "--json", "-q")
        return json.loads(run.stdout)["nats_per_token"]

    def test_channels_by_magnitude(self):
        output, report = self.cut("--pattern", "channels", "--sparsity", QUARTER)
        before, after = tensors_of(MODEL), tensors_of(output)
        self.assertEqual(list(after), list(before))
        for layer in range(LAYERS):
            mlp = f"model.layers.{layer}.mlp."
            score = squares(before[mlp + "gate_proj.weight"], 1) + squares(before[mlp + "up_proj.weight"], 1)
            score += squares(before[mlp + "down_proj.weight"], 0)
            kept = np.sort(np.argsort(-score, kind="stable")[:576])
            for module, axis in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
                name = f"{mlp}{module}.weight"
                self.assertTrue(np.array_equal(after[name].bits, before[name].bits.take(kept, axis)), name)
            gone = sorted(set(range(CHANNELS)) - set(kept))
            self.assertEqual(report["layers"][layer]["channels_gone"], [gone])
        for name in before:
            if ".mlp." not in name:
                self.assertTrue(after[name] == before[name], name)
        blocks = sum(t.bits.size for n, t in before.items() if ".layers." in n)
        left = sum(t.bits.size for n, t in after.items() if ".layers." in n)
        self.assertEqual(report["block_parameters"], {"before": blocks, "after": left})
        self.assertAlmostEqual(report["sparsity"]["achieved"], 1 - left / blocks, places=12)
        self.assertLess(abs(report["sparsity"]["achieved"] - QUARTER), 0.005)

    def test_config_and_index_say_what_is_left_and_no_more(self):
        output, _ = self.cut("--pattern", "channels", "--sparsity", QUARTER)
        self.assertEqual((output / "config.json").read_text(),
                         (MODEL / "config.json").read_text().replace('"intermediate_size": 768', '"intermediate_size": 576'))  # fmt: skip
        index, old = (json.loads((f / "model.safetensors.index.json").read_text()) for f in (output, MODEL))
        self.assertEqual(index["weight_map"], old["weight_map"])
        size = sum(t.bits.nbytes for t in tensors_of(output).values())
        self.assertEqual(index["metadata"]["total_size"], size)
        for file in ("tokenizer.json", "generation_config.json"):
            self.assertEqual((output / file).read_bytes(), (MODEL / file).read_bytes())

    def test_heads_go_with_their_queries(self):
        output, report = self.cut("--pattern", "heads", "--sparsity", 0.125)
        before, after = tensors_of(MODEL), tensors_of(output)
        for layer, entry in enumerate(report["layers"]):
            (gone,) = entry["kv_heads_gone"]
            self.assertEqual(entry["heads_gone"], [2 * gone, 2 * gone + 1])
            attention, kept = f"model.layers.{layer}.self_attn.", 1 - gone
            rows = lambda count: np.arange(kept * count * HEAD_DIM, (kept + 1) * count * HEAD_DIM)
            for module, axis, count in (("q_proj", 0, 2), ("k_proj", 0, 1), ("v_proj", 0, 1), ("o_proj", 1, 2)):
                name = f"{attention}{module}.weight"
                self.assertTrue(np.array_equal(after[name].bits, before[name].bits.take(rows(count), axis)), name)
        config = json.loads((output / "config.json").read_text())
        self.assertEqual((config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]), (2, 1, 64))

    def test_a_layer_goes_and_the_others_are_numbered_anew(self):
        output, report = self.cut("--pattern", "layers", "--sparsity", 0.25, "--method", "activation", *self.calibration)
        llama = Llama(MODEL)
        x = llama.tensors["model.embed_tokens.weight"][self.ids]
        cosines = []
        for layer in range(LAYERS):
            y, _ = llama.layer(layer, x)
            cosines.append(((x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))).mean())
            x = y
        gone = int(np.argmax(cosines))
        self.assertEqual([l["layer"] for l in report["layers"] if not l["stays"]], [gone])
        before, after = tensors_of(MODEL), tensors_of(output)
        expected = {}
        for name, tensor in before.items():
            parts = name.split(".")
            if parts[1] == "layers":
                if int(parts[2]) == gone:
                    continue
                parts[2] = str(int(parts[2]) - (int(parts[2]) > gone))
            expected[".".join(parts)] = tensor
        self.assertEqual(sorted(after), sorted(expected))
        for name, tensor in expected.items():
            self.assertTrue(after[name] == tensor, name)

    def test_selection_and_refit_against_numpy(self):
        """Of the first layer, whose inputs no other change disturbs."""
        before = tensors_of(MODEL)
        llama = Llama(MODEL)
        _, seen = llama.layer(0, llama.tensors["model.embed_tokens.weight"][self.ids])
        x = seen["inner"].reshape(-1, CHANNELS)
        name = "model.layers.0.mlp.down_proj.weight"
        w, g = before[name].values().astype(np.float64), x.T @ x
        damping = 1e-3 * np.mean(np.diag(g))

        def refit(kept):
            dense, h = w[:, kept], g[np.ix_(kept, kept)]
            return dense + np.linalg.solve(h + damping * np.eye(len(kept)), (w @ g[:, kept] - dense @ h).T).T

        def loss(kept):
            return ((x[:, kept] @ refit(kept).T - x @ w.T) ** 2).sum() / ((x @ w.T) ** 2).sum()

        losses = {}
        for method in ("activation", "obs") if is_watched else ("activation", "refit", "obs"):
            output, report = self.cut("--pattern", "channels", "--sparsity", QUARTER, "--method", method, *self.calibration)
            after = tensors_of(output)
            kept = kept_channels(report, 0)
            losses[method] = loss(kept)
            down = after[name].values().astype(np.float64)
            if method == "activation":
                self.assertTrue(np.array_equal(after[name].bits, before[name].bits[:, kept]))
            else:
                self.assertLess(np.linalg.norm(down - refit(kept)), 0.005 * np.linalg.norm(down))
                self.assertAlmostEqual(report["layers"][0]["feed_forward_error"], losses[method], delta=0.02 * losses[method])  # fmt: skip
            if method != "obs":
                energy = (w * w).sum(0) * np.diag(g)
                self.assertGreater(len(set(np.argsort(-energy)[:576]) & set(kept)), 573)

        left, weights, inverse = list(range(CHANNELS)), w.copy(), np.linalg.inv(g + damping * np.eye(CHANNELS))
        while len(left) > 576:
            scores = (weights[:, left] ** 2).sum(0) / np.diag(inverse)[left]
            j = left.pop(int(np.argmin(scores)))
            weights -= np.outer(weights[:, j] / inverse[j, j], inverse[j])
            inverse -= np.outer(inverse[:, j] / inverse[j, j], inverse[j])
        self.assertLess(losses["obs"], 1.01 * loss(left))
        self.assertLess(losses["obs"], losses["activation"])

    def test_heads_that_the_text_misses_least_go(self):
        """Of the first layer: each candidate's output projection is refitted, and the rest of the model is dense."""
        ids = self.ids.reshape(-1, 128)[:2]
        text = ("--calib", self.folder / "calib.npy", "--samples", 2, "--seqlen", 128)
        _, report = self.cut("--pattern", "heads", "--sparsity", 0.125, "--method", "obs", *text)
        llama = Llama(MODEL)
        name = "model.layers.0.self_attn.o_proj.weight"
        embedding, w = llama.tensors["model.embed_tokens.weight"], llama.tensors[name]
        _, seen = llama.layer(0, embedding[ids])
        context = seen["context"].reshape(-1, HEADS * HEAD_DIM)
        g, losses = context.T @ context, []
        for gone in (0, 1):
            kept = np.arange(2 * HEAD_DIM) + 2 * HEAD_DIM * (1 - gone)
            h = g[np.ix_(kept, kept)] + 1e-3 * np.mean(np.diag(g)) * np.eye(len(kept))
            llama.tensors[name] = np.zeros_like(w)
            llama.tensors[name][:, kept] = w[:, kept] + np.linalg.solve(h, (w @ g[:, kept] - w[:, kept] @ g[np.ix_(kept, kept)]).T).T  # fmt: skip
            x = embedding[ids[:1]]  # an eighth of two sequences, but one
            for layer in range(LAYERS):
                x, _ = llama.layer(layer, x)
            logits = llama.norm(x, "model.norm")[0] @ embedding.T
            logits -= np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) + logits.max(-1, keepdims=True)
            losses.append(-logits[np.arange(127), ids[0, 1:]].mean())
        self.assertGreater(abs(losses[0] - losses[1]), 1e-3)
        self.assertEqual(report["layers"][0]["kv_heads_gone"], [int(np.argmin(losses))])

    def test_readers_follow_the_dense_hidden_state(self):
        output, report = self.cut("--pattern", "heads", "--sparsity", 0.125, "--method", "obs", *self.calibration)
        dense, smaller = Llama(MODEL), Llama(output)
        x = y = dense.tensors["model.embed_tokens.weight"][self.ids]
        name = "model.layers.{}.{}_proj.weight".format
        for layer in range(2):
            x, wanted = dense.layer(layer, x)
            y, own = smaller.layer(layer, y)
            (gone,) = report["layers"][layer]["kv_heads_gone"]
            places = {
                "self_attn.q": ("attention", slice((1 - gone) * 2 * HEAD_DIM, (2 - gone) * 2 * HEAD_DIM)),
                "self_attn.k": ("attention", slice((1 - gone) * HEAD_DIM, (2 - gone) * HEAD_DIM)),
                "mlp.gate": ("mlp", slice(None)),
                "mlp.up": ("mlp", slice(None)),
            }
            for module, (place, rows) in places.items():
                w = dense.tensors[name(layer, module)]
                seen, followed = (s[place].reshape(-1, w.shape[1]) for s in (own, wanted))
                g = seen.T @ seen
                h = g + 1e-3 * np.mean(np.diag(g)) * np.eye(len(g))
                expected = 0.5 * np.linalg.solve(h, (seen.T @ followed - g) @ w.T).T[rows]
                change = smaller.tensors[name(layer, module)] - w[rows]
                if layer == 0 and place == "attention":
                    self.assertEqual(np.abs(change).max(), 0)
                else:
                    self.assertLess(np.linalg.norm(change - expected), 0.1 * np.linalg.norm(expected), module)

    def test_the_layer_before_a_gap_makes_up_for_it(self):
        text = ("--calib", GOLDEN, "--samples", 2, "--seqlen", 64)
        output, report = self.cut("--pattern", "layers", "--sparsity", 0.25, "--method", "obs", *text)
        (gone,) = (layer["layer"] for layer in report["layers"] if not layer["stays"])
        self.assertGreater(gone, 0)
        llama = Llama(MODEL)
        x = llama.tensors["model.embed_tokens.weight"][safetensors_files.File(GOLDEN)["input_ids"].bits.astype(np.int64)]
        for layer in range(gone):
            x, seen = llama.layer(layer, x)
        after, _ = llama.layer(gone, x)
        inner, missing = seen["inner"].reshape(-1, CHANNELS), (after - x).reshape(-1, x.shape[-1])
        name = f"model.layers.{gone - 1}.mlp.down_proj.weight"
        g = inner.T @ inner
        expected = np.linalg.solve(g + 1e-3 * np.mean(np.diag(g)) * np.eye(CHANNELS), inner.T @ missing).T
        change = tensors_of(output)[name].values() - llama.tensors[name]
        self.assertLess(np.linalg.norm(change - expected), 0.05 * np.linalg.norm(expected))

    @unittest.skipIf(is_watched, "the parts are tested one by one")
    def test_mixed_tries_shapes_and_takes_the_best(self):
        output, report = self.cut("--pattern", "mixed", "--sparsity", 0.25, "--method", "obs", *self.calibration)
        trials = report["trials"]
        self.assertGreater(len(trials), 1)
        self.assertEqual([t["nats"] for t in trials], sorted(t["nats"] for t in trials))
        self.assertEqual(report["after"], trials[0]["shape"])
        self.assertLess(abs(report["sparsity"]["achieved"] - 0.25), 0.015)
        self.assertTrue(np.isfinite(self.evaluate(output)))

    def test_training_each_layer_helps(self):
        text = ("--calib", self.folder / "calib.npy", "--samples", 16, "--seqlen", 64)
        for units in (("layers", "--sparsity", 0.25), ("heads", "--sparsity", 0.125, "--threads", 2)):
            _, report = self.cut("--pattern", *units, *text, "--method", "best", "--steps", 60)
            left = [layer for layer in report["layers"] if layer["stays"]]
            for layer in left:
                self.assertLessEqual(layer["loss_after_training"], layer["loss_before_training"])
            self.assertTrue(any(layer["loss_after_training"] < layer["loss_before_training"] for layer in left))

    def test_sequences_and_rate_of_a_step_are_taken(self):
        text = ("--calib", self.folder / "calib.npy", "--samples", 8, "--seqlen", 64, "--steps", 24)
        units = ("--pattern", "channels", "--sparsity", 0.5, "--method", "best", *text)
        losses = []
        for options in (("--learning-rate", "1e-9"), ("--batch", 1), ("--batch", 8)):
            _, report = self.cut(*units, *options)
            losses.append([layer["loss_after_training"] / layer["loss_before_training"] for layer in report["layers"]])
        still, few, more = losses
        self.assertGreater(min(still), 0.999)
        self.assertLess(max(more), 0.99)
        self.assertLess(sum(more), sum(few))
        plans = [self.expect(DONE, MODEL, "-o", self.folder / "o", *units, "--batch", n, "--dry-run", "--json").stdout for n in (1, 3)]
        one, three = [json.loads(plan)["memory"]["batch"] for plan in plans]
        self.assertGreater(three, one)

    def test_what_is_left_is_a_model_like_any_other(self):
        smaller, _ = self.cut("--pattern", "channels", "--sparsity", QUARTER, name="smaller")
        again, report = self.cut("--pattern", "layers", "--sparsity", 0.25, model=smaller, name="again")
        self.assertEqual((report["after"]["layers"], report["after"]["channels"]), (3, 576))
        sparse = self.folder / "sparse"
        self.expect(DONE, again, "-o", sparse, "--pattern", "2:4")
        self.expect(DONE, "verify", sparse, "--pattern", "2:4", "--against", again)
        self.expect(DONE, "inspect", again)
        self.expect(DONE, "verify", again)
        self.assertTrue(np.isfinite(self.evaluate(sparse)))

    def test_verify_knows_what_is_left(self):
        smaller, _ = self.cut("--pattern", "channels", "--sparsity", QUARTER)
        promise = ("--pattern", "channels", "--against", MODEL, "--sparsity")
        self.expect(DONE, "verify", smaller, *promise, QUARTER)
        self.assertIn("promised", self.expect(MISMATCH, "verify", smaller, *promise, 0.3).stdout)
        self.assertIn("channels, of 768", self.expect(MISMATCH, "verify", smaller, "--pattern", "layers", "--against", MODEL).stdout)
        config = smaller / "config.json"
        config.write_text(config.read_text().replace("576", "560"))
        run = self.expect(MISMATCH, "verify", smaller, "--pattern", "channels")
        self.assertIn("mlp.gate_proj.weight", run.stdout)
        self.expect(USAGE, "verify", smaller, "--pattern", "channels", "--sparsity", 0.2)

    def test_dry_run_and_resume(self):
        output = self.folder / "out"
        arguments = (MODEL, "-o", output, "--pattern", "channels", "--sparsity", QUARTER)
        plan = json.loads(self.expect(DONE, *arguments, "--dry-run", "--json").stdout)
        self.assertEqual(plan["after"]["channels"], 576)
        self.assertNotIn("memory", plan)
        plan = json.loads(self.expect(DONE, *arguments, "--method", "obs", *self.calibration, "--dry-run", "--json").stdout)
        self.assertEqual(plan["memory"]["states"], 2 * 6 * 256 * 256 * 4)  # the pruned and the dense stream
        self.assertEqual(plan["memory"]["pruned"], LAYERS * (12 * HEAD_DIM + 3 * 576 + 2) * 256 * 2)
        self.assert_nothing_left(output)
        self.expect(DONE, *arguments)
        self.assertIn("exists already", self.expect(USAGE, *arguments).stderr)
        self.expect(DONE, *arguments, "--resume")

    def test_refusals_are_one_line(self):
        output = self.folder / "out"
        channels = ("--pattern", "channels", "--sparsity")
        cases = [
            ((*channels, 0.9), USAGE, "would leave too few channels"),
            ((*channels, 0.001), USAGE, "less than half of what one channel step takes"),
            ((*channels, 1), USAGE, "between 0 and 1"),
            (("--pattern", "channels"), USAGE, "needs --sparsity"),
            ((*channels, 0.2, "--multiple-of", 1000), USAGE, "the layers have 768 channels"),
            ((*channels, 0.2, "--multiple-of", 0), USAGE, "expected 1 or more"),
            ((*channels, 0.2, "--per-layer-width"), USAGE, "one width for all layers"),
            ((*channels, 0.2, "--method", "admm"), USAGE, "removes no whole units"),
            ((*channels, 0.2, "--method", "obs"), USAGE, "needs --calib"),
            ((*channels, 0.2, "--scope", "row"), USAGE, "no use for --scope"),
            ((*channels, 0.2, "--method", "obs", "--calib", GOLDEN, "--batch", 4), USAGE, "no use for --batch"),
            ((*channels, 0.2, "--method", "best", "--calib", GOLDEN, "--teacher", MODEL), USAGE, "no use for --teacher"),
            ((*channels, 0.2, "--method", "best", "--calib", GOLDEN, "--learning-rate", 0), USAGE, "--learning-rate above 0"),
            ((*channels, 0.2, "--calib", GOLDEN), USAGE, "no use for --calib"),
            ((*channels, 0.2, "--report", self.folder / "r.html"), USAGE, "is JSON"),
            (("--pattern", "heads", "--sparsity", 0.24), USAGE, "would leave too few heads"),
            (("--pattern", "layers", "--sparsity", 1 - 1e-6), USAGE, "would leave too few layers"),
            (("--pattern", "experts", "--sparsity", 0.2), USAGE, "a llama model has none"),
            (("--pattern", "mixed", "--sparsity", 0.2), USAGE, "found by measuring"),
            (("--pattern", "2:4", "--multiple-of", 64), USAGE, "no use for --multiple-of"),
        ]  # fmt: skip
        for arguments, code, text in cases:
            with self.subTest(arguments=arguments):
                self.assert_one_line(self.expect(code, MODEL, "-o", output, *arguments).stderr, text)
                self.assert_nothing_left(output)
        packed = self.folder / "packed"
        self.expect(DONE, MODEL, "-o", self.folder / "sparse", "--pattern", "2:4")
        self.expect(DONE, "pack", self.folder / "sparse", "-o", packed)
        self.assert_one_line(self.expect(REFUSED, packed, "-o", output, *channels, 0.2).stderr, "is packed")
        self.assert_one_line(
            self.expect(REFUSED, MODEL / "model-00001-of-00002.safetensors", "-o", output, *channels, 0.2).stderr,
            "config.json")  # fmt: skip

    @needs_shared
    def test_every_family_takes_every_pattern(self):
        for folder in sorted((SHARED / "families").iterdir()):
            golden = ("--calib", folder / "golden.safetensors", "--samples", 2, "--seqlen", 48)
            for pattern, arguments in FAMILY_CASES.items():
                if pattern == "heads" and folder.name == "mixtral-moe":  # its experts hold nearly all parameters
                    arguments = (*arguments[:3], 0.055)
                with self.subTest(family=folder.name, pattern=pattern):
                    if pattern == "experts" and "mixtral" not in folder.name:
                        self.assertIn("has none", self.expect(USAGE, folder, "-o", self.folder / "x", *arguments).stderr)
                    elif pattern == "heads" and folder.name in HEADS_SHARE_THE_WIDTH:
                        self.assertIn("has no head_dim", self.expect(USAGE, folder, "-o", self.folder / "x", *arguments).stderr)
                    else:
                        for method in (("magnitude",), ("obs", *golden)):
                            output, report = self.cut(*arguments, "--method", *method, model=folder)
                            self.assertLess(abs(report["sparsity"]["achieved"] - arguments[3]), 0.16)
                            self.check_with_transformers(output, folder / "golden.safetensors")

    def check_with_transformers(self, model, golden):
        """The same logits, and not a word while loading."""
        self.assertTrue(np.isfinite(self.evaluate(model, golden, 48)))
        if transformers is None:
            return
        messages = io.StringIO()
        handler = logging.StreamHandler(messages)
        logging.getLogger("transformers").addHandler(handler)
        try:
            loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
                model, dtype=torch.float32, output_loading_info=True)  # fmt: skip
        finally:
            logging.getLogger("transformers").removeHandler(handler)
        self.assertEqual(messages.getvalue(), "")
        self.assertFalse(any(info.values()), info)
        ids = torch.tensor(safetensors_files.File(golden)["input_ids"].bits.astype(np.int64)).reshape(-1, 48)
        with torch.no_grad():
            theirs = loaded(ids).logits.numpy()
        raw = subprocess.run([os.environ["PRUNE_MODEL_LOGITS"], model, "48"], input=ids.numpy().astype(np.int32).tobytes(),
                             stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
        ours = np.frombuffer(raw, np.float32).reshape(theirs.shape)
        self.assertLess(np.abs(ours - theirs).max(), 1e-4 * np.sqrt(np.square(theirs).mean()))


if __name__ == "__main__":
    unittest.main()
