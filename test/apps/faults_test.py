"""Kills, interrupts, full and read-only disks, two runs at once: the old state or the new one, and never a half."""

import filecmp
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import program
import safetensors_files
from program import (DONE, FAILED, INTERRUPTED, MODEL, SOURCE, USAGE, ProgramTest, environment, files_below, prune,
                     staging_folder, start)  # fmt: skip

sys.path.insert(0, str(SOURCE / "bench"))
import make_checkpoint  # noqa: E402

# Sanitizers make the program several times slower; it is not timing that they are to find.
IS_SLOW = bool(os.environ.get("PRUNE_SANITIZE"))
GIGABYTES = 0.12 if IS_SLOW else 0.3
KILLS = 8 if IS_SLOW else 20
KILLS_WHILE_REPLACING = 3 if IS_SLOW else 6
NOBODY = 65534
PASS = ("--pattern", "2:4", "--quiet")


def identities(folder, names):
    """What changes when a file is written anew."""
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in names}


def committed(output):
    """The files that a killed run finished, out of its journal, as far as its lines are whole."""
    names = []
    try:
        journal = (staging_folder(output) / "journal").read_bytes()
    except FileNotFoundError:
        return names
    for line in journal.splitlines(keepends=True):
        if line.endswith(b"\n") and "done" in (entry := json.loads(line)):
            names.append(entry["done"])
    return names


def wait_until(condition, process):
    """False when the process ended first."""
    while not condition():
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


class BigModelTest(ProgramTest):
    """A checkpoint that takes a moment, and what pruning it gives undisturbed."""

    @classmethod
    def setUpClass(cls):
        place = tempfile.TemporaryDirectory(prefix="prune-faults-")
        cls.addClassCleanup(place.cleanup)
        cls.model = pathlib.Path(place.name) / "model"
        make_checkpoint.make_checkpoint(cls.model, "llama-1b-like", GIGABYTES, shards=6, odd_alignment=True)
        cls.reference = pathlib.Path(place.name) / "reference"
        begin = time.monotonic()
        run = prune(cls.model, "-o", cls.reference, *PASS)
        cls.duration = time.monotonic() - begin
        if run.returncode != DONE:
            raise AssertionError(run.stderr)

    def setUp(self):
        super().setUp()
        self.output = self.folder / "out"

    def is_reference(self):
        names = files_below(self.reference)
        return names == files_below(self.output) and all(
            filecmp.cmp(self.reference / name, self.output / name, shallow=False) for name in names
        )

    def start(self, *arguments):
        process = start(self.model, "-o", self.output, *PASS, *arguments)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        return process

    def end(self, process, expected):
        """The exit code is checked, the messages come back."""
        _, messages = process.communicate(timeout=program.TIMEOUT)
        self.assertEqual(process.returncode, expected, messages)
        return messages

    def resume(self):
        self.expect(DONE, self.model, "-o", self.output, *PASS, "--resume")
        self.assertTrue(self.is_reference())
        self.assertFalse(staging_folder(self.output).exists())


