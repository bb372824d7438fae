"""The code of every page runs, and the reference has every public name."""

import contextlib
import inspect
import itertools
import operator
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import keras_ext
from tests import pages, thorough
from tests.forks import Forks

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"

# Those that take more than five seconds of one core.
LONG = {
    "README",
    "adaptive_dropout",
    "adaptive_regularization",
    "compression",
    "dropout_layers",
    "dynamic_batch_size",
    "dynamic_batches",
    "explain",
    "fine_tuning",
    "gradient_monitor",
    "gradient_norm_early_stopping",
    "gradient_pipeline",
    "index",
    "logs",
    "schedules",
    "search",
    "training_does_not_start",
    "which_optimizer",
    "wrapping_optimizers",
}


def pages_with_code():
    found = [ROOT / "README.md", *sorted(PAGES.rglob("*.md"))]
    return [page for page in found if pages.BLOCK.search(page.read_text())]


def short_pages():
    short = [page for page in pages_with_code() if page.stem not in LONG]
    assert len(short) == len(pages_with_code()) - len(LONG)
    return short


@pytest.mark.parametrize("page", short_pages(), ids=lambda page: page.stem)
def test_blocks_of_a_page_print_what_it_shows(page, strategies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Two of them in one process would mix up the keys of their collectives.
    two_replicas = strategies(2)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda _: two_replicas)
    assert pages.differences(page) == []


@pytest.fixture(scope="module")
def forks():
    """Fresh processes with the package, from the wheel if `WHEEL` is its folder."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if "WHEEL" in os.environ:
        environment["PYTHONPATH"] = os.environ["WHEEL"]
    with contextlib.closing(Forks(environment)) as forks:
        yield forks


@pytest.mark.thorough(thorough.PAGES)
@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.stem)
def test_page_runs_as_pasted(page, forks, tmp_path):
    status, printed = forks.run(ROOT / "tests" / "pages.py", page, folder=tmp_path)
    assert status == 0, printed[-3000:]


def rows_of_six_lines(path):
    return re.findall(
        r"^\| `.*` \| .* \| .*`.*` \| .* \|$", path.read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("seconds", [2e-5, 2e-3, 2.0])
@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_is_left_out_however_long_a_step_takes(
    verbose, seconds, capsys, monkeypatch
):
    clock = itertools.count()
    monkeypatch.setattr("time.time", lambda: next(clock) * seconds)
    bar = keras.utils.Progbar(8, verbose=verbose, unit_name="step")
    for step in range(1, 9):
        bar.update(step, values=[("loss", 2.0)], finalize=step == 8)
    raw = capsys.readouterr().out
    assert "s/step" in raw
    assert pages.printed(raw) == ""


def test_first_page_and_readme_have_the_same_six_lines():
    rows = rows_of_six_lines(ROOT / "README.md")
    assert len(rows) == 6
    assert rows_of_six_lines(PAGES / "index.md") == rows


@pytest.mark.thorough(thorough.PAGES)
def test_six_lines_are_what_the_script_prints():
    script = ROOT / "docs" / "scripts" / "six_lines.py"
    found = subprocess.check_output([sys.executable, script], text=True).splitlines()
    shown = rows_of_six_lines(ROOT / "README.md")
    assert len(found) == len(shown)
    assert all(map(pages.agree, shown, found)), found


def test_links_of_the_readme_work_on_the_package_index():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not link.startswith("https://")] == []


ADDRESS = re.compile(r"https://[\w./-]*keras-ext[\w./-]*")
INDEXES = ("https://pypi.org/", "https://img.shields.io/")


def test_links_into_the_repository_and_the_site_lead_somewhere():
    """All begin with the addresses in pyproject.toml, and their files are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    source, site = project["urls"]["Source"], project["urls"]["Documentation"]
    raw = source.replace("https://github.com", "https://raw.githubusercontent.com")
    settings = (ROOT / "docs" / "mkdocs.yml").read_text()
    assert f"repo_url: {source}\n" in settings
    assert f"site_url: {site}\n" in settings
    assert f"repository-code: {source}\n" in (ROOT / "CITATION.cff").read_text()
    texts = [*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.yml"), *PAGES.rglob("*.md")]
    links = {link for path in texts for link in ADDRESS.findall(path.read_text())}
    ours = {link for link in links if not link.startswith(INDEXES)}
    assert {link for link in ours if not link.startswith((source, site, raw))} == set()
    for link in ours:
        if path := re.fullmatch(rf"(?:{source}/blob|{raw})/main/(.+)", link):
            assert (ROOT / path[1]).exists(), link
        if path := re.fullmatch(rf"{site}(.*)", link):
            assert (PAGES / f"{path[1].rstrip('/') or 'index'}.md").exists(), link


IMAGE = re.compile(r"!\[([^]]*)\]\(\S*images/([\w.]+)\)")


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.stem)
def test_pictures_that_a_page_saves_are_shown_on_it(page):
    text = page.read_text()
    code = "".join(block["code"] for block in pages.BLOCK.finditer(text))
    saved = re.findall(r'"(\w+\.png)"', code)
    shown = {name: alternative for alternative, name in IMAGE.findall(text)}
    assert [name for name in saved if name not in shown] == []
    short = [name for name in saved if len(shown[name].split()) < FEWEST_WORDS]
    assert short == [], "say what is seen, for those who do not see it"


