"""The command line: help, mistakes, exit codes, what goes to stdout and what to stderr."""

import html.parser
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import unittest

import safetensors_files
from program import (DONE, FAILED, MISMATCH, MODEL, PROGRAM, REFUSED, USAGE, ProgramTest, environment, prune,
                     tensors_of)  # fmt: skip

OF_FILES = ("inspect", "verify", "pack", "unpack", "bench", "dashboard")
COMMANDS = (*OF_FILES, "devices")
PASS = ("--sparsity", 0.5, "--pattern", "2:4")


class Help(ProgramTest):
    def test_every_command_explains_itself_with_an_example(self):
        for command in ((), *((c,) for c in COMMANDS)):
            for option in ("--help", "-h"):
                run = self.expect(DONE, *command, option)
                self.assertEqual(run.stderr, "")
                self.assertIn("Usage: prune", run.stdout)
                self.assertRegex(run.stdout, r"Examples?:\n  prune")
                self.assertIn("--threads", run.stdout)
                self.assertLessEqual(max(map(len, run.stdout.splitlines())), 120)

    def test_help_lists_commands_patterns_methods_and_exit_codes(self):
        text = self.expect(DONE, "--help").stdout
        for word in (*COMMANDS, "2:4", "unstructured", "16x16", "magnitude", "130 interrupted", "--dry-run"):
            self.assertIn(word, text)

    def test_help_wins_over_mistakes(self):
        self.expect(DONE, "no such model", "--no-such-option", "--help")

    def test_version(self):
        for arguments in ((), ("inspect",), (MODEL, *PASS), ("pack", MODEL, "--format", "zip"), ("nowhere", "-q")):
            run = self.expect(DONE, *arguments, "--version")
            self.assertRegex(run.stdout, r"^prune \d+\.\d+\.\d+\n$")
            self.assertEqual(run.stderr, "")

    def test_the_help_command(self):
        self.assertEqual(self.expect(DONE, "help").stdout, self.expect(DONE, "--help").stdout)
        for command in COMMANDS:
            self.assertEqual(self.expect(DONE, "help", command).stdout, self.expect(DONE, command, "--help").stdout)
        self.assertIn("'prune help inspect'?", self.expect(USAGE, "help", "inspct").stderr)
        self.assertIn("lists them", self.expect(USAGE, "help", "frobnicate").stderr)
        self.expect(USAGE, "help", "inspect", "pack")

    def test_options_of_the_examples_exist(self):
        known = {option for c in ((), *((c,) for c in COMMANDS))
                 for option in re.findall(r"--[a-z-]+", prune(*c, "--help").stdout.split("Examples")[0])}  # fmt: skip
        for command in ((), *((c,) for c in COMMANDS)):
            examples = re.split(r"Examples?:", prune(*command, "--help").stdout)[1]
            self.assertLessEqual(set(re.findall(r"--[a-z-]+", examples)), known)


