"""One file of arrays a video."""

import numpy as np
import pytest

from tools.errors import UserError
from tools.store.arrays import read_arrays, read_description, write_arrays

ARRAYS = {
    "flow": np.arange(8, dtype=np.float16).reshape(1, 2, 2, 2),
    "times": np.array([[0.0, 0.5]], np.float32),
}
DESCRIPTION = {"params": {"fps": 2.0, "extractor": "dis"}, "build": 1, "max_speed": 0.1}


def test_arrays_and_their_description_come_back_as_they_were(tmp_path):
    path = tmp_path / "flow" / "dis" / "a.safetensors"
    write_arrays(path, ARRAYS, DESCRIPTION)
    arrays, description = read_arrays(path)
    assert description == read_description(path) == DESCRIPTION
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_an_array_with_its_axes_in_another_order_comes_back_as_it_was(tmp_path):
    turned = np.arange(6).reshape(2, 3).T
    write_arrays(tmp_path / "a", {"turned": turned}, {})
    assert read_arrays(tmp_path / "a")[0]["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_same_give_the_same_bytes_and_nothing_else_is_left(tmp_path):
    write_arrays(tmp_path / "a", ARRAYS, DESCRIPTION)
    write_arrays(
        tmp_path / "b", dict(reversed(ARRAYS.items())), dict(reversed(DESCRIPTION.items()))
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_that_is_not_there_has_no_description(tmp_path):
    assert read_description(tmp_path / "a") == {}
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a")


@pytest.mark.parametrize("content", [b"", b"flow", bytes(100)])
def test_another_file_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.safetensors is no file of a video's arrays"):
        read_arrays(path)
    assert read_description(path) == {}


def test_a_file_without_a_description_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file(ARRAYS, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"\(no description\): delete it"):
        read_arrays(tmp_path / "a.safetensors")
