"""Running the program under test, and folders to run it in.

The environment names what is tested: PRUNE_PROGRAM, PRUNE_SOURCE (the repository), PRUNE_MALFORMED_MODELS (a program
that makes models that must be refused), and optionally PRUNE_SHARED (a folder with trained models and model families).
"""

import filecmp
import os
import pathlib
import subprocess
import tempfile
import unittest

import safetensors_files

PROGRAM = os.environ["PRUNE_PROGRAM"]
SOURCE = pathlib.Path(os.environ["PRUNE_SOURCE"])
MODEL = SOURCE / "test/data/docs-llama-4m"
SHARED = pathlib.Path(os.environ["PRUNE_SHARED"]) if os.environ.get("PRUNE_SHARED") else None
TIMEOUT = 300

DONE, FAILED, USAGE, REFUSED, MISMATCH, INTERRUPTED = 0, 1, 2, 3, 4, 130

CPUINFO = pathlib.Path("/proc/cpuinfo")
BF16_FLAGS = {"avx512_bf16", "avx512vbmi", "avx512_vbmi2", "avx512_vnni"}  # all of which the kernels need
HAS_BF16 = CPUINFO.exists() and BF16_FLAGS <= set(CPUINFO.read_text().split())

needs_shared = unittest.skipUnless(SHARED, "PRUNE_SHARED is not set")


def environment(**changes):
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "PRUNE_ISA")}
    return plain | changes


def prune(*arguments, cwd=None, env=None, command=()):
    """Runs the program to its end; `command` goes before it."""
    words = [*command, PROGRAM, *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, env=environment(**(env or {})), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="surrogateescape", timeout=TIMEOUT, check=False)  # fmt: skip


def start(*arguments):
    """The program in the background."""
    return subprocess.Popen([PROGRAM, *map(str, arguments)], env=environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def staging_folder(output):
    return output.parent / f".{output.name}.partial"


def shard_paths(model):
    """The shards of a folder, or the file itself."""
    return sorted(model.glob("model*.safetensors")) if model.is_dir() else [model]


def tensors_of(model):
    """All tensors by name, in the order of shards and headers."""
    tensors = {}
    for path in shard_paths(model):
        tensors.update(safetensors_files.File(path).tensors())
    return tensors


def files_below(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if not p.is_dir())


class ProgramTest(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="prune-apps-")
        self.addCleanup(place.cleanup)
        self.folder = pathlib.Path(place.name).resolve()

    def expect(self, code, *arguments, **options):
        """Runs the program, checks its exit code and gives back what it wrote."""
        run = prune(*arguments, **options)
        self.assertEqual(run.returncode, code, f"prune {arguments}\nstdout: {run.stdout}\nstderr: {run.stderr}")
        return run

    def assert_one_line(self, text, *parts):
        self.assertEqual(text.count("\n"), 1, text)
        self.assertTrue(text.endswith("\n"), text)
        for part in parts:
            self.assertIn(part, text)

    def assert_nothing_left(self, output):
        self.assertFalse(os.path.lexists(output), f"{output} is there")
        self.assertFalse(os.path.lexists(staging_folder(output)), f"{staging_folder(output)} is there")

    def assert_same_folders(self, one, other):
        self.assertEqual(files_below(one), files_below(other))
        for name in files_below(one):
            self.assertTrue(filecmp.cmp(one / name, other / name, shallow=False), f"{name} differs")
