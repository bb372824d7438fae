"""Workers of threads, which meet at a real port."""

import socket
import threading
import time

import pytest

from keras_ext.distribute import _messages
from keras_ext.distribute._cluster import Cluster
from keras_ext.distribute._rendezvous import rendezvous


@pytest.fixture
def addresses():
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = f"127.0.0.1:{server.getsockname()[1]}"
    return (first, "127.0.0.1:2", "127.0.0.1:3")


def meet(*calls, timeout=10.0):
    """Lets workers meet, and returns what was raised to each of them."""
    errors = [None] * len(calls)

    def run(number, delay, cluster, facts):
        time.sleep(delay)
        try:
            rendezvous(cluster, facts, timeout)
        except RuntimeError as error:
            errors[number] = str(error)

    threads = [
        threading.Thread(target=run, args=(number, *call))
        for number, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return errors


@pytest.mark.parametrize("delays", [(0, 0, 0), (0.5, 0, 0.2), (0, 0.5, 0.3)])
def test_all_come(addresses, delays):
    calls = [(d, Cluster(addresses, i), {"gpus": 1}) for i, d in enumerate(delays)]
    assert meet(*calls) == [None] * 3
    # The port is free again, as TensorFlow needs it.
    assert meet(*calls) == [None] * 3


def test_one_does_not_come(addresses):
    calls = [(0, Cluster(addresses, i), {}) for i in (0, 1)]
    problem = "No word within 1 seconds from worker 2 (127.0.0.1:3)."
    assert meet(*calls, timeout=1.0) == [problem] * 2


def test_the_first_does_not_come(addresses):
    found = meet((0, Cluster(addresses, 1), {}), timeout=0.5)
    assert found == [
        f"Worker 0 ({addresses[0]}) could not be reached within 0.5 seconds."
    ]


def test_they_disagree(addresses):
    calls = [(0, Cluster(addresses, i), {"gpus": i // 2}) for i in range(3)]
    problem = "The workers disagree about gpus: 0 at worker 0, 1 at worker 2."
    assert problem in meet(*calls, timeout=3.0)
    other = Cluster((*addresses[:2], "127.0.0.1:4"), 1)
    found = meet((0, Cluster(addresses, 0), {}), (0, other, {}), timeout=3.0)
    assert found[0] == found[1]
    assert found[0].startswith("The workers disagree about workers: ['127.0.0.1:")


def test_two_of_one_number(addresses):
    pair = addresses[:2]
    calls = [(0, Cluster(addresses, i), {}) for i in (0, 1, 1)]
    assert meet(*calls)[0] == "Two workers believe to be number 1."
    assert meet((0, Cluster(pair, 0), {}), (0, Cluster(pair, 1), {})) == [None] * 2


def test_one_that_was_started_again_takes_its_old_place(addresses):
    """A pod that failed while it waited for the others."""
    host, _, port = addresses[0].rpartition(":")

    def come_and_go():
        time.sleep(0.3)
        with socket.create_connection((host, int(port))) as connection:
            number = _messages.greeted(connection.recv(100))
            workers = {"workers": list(addresses)}
            told = {"index": 1, "nonce": "", **workers}
            connection.sendall(_messages.signed(told, number))
            time.sleep(0.3)

    first = threading.Thread(target=come_and_go)
    first.start()
    calls = [(delay, Cluster(addresses, i), {}) for i, delay in enumerate((0, 1, 1.2))]
    assert meet(*calls) == [None] * 3
    first.join()


def test_without_the_token_nobody_is_a_worker(addresses, monkeypatch):
    pair = addresses[:2]

    def token():
        return "the first one's" if threading.current_thread() is thread else ""

    found = []
    thread = threading.Thread(
        target=lambda: found.extend(meet_alone(Cluster(pair, 0), 1.0))
    )
    monkeypatch.setattr(_messages, "token", token)
    thread.start()
    (second,) = meet((0.2, Cluster(pair, 1), {}), timeout=0.6)
    thread.join()
    assert second == (
        f"Worker 0 ({pair[0]}) did not listen to this worker within 0.6 seconds. Have "
        "all workers the same KERAS_EXT_TOKEN and the same version of keras_ext?"
    )
    assert found == [
        "No word within 1 seconds from worker 1 (127.0.0.1:2). Connections from no "
        "worker, or from one with another KERAS_EXT_TOKEN: 1."
    ]


def meet_alone(cluster, timeout):
    with pytest.raises(RuntimeError) as caught:
        rendezvous(cluster, {}, timeout)
    return [str(caught.value)]
