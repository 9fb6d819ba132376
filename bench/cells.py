"""What the tables of pruned models' quality have in common: runs of the program, and their results in a file."""

import argparse
import fcntl
import json
import pathlib
import shlex
import subprocess
import sys
import time


def run(words):
    print("$", shlex.join(map(str, words)), file=sys.stderr, flush=True)
    start = time.monotonic()
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout), time.monotonic() - start


class Cells:
    """The results so far, in a file that several processes and threads may fill."""

    def __init__(self, path, facts):
        self.path = path
        self.document = {"facts": facts, "cells": {}}
        self.read()

    def read(self):
        if not self.path.exists():
            return
        before = json.loads(self.path.read_text())
        if before["facts"] != self.document["facts"]:
            sys.exit(f"{self.path}: was made with {before['facts']}, now {self.document['facts']}: give another -o")
        self.document["cells"] |= before["cells"]

    def get(self, name, measure):
        cells = self.document["cells"]
        if name not in cells:
            result = measure()
            with open(f"{self.path}.lock", "w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self.read()
                cells[name] = result
                self.path.write_text(json.dumps(self.document, indent=2) + "\n")
        return cells[name]


def words_of(names):
    def parse(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name}: expected some of {', '.join(names)}")
        return chosen

    return parse


def text_arguments(description):
    """A parser with the arguments of tables that calibrate on one text and measure on another."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--calib", type=pathlib.Path, required=True, help="token ids or text to calibrate on")
    parser.add_argument("--eval", type=pathlib.Path, required=True, help="token ids or text to measure on")
    parser.add_argument("--seqlen", type=int, default=1024, help="tokens a sequence, of both")
    parser.add_argument("--samples", type=int, default=128, help="sequences to calibrate on")
    parser.add_argument("--extra", default="", help="more options for all calibrated methods")
    parser.add_argument("--best", default="", help="more options for method best")
    return parser
