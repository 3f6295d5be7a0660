"""The cache: whatever has become of its files, they are read as they were written or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from lemmata.lab import cache


@pytest.fixture
def file(monkeypatch, tmp_path):
    """What is kept of two small arrays."""
    monkeypatch.setenv("LEMMATA_CACHE", str(tmp_path))
    cache.keep("small", {"of": 1}, {"a": np.arange(3), "b": np.array([0.5])})
    (path,) = tmp_path.iterdir()
    return path


def found():
    return cache.looked_up("small", ["a", "b"], {"of": 1})


def test_no_bit_that_is_flipped_and_no_cut_ends_a_program(file):
    whole = file.read_bytes()
    assert found() is not None
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        arrays = found()
        assert arrays is None or (list(arrays["a"]), list(arrays["b"])) == ([0, 1, 2], [0.5])
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert found() is None


def test_arrays_of_other_names_are_not_these(file):
    assert (
        cache.looked_up("small", ["a"], {"of": 1}) is None and cache.looked_up("small", ["a", "b"], {"of": 2}) is None
    )


def test_whoever_has_no_home_has_no_cache(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache, "folder", homeless)
    cache.keep("small", {"of": 1}, {"a": np.arange(3)})
    assert cache.looked_up("small", ["a"], {"of": 1}) is None
    assert cache.cached("small", ["a"], {"of": 1}, lambda: {"a": np.arange(2)})["a"].tolist() == [0, 1]
