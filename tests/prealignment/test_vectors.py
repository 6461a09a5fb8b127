"""Vectors of frames, the memory, and pickles of others: literal cases, without a model."""

import os
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from prealignment.vectors.memory import (
    Memory,
    nearest_rows,
    project,
    read_memory,
    shift,
    write_memory,
)
from prealignment.vectors.pickles import read_vectors
from prealignment.vectors.rows import fuse, noisy, sampled, unit
from tools.errors import UserError


def rows(count, width=16, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((count, width)))


def memory_of(vectors):
    tensor = torch.from_numpy(vectors)
    return Memory(tensor, tensor.mean(dim=0), "clip")


def test_a_frame_is_the_mean_direction_of_its_entries():
    entries = np.array([[2, 0], [0, 5], [0, -1]])  # lengths do not count
    fused = fuse(entries, [2, 1])
    np.testing.assert_allclose(fused, [[0.5**0.5, 0.5**0.5], [0, -1]], atol=1e-6)
    assert fused.dtype == np.float32
    with pytest.raises(ValueError, match="3 vectors, and the frames have 4 entries"):
        fuse(entries, [2, 2])


@pytest.mark.parametrize(
    ("total", "rule", "taken"),
    [
        (20, "floor", [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        (20, "centres", [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]),
        (13, "floor", [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]),
        (13, "centres", [0, 1, 3, 4, 5, 7, 8, 9, 11, 12]),
        (10, "centres", list(range(10))),
        (3, "centres", [0, 1, 2]),  # no slots for rows that are not there
    ],
)
def test_which_rows_are_taken(total, rule, taken):
    assert sampled(np.arange(total)[:, None], 10, rule)[:, 0].tolist() == taken


def test_noise_of_variance_001_moves_768_numbers_as_far_as_the_method_says():
    vectors = rows(400, 768)
    vectors[0] = 0
    moved = noisy(vectors, 0.001, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(moved[1:], axis=1), 1, atol=1e-5)
    # The first term has length (.001 * 768)^.5 = .88: the cosine is about 1 / (1 + .77)^.5.
    cosines = (vectors[1:] * moved[1:]).sum(axis=1)
    assert cosines.mean() == pytest.approx(1 / 1.77**0.5, abs=0.01)
    assert not moved[0].any()
    assert noisy(vectors, 0, np.random.default_rng(1)) is vectors


def dense(vectors, memory, beta):
    """Section 2 of the method, written out."""
    weights = torch.softmax(beta * vectors @ memory.vectors.T, dim=-1)
    return torch.nn.functional.normalize(weights @ memory.vectors, dim=-1)


@pytest.mark.parametrize("beta", [1.0, 100.0, 300.0])
def test_projection_in_chunks_is_the_dense_softmax(beta):
    memory = memory_of(rows(10_000))  # more than two chunks
    vectors = torch.from_numpy(rows(10, seed=1))
    torch.testing.assert_close(project(vectors, memory, beta), dense(vectors, memory, beta))
    assert project(5 * vectors[:2, None], memory, beta).shape == (2, 1, 16)
    torch.testing.assert_close(project(5 * vectors, memory), project(vectors, memory))


def test_the_rows_that_weigh_most_weigh_as_much_as_in_the_projection():
    memory = memory_of(rows(500))
    vectors = torch.from_numpy(rows(3, seed=1))
    weights, cosines, places = nearest_rows(5 * vectors, memory, 500)
    summed = torch.einsum("nk,nkd->nd", weights, memory.vectors[places])
    torch.testing.assert_close(
        torch.nn.functional.normalize(summed, dim=-1), project(vectors, memory)
    )
    assert (weights[:, :-1] >= weights[:, 1:]).all()
    torch.testing.assert_close(cosines[:, 0], (vectors @ memory.vectors.T).amax(dim=1))
    assert nearest_rows(vectors, memory, 4)[2].tolist() == places[:, :4].tolist()


def test_projection_lies_in_the_cone_of_the_memory_and_ends_at_a_row():
    memory = memory_of(np.eye(16, dtype=np.float32)[:5])
    vectors = torch.from_numpy(rows(10, seed=1))
    projected = project(vectors, memory)
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(10))
    assert (projected[:, :5] >= 0).all()
    assert not projected[:, 5:].any()
    nearest = memory.vectors[(vectors @ memory.vectors.T).argmax(dim=1)]
    torch.testing.assert_close(project(vectors, memory, 1e5), nearest)


def test_the_nearest_rows_alone_come_near_to_all_rows():
    memory = memory_of(rows(40_000))  # more than two chunks
    vectors = torch.from_numpy(rows(10, seed=1))
    whole = project(vectors, memory)
    soft = project(vectors, memory, 20.0)
    cosines = [
        (project(vectors, memory, 20.0, top) * soft).sum(dim=1).min() for top in (1, 32, 512)
    ]
    assert cosines[0] < cosines[1] < cosines[2]
    assert cosines[2] > 0.99
    torch.testing.assert_close(project(vectors, memory, top=50_000), whole)


def test_rows_of_zeros_stay_zero_and_change_no_other():
    memory = memory_of(rows(100))
    vectors = torch.from_numpy(rows(3, seed=1))
    padded = torch.cat([vectors, torch.zeros(2, 16)])
    mean = torch.full((16,), 0.1)
    for change in (project, lambda v, m: project(v, m, top=8), lambda v, m: shift(v, mean, m)):
        torch.testing.assert_close(change(padded, memory)[:3], change(vectors, memory))
        assert not change(padded, memory)[3:].any()
    assert not project(torch.zeros(2, 16), memory).any()


def test_a_shift_moves_the_mean_of_the_images_to_that_of_the_texts():
    memory = Memory(torch.eye(2), torch.tensor([0.0, 1.0]), "clip")
    shifted = shift(torch.tensor([[3.0, 0.0]]), torch.tensor([1.0, 0.0]), memory)
    torch.testing.assert_close(shifted, torch.tensor([[0.0, 1.0]]))


def test_a_memory_of_another_width_is_refused():
    with pytest.raises(UserError, match="clip has vectors of width 16, these are of width 8"):
        project(torch.ones(1, 8), memory_of(rows(4)))
    with pytest.raises(UserError, match="of width 8"):
        shift(torch.ones(1, 8), torch.ones(8), memory_of(rows(4)))


def test_a_memory_is_written_block_by_block_and_read_back(tmp_path):
    vectors, path = rows(50), tmp_path / "memory.safetensors"
    blocks = [vectors[:20], vectors[20:45], vectors[45:]]
    assert write_memory(path, blocks, vectors.shape, "clip-b") == 50
    memory = read_memory(path)
    assert memory.clip == "clip-b"
    torch.testing.assert_close(memory.vectors, torch.from_numpy(vectors), rtol=0, atol=0)
    torch.testing.assert_close(memory.mean, torch.from_numpy(vectors.mean(axis=0)))
    with safe_open(path, framework="numpy") as file:
        assert file.get_slice("vectors").get_shape() == [50, 16]


def test_a_memory_that_is_too_small_for_all_draws_rows_by_its_seed(tmp_path):
    vectors, path = rows(50), tmp_path / "memory.safetensors"

    def drawn(seed, *blocks):
        assert write_memory(path, blocks, vectors.shape, "clip", 12, seed) == 12
        memory = read_memory(path)
        torch.testing.assert_close(memory.vectors, torch.from_numpy(vectors)[memory.rows])
        return memory.rows.tolist()

    assert drawn(0, vectors) == drawn(0, vectors[:7], vectors[7:])
    assert drawn(0, vectors) == sorted(set(drawn(0, vectors)))
    assert drawn(0, vectors) != drawn(1, vectors)


def test_no_memory_and_what_is_none_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"is not there: python -m prealignment\.features makes it"):
        read_memory(tmp_path / "memory.safetensors")
    (tmp_path / "other").write_bytes(b"12345678{}")
    with pytest.raises(UserError, match="other is no memory of text vectors"):
        read_memory(tmp_path / "other")