class Kills(BigModelTest):
    def setUp(self):
        super().setUp()
        self.seed = random.randrange(1 << 32)
        self.random = random.Random(self.seed)

    def kill_somewhere(self, *arguments):
        process = self.start(*arguments)
        moment = self.random.uniform(0, 1.1 * self.duration)
        time.sleep(moment)
        process.kill()
        process.communicate()
        return moment

    def test_resume_after_kills_at_random_moments(self):
        """Every second kill hits a run that resumes already; the others are resumed to the end."""
        resumed = number = 0
        # As many as it takes until one run had finished a file; a slow start leaves little time for that.
        while number < KILLS or (resumed == 0 and number < 8 * KILLS):
            moment = self.kill_somewhere(*(("--resume",) if number % 2 else ()))
            with self.subTest(seed=self.seed, number=number, moment=moment):
                if self.output.exists():
                    self.assertTrue(self.is_reference(), "a part of an output is there")
                    self.resume_nothing()
                elif number % 2:
                    resumed += self.resume_and_check_what_was_kept()
            if number % 2:
                shutil.rmtree(self.output, ignore_errors=True)
            number += 1
        self.assertGreater(resumed, 0, "no kill left a finished file")

    def resume_nothing(self):
        """The output was in place already: the killed run may still have to tidy up."""
        if staging_folder(self.output).exists():
            before = identities(self.output, files_below(self.output))
            self.resume()
            self.assertEqual(identities(self.output, before), before)
        shutil.rmtree(self.output)

    def resume_and_check_what_was_kept(self):
        kept = committed(self.output)
        before = identities(staging_folder(self.output) / "tree", kept) if kept else {}
        self.resume()
        self.assertEqual(identities(self.output, kept), before, "a finished file was written again")
        return len(kept)

    def test_kills_while_replacing_leave_the_old_or_the_new(self):
        self.expect(DONE, self.model, "-o", self.output, "--quiet", "--pattern", "1:4")
        old = identities(self.output, files_below(self.output))
        for number in range(KILLS_WHILE_REPLACING):
            moment = self.kill_somewhere("--force")
            with self.subTest(seed=self.seed, number=number, moment=moment):
                self.assertTrue(self.output.exists())
                if identities(self.output, files_below(self.output)) != old:
                    self.assertTrue(self.is_reference(), "neither the old output nor the new one")
                    break
        self.expect(DONE, self.model, "-o", self.output, *PASS, "--force", "--resume")
        self.assertTrue(self.is_reference())
        self.assertEqual(os.listdir(self.folder), ["out"])

    def killed_after(self, files):
        process = self.start()
        self.assertTrue(wait_until(lambda: len(committed(self.output)) >= files, process))
        process.kill()
        process.communicate()

    def test_without_resume_a_killed_run_is_forgotten(self):
        self.killed_after(4)
        kept = committed(self.output)
        before = identities(staging_folder(self.output) / "tree", kept)
        self.expect(DONE, self.model, "-o", self.output, *PASS)
        self.assertTrue(self.is_reference())
        after = identities(self.output, kept)
        self.assertTrue(all(after[name] != before[name] for name in kept))

    def test_another_job_takes_nothing_over(self):
        """Other options, or an input that changed meanwhile; and it is said."""
        self.killed_after(4)
        run = self.expect(DONE, self.model, "-o", self.output, "--pattern", "1:4", "--resume")
        self.assert_one_line(run.stderr, "note: ", "unfinished work", "discarded", 'pattern was "2:4"')
        self.expect(DONE, "verify", self.output, "--pattern", "1:4", "--against", self.model, "--quiet")
        shutil.rmtree(self.output)

        self.killed_after(4)
        kept = committed(self.output)
        before = identities(staging_folder(self.output) / "tree", kept)
        os.utime(self.model / "model-00001-of-00006.safetensors")
        self.resume()
        after = identities(self.output, kept)
        self.assertTrue(all(after[name] != before[name] for name in kept))

    def test_resuming_what_is_complete_is_no_fault(self):
        self.expect(DONE, self.model, "-o", self.output, *PASS)
        before = identities(self.output, files_below(self.output))
        run = self.expect(DONE, self.model, "-o", self.output, *PASS, "--resume")
        if "exists" in run.stderr:
            self.skipTest("the file system keeps no attributes")
        self.assert_one_line(run.stdout, str(self.output), "nothing is left to do")
        run = self.expect(DONE, self.model, "-o", self.output, *PASS, "--resume", "--json")
        self.assertEqual(json.loads(run.stdout), {"already_complete": True, "output": str(self.output)})
        self.expect(USAGE, self.model, "-o", self.output, "--quiet", "--pattern", "1:4", "--resume")
        self.assertEqual(identities(self.output, before), before)
        (self.output / "config.json").write_text("{}")
        self.expect(USAGE, self.model, "-o", self.output, *PASS, "--resume")
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_a_damaged_journal_costs_time_only(self):
        for damage in (lambda text: text[:-7], lambda text: text + b'{"done": ', lambda text: b"\0" * len(text),
                       lambda text: text.replace(b'"size":', b'"size":1')):  # fmt: skip
            self.killed_after(4)
            journal = staging_folder(self.output) / "journal"
            journal.write_bytes(damage(journal.read_bytes()))
            self.resume()
            shutil.rmtree(self.output)


