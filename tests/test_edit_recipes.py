"""What recipes keep of a task vector: by hand, and against the plain definitions."""

import math

import numpy as np
import pytest
import torch
from checkpoints import load, save
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lemmata.lab.errors import InputError
from lemmata.tools.edit import edit
from lemmata.tools.recipes import Recipe, elected
from lemmata.tools.vectors import slices

ZERO = {"w": torch.zeros(4, 3, dtype=torch.float64), "b": torch.zeros(3, dtype=torch.float64)}


class Held:
    """A Delta in memory."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.float64)

    @property
    def shape(self):
        return self.values.shape

    def read(self, start, stop):
        return self.values.ravel()[start:stop].copy()

    def kept(self, recipe, number=1, name="w", most=7):
        """What a recipe keeps, in slices."""
        step = recipe.step(self, name, number)
        cuts = slices(self.shape, most, whole_rows=recipe.whole_rows)
        parts = [step(self.read(a, b), a) for a, b in cuts]
        return np.concatenate(parts).reshape(self.shape)


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def applied(tmp_path, changes, **how):
    """The sum over a base of zeros, with coefficients."""
    base = save(tmp_path / "base", ZERO)
    vectors = []
    for i, (change, coefficient) in enumerate(changes):
        moved = {name: torch.tensor(change.get(name, w.tolist()), dtype=w.dtype) for name, w in ZERO.items()}
        vectors.append((save(tmp_path / f"ft{i}", moved), coefficient))
    edit(base, vectors, tmp_path / "out", recipe=Recipe(**how))
    return {name: w.tolist() for name, w in load(tmp_path / "out").items()}


# Rank


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (9, 9), (1, 5), (5, 1)])
@pytest.mark.parametrize("K", [1, 3, 8, 100])
def test_rank_is_that_of_the_singular_values(monkeypatch, shape, K):
    monkeypatch.setattr("lemmata.tools.recipes.BLOCK", 40)  # several blocks of rows, the last one shorter
    delta = gaussian(*shape)
    U, s, V = np.linalg.svd(delta, full_matrices=False)
    np.testing.assert_allclose(Held(delta).kept(Recipe(rank=K)), U[:, :K] * s[:K] @ V[:K], atol=1e-12)


def test_what_has_the_rank_already_is_kept_whole():
    delta = gaussian(20, 2) @ gaussian(2, 30, seed=1)
    np.testing.assert_allclose(Held(delta).kept(Recipe(rank=2)), delta, atol=1e-12)
    np.testing.assert_array_equal(Held(np.zeros((4, 5))).kept(Recipe(rank=1)), np.zeros((4, 5)))


def test_rank_by_hand(tmp_path):
    change = {"w": [[3.0, 0, 0], [0, 2, 0], [0, 0, 1], [0, 0, 0]], "b": [1.0, 2.0, 3.0]}
    found = applied(tmp_path, [(change, 0.5)], rank=2)
    np.testing.assert_allclose(found["w"], [[1.5, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]], atol=1e-15)
    assert found["b"] == [0.5, 1.0, 1.5]


# Rows


@pytest.mark.parametrize("F, m, rows", [(0.2, 15, 3), (0.34, 15, 6), (0.07, 100, 7), (0.01, 15, 1), (1, 15, 15)])
def test_rows_are_counted_upwards(F, m, rows):
    """0.07 x 100 is 7, also where a float makes it a little more."""
    kept = Held(gaussian(m, 4)).kept(Recipe(keep_rows=F))
    assert (np.abs(kept).sum(1) > 0).sum() == rows


def test_rows_with_the_largest_norms_are_kept_as_they_are():
    delta = gaussian(11, 4)
    kept = Held(delta).kept(Recipe(keep_rows=0.5))
    largest = np.argsort(-np.linalg.norm(delta, axis=1))[:6]
    expected = np.zeros_like(delta)
    expected[largest] = delta[largest]
    np.testing.assert_array_equal(kept, expected)


def test_rows_by_hand(tmp_path):
    change = {"w": [[1.0, 1, 1], [2, 0, 0], [0, 0, 0], [2, 0, 0]], "b": [1.0, 2.0, 3.0]}
    found = applied(tmp_path, [(change, 1.0)], keep_rows=0.25)
    # Of two equal rows the first.
    assert found["w"] == [[0, 0, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert found["b"] == [1, 2, 3]


def test_of_equal_rows_the_first_are_kept():
    sizes = np.arange(999) % 3 + 1.0
    kept = Held(np.outer(sizes, [1, -1])).kept(Recipe(keep_rows=0.5), most=400)
    expected = np.sort(np.concatenate([np.flatnonzero(sizes == 3), np.flatnonzero(sizes == 2)[: 500 - 333]]))
    np.testing.assert_array_equal(np.flatnonzero(kept[:, 0]), expected)


def test_rows_are_chosen_after_the_rank_is_cut():
    # The largest row alone has its direction, in which the others together have more.
    kept = Held([[3.0, 0]] * 4 + [[0.0, 4]]).kept(Recipe(rank=1, keep_rows=0.2))
    np.testing.assert_allclose(np.abs(kept).sum(1).max(), 3)
    np.testing.assert_allclose(kept[:, 1], 0, atol=1e-12)
    delta = np.diag([5.0, 4.0, 3.0])
    delta[2] *= -1
    kept = Held(delta).kept(Recipe(rank=2, keep_rows=0.3))
    np.testing.assert_allclose(kept, np.diag([5.0, 0, 0]), atol=1e-14)
    low = Held(gaussian(9, 7)).kept(Recipe(rank=2))
    both = Held(gaussian(9, 7)).kept(Recipe(rank=2, keep_rows=0.5))
    np.testing.assert_allclose(both, Held(low).kept(Recipe(keep_rows=0.5)), atol=1e-13)


@pytest.mark.parametrize("recipe", [Recipe(rank=1), Recipe(keep_rows=0.1), Recipe(rank=1, keep_rows=0.1)])
@pytest.mark.parametrize("shape", [(7,), (), (4, 3, 2), (0, 5)])
def test_what_is_no_matrix_is_kept_whole(recipe, shape):
    delta = gaussian(*shape)
    step = recipe.step(Held(delta), "w", 1)
    np.testing.assert_array_equal(step(np.ravel(delta), 0), np.ravel(delta))


# TIES


@given(
    arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=16)),
    st.floats(0.01, 1),
)
def test_the_largest_entries_are_kept(values, D):
    k = max(1, math.floor(D * len(values) + 1e-9))
    chosen = np.sort(np.argsort(-np.abs(values), kind="stable")[:k])
    expected = np.zeros_like(values)
    expected[chosen] = values[chosen]
    for held in (0, 3, 1000):  # how many may be sorted, and so how many passes it takes
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lemmata.tools.recipes.HELD", held)
            np.testing.assert_array_equal(Held(values).kept(Recipe(ties=D)), expected)


def test_a_density_of_one_keeps_everything():
    delta = gaussian(5, 5)
    np.testing.assert_array_equal(Held(delta).kept(Recipe(ties=1)), delta)


def test_ties_by_hand(tmp_path):
    """Trim to 4 of 12, elect, average those that agree; the vector b has one entry left of 3."""
    one = {"w": [[4.0, -3, 2, 1], [0.5, 0, 0, 0], [0, 0, 5, 0]], "b": [1.0, -7.0, 2.0]}
    two = {"w": [[2.0, 6, 0, 0], [0, 0, 0, 0], [8, 0, -9, 0]], "b": [3.0, -1.0, 2.0]}
    one, two = ({"w": np.reshape(d["w"], (4, 3)).tolist(), "b": d["b"]} for d in (one, two))
    found = applied(tmp_path, [(one, 1.0), (two, 1.0)], ties=0.34)
    # Kept of one: 4, -3, 2 and 5; of two: 2, 6, 8 and -9.
    assert np.ravel(found["w"]).tolist() == [3, 6, 2, 0, 0, 0, 0, 0, 8, 0, -9, 0]
    assert found["b"] == [3, -7, 0]


def test_ties_with_coefficients_elects_what_weighs_more(tmp_path):
    one, two = {"b": [1.0, 1.0, -2.0]}, {"b": [-3.0, 3.0, -2.0]}
    found = applied(tmp_path, [(one, 2.0), (two, 0.5)], ties=1)
    # Weighted: (2, 2, -4) and (-1.5, 1.5, -1); the sums are 0.5, 3.5 and -5.
    assert found["b"] == [2, 1.75, -2.5]


def test_ties_subtracts_too(tmp_path):
    one, two = {"b": [1.0, 2.0, 4.0]}, {"b": [3.0, -2.0, 4.0]}
    # Weighted: (1, 2, 4) and (-3, 2, -4); a sum of zero elects the plus sign.
    assert applied(tmp_path, [(one, 1.0), (two, -1.0)], ties=1)["b"] == [-3, 2, 4]


def test_ties_with_equal_coefficients_is_the_paper_s(tmp_path):
    """lambda times the mean of the entries that agree with the elected sign, without those that were trimmed."""
    changes = [gaussian(30, seed=seed) for seed in range(3)]
    trimmed = np.stack([Held(change).kept(Recipe(ties=0.4)) for change in changes])
    sign = np.where(trimmed.sum(0) >= 0, 1, -1)
    agree = np.sign(trimmed) == sign
    mean = (trimmed * agree).sum(0) / np.maximum(agree.sum(0), 1)
    np.testing.assert_allclose(elected([0.3 * t for t in trimmed]), 0.3 * mean)


# DARE


def test_dare_drops_the_share_and_scales_the_rest_up():
    kept = Held(np.ones((300, 400))).kept(Recipe(dare=0.9), most=1 << 15)
    assert set(np.unique(kept)) == {0.0, 1 / (1 - 0.9)}
    share, error = (kept > 0).mean(), math.sqrt(0.1 * 0.9 / kept.size)
    assert abs(share - 0.1) < 5 * error
    # No row and no column is special.
    assert abs((kept > 0).mean(1) - 0.1).max() < 6 * math.sqrt(0.09 / 400)
    delta = gaussian(5, 5)
    np.testing.assert_array_equal(Held(delta).kept(Recipe(dare=0)), delta)


def test_what_dare_drops_depends_on_seed_vector_and_tensor_alone():
    ones = Held(np.ones((500, 300)))
    found = ones.kept(Recipe(dare=0.5, seed=1), most=1 << 20)
    for most in (1000, 65536, 99_999):
        np.testing.assert_array_equal(ones.kept(Recipe(dare=0.5, seed=1), most=most), found)
    for other in (
        ones.kept(Recipe(dare=0.5, seed=2), most=1 << 20),
        ones.kept(Recipe(dare=0.5, seed=1), number=2, most=1 << 20),
        ones.kept(Recipe(dare=0.5, seed=1), name="v", most=1 << 20),
    ):
        assert abs((other == found).mean() - 0.5) < 5 * math.sqrt(0.25 / found.size)
    np.testing.assert_array_equal(ones.kept(Recipe(dare=0.5), most=1 << 20), ones.kept(Recipe(dare=0.5, seed=0)))


def test_dare_by_hand(tmp_path):
    """What is left of a vector is twice as large, times its coefficient."""
    found = applied(tmp_path, [({"w": [[1.0, 2, 3]] * 4}, -3.0)], dare=0.5)
    assert {abs(value) for row in found["w"] for value in row} <= {0, 6, 12, 18}
    assert 0 < np.count_nonzero(found["w"]) < 12


# What makes no sense


@pytest.mark.parametrize(
    "how",
    [
        {"rank": 0},
        {"keep_rows": 0.0},
        {"keep_rows": 1.1},
        {"ties": 0.0},
        {"ties": math.nan},
        {"dare": 1.0},
        {"dare": -0.1},
        {"ties": 0.2, "dare": 0.9},
        {"ties": 0.2, "rank": 1},
        {"dare": 0.2, "keep_rows": 0.5},
        {"seed": 3},
    ],
    ids=str,
)
def test_a_recipe_that_makes_no_sense_is_refused(how):
    with pytest.raises(InputError):
        Recipe(**how)
