#!/usr/bin/env python3
"""Trains tokenizer.model, a small SentencePiece model with the settings of Llama's, and writes golden.json: the ids that
Hugging Face's tokenizers give with it.

    pip install sentencepiece==0.2.3 transformers==5.24.0
    python3 make.py

"each" is the tokenizer on SentencePiece itself, which puts a space in front of all text between added tokens ("legacy":
true, or not said); "first" is the one on the tokenizers library, without that. The latter drops a space that a text
begins with, which SentencePiece does not: such texts are compared for "each" alone.
"""
import importlib.util
import io
import json
import pathlib

import sentencepiece
from tokenizers import AddedToken
from transformers import LlamaTokenizer
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("make", HERE.parent / "make.py")
others = importlib.util.module_from_spec(spec)
spec.loader.exec_module(others)

ADDED = [
    AddedToken("<|user|>", special=True, normalized=False),
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=False),
]
TEXTS = others.TEXTS + [
    "<s>", "a<s>b", "</s> end", "x <unk> y", "<s> one</s> two", "<|user|>Hello<|user|> world", "a <left> b<right>  c",
    "no space<|user|>", "<|user|>", "word <|user|> word",
]  # fmt: skip
# Runs of white space and what is not in the vocabulary, where implementations like to part.
TEXTS += ["tab\tnew\n\n  two   three    ", "\U0001f980 \u2603 \u00e9\u00df", "1234567 89", "the same the same"]


def train():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in others.CORPUS for line in text.split("\n")), model_writer=model,
        model_type="bpe", vocab_size=420, character_coverage=0.98, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        max_sentencepiece_length=12, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2)  # fmt: skip
    (HERE / "tokenizer.model").write_bytes(model.getvalue())


def configure(tokens):
    described = {str(i): {"content": t.content, "lstrip": t.lstrip, "rstrip": t.rstrip, "normalized": t.normalized,
                          "single_word": t.single_word, "special": t.special} for i, t in tokens.items()}  # fmt: skip
    config = {"added_tokens_decoder": described, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (HERE / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def main():
    train()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    each = SentencePieceBackend(vocab_file=str(HERE / "tokenizer.model"), legacy=True, **names)
    each.add_tokens(ADDED)
    configure(each.added_tokens_decoder)
    first = LlamaTokenizer.from_pretrained(HERE, legacy=False)
    assert first.convert_tokens_to_ids("<|user|>") == each.convert_tokens_to_ids("<|user|>") >= 420
    encode = lambda tokenizer, text: tokenizer.encode(text, add_special_tokens=False)
    begins_with_space = lambda text: text.startswith((" ", "\u2581"))
    golden = {
        "bos": first.bos_token_id,
        "texts": TEXTS,
        "each": [encode(each, text) for text in TEXTS],
        "first": [None if begins_with_space(text) else encode(first, text) for text in TEXTS],
    }
    lines = [f'"{key}":{json.dumps(value, separators=(",", ":"))}' for key, value in golden.items()]
    (HERE / "golden.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
