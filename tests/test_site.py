"""The site as a browser shows it: built, rendered, searched, without errors."""

import contextlib
import functools
import http.server
import operator
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import keras_ext
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
    """The site, built here, unless `SITE` says where it already is."""
    if "SITE" in os.environ:
        return Path(os.environ["SITE"])
    pytest.importorskip(
        "mkdocstrings", reason="the site is built with the extra `docs`"
    )
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command += ["-f", ROOT / "docs" / "mkdocs.yml", "-d", folder]
    subprocess.run(command, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    return folder


# A page of the site in a frame. It is loaded, for the browser, when `/wait` has come,
# and that comes when the frame shows what is looked for: in real time, since workers
# of the search know no other.
FRAME = """<iframe id="frame" src="/{path}" width="1400" height="900"></iframe>
<script>
const inside = () => document.getElementById("frame").contentDocument;
setInterval(() => inside().querySelector("{selector}") && fetch("/release"), 200);
</script>
<script src="/wait"></script>
<script>
const text = document.createElement("pre");
text.textContent = inside().body.innerText;
document.body.append(text);
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    look_for = ("", "")
    released = threading.Event()

    def do_GET(self):
        if self.path == "/look":
            path, selector = Handler.look_for
            self.answer(FRAME.format(path=path, selector=selector), "text/html")
        elif self.path == "/wait":
            self.released.wait(60)
            self.answer("", "text/javascript")
        elif self.path in ("/release", "/favicon.ico"):
            if self.path == "/release":
                self.released.set()
            self.answer("", "text/plain")
        else:
            super().do_GET()

    def answer(self, text, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(folder):
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/look"
        server.shutdown()


@pytest.fixture
def show(address, tmp_path):
    """What a page shows when its scripts have run, and what they complained about."""
    if BROWSER is None:
        pytest.skip(f"there is no browser: none of {BROWSERS}")

    def show(path, selector):
        Handler.look_for = (path, selector)
        Handler.released.clear()
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
        command += ["--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        console = re.findall(r"CONSOLE.*", done.stderr)
        return done.stdout, [line for line in console if "rror" in line]

    return show


@pytest.mark.parametrize("path", PAGES)
def test_page_is_shown(show, path):
    text, errors = show(path, "article h1")
    assert PAGES[path] in text
    assert errors == []


@pytest.mark.parametrize("word", WORDS)
def test_search_finds(show, word):
    text, errors = show(f"?q={word}", ".md-search-result__item")
    assert re.search(r"[1-9]\d* matching document", text)
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
    bare = []
    for page in (ROOT / "docs" / "pages" / "api").glob("*.md"):
        for name in re.findall(
            r"^::: keras_ext\.(\S+)$", page.read_text(), re.MULTILINE
        ):
            found = folder / "api" / page.stem / name / "index.html"
            if "doc-signature" not in found.read_text():
                bare.append(operator.attrgetter(name)(keras_ext))
    # Only a base class may have nothing to show.
    assert [unit for unit in bare if "__init__" in vars(unit)] == []


SIGNATURE = re.compile(r'class="language-python doc-signature.*?</div>', re.DOTALL)


def test_no_signature_shows_a_name_that_is_not_public(folder):
    pages = list(folder.glob("api/*/*/index.html"))
    known = {"None", "True", "False"}
    known |= {page.parent.name.rpartition(".")[2] for page in pages}
    shown = {
        f"{page.parent.name}: {default}"
        for page in pages
        for signature in SIGNATURE.findall(page.read_text())
        for default in re.findall(r"=([A-Za-z_]\w*)", re.sub("<[^>]*>", "", signature))
        if default not in known
    }
    assert shown == set()
