"""prune generate: text from dense and packed checkpoints, and what is refused."""

import json
import shutil
import tempfile
import unittest

import numpy as np

import safetensors_files
from program import DONE, HAS_BF16, MODEL, REFUSED, SHARED, USAGE, ProgramTest, needs_shared, prune

PROMPT = "The function returns"


class Generate(ProgramTest):
    @classmethod
    def setUpClass(cls):
        place = tempfile.TemporaryDirectory(prefix="prune-cache-")
        cls.addClassCleanup(place.cleanup)
        cls.cache = {"XDG_CACHE_HOME": place.name}  # what is measured there serves all tests

    def generate(self, model, *arguments):
        run = self.expect(DONE, "generate", model, "--json", "--quiet", "--threads", 1, *arguments, env=self.cache)
        self.assertEqual(run.stderr, "")
        return json.loads(run.stdout)

    def ids_of(self, model, *arguments):
        return [s["ids"] for s in self.generate(model, *arguments)["sequences"]]

    def twins(self, model, pattern, sparsity, *packing):
        pruned, packed = self.folder / "pruned", self.folder / "packed"
        self.expect(DONE, model, "-o", pruned, "--pattern", pattern, "--sparsity", sparsity, "--force", "--quiet")
        self.expect(DONE, "pack", pruned, "-o", packed, "--force", "--quiet", *packing)
        return pruned, packed

    def test_packed_models_say_what_the_dense_ones_say(self):
        for pattern, sparsity, tokens in (("2:4", 0.5, 256), ("16x16", 0.5, 48), ("unstructured", 0.7, 48)):
            with self.subTest(pattern=pattern):
                options = ("-p", PROMPT, "--float32", "--ignore-eos", "-n", tokens)
                texts = [self.generate(model, *options) for model in self.twins(MODEL, pattern, sparsity)]
                self.assertEqual(len(texts[0]["sequences"][0]["ids"]), tokens)
                self.assertEqual(texts[0]["sequences"], texts[1]["sequences"])
                self.assertEqual([t["packed_layers"] for t in texts], [0, 28])

    def test_int8(self):
        dense = self.folder / "dense"
        for pattern, sparsity, *group in (("2:4", 0.5), ("2:4", 0.5, "--group", 64), ("unstructured", 0.6, "--group", 32)):
            _, packed = self.twins(MODEL, pattern, sparsity, "--values", "int8", *group)
            self.expect(DONE, "unpack", packed, "-o", dense, "--quiet", "--force")
            for options in (("--float32",), ()):
                # Unpacking rounds value times scale to bf16, so the two agree for a while only.
                first = [self.ids_of(model, "-p", PROMPT, *options, "-n", 4) for model in (packed, dense)]
                self.assertEqual(first[0], first[1], f"{pattern} {group} {options}")

    @unittest.skipUnless(HAS_BF16, "no AVX-512 BF16")
    def test_int8_inputs_are_passed_on(self):
        _, packed = self.twins(MODEL, "2:4", 0.5, "--values", "int8")
        cache = self.folder / "cache"
        options = ("generate", packed, "-p", PROMPT, "-n", 1, "--json", "--quiet", "--threads", 1)
        for flags in ((), ("--int8-inputs",)):
            self.expect(DONE, *options, *flags, env={"XDG_CACHE_HOME": str(cache)})
        (path,) = cache.rglob("*.json")
        table = json.loads(path.read_text())
        table["numbers"] = {kind: 1 << 40 for kind in table["numbers"]}  # dense products never: what was measured decides nothing
        path.write_text(json.dumps(table))
        for flags, layers in (((), 0), (("--int8-inputs",), 28)):
            run = self.expect(DONE, *options, *flags, env={"XDG_CACHE_HOME": str(cache)})
            kernels = json.loads(run.stdout)["prompt_kernels"]
            self.assertEqual(sum(count for name, count in kernels.items() if "_bytes_" in name), layers, kernels)

    @needs_shared
    def test_all_families(self):
        for family in sorted((SHARED / "families").iterdir()):
            with self.subTest(family=family.name):
                ids = safetensors_files.File(family / "golden.safetensors")["input_ids"].bits.astype(np.int64)
                np.save(self.folder / "prompt.npy", ids[0][:20])
                options = ("--prompt-file", self.folder / "prompt.npy", "--float32", "--ignore-eos", "-n", 24)
                texts = [self.ids_of(model, *options) for model in self.twins(family, "2:4", 0.5)]
                self.assertEqual(texts[0], texts[1])
                self.assertEqual(len(texts[0][0]), 24)

    def test_streamed_text_is_the_text(self):
        options = ("generate", MODEL, "-p", PROMPT, "-n", 20)
        text = self.generate(MODEL, "-p", PROMPT, "-n", 20)["sequences"][0]["text"]
        run = self.expect(DONE, *options, env=self.cache)
        self.assertEqual(run.stdout, text + "\n")
        self.assertRegex(run.stderr, r"^ready in [\d.]+ s: 29 linear layers \(29 on plain_\w+\), 8\.4 MB read .*\n"
                                     r"\d+ prompt tokens in [\d.]+ s, .*resident [\d.]+ MB\n$")  # fmt: skip

    def test_batches(self):
        prompts = (PROMPT, "A file", "int main() {")
        together = self.generate(MODEL, *(w for p in prompts for w in ("-p", p)), "--float32", "-n", 9)["sequences"]
        for prompt, sequence in zip(prompts, together):
            alone = self.generate(MODEL, "-p", prompt, "--float32", "-n", 9, "--chunk", 2)["sequences"]
            self.assertEqual(alone, [sequence])
        run = self.expect(DONE, "generate", MODEL, "-p", PROMPT, "-p", "A file", "-n", 9, "--float32", "-q",
                          env=self.cache)  # fmt: skip
        self.assertEqual(run.stdout, f"[1] {together[0]['text']}\n[2] {together[1]['text']}\n")

    def test_seeds(self):
        options = ("-p", PROMPT, "-p", PROMPT, "-n", 12, "--temperature", 1.2, "--top-k", 50, "--top-p", 0.95)
        first, again, other = (self.ids_of(MODEL, *options, "--seed", seed) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertNotEqual(first[0], first[1])

    def test_prompts_from_files(self):
        (self.folder / "prompt.txt").write_text(PROMPT)
        self.assertEqual(self.ids_of(MODEL, "--prompt-file", self.folder / "prompt.txt", "-n", 5),
                         self.ids_of(MODEL, "-p", PROMPT, "-n", 5))  # fmt: skip

    def test_without_a_tokenizer_ids_are_continued(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        (model / "tokenizer.json").unlink()
        np.save(self.folder / "ids.npy", np.array([5, 6, 7]))
        options = ("--prompt-file", self.folder / "ids.npy", "-n", 3)
        ids = self.ids_of(model, *options)[0]
        run = self.expect(DONE, "generate", model, *options, "-q", "-t", 1, env=self.cache)
        self.assertEqual(run.stdout.split(), [str(i) for i in ids])
        run = prune("generate", model, "-p", PROMPT, env=self.cache)
        self.assertEqual(run.returncode, REFUSED)
        self.assert_one_line(run.stderr, "tokenizer.json")

    def test_what_is_refused(self):
        for code, part, *arguments in (
            (USAGE, "--prompt"),
            (USAGE, "--new-tokens -5", "-p", "x", "--new-tokens=-5"),
            (USAGE, "--new-tokens 0", "-p", "x", "-n", 0),
            (USAGE, "--chunk 0", "-p", "x", "--chunk", 0),
            (USAGE, "temperature", "-p", "x", "--temperature=-1"),
            (USAGE, "top-p", "-p", "x", "--top-p", 0),
            (USAGE, "--top-k", "-p", "x", "--top-k=-1"),
            (USAGE, "--seed", "-p", "x", "--seed=-1"),
            (USAGE, "--lean is for --device cuda", "-p", "x", "--lean"),
            (REFUSED, "1024 positions", "-p", "x", "-n", 1024),
            (REFUSED, "positions", "-p", "word " * 1100, "-n", 1),
            (REFUSED, "none.txt", "--prompt-file", "none.txt"),
            (USAGE, "all.jsonl", "--prompt-file", "all.jsonl"),
        ):
            with self.subTest(part=part):
                run = prune("generate", MODEL, *arguments, "--quiet", env=self.cache)
                self.assertEqual(run.returncode, code, run.stderr)
                self.assertEqual(run.stdout, "")
                self.assert_one_line(run.stderr, part)

    def test_whole_models_are_timed_in_turns(self):
        _, packed = self.twins(MODEL, "2:4", 0.5)
        options = ("--whole", "--prompt-tokens", 8, "--new-tokens", 2, "--rounds", 2, "--quiet", "-t", 1)
        env = self.cache | {"TMPDIR": str(self.folder)}
        run = self.expect(DONE, "bench", packed, *options, "--json", env=env)
        self.assertEqual(list(self.folder.glob("prune-bench*")), [])  # the dense twin is gone again
        result = json.loads(run.stdout)
        self.assertEqual((result["prompt_tokens"], result["new_tokens"], result["rounds"]), (8, 2, 2))
        dense, sparse = result["models"]
        self.assertEqual((dense["model"], sparse["model"]), ("dense", str(packed)))
        self.assertEqual(dense["decode_speedup"], 1)
        self.assertGreater(sparse["decode_speedup"], 0)
        self.assertEqual([sum(m["prompt_kernels"].values()) for m in (dense, sparse)], [29, 29])
        self.assertLess(sparse["file_bytes"], dense["file_bytes"])
        self.assertEqual(dense["file_bytes"], sum(p.stat().st_size for p in MODEL.glob("*.safetensors")))
        run = self.expect(DONE, "bench", MODEL, *options, "--beside", packed, env=env)
        self.assertRegex(run.stdout, rf"(?m)^{packed} +[\d.]+ MB .* tokens/s *$")
        self.assertRegex(run.stdout, rf"(?m)^{MODEL}: one token 29 x plain_\w+; 512 tokens( \d+ x \w+)+$")
        self.assertRegex(run.stdout, rf"(?m)^{MODEL} +8\.4 MB .* tokens/s +[\d.]+ ±\d+%$")
        for code, part, *arguments in (
            (USAGE, "--rounds 0", "--rounds", 0),
            (USAGE, "1024 positions", "--prompt-tokens", 1000, "--new-tokens", 100),
            (USAGE, "--beside", "--beside", packed),
            (USAGE, "--lean", "--lean"),
        ):
            whole = ("--whole",) if part.startswith(("--rounds", "1024")) else ()
            run = prune("bench", MODEL, *whole, "--quiet", "-t", 1, *arguments, env=env)
            self.assertEqual(run.returncode, code, run.stderr)
            self.assert_one_line(run.stderr, part)

    def test_damaged_packed_models_are_refused(self):
        _, packed = self.twins(MODEL, "unstructured", 0.7)
        path = sorted(packed.glob("*.safetensors"))[0]
        file = safetensors_files.File(path)
        for part in "row_offsets", "bitmask":  # the first product looks at both
            tensors = file.tensors()
            name = next(n for n in tensors if n.endswith(part))
            bits = tensors[name].bits.copy()
            bits.reshape(-1)[3] = 0
            tensors[name].bits = bits
            safetensors_files.write(path, tensors, file.metadata)
            run = prune("generate", packed, "-p", PROMPT, "--quiet", env=self.cache)
            self.assertEqual(run.returncode, REFUSED)
            self.assertEqual(run.stdout, "")
            self.assert_one_line(run.stderr, name.removesuffix("." + part))


if __name__ == "__main__":
    unittest.main()
