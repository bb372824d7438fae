"""How much memory training steps take."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

_PROCESS = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")
_SHARE_OF_WHAT_IS_LEFT = 0.8
# Parameters of `mallopt`, from the C library's malloc.h, and what they end at by
# themselves once large blocks come and go.
_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD = -1, 2**26
_MMAP_THRESHOLD, _USUAL_MMAP_THRESHOLD = -3, 2**25
_SMALL = 2**16


class PeakMemory:
    """Measures the peak of the memory in use, above what was in use when it was made.

    Memory that was given back, but that an allocator keeps for the next one who asks,
    is not in use: what takes it again counts. On accelerators the peak is what
    TensorFlow has allocated on the one that has the most. On a CPU it is the larger of
    what TensorFlow has allocated, of which it keeps count with oneDNN only, and what
    this process has in memory, of which Linux does.
    """

    def __init__(self) -> None:
        gpus = tf.config.list_logical_devices("GPU")
        self._on_cpu = not gpus
        names = [device.name.removeprefix("/device:") for device in gpus] or ["CPU:0"]
        self._counted = [name for name in names if _is_counted(name)]
        self._resident = self._on_cpu and _can_reset()
        gc.collect()  # Tensors in cycles might be given back during the search.
        stats = map(tf.config.experimental.get_memory_info, self._counted)
        self._kept = sum(int(s["peak"]) - int(s["current"]) for s in stats)
        if self._resident:
            _return_what_is_unused()
        self.reset()
        self._before = self._peaks()

    def reset(self) -> None:
        """Forgets the peak so far."""
        for device in self._counted:
            tf.config.experimental.reset_memory_stats(device)
        if self._resident:
            Path(_PROCESS, "clear_refs").write_text("5")

    def read(self) -> int | None:
        """The peak since the last reset, in bytes; None if nothing tells."""
        above = zip(self._peaks(), self._before, strict=True)
        return max((peak - before for peak, before in above), default=None)

    def _peaks(self) -> list[int]:
        stats = map(tf.config.experimental.get_memory_info, self._counted)
        peaks = [int(s["peak"]) for s in stats]
        return [*peaks, _resident("VmHWM")] if self._resident else peaks

    @contextmanager
    def only_new(self) -> Iterator[None]:
        """Lets tensors be made in memory that is new, and be given back when unused.

        Or else the C library would take what it keeps, and the system see no change.
        """
        change = None
        if self._resident and not self._counted:
            change = getattr(ctypes.CDLL(None), "mallopt", None)
        if change is None:
            yield
            return
        change(_MMAP_THRESHOLD, _SMALL)
        change(_TRIM_THRESHOLD, 0)
        try:
            yield
        finally:
            change(_MMAP_THRESHOLD, _USUAL_MMAP_THRESHOLD)
            change(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)

    def settle(self) -> None:
        """To be called after a step: what it let go was not in use before either."""
        if self._resident and not self._counted:
            _return_what_is_unused()
            self._before[-1] = min(self._before[-1], _resident("VmRSS"))

    def limit(self) -> float:
        """What may be added without danger; no limit where running out is no harm.

        A GPU raises an error when its memory is out, but a process is ended.
        """
        if not self._resident:
            return float("inf")
        left = _kibibytes(Path("/proc/meminfo"), "MemAvailable") * 1024
        try:
            most, used = (
                int((_CGROUP / name).read_text())
                for name in ("memory.max", "memory.current")
            )
            left = min(left, most - used)
        except (OSError, ValueError):
            pass  # There is no such limit.
        # The system does not know that there is room in what TensorFlow keeps.
        return _SHARE_OF_WHAT_IS_LEFT * (left + self._kept)


def _is_counted(device: str) -> bool:
    try:
        tf.config.experimental.get_memory_info(device)
    except ValueError:
        return False
    return True


def _can_reset() -> bool:
    try:
        Path(_PROCESS, "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _return_what_is_unused() -> None:
    """Lets the C library give back memory that it keeps, or it would not be counted."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(name: str) -> int:
    return _kibibytes(_PROCESS / "status", name) * 1024


def _kibibytes(path: Path, name: str) -> int:
    (line,) = [x for x in path.read_text().splitlines() if x.startswith(f"{name}:")]
    return int(line.split()[1])
