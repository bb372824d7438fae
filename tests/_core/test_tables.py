"""Tables in notebooks."""

from xml.etree import ElementTree

from keras_ext._core._tables import html_table


def test_texts_are_texts_and_numbers_stand_on_the_right():
    rows = [["name", "size"], ["<b> & co", "12"], ["other", "1,000"]]
    page = ElementTree.fromstring(html_table(rows, above="a < b", below="end"))
    cells = [[cell.text for cell in row] for row in page.iter("tr")]
    assert cells == rows
    assert [p.text for p in page.iter("p")] == ["a < b", "end"]
    sides = [cell.get("style").partition("text-align:")[2] for cell in page.iter("td")]
    assert sides == ["left", "right"] * 2
