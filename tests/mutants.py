"""Changes the library at one place at a time and says which changes no test finds.

    python tests/mutants.py [--sample 300] [--seed 0] [paths…]

A path is a file, a folder or `file.py:line`; without a sample, every change is tried.
What is changed: comparisons, numbers and booleans, signs, arithmetic and boolean
operators, the branch that is taken, what is returned; and statements are deleted. Of a
local variable they are not, since nearly every test finds that.

Each change runs the tests that reach the line, until one fails: first those of the
file that mirrors it and its docstring, then those that name it or are of its family,
then those of what imports it; short ones first, for `BUDGET` seconds in all. Which test
reaches which line is found by running them once.

The tree is copied to a temporary folder and only changed there. `--keep FOLDER` makes
that folder this one and leaves it behind, so that a run that was stopped goes on where
it was: delete it to take in new code or new tests. TensorFlow is imported once, and
forked for each change.
"""

import argparse
import ast
import compileall
import functools
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from py_compile import PycInvalidationMode

from tests.mutations import FOLDERS, Mutants
from tests.reached import Concerned, Recorder

ROOT = Path(__file__).parents[1]
# How long the tests of one change take at most, in seconds without a change.
BUDGET = 60.0
# Of the tests of what imports a file, those of so many files are looked at.
ENOUGH = 3
MEMORY = 12 << 30
# Changes that leave what the library does as it is, which are not tried: a file, the
# line that is changed, how; and why.
EQUIVALENT = {
    (
        "keras_ext/controllers/batch_size/_ada_batch.py",
        "doublings = min(int(measured.epoch) // self.every, 1000)",
        "1000 plus 1",
    ): "any bound below 1024 keeps the power of two from overflowing",
    (
        "keras_ext/gradients/_clip_update_rms.py",
        "return ops.minimum(1.0, limit / ops.maximum(rms, 1e-30))",
        "1e-30 doubled",
    ): "only keeps zero from being divided by zero",
}


def mutants_of(path):
    return Mutants(str(path.relative_to(ROOT)), path.read_bytes()).found


def why_equivalent(mutant):
    """The reason in `EQUIVALENT`, if the mutant is in it."""
    lines = (ROOT / mutant.file).read_text().split("\n")
    return EQUIVALENT.get((mutant.file, lines[mutant.line - 1].strip(), mutant.what))


def code_lines(path):
    """How many lines of a file hold code, other than docstrings."""
    lines = set()
    for node in ast.walk(ast.parse(path.read_text())):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if isinstance(node, ast.stmt | ast.expr) and not is_text:
            lines.add(node.lineno)
    return len(lines)


def sampled(paths, size, seed):
    """Draws mutants of the files, from each folder in proportion to its code."""
    by_folder = defaultdict(list)
    for path in paths:
        by_folder[folder_of(path.relative_to(ROOT))].append(path)
    code = {folder: sum(map(code_lines, by_folder[folder])) for folder in by_folder}
    chosen = []
    for folder, files in by_folder.items():
        mutants = [m for path in files for m in mutants_of(path)]
        share = round(size * code[folder] / sum(code.values()))
        draw = random.Random(f"{seed} {folder}")
        chosen += draw.sample(mutants, min(share, len(mutants)))
    return sorted(chosen, key=lambda mutant: (mutant.file, mutant.start))


def folder_of(file):
    names = [f for f in FOLDERS if str(file).startswith(f"{f}/")]
    return names[0] if names else str(Path(file).parent)


class FirstFailure:
    """Keeps the name of the test that failed."""

    name = None

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.name = self.name or report.nodeid


