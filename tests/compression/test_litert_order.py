import zipfile

from keras_ext.compression._litert_order import read_order, write_order


def test_the_order_is_behind_the_end_of_the_file(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"TFL3" * 9)
    assert read_order(path.read_bytes()) is None
    write_order(path, ["z", "a"])
    first = path.read_bytes()
    assert first.startswith(b"TFL3" * 9)
    assert read_order(first) == ["z", "a"]
    # The same again gives the same bytes.
    path.write_bytes(b"TFL3" * 9)
    write_order(path, ["z", "a"])
    assert path.read_bytes() == first


def test_archives_of_others_have_no_order(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"TFL3" * 9)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat")
    assert read_order(path.read_bytes()) is None
