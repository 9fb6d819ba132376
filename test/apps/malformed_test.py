"""Models that must be refused: exit code 3, one line on stderr that names the file and the fault, and nothing written."""

import concurrent.futures
import json
import os
import shutil
import socket
import subprocess
import unittest

from program import DONE, MODEL, REFUSED, USAGE, ProgramTest, prune
from safetensors_files import Tensor, normal, write

MAKER = os.environ["PRUNE_MALFORMED_MODELS"]

# A fault in a file that is only copied shows when the model itself is sound, see FaultsInOtherFiles.
IN_OTHER_FILES = {"tokenizer_fifo", "tokenizer_dangling", "folder_loop"}


def escaped(text):
    """As the program shows control characters in a line."""
    return text.replace("\n", "\\n")


def listing(folder):
    return sorted((str(p), p.lstat().st_mtime_ns, p.lstat().st_size) for p in folder.rglob("*"))


class Malformed(ProgramTest):
    def setUp(self):
        super().setUp()
        self.models = self.folder / "models"
        self.models.mkdir()
        made = subprocess.run([MAKER, self.models], capture_output=True, text=True, timeout=60, check=True)
        self.cases = [case for case in json.loads(made.stdout) if case["name"] not in IN_OTHER_FILES]

    def run_case(self, case):
        """The program's answers to a case: to pruning it into a new place, and to looking at it."""
        output = self.folder / "out" / case["name"]
        runs = [prune(case["opened"], "-o", output, "--pattern", "2:4", "--sparsity", 0.5)]
        runs += [prune(command, case["opened"]) for command in ("inspect", "verify")]
        return case, runs

    def test_all_are_refused_in_one_line(self):
        self.assertGreaterEqual(len(self.cases), 60)
        (self.folder / "out").mkdir()
        before = listing(self.models)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for case, runs in pool.map(self.run_case, self.cases):
                with self.subTest(case=case["name"]):
                    self.check(case, runs)
        self.assertEqual(listing(self.models), before)
        self.assertEqual(os.listdir(self.folder / "out"), [])

    def check(self, case, runs):
        for run in runs:
            self.assertEqual(run.returncode, REFUSED, run.stderr)
            self.assertEqual(run.stdout, "")
            self.assert_one_line(run.stderr, "prune: ", escaped(case["file"]), case["message"])


class FaultsInOtherFiles(ProgramTest):
    """In files of a sound model that would only be copied."""

    def setUp(self):
        super().setUp()
        self.model = shutil.copytree(MODEL, self.folder / "model")

    def refuse(self, name, fault):
        run = self.expect(REFUSED, self.model, "-o", self.folder / "out", "--quiet", "--pattern", "2:4")
        self.assert_one_line(run.stderr, name, fault)
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_fifo(self):
        os.mkfifo(self.model / "fifo")
        self.refuse("fifo", "no regular file")

    def test_socket(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.model / "socket"))
            self.refuse("socket", "no regular file")

    def test_dangling_link(self):
        (self.model / "dangling").symlink_to("nowhere")
        self.refuse("dangling", "does not exist")

    def test_loop(self):
        (self.model / "up").symlink_to("..")
        self.refuse("up", "a link to a folder that it lies in")

    def test_device(self):
        (self.model / "device").symlink_to("/dev/zero")
        self.refuse("device", "no regular file")


class OddButSound(ProgramTest):
    """What looks wrong and is not."""

    def test_tensors_without_a_weight(self):
        """Scalars and empty tensors are copied, an empty matrix is pruned to itself."""
        tensors = {
            "scalar": Tensor("F32", 1),
            "empty.weight": Tensor("F32", [[]]),
            "nothing": Tensor("F32", []),
            "a.weight": normal("F32", (4, 8), 1),
        }
        write(self.folder / "in.safetensors", tensors, {"format": "pt"})
        self.expect(DONE, self.folder / "in.safetensors", "-o", self.folder / "out.safetensors", "--pattern", "2:4")

    def test_a_model_whose_weights_cannot_be_pruned(self):
        write(self.folder / "in.safetensors", {"a.weight": Tensor("I8", [[1, 2, 3, 4]])})
        run = self.expect(REFUSED, self.folder / "in.safetensors", "-o", self.folder / "out", "--quiet")
        self.assert_one_line(run.stderr, "no weight matrix to prune")

    def test_an_output_in_no_folder(self):
        run = self.expect(USAGE, MODEL, "-o", self.folder / "no/such/out", "--quiet", "--pattern", "2:4")
        self.assert_one_line(run.stderr, "no such folder")


if __name__ == "__main__":
    unittest.main()
