"""How much memory training steps take."""

import ctypes
from pathlib import Path

import tensorflow as tf

_PROCESS = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")
_SHARE_OF_WHAT_IS_LEFT = 0.8


class PeakMemory:
    """Measures the peak of the memory in use, above what was in use when it was made.

    On accelerators that is what TensorFlow has allocated on the one that has the most;
    on a CPU the resident memory of this process, which Linux keeps count of.
    """

    def __init__(self) -> None:
        devices = tf.config.list_logical_devices("GPU")
        self._devices = [device.name.removeprefix("/device:") for device in devices]
        self._resets = bool(self._devices) or _can_reset()
        self._before = 0
        if self._resets and not self._devices:
            _return_what_is_unused()
        self.reset()
        self._before = self.read() or 0

    def reset(self) -> None:
        """Forgets the peak so far."""
        for device in self._devices:
            tf.config.experimental.reset_memory_stats(device)
        if self._resets and not self._devices:
            Path(_PROCESS, "clear_refs").write_text("5")

    def read(self) -> int | None:
        """The peak since the last reset, in bytes; None if the system cannot tell."""
        if not self._resets:
            return None
        if self._devices:
            stats = map(tf.config.experimental.get_memory_info, self._devices)
            return max(int(s["peak"]) for s in stats) - self._before
        return _kibibytes(_PROCESS / "status", "VmHWM") * 1024 - self._before

    def limit(self) -> float:
        """What may be added without danger; no limit where running out is no harm.

        A GPU raises an error when its memory is out, but a process is ended.
        """
        if self._devices or not self._resets:
            return float("inf")
        left = _kibibytes(Path("/proc/meminfo"), "MemAvailable") * 1024
        try:
            most, used = (
                int((_CGROUP / name).read_text())
                for name in ("memory.max", "memory.current")
            )
        except (OSError, ValueError):  # there is no such limit
            return _SHARE_OF_WHAT_IS_LEFT * left
        return _SHARE_OF_WHAT_IS_LEFT * min(left, most - used)


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


def _kibibytes(path: Path, name: str) -> int:
    (line,) = [x for x in path.read_text().splitlines() if x.startswith(f"{name}:")]
    return int(line.split()[1])