class Interrupts(BigModelTest):
    def interrupted(self, number, *arguments, files=1):
        process = self.start(*arguments)
        self.assertTrue(wait_until(lambda: len(committed(self.output)) >= files, process))
        process.send_signal(number)
        self.assertEqual(self.end(process, INTERRUPTED), "prune: interrupted\n")

    def test_an_interrupted_run_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for files in (1, 4):
                self.interrupted(number, files=files)
                self.assert_nothing_left(self.output)

    def test_with_resume_it_keeps_what_is_finished(self):
        self.interrupted(signal.SIGINT, "--resume", files=4)
        self.assertFalse(self.output.exists())
        kept = committed(self.output)
        self.assertGreaterEqual(len(kept), 4)
        before = identities(staging_folder(self.output) / "tree", kept)
        self.resume()
        self.assertEqual(identities(self.output, kept), before)

    def test_interrupted_while_replacing(self):
        self.expect(DONE, self.model, "-o", self.output, "--quiet", "--pattern", "1:4")
        before = identities(self.output, files_below(self.output))
        self.interrupted(signal.SIGINT, "--force", files=4)
        self.assertEqual(identities(self.output, files_below(self.output)), before)
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_the_other_commands(self):
        verify = ["verify", self.reference, "--against", self.model]
        for command in (["pack", self.reference, "-o", self.output], verify, ["inspect", self.reference]):
            for delay in (0.02, 0.04, 0.08, 0.16, 0.32, 0.64):
                process = start(*command, "--quiet", "--threads", 1)
                time.sleep(delay)
                process.send_signal(signal.SIGINT)
                _, messages = process.communicate(timeout=program.TIMEOUT)
                if process.returncode != -signal.SIGINT:  # which it is before the program listens
                    break
            self.assertEqual((process.returncode, messages), (INTERRUPTED, "prune: interrupted\n"), command)
            self.assert_nothing_left(self.output)


class TwoRuns(BigModelTest):
    def test_the_second_run_is_refused_and_the_first_not_disturbed(self):
        for arguments in ((), ("--resume",), ("--force",)):
            first = self.start()
            self.assertTrue(wait_until(lambda: len(committed(self.output)) >= 2, first))
            first.send_signal(signal.SIGSTOP)
            run = self.expect(FAILED, self.model, "-o", self.output, *PASS, *arguments)
            self.assert_one_line(run.stderr, str(self.output), "another process is building it")
            first.send_signal(signal.SIGCONT)
            self.end(first, DONE)
            self.assertTrue(self.is_reference())
            shutil.rmtree(self.output)

    def test_an_output_that_appears_meanwhile_is_not_replaced(self):
        first = self.start()
        self.assertTrue(wait_until(lambda: len(committed(self.output)) >= 2, first))
        self.output.mkdir()
        (self.output / "mine").write_text("mine")
        self.assert_one_line(self.end(first, FAILED), str(self.output))
        self.assertEqual((self.output / "mine").read_text(), "mine")
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_the_model_shrinks_under_the_run(self):
        model = shutil.copytree(self.model, self.folder / "model")
        process = start(model, "-o", self.output, *PASS)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        self.assertTrue(wait_until(lambda: len(committed(self.output)) >= 3, process))
        os.truncate(model / "model-00006-of-00006.safetensors", 4096)
        self.assert_one_line(self.end(process, FAILED), "prune: an input file became shorter")
        self.assertFalse(self.output.exists())


