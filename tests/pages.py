"""Runs the Python blocks of pages, and compares what they print with what is shown.

Run: `python tests/pages.py [--write] PAGE...`

The blocks of a page run in order in one namespace. A block of text right below one of
Python is what it prints: numbers may differ a little, since what a training ends with
depends on the processor. Progress bars are left out. `--write` puts what is printed
into the page.
"""

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<text>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
PROGRESS = re.compile(
    r"Epoch \d+/\d+\s*$"
    r"|.*\d+/(\d+|Unknown).* \d+[mu]?s/(step|epoch)"
    r"|\s*\d+% done|This takes about "
    r"|\s*$"
)
# Times, and chances that a training has come to.
VARYING = re.compile(
    r"\(\d+ s\)|\b\d+:\d\d(?::\d\d)?\b|\(p=[\d.e-]+\)|\d[\d.,]* ± \d[\d.,]*"
)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")
TOLERANCE = 0.5  # of a number; trainings differ from processor to processor
SMALLEST = 0.05


def printed(raw):
    """What was printed, without progress bars, and with the last state of a line."""
    raw = re.sub(r"\x1b\[[\d;]*m", "", raw).replace("\x08", "")
    lines = [line.split("\r")[-1].rstrip() for line in raw.split("\n")]
    return "".join(line + "\n" for line in lines if not PROGRESS.match(line))


def run(page):
    """Yields the match of each block of a page, and what it printed."""
    text = Path(page).read_text()
    namespace = {"__name__": Path(page).stem}
    for block in BLOCK.finditer(text):
        # The lines keep their numbers, so that a traceback points into the page.
        above = "\n" * text.count("\n", 0, block.start("code"))
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(above + block["code"], str(page), "exec"), namespace)
        yield block, printed(out.getvalue())


def agree(shown, found):
    """Whether two texts are the same but for what varies and differences of numbers."""
    shown, found = (VARYING.sub("(...)", text) for text in (shown, found))
    if " ".join(NUMBER.sub("#", shown).split()) != " ".join(
        NUMBER.sub("#", found).split()
    ):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(found), strict=True)
    return all(close(float(a), float(b)) for a, b in pairs)


def close(a, b):
    return abs(a - b) <= max(SMALLEST, TOLERANCE * max(abs(a), abs(b)))


def differences(page):
    """What a page shows, and what its blocks printed, where these differ."""
    return [
        f"The page shows:\n{block['text'] or ''}\nIts block printed:\n{found}"
        for block, found in run(page)
        if not agree(block["text"] or "", found)
    ]


def write(page):
    """Puts what the blocks print below them."""
    text = Path(page).read_text()
    parts, end = [], 0
    for block, found in run(page):
        parts += [text[end : block.start()], f"```python\n{block['code']}```\n"]
        parts += [f"\n```text\n{found}```\n"] if found else []
        end = block.end()
    Path(page).write_text("".join(parts) + text[end:])


def main():
    pages = [Path(page).resolve() for page in sys.argv[1:] if page != "--write"]
    for page in pages:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            if "--write" in sys.argv:
                write(page)
                continue
            if found := differences(page):
                sys.exit(f"{page}\n" + "\n".join(found))


if __name__ == "__main__":
    main()
