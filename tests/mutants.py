"""Changes the library at one place at a time and says which changes no test finds.

    python tests/mutants.py [--sample 300] [--seed 0] [paths…]

A path is a file, a folder or `file.py:line`; without a sample, every change is tried.
What is changed: comparisons, numbers and booleans, signs, arithmetic and boolean
operators, the branch that is taken, what is returned; and statements are deleted. Of a
local variable they are not, since nearly every test finds that.

Each change runs the tests that reach the line, until one fails: first those of the
file that mirrors it and its docstring, then those that name it or are of its family,
and then those of what imports it. Short ones come first, `BUDGET` seconds of each
kind. Which test reaches which line is found by running them once.

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
        "doublings = min(int(measured.epoch) // self.every_epochs, 1000)",
        "1000 plus 1",
    ): "any bound below 1024 keeps the power of two from overflowing",
    (
        "keras_ext/_engine/_local_updates.py",
        "accumulates = False",
        "not False",
    ): "each batch begins an update, so what is kept for several is never used",
    (
        "keras_ext/_engine/_shown_weights.py",
        "if strategy.num_replicas_in_sync == 1:",
        "`==` to `!=`",
    ): "either way works for any number of replicas, and is faster for one",
    (
        "keras_ext/_engine/_skip_non_finite.py",
        'return np.zeros(5, "int32")',
        "5 plus 1",
    ): "entries are only read by their index",
    (
        "keras_ext/explain/_methods/_deep_rules.py",
        "return linear(first, pairs, [m for m in inner if m is not None])",
        "always",
    ): "the one input of an activation has multipliers, which mypy does not know",
    (
        "keras_ext/explain/_methods/_kernel.py",
        'residual = values - np.einsum("sp,rpk->rsk", both, result, optimize=True)',
        "not True",
    ): "only the order of the products",
    (
        "keras_ext/gradients/clip/_clip_by_norm.py",
        "return self.max_norm.value * ops.ones_like(norms)",
        "`*` to `/`",
    ): "by one",
    (
        "keras_ext/gradients/clip/_clip_update_rms.py",
        "return ops.minimum(1.0, limit / ops.maximum(rms, 1e-30))",
        "1e-30 doubled",
    ): "only keeps zero from being divided by zero",
    (
        "keras_ext/optimizers/_fit_lbfgs.py",
        "if TYPE_CHECKING:",
        "always",
    ): "what is imported is there",
    (
        "keras_ext/optimizers/_fit_lbfgs.py",
        'if largest <= options["gtol"]:',
        "`<=` to `<`",
    ): "no gradient is exactly as large as the tolerance",
    (
        "keras_ext/optimizers/_muon_conv.py",
        "is_tall = matrix.shape[0] > matrix.shape[1]",
        "`>` to `>=`",
    ): "either way works for a square",
    (
        "keras_ext/optimizers/_prodigy.py",
        'slots["gradient_sum"] = slots["gradient_sum"] * self.beta_2**0.5 + gradient *'
        " (",
        "`+` to `-`",
    ): "only its size counts",
    (
        "keras_ext/signals/gradients/_layer_statistics.py",
        "self._num_alive.assign(ops.sum(alive))",
        "deleted",
    ): "only saves looking for who is alive when all are known to be",
    (
        "keras_ext/signals/gradients/_layer_statistics.py",
        "ratios = ops.where(sizes > 0, moved / ops.maximum(sizes, 1e-30), 0.0)",
        "1e-30 doubled",
    ): "only keeps zero from being divided by zero",
    (
        "keras_ext/signals/losses/_slope_probe.py",
        "_PAIRS = 4",
        "4 plus 1",
    ): "a mean over one more",
}


def mutants_of(root, file):
    return Mutants(file, (root / file).read_bytes()).found


def why_equivalent(mutant, source):
    """The reason in `EQUIVALENT`, if the mutant is in it."""
    line = source.decode().split("\n")[mutant.line - 1].strip()
    if source[: mutant.start].endswith(b"autograph="):
        return "the function has no branch that TensorFlow could rewrite"
    return EQUIVALENT.get((mutant.file, line, mutant.what))


def code_lines(path):
    """How many lines of a file hold code, other than docstrings."""
    lines = set()
    for node in ast.walk(ast.parse(path.read_text())):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if isinstance(node, ast.stmt | ast.expr) and not is_text:
            lines.add(node.lineno)
    return len(lines)


def sampled(root, files, size, seed):
    """Draws mutants of the files, from each folder in proportion to its code."""
    folders = defaultdict(list)
    for file in files:
        folders[folder_of(file)].append(file)
    code = {
        folder: sum(code_lines(root / file) for file in those)
        for folder, those in folders.items()
    }
    chosen = []
    for folder, those in folders.items():
        mutants = [m for file in those for m in mutants_of(root, file)]
        share = round(size * code[folder] / sum(code.values()))
        draw = random.Random(f"{seed} {folder}")
        chosen += draw.sample(mutants, min(share, len(mutants)))
    return sorted(chosen, key=lambda mutant: (mutant.file, mutant.start))


def folder_of(file):
    found = [folder for folder in FOLDERS if file.startswith(f"{folder}/")]
    return found[0] if found else str(Path(file).parent)


class FirstFailure:
    """Keeps the name of the test that failed."""

    name = None

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.name = self.name or report.nodeid


class Suite:
    """Runs tests of a copy of the tree, in a child for each run."""

    def __init__(self, folder, thorough):
        self.folder, self.source, self.copy = folder, folder / "source", folder / "copy"
        self.thorough = ["--thorough"] if thorough else []
        (folder / "maps").mkdir(parents=True, exist_ok=True)
        without = shutil.ignore_patterns("__pycache__")
        if not self.source.exists():
            for name in ("keras_ext", "tests"):
                shutil.copytree(ROOT / name, self.source / name, ignore=without)
            for name in ("conftest.py", "pyproject.toml"):
                shutil.copy(ROOT / name, self.source)
        # Again, since a run that was stopped may have left a mutant.
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.source, self.copy, ignore=without)
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
        stored = self.folder / "maps" / f"{test.replace('/', '+')}.json"

        def run():
            recorder = Recorder(self.copy)
            self.pytest([test], recorder)
            failed = [name for name, passed in recorder.passed.items() if not passed]
            return [recorder.found, failed]

        if not stored.exists():
            found, failed = self.in_child(run, 3600) or [{}, [test]]
            if failed:
                print("not passed without a change:", *failed, sep="\n  ", flush=True)
            stored.write_text(json.dumps(found))
        return json.loads(stored.read_text())

    def own(self, mutant):
        """The tests of the file that mirrors the mutant's; first those that reach it.

        What a fixture or a cache keeps is only seen in the test that came first, so the
        others follow.
        """
        files = self.concerned.mirrors(mutant.file)
        reach = [t for test in files for t in sorted(self.reaching(mutant, test))]
        if mutant.at_import:
            reach += self._comparing_defaults(mutant)
        rest = [(s, t) for test in files for t, (s, _) in self.map(test).items()]
        return reach + rest

    def named(self, mutant):
        """The tests that name what the file defines, or are of its family."""
        files = self.concerned.named(mutant.file)
        return sorted(t for test in files for t in self.reaching(mutant, test))

    def importing(self, mutant):
        """Tests of `ENOUGH` files of what imports it."""
        found = []
        for test in self.concerned.importing(mutant.file):
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
        for unit in sorted(self.concerned.names[mutant.file]):
            if f'    "{unit}",' in exported:
                yield 0.1, f"{test}_with_its_default[{family}.{unit}]"

    def finds(self, mutant):
        """Which test finds the mutant, None if none does."""
        for tests in (self.own, self.named, self.importing):
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
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        suite = Suite(folder, options.thorough)
        sys.exit(judge(suite, chosen(suite.source, options)))


def chosen(root, options):
    """The mutants that the command asks for."""
    at = {tuple(p.split(":")) for p in options.paths if ":" in p}
    files = []
    for path in (root / p.split(":")[0] for p in options.paths):
        inside = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        files += [str(file.relative_to(root)) for file in inside]
    files = list(dict.fromkeys(files))
    if options.sample:
        mutants = sampled(root, files, options.sample, options.seed)
    else:
        mutants = [m for file in files for m in mutants_of(root, file)]
    for file in {file for file, _ in at}:
        mutants = [m for m in mutants if m.file != file or (file, str(m.line)) in at]
    return mutants


def judge(suite, mutants):
    """Runs the tests for each mutant and prints what they do not find."""
    suite.prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = suite.folder / "results.jsonl"
    known = {}
    if results.exists():
        known = dict(map(json.loads, results.read_text().splitlines()))
    sources = {m.file: (suite.source / m.file).read_bytes() for m in mutants}
    tried = [m for m in mutants if not why_equivalent(m, sources[m.file])]
    for mutant in tried:
        if str(mutant) not in known:
            known[str(mutant)] = suite.finds(mutant)
            with results.open("a") as file:
                file.write(json.dumps([str(mutant), known[str(mutant)]]) + "\n")
        if known[str(mutant)] is None:
            print(mutant.diff(sources[mutant.file]), flush=True)
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
