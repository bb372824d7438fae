"""No numbers of bytes: other tests leave memory behind, and allocators keep some."""

import numpy as np
import pytest

from keras_ext.signals.machine import _peak_memory
from keras_ext.signals.machine._peak_memory import PeakMemory
from tests.thorough import LONG


@pytest.fixture
def only_resident(monkeypatch, tmp_path):
    """Writes what the process and the machine have; TensorFlow counts nothing."""
    read, machine = _peak_memory._kibibytes, tmp_path / "meminfo"

    def write(peak, present=0, available=0):
        status = f"Name:\tpython\nVmHWM:\t{peak} kB\nVmRSS:\t{present} kB\n"
        (tmp_path / "status").write_text(status)
        machine.write_text(f"MemAvailable:\t{available} kB\n")

    def kibibytes(path, name):
        return read(machine if path.name == "meminfo" else path, name)

    (tmp_path / "clear_refs").touch()
    monkeypatch.setattr(_peak_memory, "_PROCESS", tmp_path)
    monkeypatch.setattr(_peak_memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(_peak_memory, "_is_counted", lambda device: False)
    monkeypatch.setattr(_peak_memory, "_kibibytes", kibibytes)
    write(100)
    return write


@pytest.mark.hardware
@pytest.mark.thorough(LONG)
def test_a_peak_is_never_below_what_there_was_and_never_falls():
    memory = PeakMemory()
    peaks = [memory.read() or 0]
    for size in (1, 2**20, 1):
        np.ones(size)
        peaks.append(memory.read() or 0)
    assert peaks[0] >= 0
    assert peaks == sorted(peaks)


def test_it_is_what_the_process_took_more_than_in_the_beginning(only_resident):
    memory = PeakMemory()
    assert memory.read() == 0
    only_resident(150)
    assert memory.read() == 50 * 1024


def test_what_a_step_lets_go_was_not_in_use_before(only_resident):
    memory = PeakMemory()
    only_resident(150, present=80)
    memory.settle()
    assert memory.read() == 70 * 1024
    # The other way round it is no news.
    only_resident(150, present=140)
    memory.settle()
    assert memory.read() == 70 * 1024


def test_a_container_may_leave_less_than_the_machine(only_resident, tmp_path):
    only_resident(100, available=1000)
    memory = PeakMemory()
    assert memory.limit() == pytest.approx(0.8 * 1000 * 1024)
    (tmp_path / "memory.max").write_text("7000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert memory.limit() == pytest.approx(0.8 * 5000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.limit() == pytest.approx(0.8 * 1000 * 1024)


def test_where_nothing_tells_there_is_no_answer_and_no_limit(only_resident, tmp_path):
    (tmp_path / "clear_refs").unlink()
    (tmp_path / "clear_refs").mkdir()
    memory = PeakMemory()
    memory.settle()
    with memory.only_new():
        assert memory.read() is None
    assert memory.limit() == np.inf
