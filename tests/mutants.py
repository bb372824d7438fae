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
import builtins
import compileall
import functools
import json
import os
import random
import re
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).parents[1]
FOLDERS = [
    f"keras_ext/{name}"
    for name in (
        "core",
        "gradients",
        "optimizers",
        "signals",
        "controllers",
        "explain/_methods",
    )
]
# How long the tests of one change take at most, in seconds without a change.
BUDGET = 60.0
# Of the tests of what imports a file, those of so many files are looked at.
ENOUGH = 3
MEMORY = 12 << 30
# The function that a marked statement calls.
NOTE = "_note_that_this_line_is_run"

# Changes that leave what the library does as it is: a file, the line that is changed,
# how; and why. They are not tried.
EQUIVALENT: dict[tuple[str, str, str], str] = {}

COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}


@dataclass(frozen=True)
class Mutant:
    """A change of the bytes from `start` to `stop` of a file.

    `reached` are the lines of which a test must run one to see it; of those that run
    when the library is imported, the lines of the class or function around it.
    """

    file: str
    line: int
    start: int
    stop: int
    new: str
    what: str
    reached: tuple[int, int]
    at_import: bool

    def __str__(self):
        return f"{self.file}:{self.line} {self.what} at {self.start}"

    def source(self, original):
        return original[: self.start] + self.new.encode() + original[self.stop :]

    def diff(self, original):
        """The lines before and after, as in a diff."""
        first = original.rfind(b"\n", 0, self.start) + 1
        end = original.find(b"\n", self.stop)
        old = original[first:end].decode()
        longer = len(self.new) - (self.stop - self.start)
        new = self.source(original)[first : end + longer].decode()
        both = [("-", old), ("+", new)]
        lines = [sign + line for sign, text in both for line in text.split("\n")]
        return "\n".join([f"{self.file}:{self.line}", *lines])


