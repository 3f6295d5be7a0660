"""Sets of patterns: orthonormal to float32, uniformly distributed, refused where they cannot exist."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from lemmata.lab.errors import InputError
from lemmata.lab.patterns import correlated_pair, largest_sum, mixtures, orthonormal

RESIDUAL = 1e-6
RARE = 1e-4


def residual(rows, target):
    """The largest entry of Gram minus its target, computed in float32 as a user would."""
    assert rows.dtype == np.float32
    return np.abs(rows @ rows.T - np.asarray(target, dtype=np.float32)).max()


def centred(draws):
    """Whether vectors of mean zero were drawn, by Hotelling's statistic: draws (N, d)."""
    mean, covariance = draws.mean(0), np.cov(draws.T)
    return chi2.sf(len(draws) * mean @ np.linalg.solve(covariance, mean), draws.shape[1]) > RARE


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 120), share=st.floats(0, 1))
def test_orthonormal_rows_are_orthonormal(seed, dim, share):
    count = max(1, round(share * dim))
    rows = orthonormal(np.random.default_rng(seed), count, dim)
    assert rows.shape == (count, dim) and residual(rows, np.eye(count)) < RESIDUAL


def test_orthonormal_rows_are_uniformly_distributed():
    rng = np.random.default_rng(0)
    rows_NCD = np.array([orthonormal(rng, 3, 3) for _ in range(3000)])
    # On the sphere in R^3 a coordinate is uniform on (-1, 1), and either handedness is as likely.
    for c in range(3):
        for d in range(3):
            assert kstest(rows_NCD[:, c, d], "uniform", args=(-1, 2)).pvalue > RARE
    assert abs(np.sign(np.linalg.det(rows_NCD)).mean()) < 4 / 3000**0.5


@pytest.mark.parametrize(("count", "dim"), [(4, 3), (0, 3), (-1, 3)])
def test_more_rows_than_dimensions_are_refused(count, dim):
    with pytest.raises(InputError, match=f"between 1 and {dim}"):
        orthonormal(np.random.default_rng(0), count, dim)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(2, 60), correlation=st.floats(-1, 1))
def test_a_pair_has_its_correlation(seed, dim, correlation):
    rows = correlated_pair(np.random.default_rng(seed), dim, correlation)
    assert rows.shape == (2, dim)
    assert residual(rows, [[1, correlation], [correlation, 1]]) < RESIDUAL


@pytest.mark.parametrize(("dim", "correlation"), [(5, 1.01), (5, -2.0), (5, math.nan), (1, 0.5)])
def test_a_pair_that_cannot_be_is_refused(dim, correlation):
    with pytest.raises(InputError):
        correlated_pair(np.random.default_rng(0), dim, correlation)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), patterns=st.integers(2, 40), data=st.data())
def test_mixtures_are_orthonormal_with_their_coefficient_sum(seed, patterns, data):
    count = data.draw(st.integers(1, patterns - 1), "count")
    S_1 = data.draw(st.floats(-1, 1), "share of the edge") * largest_sum(count, patterns)
    rows = mixtures(np.random.default_rng(seed), count, patterns, S_1)
    assert rows.shape == (count, patterns) and residual(rows, np.eye(count)) < RESIDUAL
    # A coefficient is rounded to 6e-8 of itself, and `patterns` of them are added.
    np.testing.assert_allclose(rows.sum(1, dtype=np.float64), S_1, atol=patterns * 6e-8)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("count", "patterns"), [(1, 1), (3, 6), (5, 6), (6, 6), (23, 24)])
def test_the_edge_itself_exists(count, patterns, sign):
    S_1 = sign * math.sqrt(patterns / count)
    rows = mixtures(np.random.default_rng(0), count, patterns, S_1)
    assert residual(rows, np.eye(count)) < RESIDUAL
    np.testing.assert_allclose(rows.sum(1, dtype=np.float64), S_1, atol=2e-6)


@pytest.mark.parametrize(
    ("count", "patterns", "S_1", "room"),
    [
        (3, 6, 1.42, "|S_1| <= 1.41421"),
        (3, 6, -1.42, "|S_1| <= 1.41421"),
        (1, 9, 3.1, "|S_1| <= 3"),
        (6, 6, 0.5, "|S_1| = 1"),
        (3, 6, math.inf, "|S_1| <= 1.41421"),
        (3, 6, math.nan, "|S_1| <= 1.41421"),
    ],
)
def test_a_sum_outside_existence_is_refused_with_the_largest(count, patterns, S_1, room):
    with pytest.raises(InputError) as refusal:
        mixtures(np.random.default_rng(0), count, patterns, S_1)
    assert room in refusal.value.expected and room in refusal.value.fix and f"{S_1:g}" in refusal.value.got


@pytest.mark.parametrize("count", [0, 7])
def test_more_mixtures_than_patterns_are_refused(count):
    with pytest.raises(InputError, match="between 1 and 6"):
        mixtures(np.random.default_rng(0), count, 6, 0.1)


@pytest.mark.parametrize(("count", "S_1"), [(1, 0.0), (1, 2.0), (3, 0.5), (3, 1.2), (5, -0.9)])
def test_mixtures_favour_no_pattern_and_no_mixture(count, S_1):
    rng = np.random.default_rng(1)
    rows_NCM = np.array([mixtures(rng, count, 6, S_1) for _ in range(3000)], dtype=float)
    # The part orthogonal to u has mean zero, in five coordinates of its own for each mixture.
    basis_M5 = np.linalg.qr(np.column_stack([np.ones(6), np.eye(6)[:, :5]]))[0][:, 1:]
    for c in range(count):
        assert centred(rows_NCM[:, c] @ basis_M5)
    # Its square is spread evenly over them.
    square_NC = ((rows_NCM - S_1 / 6) ** 2).sum(-1)
    np.testing.assert_allclose(square_NC, 1 - S_1**2 / 6, atol=1e-5)
    share_CM = ((rows_NCM - S_1 / 6) ** 2).mean(0)
    np.testing.assert_allclose(share_CM, (1 - S_1**2 / 6) / 6, rtol=0.12)
