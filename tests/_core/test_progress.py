import keras
import pytest

from keras_ext._core import _progress
from keras_ext._core._progress import Progress, duration, without_progress


class Clock:
    """Moves when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def reported(times, capsys, **kwargs):
    """What is said when parts are done at these times."""
    clock = Clock()
    progress = Progress(clock=clock, **kwargs)
    for done, now in enumerate(times, start=1):
        clock.now = 100.0 + now
        progress(done, len(times))
    return capsys.readouterr().out


@pytest.fixture(params=[True, False], ids=["screen", "file"])
def watched(request, monkeypatch):
    monkeypatch.setattr(_progress, "_is_watched", lambda: request.param)
    return request.param


@pytest.mark.usefixtures("watched")
def test_what_is_short_is_silent(capsys):
    assert reported([0.1, 0.2, 0.3], capsys) == ""
    assert reported([1.0, 30.0], capsys, show=False) == ""
    assert reported([3.0], capsys) == ""  # at once: there was nothing to wait for


@pytest.mark.usefixtures("watched")
def test_what_is_long_is_said_at_the_beginning(capsys):
    """Sixty parts of a second: after the first, a minute is left."""
    lines = reported(range(1, 61), capsys).splitlines()
    assert lines[0].startswith("This takes about 59 s. Fewer rows, a smaller `budget`")
    assert "100% done in 60 s" in lines[-1].rpartition("\r")[2]
    assert sum("takes about" in line for line in lines) == 1


def test_lines_follow_the_time_that_is_left(watched, capsys):
    said = reported(range(1, 61), capsys)
    if watched:
        assert said.count("\r") == 59  # one line, which changes once a second
        assert "\r 50% done, 30 s left" in said
    else:
        assert "\r" not in said
        assert len(said.splitlines()) == 4  # before, early, half a minute later, last


@pytest.mark.usefixtures("watched")
def test_further_rounds_have_times_of_their_own(capsys):
    clock = Clock()
    progress = Progress(clock=clock)
    clock.now += 50
    progress(2, 2)
    clock.now += 50
    progress(1, 4)
    clock.now += 1
    progress(2, 4)
    clock.now += 40
    progress(3, 4)
    said = capsys.readouterr().out
    # A quarter took 50 seconds, three quarters then 91.
    assert said.startswith("This takes about 2.5 min.")
    assert said.count("This takes") == 1
    assert "2.5 min left" in said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "1 s"), (9.4, "9.4 s"), (61, "61 s"), (150, "2.5 min"), (9000, "2.5 h")],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def test_what_came_first_may_be_left_out_of_the_estimate(capsys, monkeypatch):
    """A minute to trace, and then a second for each of the other 29 parts."""
    monkeypatch.setattr(_progress, "_is_watched", lambda: True)
    clock = Clock()
    progress = Progress(clock=clock)
    clock.now += 60.0
    progress.begin(1, 30)
    progress(1, 30)  # nothing to estimate from
    assert capsys.readouterr().out.strip() == "3% done"
    for done in range(2, 31):
        clock.now += 1.0
        progress(done, 30)
        if done == 2:
            assert "This takes about 28 s." in capsys.readouterr().out
        if done == 11:
            assert "37% done, 19 s left" in capsys.readouterr().out
    assert "100% done in 89 s" in capsys.readouterr().out


@pytest.mark.usefixtures("watched")
def test_is_silent_where_another_says_what_is_done(capsys):
    with without_progress():
        assert reported([1.0, 2.5, 5.0, 6.0], capsys) == ""
    assert reported([1.0, 2.5, 5.0, 6.0], capsys) != ""


@pytest.mark.usefixtures("watched")
def test_is_silent_where_keras_is(capsys, monkeypatch):
    monkeypatch.setattr(keras.config, "is_interactive_logging_enabled", lambda: False)
    assert reported([1.0, 2.5, 5.0, 6.0], capsys) == ""
