import ast
import builtins

from tests.mutants import EQUIVALENT, ROOT
from tests.mutations import Mutants
from tests.reached import NOTE, Marked

SOURCE = '''
def clip(x: "int | None", least=0, *, most: float = 2.0) -> "int | None":
    """Clips to [0, 2 - 1]."""
    if x < least and not (x == 1):
        self.seen += 1
    while x > most:
        raise ValueError(f"{x - 1}")
    return -x
'''
CHANGED = {
    ("0 plus 1", "least=1, *"),
    ("2.0 doubled", "most: float = 4.0"),
    ("always", "if True:"),
    ("never", "if False:"),
    ("`<` to `<=`", "x <= least"),
    ("`and` to `or`", "least or not"),
    ("without `not`", "and (x == 1)"),
    ("`==` to `!=`", "x != 1"),
    ("1 plus 1", "x == 2)"),
    ("deleted", "        pass\n    while"),
    ("`+=` to `-=`", "seen -= 1"),
    ("1 plus 1", "seen += 2"),
    ("never", "while False:"),
    ("`>` to `>=`", "x >= most"),
    ("deleted", "        pass\n    return"),
    ("returns None", "return None"),
    ("without `-`", "return x"),
}


def test_each_mutant_changes_one_place():
    mutants = Mutants("clip.py", SOURCE.encode()).found
    texts = [(m.what, m.source(SOURCE.encode()).decode()) for m in mutants]
    assert len(mutants) == len(CHANGED)
    for what, part in CHANGED:
        assert part not in SOURCE
        assert [w for w, text in texts if part in text] == [what]


def test_a_mutant_knows_its_lines():
    by_line = {m.line: m for m in Mutants("clip.py", SOURCE.encode()).found}
    assert by_line[4].diff(SOURCE.encode()).split("\n")[0] == "clip.py:4"
    assert by_line[5].reached == (5, 5)
    assert not by_line[5].at_import
    # A default is seen by whatever test runs the function.
    assert by_line[2].reached == (3, 8)
    assert by_line[2].at_import


def test_notes_say_which_statements_ran(monkeypatch):
    ran = []
    monkeypatch.setattr(builtins, NOTE, ran.append, raising=False)
    tree = ast.fix_missing_locations(Marked("clip.py").visit(ast.parse(SOURCE)))
    scope = {}
    exec(compile(tree, "clip.py", "exec"), scope)
    assert scope["clip"](1) == -1
    assert scope["clip"].__doc__ == "Clips to [0, 2 - 1]."
    assert ran == [("clip.py", 4), ("clip.py", 6), ("clip.py", 8)]


def test_equivalent_mutants_exist():
    for file, line, what in EQUIVALENT:
        source = (ROOT / file).read_bytes()
        lines = source.decode().split("\n")
        found = Mutants(file, source).found
        assert any(m.what == what and lines[m.line - 1].strip() == line for m in found)
