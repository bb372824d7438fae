"""Where the first worker can be reached, and where not."""

import socket

import pytest

from keras_ext.distribute import _listening
from keras_ext.distribute._cluster import Cluster
from keras_ext.distribute._listening import host_and_port, listen


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def names(monkeypatch):
    """Lets names of machines be resolved as told here."""
    known = {}

    def resolve(host, port, type):
        if host not in known:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, type, 0, "", (a, port)) for a in known[host]]

    monkeypatch.setattr(_listening.socket, "getaddrinfo", resolve)
    return known


def where(port, *hosts):
    """The address at which the first of these workers listens."""
    cluster = Cluster(tuple(f"{h}:{port + i}" for i, h in enumerate(hosts)), 0)
    with listen(cluster) as server:
        return server.getsockname()[0]


def test_at_the_address_in_use_and_no_other(port):
    with listen(Cluster((f"127.0.0.1:{port}", "127.0.0.1:2"), 0)):
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))


def test_by_name(port, names):
    names.update(here=["127.0.0.3"], localhost=["127.0.0.1"])
    assert where(port, "localhost", "127.0.0.1") == "127.0.0.1"
    # Tasks on one machine.
    assert where(port, "here", "here") == "127.0.0.3"
    # Only this machine comes there; the others know the name by another address.
    assert where(port, "here", "there") == "0.0.0.0"
    assert where(port, "not-yet-known", "there") == "0.0.0.0"


def test_behind_a_network_that_translates_addresses(port, names):
    # A documentation address, which no machine has.
    names.update(outside=["192.0.2.1"])
    assert where(port, "outside", "there") == "0.0.0.0"
    names.update(outside=["192.0.2.1", "127.0.0.4"])
    assert where(port, "outside", "outside") == "127.0.0.4"


def test_a_port_in_use(port):
    cluster = Cluster((f"127.0.0.1:{port}", "127.0.0.1:2"), 0)
    problem = rf"Worker 0 cannot listen at 127.0.0.1:{port}: .* a second worker 0\?"
    with listen(cluster), pytest.raises(RuntimeError, match=problem):
        listen(cluster)


def test_host_and_port():
    assert host_and_port("node-1.cluster:80") == ("node-1.cluster", 80)
    assert host_and_port("[::1]:80") == ("::1", 80)