class Code:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


WRITERS = {
    "pickle of protocol 2": lambda value, file: pickle.dump(value, file, protocol=2),
    "pickle of protocol 4": lambda value, file: pickle.dump(value, file, protocol=4),
    "torch.save": torch.save,
    "torch.save before 1.6": lambda value, file: torch.save(
        value, file, _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_tensors_of_others_are_read_and_their_code_is_not_run(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read_back(value):
        with open("file", "wb") as file:
            WRITERS[writer](value, file)
        return read_vectors(tmp_path / "file")

    tensor = torch.arange(6.0).view(2, 3)
    np.testing.assert_array_equal(read_back(tensor.half()), tensor.numpy())
    read = read_back({"a": tensor, 7: tensor})
    assert list(read) == ["a", "7"]
    for bad in (Code(), {"a": Code()}, [Code()]):
        with pytest.raises(UserError, match=r"cannot be read as vectors: it (wants|holds more)"):
            read_back(bad)
    assert not os.path.exists("ran")
    for bad in (tensor[0], {"a": 3}, "text"):
        with pytest.raises(UserError, match="holds no vectors: expected is"):
            read_back(bad)


def test_arrays_of_numpy_are_read_without_objects(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float16))
    assert read_vectors(tmp_path / "a.npy").dtype == np.float32
    with open(tmp_path / "a.pkl", "wb") as file:
        pickle.dump(np.ones((2, 3)), file)
    assert read_vectors(tmp_path / "a.pkl").shape == (2, 3)
    np.save(tmp_path / "b.npy", np.array([[Code()]]))
    with pytest.raises(UserError, match="cannot be read as vectors"):
        read_vectors(tmp_path / "b.npy")
    (tmp_path / "c.pkl").write_bytes(b"\x80\x04K")
    with pytest.raises(UserError, match=r"c\.pkl cannot be read as vectors"):
        read_vectors(tmp_path / "c.pkl")
