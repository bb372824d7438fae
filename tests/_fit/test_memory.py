from collections import deque

import numpy as np

import keras_ext as kx
from keras_ext._fit._memory import memory_of, recall
from keras_ext._fit._packed import packed, unpacked


class Counter:
    """A controller of somebody else: no list of what it remembers."""

    def __init__(self, target):
        self.target = target
        self.count = 0
        self.last = deque([1, 2], maxlen=2)
        self.random = np.random.default_rng(0)
        self.rate = kx.HyperVariable(0.5, "rate")
        self.inner = None

    def update(self, value):
        self.count += 1
        self.last.append(value)
        self.rate.assign(value)
        return self.random.random()


def test_another_goes_on_like_the_first():
    first, second = Counter(1.0), Counter(2.0)
    first.inner, second.inner = Counter(0.0), Counter(0.0)
    first.update(3)
    first.inner.update(4)
    recall(second, unpacked(packed(memory_of(first))))
    assert second.target == 2.0  # what it was made with is its own
    assert (second.count, list(second.last), float(second.rate)) == (1, [2, 3], 3.0)
    assert second.last.maxlen == 2
    assert second.inner.count == 1
    assert first.update(5) == second.update(5)


def test_a_bandit_draws_the_same_arms():
    first, second = (kx.controllers.Bandit([1, 2, 3], seed=s) for s in (0, 1))
    for _ in range(5):
        first.update(1.0)
    recall(second, unpacked(packed(memory_of(first))))
    assert [first.update(0.5) for _ in range(9)] == [
        second.update(0.5) for _ in range(9)
    ]


def test_a_policy_in_a_policy_is_found():
    sizes = kx.controllers.batch_size

    def policy():
        return sizes.Staged([(0, sizes.OnPlateau("loss", patience=2))])

    flat = sizes.Measured(8, 8, logs={"loss": 1.0})
    first, second = policy(), policy()
    assert [first.update(flat) for _ in range(2)] == [8, 8]
    recall(second, unpacked(packed(memory_of(first))))
    assert first.update(flat) == second.update(flat) == 16
