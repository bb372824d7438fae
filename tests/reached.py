"""Which tests concern which lines of the library, for `tests/mutants.py`."""

import ast
import builtins
import functools
import re
import time
from collections import defaultdict
from importlib.machinery import SourceFileLoader
from pathlib import Path

from tests.mutations import FOLDERS, without_docstring

# The function that a marked statement calls.
NOTE = "_note_that_this_line_is_run"


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
        for above in path.relative_to(self.root / "keras_ext").parents:
            mirror = self.root / "tests" / above / f"test{path.name}"
            if mirror.exists():
                return [mirror]
        return []

    def module(self, path):
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if is_package(path) else parts)

    def mirrors_of_importers(self, path, seen):
        """Of those that have none the importers of them, and so on."""
        found = []
        for other in sorted(self.importers[self.module(path)] - seen):
            seen.add(other)
            # What a family exports is imported by all.
            if is_package(other) and not other.parent.name.startswith("_"):
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
        word = re.compile(rf"{module}\b|\b(g|k\w*)\.({names})\b|import .*\b({names})\b")
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


def is_package(path):
    return path.name == "__init__.py"


class Marked(ast.NodeTransformer):
    """Puts before each statement of a function a note that it is run."""

    def __init__(self, file):
        self.file = file

    def visit_FunctionDef(self, node):
        kinds = ast.stmt | ast.excepthandler
        for block in [n for n in ast.walk(node) if isinstance(n, kinds)]:
            for field in ("body", "orelse", "finalbody"):
                if not isinstance(block, ast.ClassDef) and hasattr(block, field):
                    statements = getattr(block, field)
                    setattr(block, field, list(self.noted(statements)))
        return node

    def noted(self, statements):
        for i, statement in enumerate(statements):
            if i or without_docstring(statements) == statements:
                note = ast.parse(f"{NOTE}({(self.file, statement.lineno)!r})").body[0]
                yield ast.copy_location(note, statement)
            yield statement


class Recorder:
    """Records which statements of the library each test runs, and for how long.

    A tracer would slow down all of TensorFlow, and not see its threads.
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
