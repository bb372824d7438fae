from keras_ext.callbacks.regularization._regularization_report import report, summary

FIRST = {"dropout/rate": 0.2}
ROW = {
    "epoch": 3, "gap": 0.256, "training_loss": 0.5, "validation_loss": 0.7,
    "reason": "gap", "strength": 0.4, "change": 0.15, "values": {"dropout/rate": 0.27},
    "note": "",
}  # fmt: skip


def test_a_decision_that_moves_something_says_to_where():
    assert report([ROW], FIRST, {}) == (
        "epoch 3: gap 0.26 (training 0.5, validation 0.7); gap; strength +0.40 (+0.15):"
        " dropout/rate 0.27"
    )


def test_one_that_moves_nothing_does_not_list_the_values():
    second = {**ROW, "epoch": 4, "reason": "underfit", "strength": -0.4}
    first, last = report([ROW, second], FIRST, {}).splitlines()
    assert first.endswith("dropout/rate 0.27")
    assert last.endswith("underfit; strength -0.40")
    # The first one is compared with the values that there were.
    assert report([ROW], ROW["values"], {}).endswith("strength +0.40")


def test_notes_and_what_is_not_moved_come_last():
    row = {**ROW, "note": "slopes unsure"}
    lines = report([row], FIRST, {"dense/l2": 1e-5, "out/l1": 0.0}).splitlines()
    assert lines[0].endswith("dropout/rate 0.27; slopes unsure")
    assert lines[1:] == ["not moved: dense/l2 1e-05, out/l1 0"]


def test_without_decisions_and_knobs_there_is_nothing_to_say():
    assert report([], {}, {}) == ""


def test_the_summary_names_the_largest_changes_first():
    first = {"a": 0.1, "b": 0.0, "c": 1.0, "d": 2.0, "e": 0.5}
    last = {"a": 0.11, "b": 0.3, "c": 1.001, "d": 1.0, "e": 2.0}
    assert summary(first, last) == "b 0 -> 0.3, e 0.5 -> 2, d 2 -> 1, and 1 more"
    assert summary(first, first) == "nothing was changed"
