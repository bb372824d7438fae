"""What mkdocs adds to the pages while it builds the site.

A page `api/FAMILY.md` lists public names as `::: NAME`. Each gets a page of its own,
with the guides and examples that use it; the list becomes one of links. Guides end with
links to the pages of what they use, and names in their text become links.
"""

import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
ENTRY = re.compile(r"^::: (\S+)\n((?: .*\n|\n(?= ))*)", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?<!\[)`(?:kx|keras_ext)((?:\.\w+)+)`")
SCRIPT = re.compile(r"(?<!\[)`((?:examples|benchmarks|docs)/[\w/]+\.py)( [^`]*)?`")
PERCENT = re.compile(r"(?<=\d) %")  # no line ends before it
MOST_GUIDES = 4


class Site:
    """What the hooks know of the pages: names, families, guides and examples."""

    def __init__(self, config):
        self.source = config.repo_url.rstrip("/") + "/blob/main/"
        families = {path.stem: path.read_text() for path in PAGES.glob("api/*.md")}
        self.entries = {
            name: (family, options)
            for family, text in families.items()
            for name, options in ENTRY.findall(text + "\n")
        }
        self.guides = {
            path.stem: path.read_text() for path in PAGES.glob("guides/*.md")
        }
        self.examples = {
            path.name: path.read_text() for path in ROOT.glob("examples/*.py")
        }
        package = griffe.load("keras_ext", search_paths=[ROOT], resolve_aliases=True)
        self.summaries = {
            name: package[name.removeprefix("keras_ext.")].docstring.value.split(
                "\n\n"
            )[0]
            for name in self.entries
        }

    def uri(self, name):
        family = self.entries[name][0]
        return f"api/{family}/{name.removeprefix('keras_ext.')}.md"

    def of_family(self, family):
        return [name for name, (found, _) in self.entries.items() if found == family]

    def used_in(self, text):
        """The names that a text or a script uses, those it uses most first."""
        counts = {name: uses(name, text) for name in self.entries}
        found = [name for name, count in counts.items() if count]
        return sorted(found, key=lambda name: -counts[name])

    def guides_of(self, name):
        counts = {guide: uses(name, text) for guide, text in self.guides.items()}
        found = sorted(filter(counts.get, counts), key=lambda guide: -counts[guide])
        return found[:MOST_GUIDES]

    def title(self, guide):
        return self.guides[guide].split("\n", 1)[0].removeprefix("# ")

    def example_links(self, names):
        found = [
            file
            for file, text in self.examples.items()
            if any(uses(name, text) for name in names)
        ]
        return [f"[`examples/{file}`]({self.source}examples/{file})" for file in found]


def uses(name, text):
    """How often a text says a name, in full or alone."""
    full, short = name.removeprefix("keras_ext."), name.split(".")[-1]
    return len(re.findall(rf"\b(?:kx|keras_ext)\.{re.escape(full)}\b|`{short}\b", text))


def on_config(config):
    global site
    site = Site(config)
    version = re.search(
        r'__version__ = "(.*)"', (ROOT / "keras_ext/__init__.py").read_text()
    )
    config.copyright = f"keras_ext {version[1]} · Apache-2.0"
    config.nav = [expanded(item) for item in config.nav]
    return config


def expanded(item):
    """An item of the navigation, with a page for each name below those of families."""
    if isinstance(item, dict):
        return {title: expanded(below) for title, below in item.items()}
    if isinstance(item, list):
        return [expanded(below) for below in item]
    family = Path(item).stem
    if not item.startswith("api/"):
        return item
    pages = [{name.split(".")[-1]: site.uri(name)} for name in site.of_family(family)]
    return {family: [{"Overview": item}, *pages]}


def on_files(files, config):
    for name in site.entries:
        files.append(File.generated(config, site.uri(name), content=page_of(name)))
    return files


def page_of(name):
    """One page: the signature and docstring, what uses it, and where it stands."""
    family, options = site.entries[name]
    lines = [
        "---",
        f"title: {name.split('.')[-1]}",
        "---",
        "",
        f"[`{name.rpartition('.')[0]}`](../{family}.md)",
        "",
        f"::: {name}",
        options or "",
    ]
    guides = [
        f"[{site.title(guide)}](../../guides/{guide}.md)"
        for guide in site.guides_of(name)
    ]
    for title, links in (
        ("Guides", guides),
        ("Examples", site.example_links([name])),
    ):
        if links:
            lines += ["", f"**{title}:** " + " · ".join(links)]
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown, page, config, files):
    if page.file.src_uri.startswith("api/") and page.file.src_uri.count("/") == 1:
        return ENTRY.sub(
            row, linked_alone(markdown, Path(page.file.src_uri).stem) + "\n"
        )
    if page.file.src_uri.startswith("api/"):
        return markdown
    up = "../" * page.file.src_uri.count("/")
    if page.file.src_uri.startswith("guides/"):
        markdown += links_to_reference(markdown)
    return linked(markdown, up)


def row(match):
    name = match[1]
    summary = " ".join(site.summaries[name].split())
    target = site.uri(name).removeprefix("api/")
    short = name.removeprefix("keras_ext.").removeprefix(site.entries[name][0] + ".")
    return f"- [`{short}`]({target}): {summary}\n"


def linked_alone(markdown, family):
    """The text of a family's page, with links at the names that it says alone."""
    uris = {name.split(".")[-1]: site.uri(name) for name in site.of_family(family)}

    def link(match):
        uri = uris.get(match[1])
        return f"[{match[0]}]({uri.removeprefix('api/')})" if uri else match[0]

    return re.sub(r"(?<!\[)`(\w+)`", link, markdown)


def links_to_reference(markdown):
    names = site.used_in(markdown)
    if not names:
        return ""
    links = [f"[`{name.split('.')[-1]}`](../{site.uri(name)})" for name in names]
    text = "\n## Reference\n\n" + " · ".join(links) + "\n"
    if examples := site.example_links(names[:2]):
        text += "\nExamples: " + " · ".join(examples) + "\n"
    return text


def linked(markdown, up):
    """The text with links at scripts and full public names, outside of code."""

    def link(match):
        name = "keras_ext" + match[1]
        if name not in site.entries:
            return match[0]
        return f"[{match[0]}]({up}{site.uri(name)})"

    def replace(text):
        text = SCRIPT.sub(rf"[\g<0>]({site.source}\1)", NAME.sub(link, text))
        return PERCENT.sub("\u00a0%", text)

    parts = []
    end = 0
    for fence in FENCE.finditer(markdown):
        parts += [replace(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join(parts) + replace(markdown[end:])