class Mistakes(ProgramTest):
    def refuse(self, *arguments, parts=(), code=USAGE, env=None):
        run = self.expect(code, *arguments, cwd=self.folder, env=env)
        self.assertEqual(run.stdout, "")
        self.assert_one_line(run.stderr, "prune: ", *parts)
        self.assertEqual(os.listdir(self.folder), [])
        return run

    def test_a_typo_in_an_option_gets_the_nearest(self):
        for typo, meant in (("--sparsty", "--sparsity"), ("--patern", "--pattern"), ("--dryrun", "--dry-run"),
                            ("--thread", "--threads"), ("--skip-unfitt", "--skip-unfit")):  # fmt: skip
            self.refuse(MODEL, typo, "1", parts=[f"'{meant}'?"])
        self.refuse("verify", MODEL, "--agianst", "x", parts=["'--against'?"])
        self.refuse(MODEL, "--frobnicate", parts=["unknown option '--frobnicate'", "--help"])

    def test_abbreviations_are_not_guessed_but_suggested(self):
        for short, meant in (("--spars", "sparsity"), ("--pat", "pattern"), ("--forc", "force"), ("--js", "json"),
                             ("--quie", "quiet"), ("--res", "resume")):  # fmt: skip
            self.refuse(MODEL, short, "0.5", parts=[f"unknown option '{short}': did you mean '--{meant}'?"])

    def test_an_unknown_command_gets_the_nearest(self):
        for typo, meant in (("inspct", "inspect"), ("verfy", "verify"), ("packk", "pack"), ("unpak", "unpack")):
            self.refuse(typo, parts=[f"did you mean 'prune {meant}'?"])
        self.refuse("inpsect", "some model", "--all", parts=["did you mean 'prune inspect'?"])
        self.refuse("frobnicate", parts=["frobnicate: cannot be read: no such file or directory"], code=REFUSED)

    def test_sparsity_against_the_pattern_says_the_right_value(self):
        for pattern, sparsity, right in (("2:4", 0.6, "0.5"), ("1:4", 0.5, "0.75"), ("4:8", 0.3, "0.5"),
                                         ("3:4", 0.75, "0.25"), ("2:4", 0, "0.5")):  # fmt: skip
            run = self.refuse(MODEL, "--pattern", pattern, "--sparsity", sparsity)
            self.assertRegex(run.stderr, rf"\b{re.escape(right)}\b")
            self.assertIn(pattern, run.stderr)

    def test_values_out_of_range(self):
        for arguments in (("--pattern", "unstructured", "--sparsity", 1), ("--pattern", "unstructured"),
                          ("--pattern", "unstructured", "--sparsity", -0.1),
                          ("--pattern", "unstructured", "--sparsity", "nan"),
                          ("--pattern", "unstructured", "--sparsity", "half"),
                          ("--pattern", "4:4"), ("--pattern", "0:4"), ("--pattern", "2:33"), ("--pattern", "2-4"),
                          ("--pattern", ""), ("--pattern", "0x16", "--sparsity", 0.5), ("--pattern", "2:4x"),
                          ("--method", "magic"), ("--scope", "model"), ("--scope", "row"), ("--block-norm", "l3"),
                          ("--threads", 0), ("--threads", -1), ("--threads", "many"), ("--threads", 1.5),
                          ("--threads", 99999999999999999999), ("--sparsity",), ("--exclude", "re:("),
                          ("second", "third"), ("--pattern", "2:4", "--pattern", "1:4")):  # fmt: skip
            with self.subTest(arguments=arguments):
                self.refuse(MODEL, *arguments)

    def test_values_of_the_other_commands(self):
        for arguments in (("pack", MODEL, "--format", "zip"), ("pack", MODEL, "--format", "nm", "--pattern", "16x16"),
                          ("pack", MODEL, "--pattern", "2:4"), ("pack", MODEL, "--retune"), ("bench", MODEL, "--rows", 0),
                          ("bench", MODEL, "--seconds", -1), ("verify", MODEL, "--pattern", "2:4", "--sparsity", 0.7),
                          ("inspect", MODEL, "--force"), ("unpack", MODEL, "--format", "nm"), ("bench", MODEL, "--int8-inputs"),
                          ("generate", MODEL, "-p", "text", "--float32", "--int8-inputs")):  # fmt: skip
            with self.subTest(arguments=arguments):
                self.refuse(*arguments)

    def test_unknown_instruction_set(self):
        self.refuse(MODEL, env={"PRUNE_ISA": "mmx"}, parts=["PRUNE_ISA=mmx"])

    def test_models_that_are_none(self):
        for command in OF_FILES:
            output = ("-o", "page.html") if command == "dashboard" else ()
            self.refuse(command, "nowhere", *output, code=REFUSED, parts=["nowhere"])
        self.refuse(code=REFUSED, parts=[str(self.folder)])
        self.refuse("unpack", MODEL, code=REFUSED)
        self.refuse("bench", MODEL, code=REFUSED, parts=["not packed"])

    def test_an_index_whose_metadata_is_no_object(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        index = json.loads((model / "model.safetensors.index.json").read_text())
        for metadata in ([], "text", 7):
            (model / "model.safetensors.index.json").write_text(json.dumps(index | {"metadata": metadata}))
            for command in ((), ("inspect",), ("verify",), ("pack",)):
                run = self.expect(REFUSED, *command, model)
                self.assert_one_line(run.stderr, "model.safetensors.index.json: metadata must be a JSON object")
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_patterns_that_do_not_fit(self):
        run = self.refuse(MODEL, "--quiet", "--pattern", "2:7", code=REFUSED, parts=["--skip-unfit"])
        self.assertIn("_proj.weight", run.stderr)
        self.refuse(MODEL, "--quiet", "--pattern", "2:7", "--skip-unfit", code=REFUSED)

    def test_filters_that_leave_nothing(self):
        for quiet in ((), ("--quiet",)):
            self.refuse(MODEL, "--include", "*nothing*", *quiet, code=REFUSED,
                        parts=["--include '*nothing*' matches no tensor"])  # fmt: skip
            self.refuse(MODEL, "--include", "*norm", "--include", "?", *quiet, code=REFUSED,
                        parts=["'*norm' matches only tensors that it cannot change", "norm.weight'", "'?' matches no"])  # fmt: skip
            self.refuse("pack", MODEL, "--include", "*nothing*", *quiet, code=REFUSED, parts=["matches no tensor"])
        self.refuse(MODEL, "--exclude", "*", code=REFUSED)

    def test_threads_that_cannot_be_started(self):
        limit = ("sh", "-c", 'ulimit -v 2000000 && exec "$@"', "sh")
        for words, environment in (((MODEL, "--threads", 1000), {}), (("inspect", MODEL), {"OMP_NUM_THREADS": "1000"})):
            run = prune(*words, cwd=self.folder, env=environment, command=limit)
            if os.environ.get("PRUNE_SANITIZE"):
                self.skipTest("sanitizers take more memory than the limit")
            self.assertEqual((run.returncode, run.stdout), (FAILED, ""), run.stderr)
            self.assert_one_line(run.stderr, "1000 threads cannot be started", "resource temporarily unavailable")
            self.assertEqual(os.listdir(self.folder), [])
        self.refuse(MODEL, env={"OMP_NUM_THREADS": "5000"}, parts=["OMP_NUM_THREADS=5000"])


class Outputs(ProgramTest):
    def test_an_existing_output_needs_force(self):
        output = self.folder / "out"
        shutil.copytree(MODEL, output)
        before = tensors_of(output)
        run = self.expect(USAGE, MODEL, "-o", output, *PASS)
        self.assertIn("--force", run.stderr)
        self.assertTrue(all(tensors_of(output)[n] == t for n, t in before.items()))
        self.expect(DONE, MODEL, "-o", output, "--force", *PASS)
        self.assertFalse(all(tensors_of(output)[n] == t for n, t in before.items()))
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_force_spares_what_is_no_model(self):
        for name, make in (("file", lambda p: p.write_text("mine")),
                           ("folder", lambda p: (p.mkdir(), (p / "thesis.tex").write_text("mine")))):  # fmt: skip
            make(self.folder / name)
            self.expect(USAGE, MODEL, "-o", self.folder / name, "--force", *PASS)
        self.assertEqual((self.folder / "file").read_text(), "mine")
        self.assertEqual((self.folder / "folder/thesis.tex").read_text(), "mine")
        self.assertEqual(len(os.listdir(self.folder)), 2)

    def test_a_dangling_link_is_no_place(self):
        (self.folder / "out").symlink_to(self.folder / "no/where")
        self.expect(USAGE, MODEL, "-o", self.folder / "out", *PASS)
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_a_dry_run_checks_the_place_as_the_run_does(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        (self.folder / "taken").mkdir()
        for place in (self.folder / "taken", self.folder / "no/where", model, model / "inside", self.folder):
            runs = [self.expect(USAGE, model, "-o", place, *PASS, *dry) for dry in ((), ("-n",))]
            self.assertEqual(runs[0].stderr, runs[1].stderr)
        for report in (self.folder, self.folder / "none/report.json"):
            self.expect(USAGE, model, "-n", "--report", report, *PASS)
        self.assertEqual(sorted(os.listdir(self.folder)), ["model", "taken"])

    def test_a_dry_run_resumes_as_the_run_does(self):
        model, output = shutil.copytree(MODEL, self.folder / "model"), self.folder / "out"
        run = (model, "-o", output, "--resume", "--report", self.folder / "report.json")
        self.expect(DONE, *run, "--pattern", "1:4", "-n")
        self.expect(DONE, *run, "--pattern", "2:4")
        (self.folder / "report.json").unlink()
        for pattern in ("2:4", "1:4"):
            first, second = (prune(*run, "--pattern", pattern, *dry) for dry in ((), ("-n",)))
            self.assertEqual((first.returncode, first.stdout, first.stderr),
                             (second.returncode, second.stdout, second.stderr))  # fmt: skip
            if pattern == "2:4" and first.returncode == DONE:  # the file system keeps attributes
                self.assertIn("nothing is left to do", first.stdout)
                self.assert_one_line(first.stderr, "report.json: no report is written")
                self.assertEqual(self.expect(DONE, *run, "--pattern", pattern, "--quiet").stderr, "")
        self.assertEqual(first.returncode, USAGE)
        self.expect(DONE, *run, "--pattern", "1:4", "--force", "-n")
        self.assertEqual(sorted(os.listdir(self.folder)), ["model", "out"])

    def test_the_output_is_told_alike_by_plan_and_run(self):
        for place in ((), ("-o", "out"), ("-o", "./sub/../other/")):
            (self.folder / "sub").mkdir(exist_ok=True)
            model = self.folder / "model"
            if not model.exists():
                shutil.copytree(MODEL, model)
            told = [json.loads(self.expect(DONE, "model", *place, *PASS, "--json", *dry, cwd=self.folder).stdout)["output"]
                    for dry in (("-n",), ())]  # fmt: skip
            self.assertEqual(told[0], told[1])
            self.assertTrue(os.path.isabs(told[0]) and os.path.isdir(told[0]), told[0])

    def test_an_output_inside_the_model_is_refused(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        before = sorted(os.listdir(model))
        for place in ("pruned", "./a/../pruned", model / "pruned"):
            run = self.expect(USAGE, "-o", place, *PASS, cwd=model)
            self.assert_one_line(run.stderr, "lies inside the input", "name an output outside of it")
        for command in ("pack", "unpack"):
            self.expect(USAGE, command, "-o", "packed", cwd=model)
        self.assertEqual(sorted(os.listdir(model)), before)

    def test_filters_that_change_nothing_are_told(self):
        run = self.expect(DONE, MODEL, "-n", "--include", "*up_proj", "--include", "*nothing*", "--include", "*norm",
                          "--exclude", "?", "--exclude", "*embed*", "--exclude", "*.0.*")  # fmt: skip
        notes = run.stderr.splitlines()
        self.assertEqual(len([n for n in notes if n.startswith("note: --")]), 4, run.stderr)
        self.assertIn("note: --include '*nothing*' matches no tensor", notes)
        self.assertRegex(run.stderr, r"--include '\*norm' matches only tensors that it cannot change \('.*norm")
        self.assertIn("note: --exclude '?' matches no tensor", notes)
        self.assertRegex(run.stderr, r"--exclude '\*embed\*' matches .*not included")
        self.assertEqual(self.expect(DONE, MODEL, "-n", "-q", "--exclude", "nothing").stderr, "")

    def test_dry_run_writes_nothing(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        run = self.expect(DONE, "--dry-run", *PASS, cwd=model)
        self.assertIn("would be pruned", run.stdout)
        plan = json.loads(self.expect(DONE, "-n", "--json", *PASS, cwd=model).stdout)
        self.assertTrue(plan["dry_run"])
        pruned = [t["name"] for t in plan["tensors"] if t["prune"]]
        self.assertEqual(sorted(t["name"] for t in plan["tensors"]), sorted(tensors_of(model)))
        self.assertTrue(pruned and all(name.endswith("_proj.weight") for name in pruned))
        self.assertTrue(all(t["reason"] for t in plan["tensors"] if not t["prune"]))
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_include_and_exclude(self):
        cases = (
            (("--include", "*.up_proj"), r".*\.up_proj\.weight"),
            (("--include", "*.up_proj.weight", "--include", "re:.*[qk]_proj"), r".*\.(up|q|k)_proj\.weight"),
            (("--exclude", "re:.*\\.layers\\.0\\..*"), r".*\.layers\.[1-9]\d*\..*_proj\.weight"),
            (("--include", "lm_head", "--include", "*embed*"), r"(lm_head|.*embed.*)\.weight"),
        )
        for arguments, expected in cases:
            plan = json.loads(self.expect(DONE, MODEL, "--dry-run", "--json", *arguments).stdout)
            names = {t["name"] for t in plan["tensors"]}
            pruned = {t["name"] for t in plan["tensors"] if t["prune"]}
            self.assertEqual(pruned, {n for n in names if re.fullmatch(expected, n)}, arguments)

    def test_an_unknown_architecture_is_noted(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"model_type": "novel"}))
        run = self.expect(DONE, model, "-n", "--json")
        self.assertIn("note: model_type 'novel' is not known", run.stderr)
        pruned = {t["name"] for t in json.loads(run.stdout)["tensors"] if t["prune"]}
        self.assertEqual(pruned, {n for n in tensors_of(model) if n.endswith("_proj.weight")})
        self.assertEqual(self.expect(DONE, model, "-n", "--quiet").stderr, "")


class HtmlReader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open_tags, self.rows, self.links = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.rows += tag == "tr"
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        if self.open_tags.pop() != tag:
            raise AssertionError(f"</{tag}> closes another")


class Reports(ProgramTest):
    def setUp(self):
        super().setUp()
        self.linear = sorted(n for n in tensors_of(MODEL) if n.endswith("_proj.weight"))

    def check_report(self, report):
        self.assertEqual(sorted(t["name"] for t in report["tensors"]), sorted(tensors_of(MODEL)))
        pruned = {t["name"]: t for t in report["tensors"] if t["pruned"]}
        self.assertEqual(sorted(pruned), self.linear)
        after = tensors_of(self.folder / "out")
        for name, tensor in pruned.items():
            self.assertEqual(tensor["zeros_after"], int((after[name].bits & 0x7FFF == 0).sum()), name)
        self.assertEqual(report["zeros"], sum(t["zeros_after"] for t in pruned.values()))
        self.assertEqual(report["sparsity"]["wanted"], 0.5)
        self.assertAlmostEqual(report["sparsity"]["achieved"], 0.5, places=3)

    def test_json_on_stdout_is_one_document(self):
        run = self.expect(DONE, MODEL, "-o", self.folder / "out", "--json", *PASS)
        self.check_report(json.loads(run.stdout))

    def test_report_file(self):
        self.expect(DONE, MODEL, "-o", self.folder / "out", "--report", self.folder / "report.json", *PASS)
        self.check_report(json.loads((self.folder / "report.json").read_text()))
        self.assertEqual(sorted(os.listdir(self.folder)), ["out", "report.json"])

    def test_report_page(self):
        self.expect(DONE, MODEL, "-o", self.folder / "out", "--report", self.folder / "report.html", *PASS)
        reader = HtmlReader()
        reader.feed((self.folder / "report.html").read_text(encoding="utf-8"))
        self.assertEqual((reader.open_tags, reader.links), ([], []))
        self.assertEqual(reader.rows, 1 + len(self.linear))

    def test_a_report_that_cannot_be_written_is_told_before_the_work(self):
        for report in (self.folder / "none/report.json", self.folder):
            run = self.expect(USAGE, MODEL, "-o", self.folder / "out", "--quiet", "--report", report, *PASS)
            self.assert_one_line(run.stderr, str(report))
            self.assertEqual(os.listdir(self.folder), [])

    def test_a_report_goes_where_links_and_devices_are(self):
        link, target = self.folder / "link.json", self.folder / "target.json"
        link.symlink_to(target)
        for target_is_there in (False, True):
            self.expect(DONE, MODEL, "-o", self.folder / "out", "--force", "--report", link, *PASS)
            self.assertTrue(link.is_symlink())
            self.check_report(json.loads(target.read_text()))
            self.assertEqual(target_is_there or target.exists(), True)
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE, text=True) as reader:
            self.expect(DONE, MODEL, "-o", self.folder / "out", "--force", "--report", fifo, *PASS)
            self.check_report(json.loads(reader.communicate(timeout=60)[0]))
        self.assertTrue(stat.S_ISFIFO(fifo.stat().st_mode))

    def test_a_report_goes_where_the_shell_leads_it(self):
        """To a pipe or into a redirected stdout, before the table."""
        words = f"'{PROGRAM}' '{MODEL}' -o '{self.folder / 'out'}' --force --quiet -s 0.5 --report "
        log = self.folder / "log"
        for command in (f"{words} /dev/stdout | cat > log", f"{words} /dev/stdout > log", f"{words} >(cat > log); wait $!",
                        f"{words} /dev/fd/3 3> log", f"echo first > log; {words} /dev/stderr 2>> log"):  # fmt: skip
            subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=environment(),
                           stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=300)  # fmt: skip
            text = log.read_text()
            self.assertEqual(text.startswith("first"), "first" in command)
            report, end = json.JSONDecoder().raw_decode(text.removeprefix("first\n"))
            self.check_report(report)
            self.assertEqual("written to" in text[end:], "stdout" in command, command)
            self.assertEqual(sorted(os.listdir(self.folder)), ["log", "out"])
            log.unlink()

    def test_a_report_spares_the_model_and_the_output(self):
        shutil.copytree(MODEL, self.folder / "model")
        shutil.copyfile(MODEL / "model-00001-of-00002.safetensors", self.folder / "one.safetensors")
        (self.folder / "link.json").symlink_to("model/config.json")
        (self.folder / "later").symlink_to("out")
        before = {p: p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}
        for model, output, report in (
            ("one.safetensors", "out.safetensors", "out.safetensors"),
            ("one.safetensors", "out.safetensors", "./one.safetensors"),
            ("model", "out", "model/config.json"),
            ("model", "out", "model/model-00001-of-00002.safetensors"),
            ("model", "out", "link.json"),
            ("model", "out", "out"),
            ("model", "out", "out/report.json"),
            ("model", "out", "later"),
            ("model", "later", "out"),
            ("model", "out", "model"),
            ("model", "out", "r" * 256),
        ):
            for dry in ((), ("-n",)):
                run = prune(model, "-o", output, "--force", "--quiet", "--report", report, *PASS, *dry, cwd=self.folder)
                self.assertEqual(run.returncode, FAILED if report.startswith("rr") else USAGE, (report, run.stderr))
                self.assert_one_line(run.stderr, report)
        self.assertEqual({p: p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}, before)
        self.expect(DONE, "model", "-o", "out", "--quiet", "--report", "model/report.json", *PASS, cwd=self.folder)

    def test_a_report_that_fails_at_the_end_says_that_the_model_is_in_place(self):
        report = self.folder / "report.json"
        report.symlink_to("/dev/full")  # not itself: a program that failed here would replace it
        run = self.expect(FAILED, MODEL, "-o", self.folder / "out", "--quiet", "--report", report, *PASS)
        self.assert_one_line(run.stderr, f"is in place at {self.folder / 'out'}", "but not its report",
                             "report.json: can't be written: no space left on device")  # fmt: skip
        self.expect(DONE, "verify", self.folder / "out", "--pattern", "2:4", "--against", MODEL)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))

    def test_json_of_the_other_commands(self):
        pruned, packed = self.folder / "out", self.folder / "packed"
        self.expect(DONE, MODEL, "-o", pruned, *PASS)
        inspected = json.loads(self.expect(DONE, "inspect", pruned, "--json").stdout)
        self.assertEqual(sorted(w["name"] for w in inspected["weights"]), self.linear)
        self.assertEqual({w["pattern"] for w in inspected["weights"]}, {"2:4"})
        self.assertEqual(len(json.loads(self.expect(DONE, "pack", pruned, "-o", packed, "--json").stdout)["tensors"]),
                         len(self.linear))  # fmt: skip
        self.assertTrue(json.loads(self.expect(DONE, "verify", packed, "--json", "--against", pruned).stdout)["ok"])
        self.expect(MISMATCH, "verify", MODEL, "--pattern", "2:4", "--json")
        bench = self.expect(DONE, "bench", packed, "--json", "--rows", 1, "--seconds", 0.001, "--threads", 1)
        cases = json.loads(bench.stdout)["cases"]
        self.assertEqual(sum(c["weights"] for c in cases), len(self.linear))
        for case in cases:
            self.assertTrue(case["dense_kernel"] and case["sparse_kernel"])
            self.assertEqual((case["dense_threads"], case["sparse_threads"]), (1, 1))
            self.assertEqual(case["sparse_dtype"], "BF16")
            if case["steady"]:
                margin = case["speedup"] * (case["dense_spread"] + case["sparse_spread"])
                self.assertIn(case["use"], ("sparse", "dense", "either"))
                self.assertEqual(case["use"] == "sparse", case["speedup"] - margin > 1)
                self.assertEqual(case["use"] == "dense", case["speedup"] + margin < 1)
            else:
                self.assertEqual((case["speedup"], case["use"]), (None, None))
        self.assertTrue(all(c["dense_seconds"] > 0 and c["sparse_seconds"] > 0 and c["roofline"] > 0 for c in cases))
        self.expect(DONE, "pack", pruned, "-o", packed, "--values", "int8", "--force", "--quiet")
        bench = self.expect(DONE, "bench", packed, "--json", "--rows", 1, "--seconds", 0.001, "--threads", 1)
        self.assertEqual({c["sparse_dtype"] for c in json.loads(bench.stdout)["cases"]}, {"I8"})
        json.loads(self.expect(DONE, "unpack", packed, "-o", self.folder / "dense", "--json").stdout)

    def test_a_shape_is_timed_without_a_model(self):
        shape = ("--shape", "64x128", "--rows", 1, "--seconds", 0.001, "--threads", 1, "--json")
        for options, form in (((), "nm 2:4"), (("--pattern", "unstructured", "-s", 0.7), "bitmask"),
                              (("--pattern", "16x16", "-s", 0.5, "--type", "f32"), "bsr 16x16")):  # fmt: skip
            case = json.loads(self.expect(DONE, "bench", *shape, *options).stdout)["cases"][0]
            self.assertEqual((case["out"], case["in"], case["format"]), (64, 128, form))
            self.assertGreater(min(case["dense_seconds"], case["sparse_seconds"], case["roofline"]), 0)
        for mistake in (("--shape", "64"), ("--shape", "0x8"), ("--shape", "8x9"), ("--shape", "99999999999x8"), (MODEL, "--shape", "8x8"),
                        ("--type", "f32"), ("--whole", MODEL, "--shape", "8x8"), ("--whole", "--gpu-table", "f.json"),
                        ("--gpu-table", "f.json", "--shape", "8x8"), ("--shape", "8x8", "--type", "i8"), ("--shape", "8x8", "--pattern", "unstructured")):  # fmt: skip
            run = prune("bench", *mistake)
            self.assertIn(run.returncode, (USAGE, REFUSED))
            self.assert_one_line(run.stderr, "prune: ")

    def test_a_packed_model_without_packed_weights_is_not_timed(self):
        self.expect(DONE, "pack", MODEL, "-o", self.folder / "packed", "--quiet")
        run = self.expect(REFUSED, "bench", self.folder / "packed")
        self.assert_one_line(run.stderr, "holds no packed weight")

    def test_names_that_are_not_utf8(self):
        model = shutil.copytree(MODEL, self.folder / os.fsdecode(b"m\xff"))
        for options in (("--dry-run", "--json"), ("--json",), ("--force", "--report", self.folder / "report.json")):
            run = self.expect(DONE, model, "--pattern", "2:4", *options)
            if "--json" in options:
                json.loads(run.stdout)
        json.loads((self.folder / "report.json").read_text())
        for command in ("inspect", "verify", "pack"):
            json.loads(self.expect(DONE, command, model, "--json").stdout)

    def test_names_from_files_do_not_reach_the_terminal_raw(self):
        """A tensor named with an escape sequence, in every table and message."""
        name = "\x1b[31mred\n.weight"
        tensors = {name: safetensors_files.normal("F32", (4, 8), 1)}
        safetensors_files.write(self.folder / "in.safetensors", tensors, {"format": "pt"})
        for arguments in (("-n",), ("--pattern", "2:3"), ("-o", self.folder / "out.safetensors")):
            run = prune(self.folder / "in.safetensors", *arguments)
            self.assertNotIn("\x1b", run.stdout + run.stderr)
        for command in ("inspect", "verify", "pack"):
            for options in ((), ("--json",)):
                run = prune(command, self.folder / "in.safetensors", "--quiet", *options)
                self.assertNotIn("\x1b", run.stdout + run.stderr)
        report = self.folder / "report.html"
        self.expect(DONE, self.folder / "in.safetensors", "-o", self.folder / "o", "--quiet", "--report", report)
        self.assertNotIn("\x1b", report.read_text())


