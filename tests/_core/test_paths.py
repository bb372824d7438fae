from keras_ext._core._paths import joined, layer_path, unique_path


def test_paths_that_are_taken_are_counted_up():
    taken = {}
    for _ in range(3):
        taken[unique_path("dense/kernel", taken)] = None
    taken[unique_path("bias", taken)] = None
    assert list(taken) == ["dense/kernel", "dense/kernel_2", "dense/kernel_3", "bias"]


def test_a_number_that_somebody_uses_as_a_name_is_left_out():
    assert unique_path("a", {"a": 0, "a_2": 0}) == "a_3"


def test_empty_parts_leave_no_slash():
    assert joined("", "block", "", "rate") == "block/rate"
    assert joined("", "") == joined() == ""


def test_the_layer_of_a_weight():
    assert layer_path("block/dense/kernel") == "block/dense"
    assert layer_path("kernel") == "kernel"
