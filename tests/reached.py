"""Which tests concern which lines of the library, for `tests/mutants.py`."""

import ast
import builtins
import re
import time
from collections import defaultdict
from importlib.machinery import SourceFileLoader
from pathlib import Path

from tests.mutations import FOLDERS, without_docstring

# The function that a marked statement calls.
NOTE = "_note_that_this_line_is_run"


class Concerned:
    """Says which test files concern which file of the library, as relative paths."""

    def __init__(self, root):
        self.root = root
        self.importers, self.names = defaultdict(set), {}
        for path in sorted(root.glob("keras_ext/**/*.py")):
            file = str(path.relative_to(root))
            tree = ast.parse(path.read_text())
            kinds = ast.ClassDef | ast.FunctionDef
            defined = [n.name for n in tree.body if isinstance(n, kinds)]
            self.names[file] = [n for n in defined if not n.startswith("_")]
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    self.importers[node.module].add(file)
        tests = sorted(root.glob("tests/**/test_*.py"))
        self.texts = {str(p.relative_to(root)): p.read_text() for p in tests}

    def mirrors(self, file):
        """The test file of the same name and the examples in the file itself."""
        return [*self._mirror(file), file]

    def _mirror(self, file):
        """In the folder of the same name, or one above it."""
        above = Path(file).relative_to("keras_ext").parents
        names = [str("tests" / folder / f"test{Path(file).name}") for folder in above]
        return [name for name in names if name in self.texts][:1]

    def named(self, file):
        """Test files that name what the file defines, and `test_every_*` of its family.

        Only those of `FOLDERS`, since the tests of callbacks train for long.
        """
        names = "|".join(self.names[file]) or "(?!)"
        module = re.escape(module_of(file))
        word = re.compile(rf"{module}\b|\b(g|k\w*)\.({names})\b|import .*\b({names})\b")
        inside = tuple(
            f.replace("keras_ext", "tests") for f in [*FOLDERS, "tests/explain"]
        )
        every = "/".join(["tests", Path(file).parts[1], "test_every_"])
        found = [
            test
            for test, text in self.texts.items()
            if test.startswith(every) or (test.startswith(inside) and word.search(text))
        ]
        return [test for test in found if test not in self.mirrors(file)]

    def importing(self, file):
        """The mirrors of what imports it; without those, of what imports that."""
        family = f"tests/{Path(file).parts[1]}/"
        found = set(self._mirrors_of_importers(file, {file}))
        found -= {*self.named(file), *self.mirrors(file)}
        return sorted(
            found, key=lambda t: (not t.startswith(family), len(self.texts[t]), t)
        )

    def _mirrors_of_importers(self, file, seen):
        for other in sorted(self.importers[module_of(file)] - seen):
            seen.add(other)
            folder, name = Path(other).parts[-2:]
            # What a family exports is imported by all.
            if name == "__init__.py" and not folder.startswith("_"):
                continue
            yield from self._mirror(other) or self._mirrors_of_importers(other, seen)


def module_of(file):
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


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