class Streams(ProgramTest):
    def test_results_on_stdout_and_messages_on_stderr(self):
        model = shutil.copytree(MODEL, self.folder / "model")
        (model / "pytorch_model.bin").write_bytes(b"other weights")
        run = self.expect(DONE, model, "-o", self.folder / "out", *PASS)
        self.assertIn("total", run.stdout)
        self.assertNotIn("note:", run.stdout)
        self.assertEqual(run.stderr, "note: pytorch_model.bin is copied as it is, not pruned\n")
        run = self.expect(DONE, model, "-o", self.folder / "out", "--force", "--quiet", *PASS)
        self.assertEqual(run.stderr, "")

    def test_a_stdout_that_takes_nothing_is_a_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            for arguments in (("inspect", MODEL), ("--help",), ("verify", MODEL, "--json"),
                              ("generate", MODEL, "-p", "x", "-n", "2", "-q")):
                run = subprocess.run([PROGRAM, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, text=True,
                                     env=environment(), timeout=60, check=False)  # fmt: skip
                self.assertEqual(run.returncode, FAILED)
                self.assert_one_line(run.stderr.lower(), "prune: ", "no space left on device")

    def test_a_stderr_that_takes_nothing_changes_nothing(self):
        for closing in ("2>&-", "2>/dev/full", "0<&- 2>&-"):
            command = ("sh", "-c", f'exec "$@" {closing}', "sh")
            out = self.folder / "out"
            run = prune(MODEL, "-o", out, "--force", *PASS, command=command)
            self.assertEqual((run.returncode, run.stderr), (DONE, ""))
            self.expect(DONE, "verify", out, "--pattern", "2:4", "--against", MODEL)
            self.assertEqual(prune("nowhere", command=command).returncode, REFUSED)
            self.assertEqual(prune("--no-such", command=command).returncode, USAGE)
            self.assertEqual(prune("verify", MODEL, "--pattern", "2:4", command=command).returncode, MISMATCH)
        self.assertEqual(os.listdir(self.folder), ["out"])

    def test_a_closed_stdout_is_a_failure_and_no_file(self):
        out = self.folder / "out"
        run = prune(MODEL, "-o", out, *PASS, command=("sh", "-c", 'exec "$@" >&-', "sh"))
        self.assertEqual(run.returncode, FAILED)
        self.expect(DONE, "verify", out, "--pattern", "2:4", "--against", MODEL)

    def test_a_reader_that_leaves(self):
        words = [PROGRAM, "inspect", str(MODEL), "--json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as run:
            run.stdout.close()
            messages = run.stderr.read()
            self.assertEqual(run.wait(60), FAILED)
        self.assert_one_line(messages.lower(), "prune: ", "broken pipe")

    def on_a_terminal(self, *arguments, **changes):
        """What the program writes to a terminal on stderr."""
        try:
            ours, its = pty.openpty()
        except OSError as error:  # a container without /dev/pts
            self.skipTest(f"no terminal can be made here: {error}")
        with open(ours, "rb", buffering=0) as reader:
            process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=its,
                                       env=environment(TERM="xterm", **changes))  # fmt: skip
            os.close(its)
            text = b""
            try:
                while piece := reader.read(4096):
                    text += piece
            except OSError:  # how a terminal says that the other side is gone
                pass
            process.wait(60)
        return text

    def test_colour_on_a_terminal_only(self):
        self.assertIn(b"\x1b[31m", self.on_a_terminal("nowhere"))
        self.assertNotIn(b"\x1b", self.on_a_terminal("nowhere", NO_COLOR="1"))
        self.assertNotIn("\x1b", prune("nowhere").stderr)
        self.assertIn(b"\x1b[31m", self.on_a_terminal("nowhere", NO_COLOR=""))

    def test_threads(self):
        for threads in (1, 2, 5):
            self.expect(DONE, MODEL, "-o", self.folder / "out", "--force", "-t", threads, *PASS)


class Devices(ProgramTest):
    def devices(self, kind):
        """What is found with the driver of fake_gpu_driver.c."""
        env = {"LD_LIBRARY_PATH": os.environ["PRUNE_FAKE_DRIVER"], "PRUNE_FAKE_GPU": kind}
        run = prune("devices", "--json", env=env)
        self.assertEqual((run.returncode, run.stderr), (DONE, ""))
        table = prune("devices", env=env).stdout
        return json.loads(run.stdout), table

    def test_a_gpu(self):
        found, table = self.devices("one")
        gpu = found["gpus"][0]
        self.assertEqual((gpu["name"], gpu["compute_capability"]), ("Imaginary 100", "9.0"))
        self.assertEqual((gpu["multiprocessors"], gpu["memory_bytes"]), (132, 80_000_000_000))
        self.assertEqual(found["cuda_driver"], "13.0")
        self.assertIsNone(found["gpu_fault"])
        self.assertEqual(gpu["kernels"] == "all", found["cuda_kernels"])
        for words in ("Imaginary 100", "80.0 GB", "9.0", "up to CUDA 13.0"):
            self.assertIn(words, table)

    def test_no_gpu_broken_and_old_drivers(self):
        found, table = self.devices("none")
        self.assertEqual(found["gpus"], [])
        self.assertIn("No GPU: the NVIDIA driver finds no GPU.", table)
        found, table = self.devices("broken")
        self.assertEqual(found["gpus"], [])
        self.assertIn("does not start: error 802", table)
        found, table = self.devices("old")
        self.assertEqual(found["cuda_driver"], "12.4")
        self.assertTrue(found["gpus"][0]["kernels"].startswith("none"))

    def test_commands_say_what_is_missing(self):
        def fault(kind, command, *arguments, device="cuda"):
            env = {"LD_LIBRARY_PATH": os.environ["PRUNE_FAKE_DRIVER"], "PRUNE_FAKE_GPU": kind}
            run = prune(command, "--device", device, *arguments, env=env)
            self.assertEqual(run.stdout, "")
            self.assertEqual(run.stderr.count("\n"), 1)
            return run.returncode, run.stderr

        # Before a model is looked at: there is none of that name.
        commands = (("bench", "--shape", "64x64"), ("bench", "no-model", "--whole"),
                    ("generate", "no-model", "--prompt", "x"), ("eval", "no-model", "--text", "x.txt"))
        for kind, words in (("none", "the NVIDIA driver finds no GPU"), ("broken", "does not start: error 802"),
                            ("old", "the NVIDIA driver knows CUDA up to 12.4, the kernels need 13.0")):
            for command in commands:
                code, message = fault(kind, *command)
                self.assertEqual(code, FAILED)
                self.assertIn(words, message)
        for command in commands:
            if not self.devices("one")[0]["cuda_kernels"]:
                self.assertIn("this build has no CUDA kernels", fault("one", *command)[1])
            code, message = fault("one", *command, device="gpu")
            self.assertEqual(code, USAGE)
            self.assertIn("expected cpu or cuda", message)

    def test_what_has_no_meaning_on_a_gpu(self):
        for arguments, words in ((("generate", "--prompt", "x", "--float32"), "--float32 is for the processor"),
                                 (("generate", "--prompt", "x", "--int8-inputs"), "--int8-inputs is for the processor"),
                                 (("bench", "--whole", "--retune"), "--retune is for the processor"),
                                 (("bench", "--compare", "a.json", "b.json"), "run nothing: leave --device out"),
                                 (("eval", "--text", "x", "--precision", "fp32"), "leave --precision"),
                                 (("eval", "--text", "x", "--int8-inputs"), "--int8-inputs out"),
                                 (("eval", "--text", "x", "--memory", "2G"), "--memory is for the processor")):
            self.assertIn(words, self.expect(USAGE, *arguments, "--device", "cuda").stderr)


if __name__ == "__main__":
    unittest.main()