class Mutants(ast.NodeVisitor):
    """Finds the mutants of a file."""

    def __init__(self, file, source):
        self.file, self.source, self.found = file, source, []
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        # What is around the present node: whether it runs at import, and which lines.
        self.at_import = True
        self.lines = (1, len(self.starts))
        self.visit(ast.parse(source))

    def span(self, node):
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def add(self, start, stop, new, what):
        mutant = Mutant(
            self.file,
            self.source.count(b"\n", 0, start) + 1,
            start,
            stop,
            new,
            what,
            self.lines,
            self.at_import,
        )
        compile(mutant.source(self.source), self.file, "exec")
        self.found.append(mutant)

    def replace(self, node, new, what):
        self.add(*self.span(node), new, what)

    def swap(self, left, right, pair):
        """Changes the operator between two nodes."""
        old, new = pair
        start, stop = self.span(left)[1], self.span(right)[0]
        words = re.escape(old).replace("\\ ", r"\s+")
        found = re.search(words.encode(), self.source[start:stop])
        where = start + found.start(), start + found.end()
        self.add(*where, new, f"`{old}` to `{new}`")

    def visit(self, node):
        before = self.lines, self.at_import
        if isinstance(node, ast.stmt) and not self.at_import:
            # Of a compound statement this is the head: its body follows on its own.
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno
            self.lines = (node.lineno, max(last, node.lineno))
        super().visit(node)
        self.lines, self.at_import = before

    def visit_FunctionDef(self, node):
        before = self.lines, self.at_import
        self.lines = (node.body[0].lineno, node.end_lineno)
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        self.at_import = False
        self.visit_all(without_docstring(node.body))
        self.lines, self.at_import = before

    def visit_ClassDef(self, node):
        before = self.lines
        if self.at_import:
            self.lines = (node.lineno, node.end_lineno)
        self.visit_all(without_docstring(node.body))
        self.lines = before

    def visit_Module(self, node):
        self.visit_all(without_docstring(node.body))

    def visit_all(self, nodes):
        for node in nodes:
            self.visit(node)

    def visit_AnnAssign(self, node):
        if ast.unparse(node.annotation) == "TypeAlias" or node.value is None:
            return
        self.delete_assignment(node, [node.target])
        self.visit(node.value)

    def visit_Assign(self, node):
        if ast.unparse(node.targets[0]) == "__all__":
            return
        self.delete_assignment(node, node.targets)
        self.generic_visit(node)

    def delete_assignment(self, node, targets):
        if all(isinstance(t, ast.Attribute | ast.Subscript) for t in targets):
            self.replace(node, "pass", "deleted")

    def visit_AugAssign(self, node):
        self.replace(node, "pass", "deleted")
        if type(node.op) in OPERATORS:
            old, new = OPERATORS[type(node.op)]
            self.swap(node.target, node.value, (f"{old}=", f"{new}="))
        self.generic_visit(node)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            self.replace(node, "pass", "deleted")
        self.generic_visit(node)

    def visit_Raise(self, node):
        self.replace(node, "pass", "deleted")

    def visit_Break(self, node):
        self.replace(node, "pass", "deleted")

    visit_Continue = visit_Break  # noqa: N815

    def visit_Return(self, node):
        if not isinstance(node.value, ast.Constant | None):
            self.replace(node.value, "None", "returns None")
        self.generic_visit(node)

    def visit_If(self, node):
        self.decide(node.test)
        self.generic_visit(node)

    visit_IfExp = visit_If  # noqa: N815

    def visit_While(self, node):
        if not isinstance(node.test, ast.Constant):
            self.replace(node.test, "False", "never")
        self.generic_visit(node)

    def visit_comprehension(self, node):
        for test in node.ifs:
            self.decide(test)
        self.generic_visit(node)

    def decide(self, test):
        self.replace(test, "True", "always")
        self.replace(test, "False", "never")

    def visit_Compare(self, node):
        operands = [node.left, *node.comparators]
        for left, right, op in zip(operands, operands[1:], node.ops, strict=False):
            self.swap(left, right, COMPARISONS[type(op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.swap(left, right, OPERATORS[type(node.op)])
        self.generic_visit(node)

    def visit_BinOp(self, node):
        if type(node.op) in OPERATORS:
            self.swap(node.left, node.right, OPERATORS[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            sign = {ast.Not: "not ", ast.USub: "-", ast.Invert: "~"}[type(node.op)]
            start = self.span(node)[0]
            self.add(start, start + len(sign), "", f"without `{sign.strip()}`")
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.replace(node, str(not node.value), f"not {node.value}")
        elif isinstance(node.value, int):
            self.replace(node, str(node.value + 1), f"{node.value} plus 1")
        elif isinstance(node.value, float):
            self.replace(node, str(node.value * 2 or 1.0), f"{node.value} doubled")

    def visit_keyword(self, node):
        # Lengths that differ are a mistake within the library, which no test can make.
        if node.arg != "strict":
            self.generic_visit(node)

    def visit_JoinedStr(self, node):
        """Python 3.11 has no positions within them."""

    def visit_arguments(self, node):
        """Annotations are not run; of a lambda the defaults are rare."""


def without_docstring(body):
    first = body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text else body


def mutants_of(path):
    """The mutants of a file that are not known to be equivalent."""
    source = path.read_bytes()
    file = str(path.relative_to(ROOT))
    lines = source.decode().split("\n")
    return [
        m
        for m in Mutants(file, source).found
        if (file, lines[m.line - 1].strip(), m.what) not in EQUIVALENT
    ]


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


class Concerned:
    """Says which test files concern which file of the library."""

    def __init__(self, root):
        self.root = root
        self.importers = defaultdict(set)
        self.names = {}
        for path in root.glob("keras_ext/**/*.py"):
            tree = ast.parse(path.read_text())
            kinds = ast.ClassDef | ast.FunctionDef
            defined = {n.name for n in tree.body if isinstance(n, kinds)}
            self.names[path] = {n for n in defined if not n.startswith("_")}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    self.importers[node.module].add(path)
        self.texts = {p: p.read_text() for p in root.glob("tests/**/test_*.py")}

    def mirrors(self, path):
        """The test file of the same name, in the same folder or one above it."""
        folder, *_, file = path.relative_to(self.root).parts
        name = f"test{path.name}"
        for above in path.relative_to(self.root / folder).parents:
            candidate = self.root / "tests" / above / name
            if path.name.startswith("_") and candidate.exists():
                return [candidate]
        return []

    def module(self, path):
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if file_is_package(path) else parts)

    def mirrors_of_importers(self, path, seen):
        """Of those that have none the importers of them, and so on."""
        found = []
        for other in sorted(self.importers[self.module(path)] - seen):
            seen.add(other)
            if file_is_package(other) and not other.parent.name.startswith("_"):
                continue
            found += self.mirrors(other) or self.mirrors_of_importers(other, seen)
        return found

    @functools.cache  # noqa: B019
    def tiers(self, file):
        """Test files, or the file itself for its docstrings, the closest first."""
        path = self.root / file
        own = [*self.mirrors(path), path]
        module = re.escape(self.module(path))
        names = "|".join(sorted(self.names[path])) or "(?!)"
        word = re.compile(rf"{module}\b|\bkx?g?\w*\.({names})\b|import .*\b({names})\b")
        folders = [f.replace("keras_ext", "tests") for f in FOLDERS]
        inside = tuple(str(self.root / f) for f in [*folders, "tests/explain"])
        family = self.root / "tests" / Path(file).parts[1]
        named = [
            test
            for test, text in sorted(self.texts.items())
            if (str(test).startswith(inside) and word.search(text))
            or (test.parent == family and test.name.startswith("test_every"))
        ]
        others = sorted(
            self.mirrors_of_importers(path, {path}),
            key=lambda test: (test.parent != family, test.stat().st_size),
        )
        tiers, seen = [], set()
        for tier in (own, named, others):
            tiers.append([t for t in dict.fromkeys(tier) if t not in seen])
            seen |= set(tier)
        return tiers


def file_is_package(path):
    return path.name == "__init__.py"


class Marked(ast.NodeTransformer):
    """Puts before each statement of a function a note that it is run."""

    def __init__(self, file):
        self.file = file

    def visit_FunctionDef(self, node):
        for block in [
            n for n in ast.walk(node) if isinstance(n, ast.stmt | ast.excepthandler)
        ]:
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(block, field, [])
                if not isinstance(block, ast.ClassDef) and statements:
                    setattr(block, field, list(self.noted(statements)))
        return node

    def noted(self, statements):
        for i, statement in enumerate(statements):
            is_docstring = i == 0 and without_docstring(statements) != statements
            if not is_docstring:
                note = ast.parse(f"{NOTE}({(self.file, statement.lineno)!r})").body[0]
                yield ast.copy_location(note, statement)
            yield statement


class Recorder:
    """Records which statements of the library each test runs, and for how long.

    A recorder would slow down all of TensorFlow, and not see its threads.
    """

    def __init__(self, root):
        self.prefix = f"{root}/"
        self.found, self.passed, self.lines = {}, {}, set()
        setattr(builtins, NOTE, lambda line: self.lines.add(line))
        load = SourceFileLoader.get_code

        def get_code(loader, fullname):
            path = loader.path.removeprefix(self.prefix)
            if not path.startswith("keras_ext/") or path == loader.path:
                return load(loader, fullname)
            tree = Marked(path).visit(ast.parse(Path(loader.path).read_bytes()))
            return compile(ast.fix_missing_locations(tree), loader.path, "exec")

        SourceFileLoader.get_code = get_code

    def pytest_runtest_logreport(self, report):
        before = self.passed.get(report.nodeid, True)
        self.passed[report.nodeid] = before and report.passed

    def pytest_runtest_logstart(self, nodeid, location):
        self.lines.clear()
        self.start = time.perf_counter()

    def pytest_runtest_logfinish(self, nodeid, location):
        if self.passed.get(nodeid):
            files = defaultdict(list)
            for file, line in sorted(self.lines):
                files[file].append(line)
            self.found[nodeid] = [time.perf_counter() - self.start, files]


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
        if not self.copy.exists():
            for name in ("keras_ext", "tests"):
                without = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, self.copy / name, ignore=without)
            for name in ("conftest.py", "pyproject.toml"):
                shutil.copy(ROOT / name, self.copy)
        for original in (ROOT / "keras_ext").rglob("*.py"):
            # A run that was stopped may have left a mutant.
            name = original.relative_to(ROOT)
            if not (self.copy / name).exists() or (
                (self.copy / name).read_bytes() != original.read_bytes()
            ):
                shutil.copy(original, self.copy / name)
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
    for mutant in mutants:
        if str(mutant) not in known:
            known[str(mutant)] = suite.finds(mutant)
            with results.open("a") as file:
                file.write(json.dumps([str(mutant), known[str(mutant)]]) + "\n")
        if known[str(mutant)] is None:
            print(mutant.diff((ROOT / mutant.file).read_bytes()), flush=True)
    folders = sorted({folder_of(m.file) for m in mutants})
    for folder in [*folders, ""]:
        those = [m for m in mutants if folder in ("", folder_of(m.file))]
        found = sum(known[str(m)] is not None for m in those)
        print(f"{found:5} of {len(those):5} found  {folder or 'in all'}")
    return 0 if all(known[str(m)] for m in mutants) else 1


if __name__ == "__main__":
    main()
