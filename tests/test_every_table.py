"""What prints itself as a table does so in a terminal and in a notebook."""

from xml.etree import ElementTree

import pytest

import keras_ext as kx
from keras_ext.compression._pruning_report import WeightSparsity
from keras_ext.compression._size_report import SizeRow
from keras_ext.diagnostics._diagnose import Finding, Findings
from keras_ext.diagnostics._find_batch_size import BatchSizes, BatchSizeTrial
from keras_ext.diagnostics._find_learning_rate import LearningRates

TABLES = {
    "BatchSizes": BatchSizes((BatchSizeTrial(8, 9.0, None, "fits"),)),
    "Findings": Findings([Finding("vanishing", "a < b.", "less.")]),
    "LearningRates": LearningRates(
        tuple(10.0**-i for i in range(9, -9, -1)), *[tuple(range(18, 0, -1))] * 2, 1
    ),
    "OptimizerSummary": kx.optimizers.OptimizerSummary(
        ["adds"], {"kernel": {"momentum": 8}}, {"kernel": 2}, 4
    ),
    "PruningReport": kx.compression.PruningReport(
        [WeightSparsity("kernel", (2, 2), 4, 1, 3, None)]
    ),
    "SizeReport": kx.compression.SizeReport(
        4, 1, [SizeRow("float", 16, 20, None, None, None)]
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_printed_and_is_one_in_a_notebook(name):
    table = TABLES[name]
    assert repr(table) == str(table)
    page = ElementTree.fromstring(table._repr_html_())
    rows = [[cell.text for cell in row] for row in page.iter("tr")]
    assert len(rows) >= 2
    # In both there is the same.
    texts = [cell for row in rows[1:] for cell in row if cell]
    assert all(text.lower() in str(table).lower() for text in texts)


def test_no_findings_are_a_sentence():
    assert "Nothing found." in Findings()._repr_html_()