class Suite:
    """Runs tests of a copy of the tree, in a child for each run."""

    def __init__(self, folder, thorough):
        self.folder = folder
        self.copy = folder / "copy"
        self.thorough = ["--thorough"] if thorough else []
        (folder / "maps").mkdir(parents=True, exist_ok=True)
        without = shutil.ignore_patterns("__pycache__")
        if not self.copy.exists():
            shutil.copytree(ROOT / "tests", self.copy / "tests", ignore=without)
            for name in ("conftest.py", "pyproject.toml"):
                shutil.copy(ROOT / name, self.copy)
        # Again, since a run that was stopped may have left a mutant.
        shutil.rmtree(self.copy / "keras_ext", ignore_errors=True)
        shutil.copytree(ROOT / "keras_ext", self.copy / "keras_ext", ignore=without)
        # By time and size alone, a changed file could pass for one that was compiled.
        mode = PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(self.copy / "keras_ext", quiet=1, invalidation_mode=mode)
        self.concerned = Concerned(self.copy)
        self.map = functools.cache(self._map)

    def prepare(self):
        """Imports what takes long, without running an operation of TensorFlow."""
        sys.dont_write_bytecode = False
        sys.path[0] = os.environ["PYTHONPATH"] = str(self.copy)
        # It sets what TensorFlow reads when it is imported.
        runpy.run_path(str(self.copy / "conftest.py"))
        import keras  # noqa: F401
        import pytest  # noqa: F401
        import tensorflow  # noqa: F401

    def pytest(self, arguments, plugin):
        """Runs pytest in this process, which is a child."""
        import pytest

        import keras_ext

        assert keras_ext.__file__.startswith(str(self.copy))
        options = "-q -p no:cacheprovider -p no:xdist -o addopts="
        options += " --import-mode=importlib --doctest-modules --ignore=tests/fixtures"
        options = [*options.split(), *self.thorough]
        return int(pytest.main([*options, *arguments], plugins=[plugin]))

    def in_child(self, function, seconds):
        """What a function returns in a fork of this process, None if it never does."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            self._run_and_leave(function, seconds, report)
        # Other programs may slow it down; the limit of the child is its own time.
        deadline = time.monotonic() + 10 * seconds + 300
        try:
            while os.waitpid(child, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.02)
        except BaseException as error:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if not isinstance(error, TimeoutError):
                raise
        return json.loads(report.read_text()) if report.exists() else None

    def _run_and_leave(self, function, seconds, report):
        import resource  # Windows has none.

        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            os.chdir(self.copy)
            log = (self.folder / "log.txt").open("w")
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            text = json.dumps(function())
            report.with_suffix(".new").write_text(text)
            report.with_suffix(".new").rename(report)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)

    def _map(self, test):
        """From the ids of the tests of a file to their seconds and lines."""
        name = str(test.relative_to(self.copy))
        stored = self.folder / "maps" / f"{name.replace('/', '+')}.json"

        def run():
            recorder = Recorder(self.copy)
            self.pytest([name], recorder)
            failed = [name for name, passed in recorder.passed.items() if not passed]
            return [recorder.found, failed]

        if not stored.exists():
            found, failed = self.in_child(run, 3600) or [{}, [name]]
            if failed:
                print("not passed without a change:", *failed, sep="\n  ", flush=True)
            stored.write_text(json.dumps(found))
        return json.loads(stored.read_text())

    def own(self, mutant):
        """The tests of the file that mirrors the mutant's; first those that reach it.

        What a fixture or a cache keeps is only seen in the test that came first, so the
        others follow.
        """
        files = self.concerned.tiers(mutant.file)[0]
        reach = [t for test in files for t in sorted(self.reaching(mutant, test))]
        if mutant.at_import:
            reach += self._comparing_defaults(mutant)
        return reach + [
            (s, t) for test in files for t, (s, _) in self.map(test).items()
        ]

    def named(self, mutant):
        """The tests that name what the file defines, or are of its family."""
        files = self.concerned.tiers(mutant.file)[1]
        return sorted(t for test in files for t in self.reaching(mutant, test))

    def others(self, mutant):
        """The tests of what imports the mutant's file, from `ENOUGH` files."""
        found = []
        for test in self.concerned.tiers(mutant.file)[2]:
            found += [self.reaching(mutant, test)]
            if sum(map(bool, found)) == ENOUGH:
                break
        return [t for tests in found for t in sorted(tests)]

    def reaching(self, mutant, test):
        """The tests of a file that run a line of the mutant, with their seconds."""
        first, last = mutant.reached
        return [
            (seconds, name)
            for name, (seconds, lines) in self.map(test).items()
            if any(first <= line <= last for line in lines.get(mutant.file, ()))
        ]

    def _comparing_defaults(self, mutant):
        """The tests that compare the defaults of a class with its docstring."""
        path = self.copy / mutant.file
        exported = path.with_name("__init__.py").read_text()
        family = ".".join(path.parent.relative_to(self.copy).parts)
        test = "tests/test_api.py::test_docstring_describes_every_argument"
        for unit in sorted(self.concerned.names[path]):
            if f'    "{unit}",' in exported:
                yield 0.1, f"{test}_with_its_default[{family}.{unit}]"

    def finds(self, mutant):
        """Which test finds the mutant, None if none does."""
        for tests in (self.own, self.named, self.others):
            if found := self.fails(mutant, tests(mutant)):
                return found
        return None

    def fails(self, mutant, tests):
        """The first of the tests that fails, as far as `BUDGET` goes."""
        names, total = [], 0.0
        for seconds, name in tests:
            if name not in names and (not names or total + seconds <= BUDGET):
                names.append(name)
                total += seconds
        if not names:
            return None

        def run():
            failure = FirstFailure()
            try:
                status = self.pytest(["-x", *names], failure)
            except Exception as error:
                return f"{error!r} when it is imported"
            return (failure.name or f"pytest ends with {status}") if status else ""

        path = self.copy / mutant.file
        original = path.read_bytes()
        path.write_bytes(mutant.source(original))
        try:
            found = self.in_child(run, 30 + 4 * total)
        finally:
            path.write_bytes(original)
        return "it never ends, or dies" if found is None else found or None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="*", default=FOLDERS)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    at = {tuple(p.split(":")) for p in options.paths if ":" in p}
    paths = [ROOT / p.split(":")[0] for p in options.paths]
    files = [f for p in paths for f in (sorted(p.rglob("*.py")) if p.is_dir() else [p])]
    files = list(dict.fromkeys(files))
    if options.sample:
        mutants = sampled(files, options.sample, options.seed)
    else:
        mutants = [m for f in files for m in mutants_of(f)]
    for file in {file for file, _ in at}:
        mutants = [m for m in mutants if m.file != file or (file, str(m.line)) in at]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        sys.exit(judge(Suite(folder, options.thorough), mutants))


def judge(suite, mutants):
    """Runs the tests for each mutant and prints what they do not find."""
    suite.prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = suite.folder / "results.jsonl"
    known = {}
    if results.exists():
        known = dict(map(json.loads, results.read_text().splitlines()))
    tried = [m for m in mutants if not why_equivalent(m)]
    for mutant in tried:
        if str(mutant) not in known:
            known[str(mutant)] = suite.finds(mutant)
            with results.open("a") as file:
                file.write(json.dumps([str(mutant), known[str(mutant)]]) + "\n")
        if known[str(mutant)] is None:
            print(mutant.diff((ROOT / mutant.file).read_bytes()), flush=True)
    for folder in [*sorted({folder_of(m.file) for m in mutants}), ""]:
        all_, those = (
            [m for m in group if folder in ("", folder_of(m.file))]
            for group in (mutants, tried)
        )
        found = sum(known[str(m)] is not None for m in those)
        equivalent = f"{len(all_) - len(those):3} equivalent"
        print(f"{found:4} of {len(those):4} found, {equivalent}  {folder or 'in all'}")
    return 0 if all(known[str(m)] for m in tried) else 1


if __name__ == "__main__":
    main()
