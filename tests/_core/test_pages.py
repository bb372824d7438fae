import pytest

from keras_ext._core._figures import new_figure
from keras_ext._core._pages import picture, require_page, section, table, write_page


def test_a_page_is_whole_and_holds_any_text(tmp_path):
    figure, axes = new_figure(extra="explain", size=(2, 1))
    axes.plot([1, 2])
    sections = [section("A < B", picture(figure, 'a "line"'))]
    path = tmp_path / "page.html"
    write_page(path, title="Q & A", facts=["1 < 2", "x"], sections=sections, footer="-")
    text = path.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.rstrip().endswith("</html>")
    for part in ("<title>Q &amp; A</title>", "1 &lt; 2 · x", "<h2>A &lt; B</h2>"):
        assert part in text
    assert 'alt="a &quot;line&quot;" src="data:image/png;base64,iVBOR' in text
    assert "<script" not in text
    assert "http" not in text


@pytest.mark.parametrize(("path", "title"), [("", "t"), (1, "t"), ("p", 2)])
def test_what_is_no_path_or_title_is_refused(path, title):
    with pytest.raises(ValueError, match="`(path|title)` must be a (path|text)"):
        require_page(path, title)


def test_tables_hold_any_text():
    found = table(["<word>", "n"], ["a & b"], [["1"]])
    assert "<th>&lt;word&gt;</th><th>n</th>" in found
    assert "<tr><td>a &amp; b</td><td>1</td></tr>" in found
