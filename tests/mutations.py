"""Single changes of source text that tests should find, for `tests/mutants.py`."""

import ast
import re
from dataclasses import dataclass

# What is changed.
FOLDERS = [
    "keras_ext/_core",
    "keras_ext/_keras",
    "keras_ext/_anatomy",
    "keras_ext/_live",
    "keras_ext/_fit",
    "keras_ext/_engine",
    "keras_ext/gradients",
    "keras_ext/optimizers",
    "keras_ext/signals",
    "keras_ext/controllers",
    "keras_ext/explain/_methods",
]
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
