import pytest

from keras_ext.distribute import _messages
from keras_ext.tuner import _roles


@pytest.fixture
def environment(monkeypatch):
    def put(**variables):
        names = {"ip": "ORACLE_IP", "port": "ORACLE_PORT", "who": "TUNER_ID"}
        for name, value in variables.items():
            monkeypatch.setenv(f"KERASTUNER_{names[name]}", value)

    monkeypatch.delenv(_messages.TOKEN, raising=False)
    return put


def test_who_is_who(environment):
    assert not _roles.is_chief()
    assert not _roles.is_worker()
    environment(ip="127.0.0.1", port="8000", who="chief")
    assert (_roles.is_chief(), _roles.is_worker()) == (True, False)
    environment(who="worker-1")
    assert (_roles.is_chief(), _roles.is_worker()) == (False, True)
    assert _roles.chief_address() == ("127.0.0.1", 8000)


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "chief.example", "[fe80::1]"])
def test_other_machines_need_a_token(environment, monkeypatch, host):
    environment(ip=host, port="8000", who="chief")
    with pytest.raises(
        ValueError, match="`KERASTUNER_ORACLE_IP` must be 127.0.0.1 with"
    ):
        _roles.chief_address()
    monkeypatch.setenv(_messages.TOKEN, "secret")
    assert _roles.chief_address() == (host.strip("[]"), 8000)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]"])
def test_this_machine_needs_none(environment, host):
    environment(ip=host, port="8000", who="chief")
    assert _roles.chief_address()[1] == 8000


def test_what_is_no_port_or_lease_is_refused(environment, monkeypatch):
    environment(ip="127.0.0.1", port="http", who="chief")
    with pytest.raises(ValueError, match="`KERASTUNER_ORACLE_PORT` must be a port"):
        _roles.chief_address()
    assert _roles.lease() == 30
    for text in ("0", "soon"):
        monkeypatch.setenv("KERAS_EXT_LEASE", text)
        with pytest.raises(ValueError, match="`KERAS_EXT_LEASE` must be a number > 0"):
            _roles.lease()
