"""Lines that are printed, or logged."""

import logging

import keras

from keras_ext._core._lines import say


def test_a_line_is_printed(capsys):
    say("something was decided")
    assert capsys.readouterr().out == "something was decided\n"


def test_without_interactive_logging_it_goes_to_the_log(capsys, caplog):
    keras.config.disable_interactive_logging()
    try:
        with caplog.at_level(logging.INFO):
            say("something was decided")
    finally:
        keras.config.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["something was decided"]
