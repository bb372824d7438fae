"""The site as a browser shows it: built, rendered, searched, without errors."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests import thorough

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
PAGES = {
    "": "Six lines that Keras ignores or gets wrong",
    "guides/training_does_not_start/": "My training does not start",
    "guides/choose/": "Which stopping rule",
    "api/callbacks/": "LayerwiseAdaptiveClipping",
    "api/callbacks/callbacks.AdaptiveDropout/": "target_gap",
    "evidence/": "Helps?",
}
WORDS = (
    "AdaptiveDropout",
    "clipping",
    "GradientPipeline",
    "replicas",
    "vanishing",
    "OneCycle",
    "Shapley",
    "pruning",
    "BOHB",
    "interrupted",
)

pytestmark = pytest.mark.thorough(thorough.LONG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip(
        "mkdocstrings", reason="the site is built with the extra `docs`"
    )
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command += ["-f", ROOT / "docs" / "mkdocs.yml", "-d", folder]
    subprocess.run(command, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    return folder


@pytest.fixture(scope="module")
def address(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def show(address, tmp_path):
    """What is in a page after its scripts have run, and what they complained about."""
    if BROWSER is None:
        pytest.skip(f"there is no browser: none of {BROWSERS}")

    def show(path):
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
        command += ["--virtual-time-budget=10000", "--dump-dom", address + path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        console = re.findall(r"CONSOLE.*", done.stderr)
        return done.stdout, [line for line in console if "rror" in line]

    return show


@pytest.mark.parametrize("path", PAGES)
def test_page_is_shown(show, path):
    text, errors = show(path)
    assert PAGES[path] in text
    assert errors == []


@pytest.mark.parametrize("word", WORDS)
def test_search_finds(show, word):
    text, errors = show(f"?q={word}")
    assert "md-search-result__item" in text
    assert errors == []


def test_links_lead_somewhere(folder):
    broken = []
    for page in folder.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text()):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            if page.name == "404.html":
                continue  # its links are of the address of the published site
            if not (target.is_file() or (target / "index.html").is_file()):
                broken.append(f"{page.relative_to(folder)}: {link}")
    assert broken == []


def test_every_name_has_its_page_with_a_signature(folder):
    names = []
    for page in (ROOT / "docs" / "pages" / "api").glob("*.md"):
        names += re.findall(r"^::: keras_ext\.(\S+)$", page.read_text(), re.MULTILINE)
        for name in names:
            found = folder / "api" / page.stem / name / "index.html"
            assert "doc-signature" in found.read_text(), name
        names.clear()