def namespace():
    """The command that gives a process mounts of its own, as root or as an ordinary user where that is allowed."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    probe = [*command, "sh", "-c", "mount -t tmpfs -o size=4k tmpfs /mnt"]
    try:
        allowed = subprocess.run(probe, capture_output=True, timeout=60, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    return command if allowed else None


NAMESPACE = namespace()

# Mounts $1 with the options $2, runs the rest with its result thrown away, and lists what is left there.
ON_A_MOUNT = """
place=$1
mount -t tmpfs -o "$2" tmpfs "$place" || exit 99
shift 2
"$@" >/dev/null
code=$?
ls -A "$place"
exit $code
"""


@unittest.skipUnless(NAMESPACE, "mounting is not allowed here")
class Disks(ProgramTest):
    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.bytes = sum((MODEL / name).stat().st_size for name in files_below(MODEL))

    def run_on(self, options, *arguments):
        return prune(*arguments, command=[*NAMESPACE, "sh", "-c", ON_A_MOUNT, "sh", str(self.disk), options])

    def check_full(self, *arguments, options, fault="no space left on device"):
        run = self.run_on(options, *arguments)
        self.assertEqual(run.returncode, FAILED, f"{options}: {run.stderr}")
        self.assert_one_line(run.stderr, "prune: ", fault, str(self.disk))
        self.assertEqual(run.stdout, "", f"{options}: left behind")

    def test_a_disk_that_fills_up(self):
        self.assertEqual(self.run_on(f"size={2 * self.bytes}", MODEL, "-o", self.disk / "out", *PASS).stdout, "out\n")
        for share in (0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.995):
            size = 4096 + int(share * self.bytes)
            self.check_full(MODEL, "-o", self.disk / "out", *PASS, options=f"size={size}")
        for inodes in range(2, 12):
            self.check_full(MODEL, "-o", self.disk / "out", *PASS, options=f"nr_inodes={inodes}")

    def test_the_other_commands(self):
        pruned, packed = self.folder / "pruned", self.folder / "packed"
        self.expect(DONE, MODEL, "-o", pruned, *PASS)
        self.expect(DONE, "pack", pruned, "-o", packed)
        for command, source in (("pack", pruned), ("unpack", packed)):
            for share in (0.1, 0.5):
                size = 4096 + int(share * self.bytes)
                self.check_full(command, source, "-o", self.disk / "out", "--quiet", options=f"size={size}")

    def test_a_report_that_does_not_fit(self):
        run = self.run_on("size=4k", MODEL, "-o", self.folder / "out", *PASS, "--report", self.disk / "report.json")
        self.assertEqual(run.returncode, FAILED)
        self.assert_one_line(run.stderr, str(self.disk / "report.json"))
        self.assertEqual(run.stdout, "")

    def test_a_read_only_disk(self):
        for resume in ((), ("--resume",)):
            self.check_full(MODEL, "-o", self.disk / "out", *PASS, *resume, options="ro", fault="read-only file system")

    def test_a_mount_point_is_not_replaced(self):
        run = self.run_on("size=64m", MODEL, "-o", self.disk, "--force", *PASS)
        self.assertEqual(run.returncode, program.USAGE)
        self.assert_one_line(run.stderr, "mount point")


class Limits(ProgramTest):
    # ThreadSanitizer keeps memory of its own in a file, and gets SIGBUS where that may not grow.
    @unittest.skipIf("thread" in os.environ.get("PRUNE_SANITIZE", ""), "ThreadSanitizer needs files without limit")
    def test_a_limit_on_the_size_of_files(self):
        command = ("sh", "-c", 'ulimit -f 100 && exec "$@"', "sh")
        for arguments in ((MODEL, *PASS), (MODEL, *PASS, "--resume")):
            run = prune(*arguments, "-o", self.folder / "out", command=command)
            self.assertEqual((run.returncode, run.stdout), (FAILED, ""))
            self.assert_one_line(run.stderr, "prune: file too large while writing ", str(self.folder))
            self.assertFalse((self.folder / "out").exists())

    def test_thousands_of_small_shards(self):
        """Each of three syncs, one after the other, took minutes."""
        model = self.folder / "model"
        model.mkdir()
        shards = 600
        names = {f"model.layers.{i}.up_proj.weight": f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)}
        for i, (name, file) in enumerate(names.items()):
            safetensors_files.write(model / file, {name: safetensors_files.normal("BF16", (4, 8), i)}, {"format": "pt"})
        (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
        trace = self.folder / "trace"
        command = ("strace", "-f", "-c", "-e", "trace=fsync", "-o", str(trace))
        if not shutil.which("strace") or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
            self.skipTest("system calls cannot be counted here")
        # A sanitized program looks for leaks as a tracer would, and there can be only one.
        run = prune(model, "-o", self.folder / "out", *PASS, command=command, env={"ASAN_OPTIONS": "detect_leaks=0"})
        self.assertEqual(run.returncode, DONE, run.stderr)
        self.expect(DONE, "verify", self.folder / "out", "--pattern", "2:4", "--against", model)
        self.assertEqual(len(files_below(self.folder / "out")), shards + 1)
        calls = int(next(line.split()[3] for line in trace.read_text().splitlines() if line.endswith(" fsync")))
        self.assertLess(calls, shards * 1.1, "one for each file, and a few for the journal")


class Permissions(ProgramTest):
    """As a user that root's rights do not help."""

    def test_a_folder_that_may_not_be_written_to(self):
        self.folder.chmod(0o555)
        self.addCleanup(self.folder.chmod, 0o755)
        user = NOBODY if os.geteuid() == 0 else None
        words = [program.PROGRAM, MODEL, "-o", self.folder / "out", *PASS]
        try:
            run = subprocess.run(words, user=user, env=environment(), capture_output=True, text=True, timeout=60,
                                 check=False)  # fmt: skip
        except PermissionError:
            self.skipTest("the program lies where other users may not go")
        if "docs-llama-4m" in run.stderr:
            self.skipTest("the model lies where other users may not go")
        self.assertEqual(run.returncode, FAILED)
        self.assert_one_line(run.stderr, "permission denied", str(self.folder))
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
