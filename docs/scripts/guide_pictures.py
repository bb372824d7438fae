"""Makes the pictures of guides: what the code of a page saves and the page shows.

Run: `python -m docs.scripts.guide_pictures PAGE...`, such as
`docs/pages/guides/adaptive_dropout.md`, or with a picture that an example or a study
has written, such as `explain_tabular.png`, to copy it

The blocks of each page run as `tests/pages.py` runs them, in a folder of their own.
Says where they print something else than the page shows.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests import pages

IMAGES = Path(__file__).parents[1] / "pages" / "images"
_COLORS = 128
SAVED = re.compile(r'"(\w+\.png)"')


def saved_by(page):
    """The names of the pictures that the code of a page saves, in their order."""
    blocks = pages.BLOCK.finditer(Path(page).read_text())
    return [name for block in blocks for name in SAVED.findall(block["code"])]


def copy(path):
    """With a palette it takes a third of the bytes, and looks the same."""
    image = Image.open(path).convert("RGB").quantize(_COLORS, dither=0)
    image.save(IMAGES / Path(path).name, optimize=True)
    print(f"{path}: {(IMAGES / Path(path).name).stat().st_size / 1000:.0f} kB")


def make(page):
    """Runs the code of a page, and puts what it saves to the other pictures."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        found = pages.differences(page)
        for name in saved_by(page):
            copy(name)
    print(*found, sep="\n", end="")


def main():
    if len(sys.argv) == 2:
        path = Path(sys.argv[1]).resolve()
        copy(path) if path.suffix == ".png" else make(path)
        return
    for page in sys.argv[1:]:  # each in a fresh process, as a reader would
        module = "docs.scripts.guide_pictures"
        subprocess.run([sys.executable, "-m", module, page], check=True)


if __name__ == "__main__":
    main()
