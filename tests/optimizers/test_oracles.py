"""Every optimizer against those of others, on one stream of fifty gradients.

`fixtures/make_optimizers.py` says which, and with which arguments.
"""

import numpy as np
import pytest

import keras_ext as kx
from tests.optimizers.streams import KEPT, Run, oracle

o = kx.optimizers
OURS = {
    "LAMB": lambda: o.LAMB(0.01, weight_decay=0.1),
    "Prodigy": lambda: o.Prodigy(initial_distance=1e-3, weight_decay=0.1),
    "Prodigy safeguarded": lambda: o.Prodigy(
        initial_distance=1e-3, safeguard_warmup=True
    ),
    "RAdam": lambda: o.RAdam(0.01),
}


@pytest.mark.parametrize("name", OURS)
def test_follows_its_oracle(name):
    found = Run(OURS[name]).kept()
    for t, ours, theirs in zip(KEPT, found, oracle(name), strict=True):
        for a, e in zip(ours, theirs, strict=True):
            message = f"after {t} updates"
            np.testing.assert_allclose(a, e, rtol=0, atol=1e-5, err_msg=message)
