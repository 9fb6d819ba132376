"""prune eval: the perplexity of a text, and what is refused."""

import json
import shutil
import unittest

import numpy as np

import safetensors_files
from program import DONE, HAS_BF16, MODEL, REFUSED, SHARED, SOURCE, USAGE, ProgramTest, needs_shared, prune

GOLDEN = SOURCE / "test/golden/docs-llama-4m.safetensors"  # logits of Hugging Face transformers


def losses(logits, ids):
    """Negative log-likelihoods of ids[1:], from the logits of ids[:-1]."""
    logits = logits[:-1].astype(np.float64)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return log_sum - logits[np.arange(len(ids) - 1), ids[1:]]


class Eval(ProgramTest):
    def evaluate(self, model, text, *options):
        run = self.expect(DONE, "eval", model, "--text", text, "--json", "--quiet", *options)
        self.assertEqual(run.stderr, "")
        return json.loads(run.stdout)

    def ids(self, values, name="text.npy"):
        np.save(self.folder / name, np.asarray(values))
        return self.folder / name

    def copy_of_model(self):
        return shutil.copytree(MODEL, self.folder / "model")

    def test_perplexity_is_that_of_reference_logits(self):
        golden = safetensors_files.File(GOLDEN)
        ids, logits = golden["input_ids"].bits.astype(np.int64), golden["logits"].values()
        expected = np.exp(np.mean([losses(logits[s], ids[s]) for s in range(2)]))
        got = self.evaluate(MODEL, GOLDEN, "--seqlen", 64)
        self.assertAlmostEqual(got["perplexity"] / expected, 1, delta=1e-5)
        self.assertEqual((got["seqlen"], got["stride"], got["windows"], got["tokens"]), (64, 64, 2, 128))
        self.assertEqual((got["predictions"], got["left_out"]), (126, 0))
        self.assertGreater(got["seconds"], 0)

    def test_a_window_with_context_predicts_what_is_new(self):
        golden = safetensors_files.File(GOLDEN)
        text = self.ids(golden["input_ids"].bits.astype(np.int64)[0][:48])
        # Of the only two windows, the first predicts 1 to 31 and the second 32 to 47 with 16 more in front.
        got = self.evaluate(MODEL, text, "--seqlen", 32, "--stride", 16)
        self.assertEqual((got["windows"], got["predictions"], got["tokens"]), (2, 31 + 16, 64))
        first = self.evaluate(MODEL, self.ids(golden["input_ids"].bits.astype(np.int64)[0][:32]), "--seqlen", 32)
        second = self.evaluate(MODEL, self.ids(golden["input_ids"].bits.astype(np.int64)[0][16:48]), "--seqlen", 32)
        shared = self.evaluate(MODEL, self.ids(golden["input_ids"].bits.astype(np.int64)[0][16:32]), "--seqlen", 16)
        total = 31 * first["nats_per_token"] + 31 * second["nats_per_token"] - 15 * shared["nats_per_token"]
        self.assertAlmostEqual(got["nats_per_token"] * 47, total, delta=1e-3)

    def test_products_of_bf16_change_little(self):
        text = self.ids(safetensors_files.File(GOLDEN)["input_ids"].bits.astype(np.int64).ravel())
        exact = self.evaluate(MODEL, text, "--seqlen", 64)
        run = prune("eval", MODEL, "--text", text, "--seqlen", 64, "--precision", "bf16", "--json", "-q")
        if run.returncode == USAGE:
            self.assert_one_line(run.stderr, "no products of bf16")
            return
        rounded = json.loads(run.stdout)
        self.assertEqual((exact["precision"], rounded["precision"]), ("fp32", "bf16"))
        self.assertNotEqual(rounded["perplexity"], exact["perplexity"])
        self.assertAlmostEqual(rounded["perplexity"] / exact["perplexity"], 1, delta=5e-3)

    def test_memory_and_threads_do_not_change_the_result(self):
        text = self.ids(np.arange(900) * 7 % 4096)
        whole = self.evaluate(MODEL, text, "--seqlen", 32, "--threads", 1)
        parts = self.evaluate(MODEL, text, "--seqlen", 32, "--threads", 2, "--memory", "1k")
        self.assertAlmostEqual(whole["perplexity"] / parts["perplexity"], 1, delta=1e-5)

    def test_documents_are_encoded_and_joined(self):
        documents = ["Rows are read in order.\n", "int main() { return 0; }"]
        (self.folder / "text.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
        (self.folder / "text.txt").write_text(documents[0])
        first = self.evaluate(MODEL, self.folder / "text.txt", "--seqlen", 2)
        both = self.evaluate(MODEL, self.folder / "text.jsonl", "--seqlen", 2)
        self.assertGreater(both["tokens"] + both["left_out"], first["tokens"] + first["left_out"])

    @needs_shared
    def test_text_and_its_ids_are_the_same(self):
        model = SHARED / "models/docs-llama-4m"
        ids = np.load(model / "eval.tokens.npy")
        lines = (SHARED / "text/eval.jsonl").read_text().splitlines(keepends=True)[:3]
        (self.folder / "text.jsonl").write_text("".join(lines))
        got = self.evaluate(model, self.folder / "text.jsonl", "--seqlen", 128)
        end = np.flatnonzero(ids == 0)[3]  # each document has id 0 in front
        expected = self.evaluate(model, self.ids(ids[:end]), "--seqlen", 128)
        self.assertEqual(got["perplexity"], expected["perplexity"])
        self.assertEqual(got["windows"], expected["windows"])

    def test_words(self):
        run = self.expect(DONE, "eval", MODEL, "--text", GOLDEN, "--seqlen", 50, "--quiet")
        self.assertRegex(run.stdout, r"^perplexity \d+\.\d{4}: 98 predictions in 2 windows of 50 tokens without "
                                     r"overlap, 28 tokens at the end left out\n[\d.]+ s, \d+ tokens/s\n$")  # fmt: skip

    def test_zeros_make_it_worse(self):
        self.expect(DONE, MODEL, "-o", self.folder / "pruned", "--pattern", "unstructured", "--sparsity", 0.7)
        dense = self.evaluate(MODEL, GOLDEN, "--seqlen", 64)
        pruned = self.evaluate(self.folder / "pruned", GOLDEN, "--seqlen", 64)
        self.assertGreater(pruned["perplexity"], 2 * dense["perplexity"])

    def test_packed_models_are_those_they_were_packed_from(self):
        for pattern, sparsity in (("2:4", 0.5), ("16x16", 0.5), ("unstructured", 0.6)):
            with self.subTest(pattern=pattern):
                pruned, packed = self.folder / "pruned", self.folder / "packed"
                self.expect(DONE, MODEL, "-o", pruned, "--pattern", pattern, "--sparsity", sparsity, "--force")
                self.expect(DONE, "pack", pruned, "-o", packed, "--force")
                results = [self.evaluate(model, GOLDEN, "--seqlen", 64)["perplexity"] for model in (pruned, packed)]
                self.assertAlmostEqual(results[1] / results[0], 1, delta=1e-6)

    def test_int8_inputs(self):
        self.expect(DONE, MODEL, "-o", self.folder / "pruned", "--pattern", "2:4")
        self.expect(DONE, "pack", self.folder / "pruned", "-o", self.folder / "packed", "--values", "int8")
        options = (self.folder / "packed", GOLDEN, "--seqlen", 64, "--precision", "bf16")
        if not HAS_BF16 and prune("eval", options[0], "--text", *options[1:], "-q").returncode == USAGE:
            self.skipTest("this processor has no products of bf16")
        plain, rounded = self.evaluate(*options), self.evaluate(*options, "--int8-inputs")
        self.assertEqual((plain["int8_inputs"], rounded["int8_inputs"]), (False, True))
        self.assertEqual(self.evaluate(*options, "--int8-inputs")["perplexity"], rounded["perplexity"])
        difference = abs(rounded["nats_per_token"] - plain["nats_per_token"])
        self.assertLess(difference, 0.01 * plain["nats_per_token"])
        if HAS_BF16:
            self.assertGreater(difference, 1e-5)
        self.assert_one_line(self.refuse(USAGE, *options[:1], "--text", GOLDEN, "--int8-inputs"), "--precision bf16")

    def refuse(self, code, *arguments):
        run = self.expect(code, "eval", *arguments)
        self.assertEqual(run.stdout, "")
        return run.stderr

    def test_command_lines_that_cannot_be(self):
        self.assert_one_line(self.refuse(USAGE, MODEL), "--text")
        for option, value in (("--seqlen", 1), ("--stride", 0), ("--memory", "much"), ("--memory", "-1G")):
            self.assert_one_line(self.refuse(USAGE, MODEL, "--text", GOLDEN, f"{option}={value}"), option, str(value))
        self.assert_one_line(self.refuse(USAGE, MODEL, "--text", GOLDEN, "--seqlen", 8, "--stride", 9), "stride 9")

    def test_texts_that_are_refused(self):
        self.assert_one_line(self.refuse(REFUSED, MODEL, "--text", self.ids([1, 2, 3])), "3 tokens", "1024")
        self.assert_one_line(self.refuse(REFUSED, MODEL, "--text", self.ids([1, 4096, 3]), "--seqlen", 2), "4096")
        self.assert_one_line(self.refuse(REFUSED, MODEL, "--text", self.folder / "none.npy"), "none.npy")

    def test_a_text_needs_a_tokenizer(self):
        model = self.copy_of_model()
        (model / "tokenizer.json").unlink()
        (self.folder / "text.txt").write_text("words")
        self.assert_one_line(self.refuse(REFUSED, model, "--text", self.folder / "text.txt"), "tokenizer")

    def test_models_that_are_refused(self):
        model = self.copy_of_model()
        config = json.loads((model / "config.json").read_text())
        for change, parts in (
            ({"model_type": "bert"}, ("'bert'", "llama")),
            ({"hidden_act": "mish"}, ("'hidden_act'", "'mish'")),
            ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, ("'rope_type'", "'yarn'")),
            ({"num_key_value_heads": 3}, ("'num_key_value_heads'", "4 heads")),
            ({"num_hidden_layers": "4"}, ("'num_hidden_layers'", "whole number")),
            ({"num_hidden_layers": 5}, ("model.layers.4.",)),
            ({"intermediate_size": 512}, ("gate_proj.weight", "[768, 256]", "[512, 256]")),
            ({"quantization_config": {"bits": 4}}, ("'quantization_config'",)),
        ):
            with self.subTest(change=change):
                (model / "config.json").write_text(json.dumps(config | change))
                self.assert_one_line(self.refuse(REFUSED, model, "--text", GOLDEN, "--seqlen", 64, "--quiet"), *parts)
        (model / "config.json").unlink()
        self.assert_one_line(self.refuse(REFUSED, model, "--text", GOLDEN), "config.json")

    def test_nan_names_the_layer(self):
        model = self.copy_of_model()
        for path in model.glob("*.safetensors"):
            tensors = safetensors_files.File(path).tensors()
            if "model.layers.2.mlp.up_proj.weight" not in tensors:
                continue
            bits = tensors["model.layers.2.mlp.up_proj.weight"].bits.copy()
            bits[3, 5] = 0x7FC0
            tensors["model.layers.2.mlp.up_proj.weight"].bits = bits
            safetensors_files.write(path, tensors, {"format": "pt"})
        run = self.refuse(REFUSED, model, "--text", GOLDEN, "--seqlen", 64, "--quiet")
        self.assert_one_line(run, "'model.layers.2'", "NaN")

    @needs_shared
    def test_perplexities_of_trained_models(self):
        """Of the first windows, as transformers computes them from the ids."""
        golden = safetensors_files.File(SHARED / "models/docs-llama-30m/golden.safetensors")
        ids, logits = golden["input_ids"].bits.astype(np.int64), golden["logits"].values()
        expected = np.exp(np.mean([losses(logits[s], ids[s]) for s in range(2)]))
        got = self.evaluate(SHARED / "models/docs-llama-30m", self.ids(ids.ravel()), "--seqlen", 64)
        self.assertAlmostEqual(got["perplexity"] / expected, 1, delta=1e-5)


if __name__ == "__main__":
    unittest.main()
