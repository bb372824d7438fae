"""One call at a time, and no lock that stays."""

import threading

import keras_tuner
import pytest

from keras_ext.tuner._synchronized import synchronized


class Counting(keras_tuner.Oracle):
    inside = most = 0

    @keras_tuner.synchronized
    def stock(self, fails=False):
        self.enter()
        if fails:
            raise KeyError("inside")

    @synchronized
    def ours(self, fails=False):
        self.stock(fails)  # takes the lock that this thread has

    def enter(self):
        self.inside += 1
        self.most = max(self.most, self.inside)
        threading.Event().wait(0.001)
        self.inside -= 1


def in_another_thread(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout=1)
    return not thread.is_alive()


def test_calls_come_one_after_the_other():
    oracle = Counting()
    threads = [threading.Thread(target=oracle.ours) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert oracle.most == 1


def test_stock_stays_locked_after_an_exception_and_this_does_not():
    stock, ours = Counting(), Counting()
    with pytest.raises(KeyError):
        stock.stock(fails=True)
    assert not in_another_thread(stock.stock)
    with pytest.raises(KeyError):
        ours.ours(fails=True)
    assert in_another_thread(ours.ours)