FEWEST_WORDS = 8
LARGEST_PICTURE = 60_000  # bytes


def test_pictures_are_there_and_used_and_small():
    paths = [ROOT / "README.md", *PAGES.rglob("*.md")]
    shown = {name for path in paths for _, name in IMAGE.findall(path.read_text())}
    found = {path.name: path for path in (PAGES / "images").iterdir()}
    assert sorted(found) == sorted(shown)
    sizes = {name: path.stat().st_size for name, path in found.items()}
    assert {n: size for n, size in sizes.items() if size > LARGEST_PICTURE} == {}


NAMES = re.compile(r"`(keras|kx|keras_ext)((?:\.\w+)+)`")


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda p: p.stem)
def test_names_on_a_page_are_there(page):
    new = {"keras.optimizers.MultiOptimizer"}  # since Keras 3.15, as the page says
    roots = {"keras": keras, "kx": keras_ext, "keras_ext": keras_ext}
    missing = []
    for root, path in NAMES.findall(page.read_text()):
        try:
            operator.attrgetter(path[1:])(roots[root])
        except AttributeError:
            missing.append(root + path)
    assert set(missing) <= (new if keras.__version__ < "3.15" else set())


def public_names(module):
    for name in module.__all__:
        member = getattr(module, name)
        if inspect.ismodule(member):
            yield from public_names(member)
        else:
            yield f"{module.__name__}.{name}"


def public_families():
    """The names of each family; those of the top are a family of their own."""
    found = {"keras_ext": []}
    for name in keras_ext.__all__:
        member = getattr(keras_ext, name)
        if inspect.ismodule(member):
            found[name] = list(public_names(member))
        else:
            found["keras_ext"].append(f"keras_ext.{name}")
    return found


def test_every_family_has_a_page_of_reference():
    pages = {page.stem for page in (PAGES / "api").glob("*.md")}
    assert pages == set(public_families())


@pytest.mark.parametrize("family", public_families())
def test_reference_has_exactly_the_public_names(family):
    page = (PAGES / "api" / f"{family}.md").read_text()
    shown = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(public_families()[family])


def test_every_public_name_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    names = [name for family in public_families().values() for name in family]
    assert [name for name in names if f"`{name}`" not in changelog] == []


# What reads like a translation, and what to write in its place.
TICS = {
    r"\bso many\b": "the number",
    r"\banew\b": "again, or re- before the verb",
    r"\bthat exists\b": "existing",
    r"\bis meant\b": "is for",
    r"\bnobody\b|\beverybody\b|\bwhoever\b": "the tool, the process, or you",
    r"\bnone are\b|(?<!there )\bis none\b": "no ... is",
    r"\bone's own\b": "your own",
}


FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("tic", TICS)
def test_pages_have_none_of_the_tics(tic):
    paths = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES.rglob("*.md")]
    found = [
        f"{path.name}: {line.strip()}"
        for path in paths
        for line in FENCE.sub("", path.read_text()).splitlines()
        if re.search(tic, line, re.IGNORECASE)
    ]
    assert found == [], f"write instead: {TICS[tic]}"


@pytest.mark.parametrize("tic", TICS)
def test_docstrings_have_none_of_the_tics(tic):
    found = [
        f"{name}: {line.strip()}"
        for names in public_families().values()
        for name in names
        for line in text_of(name).splitlines()
        if re.search(tic, line, re.IGNORECASE)
    ]
    assert found == [], f"write instead: {TICS[tic]}"


def text_of(name):
    """The docstring of a public name, without its examples."""
    unit = operator.attrgetter(name.removeprefix("keras_ext."))(keras_ext)
    return re.split(r"^Examples:", inspect.getdoc(unit) or "", flags=re.MULTILINE)[0]


# All classes of TensorFlow Addons 0.23.0, its last, that are for Keras; and what it has
# as functions only.
ADDONS = """
gelu hardshrink lisht mish rrelu snake softshrink sparsemax tanhshrink
AverageModelCheckpoint TQDMProgressBar TimeStopping
AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D CRF CorrelationCost ESN
EmbeddingBag FilterResponseNormalization GELU GroupNormalization InstanceNormalization
MaxUnpooling2D MaxUnpooling2DV2 Maxout MultiHeadAttention NoisyDense PoincareNormalize
PolynomialCrossing Snake Sparsemax SpatialPyramidPooling2D SpectralNormalization
StochasticDepth TLU WeightNormalization
ESNCell LayerNormLSTMCell LayerNormSimpleRNNCell NASCell PeepholeLSTMCell
ContrastiveLoss GIoULoss LiftedStructLoss NpairsLoss NpairsMultilabelLoss PinballLoss
SigmoidFocalCrossEntropy SparsemaxLoss TripletHardLoss TripletSemiHardLoss
WeightedKappaLoss
CohenKappa F1Score FBetaScore GeometricMean HammingLoss HarmonicMean KendallsTauB
KendallsTauC MatthewsCorrelationCoefficient MeanMetricWrapper MultiLabelConfusionMatrix
PearsonsCorrelation RSquare SpearmansRank hamming_distance
AdaBelief AdamW AveragedOptimizerWrapper COCOB ConditionalGradient CyclicalLearningRate
DecoupledWeightDecayExtension ExponentialCyclicalLearningRate LAMB LazyAdam Lookahead
MovingAverage MultiOptimizer NovoGrad ProximalAdagrad RectifiedAdam SGDW SWA
Triangular2CyclicalLearningRate TriangularCyclicalLearningRate Yogi
extend_with_decoupled_weight_decay
"""


def test_the_guide_for_users_of_addons_names_each_of_its_parts():
    page = (PAGES / "guides" / "from_tensorflow_addons.md").read_text()
    first_cells = " ".join(re.findall(r"^\|([^|]*)\|", page, re.MULTILINE))
    named = re.findall(r"`(\w+)`", first_cells)
    assert sorted(named) == sorted(ADDONS.split())


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda p: p.stem)
def test_no_text_of_a_page_is_shown_as_code(page):
    """Markdown takes lines that are indented as far as this for code."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S)
    assert re.findall(r"^ {8}.*", text, re.MULTILINE) == []


def test_no_paragraph_stands_twice():
    """On the pages of the site; the README, which stands alone, repeats the first."""
    seen = {}
    for path in PAGES.rglob("*.md"):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            text = " ".join(paragraph.split())
            if len(text) > 120 and not text.startswith(("```", "import", "pip")):
                seen.setdefault(text, []).append(path.name)
    assert {text: where for text, where in seen.items() if len(where) > 1} == {}
