#!/usr/bin/env python3
"""Makes the tokenizers in this folder, and golden.json: what Hugging Face's own implementation gives for them.

    pip install tokenizers==0.23.3
    python3 make.py
"""
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
BUNDLED = HERE.parent / "docs-llama-4m" / "tokenizer.json"

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

TEXTS = [
    "", " ", "a", " a", "a ", "  a", "   a  b   ", "\n", "\n\n\n", " \n \n", "a\r\nb\r\n\r\n", "\t\tif (x):\n\t\t\treturn 1",
    "Hello, world!", "I'm sure they've said we'll go; it's John's. DON'T! I'D, YOU'RE, we'S 'Tis 'ſ",
    "1 12 123 1234 12345 3.14159 1,000,000 x1y22z333", "½ Ⅷ ² ٣٤٥ १२३ 二〇二四",
    "naïve café Zürich Straße ÅÅ\u212b", "cafe\u0301 e\u0301\u0323 \u1e69 s\u0323\u0307 한국어 \u1112\u1161\u11ab",
    "Привет, мир! Γειά σου κόσμε", "你好，世界。日本語のテキスト", "שלום עולם مرحبا بالعالم", "नमस्ते दुनिया สวัสดีชาวโลก",
    "👍 👍🏽 👨‍👩‍👧‍👦 🇩🇪🇫🇷 ☃️ \U0001d54f", "a\u00a0b\u2003c\u3000d\u2028e\u0085f\u180eg\u200bh", "\x00\x01\x7f\ufeff\ufffd",
    "--- *** === ### a=b+c; // x != y && !z || (p->q)[0]", "https://example.com/a_b?c=%20d#e user@host.org",
    "ﬁ ﬀ Ǆ ǅ ß ı İ K", "▁under▁score ▁▁ _", "<0x41><0xZZ><unk>", "camelCaseWords HTTPServer snake_case_words",
    "<|end|>", "one<|end|>two", "one <|end|> two", "<|end|><|end|>\n", "<|END|>", "<|endoftext|>",
    "x<left> y  <left>z", "x<right> y<right>  z", "aword word words sword word. (word)\u200dword word",
    "Café café CAFÉ cafe\u0301", " " * 40 + "x", "-" * 60, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\n \n\t\n  x\n",
]

ADDED = [
    AddedToken("<|end|>", special=True, normalized=False),
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=True),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("café", normalized=True),
]

# Our own words, so that there is something to merge.
CORPUS = [
    "It's the tokenizer that turns text into numbers, and they're the same numbers everywhere, or it isn't one.",
    "The words of this corpus are the words that the tests have: Hello, world; you're, we'll, I'm, don't, they've.",
    "In 1234 steps the 12 returned 123 of the 12345 numbers. if (x): return 1\n\t\treturn 2\r\n\r\n",
    "naïve café Zürich, Привет, мир! 你好，世界。日本語 नमस्ते سلام 한국어 👍 👍🏽",
    "--- === /// a_b user@host.org https://example.com camelCaseWords snake_case_words HTTPServer",
] * 3


def byte_level(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def sentencepiece_decoder():
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def tokenizer(name, pre_tokenizer, normalizer=None, decoder=None, byte_fallback=False, **options):
    """Trains, adds tokens, and saves `name`.json. Options go into its model section."""
    model = models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>") if byte_fallback else models.BPE()
    made = Tokenizer(model)
    if normalizer:
        made.normalizer = normalizer
    if pre_tokenizer:
        made.pre_tokenizer = pre_tokenizer
    made.decoder = decoder or decoders.ByteLevel()
    first = ["<unk>"] + [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    alphabet = [] if byte_fallback else pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=500, special_tokens=first, initial_alphabet=alphabet, max_token_length=12, show_progress=False))
    made.add_tokens(ADDED)
    made.add_special_tokens(ADDED[:1])
    file = json.loads(made.to_str())
    file["added_tokens"] = [token for token in file["added_tokens"] if not token["content"].startswith("<0x")]
    if options.pop("merges_as_text", False):
        file["model"]["merges"] = [" ".join(merge) for merge in file["model"]["merges"]]
    file["model"].update(options)
    (HERE / f"{name}.json").write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n")


def golden(path):
    reference = Tokenizer.from_file(str(path))
    all_ids = [reference.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return {
        "ids": all_ids,
        "decoded": [reference.decode(ids, skip_special_tokens=False) for ids in all_ids],
        "decoded_without_special": [reference.decode(ids) for ids in all_ids],
    }


def main():
    tokenizer("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=False), merges_as_text=True)
    tokenizer("prefix_space", pre_tokenizers.ByteLevel(add_prefix_space=True))
    tokenizer("llama3", byte_level(LLAMA3), ignore_merges=True)
    tokenizer("qwen2", byte_level(QWEN2), normalizer=normalizers.NFC())
    tokenizer("llama2", None, decoder=sentencepiece_decoder(), byte_fallback=True,
              normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))
    tokenizer("mistral", pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
              decoder=sentencepiece_decoder(), byte_fallback=True)
    tokenizer("gemma", pre_tokenizers.Split(" ", "merged_with_previous"), byte_fallback=True,
              normalizer=normalizers.Replace(" ", "▁"),
              decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))
    results = {path.stem: golden(path) for path in sorted(HERE.glob("*.json")) if path.stem != "golden"}
    results["docs-llama-4m"] = golden(BUNDLED)
    lines = [f'"texts":{json.dumps(TEXTS)}']
    lines += [f'{json.dumps(name)}:{json.dumps(result, separators=(",", ":"))}' for name, result in results.items()]
    (HERE / "golden.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
