"""A coefficient beside others: least squares a seed, an interval over seeds, and what it refuses."""

import math

import numpy as np
import pytest
from scipy.stats import binom, t

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.stats import coefficient, exponent, mean_t

ALPHA, EPS = (x.ravel() for x in np.meshgrid([0.2, 0.4, 0.8], [0.01, 0.02, 0.05]))
DESIGN_PK = np.column_stack([np.ones(9), 1 / ALPHA, 1 / EPS])


def test_exact_data_have_their_coefficients():
    y_SP = np.array([[4.0, 2.0, -0.3], [5.0, 2.5, -0.3], [7.0, 3.0, -0.3]]) @ DESIGN_PK.T
    for k, expected in enumerate((16 / 3, 2.5, -0.3)):
        e = coefficient(DESIGN_PK, y_SP, k)
        assert e.value == pytest.approx(expected) and e.n == 3 and e.objections == ()
        assert "least-squares" in e.method
    e = coefficient(DESIGN_PK, y_SP, 1)
    half = t.isf(0.025, 2) * 0.5 / 3**0.5
    assert (e.lo, e.hi) == pytest.approx((2.5 - half, 2.5 + half))
    wide = coefficient(DESIGN_PK, y_SP, 1, level=0.99)
    assert wide.hi - wide.value == pytest.approx(t.isf(0.005, 2) * 0.5 / 3**0.5)


def test_it_is_the_fit_of_each_seed_and_the_mean_over_them():
    rng = np.random.default_rng(0)
    y_SP = rng.normal(size=(5, 9))
    for k in range(3):
        fitted_S = [np.linalg.lstsq(DESIGN_PK, y_P, rcond=None)[0][k] for y_P in y_SP]
        found, expected = coefficient(DESIGN_PK, y_SP, k), mean_t(fitted_S)
        assert (found.value, found.lo, found.hi) == pytest.approx((expected.value, expected.lo, expected.hi))


def test_with_logarithms_it_is_an_exponent():
    rng, x_P = np.random.default_rng(1), np.array([1.0, 2.0, 4.0, 8.0])
    y_SP = x_P**-1.5 * np.exp(rng.normal(0, 0.1, size=(6, 4)))
    found, expected = coefficient(np.column_stack([np.ones(4), np.log(x_P)]), np.log(y_SP), 1), exponent(x_P, y_SP)
    assert (found.value, found.lo, found.hi) == pytest.approx((expected.value, expected.lo, expected.hi))


def test_nineteen_of_twenty_intervals_hold_the_coefficient():
    rng, held = np.random.default_rng(2), 0
    for _ in range(1000):
        # Seeds differ in all coefficients, and points are noisy.
        b_SK = rng.normal([3.0, 2.0, 0.5], [1.0, 0.3, 0.02], size=(5, 3))
        e = coefficient(DESIGN_PK, b_SK @ DESIGN_PK.T + rng.normal(0, 0.5, size=(5, 9)), 1)
        held += e.lo <= 2.0 <= e.hi
    # A sound interval fails either once in ten thousand seeds.
    assert binom.cdf(held, 1000, 0.95) > 1e-4 and binom.sf(held - 1, 1000, 0.95) > 1e-4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_an_objection(bad):
    y_SP = np.ones((4, 9))
    y_SP[2, 3] = y_SP[3, 0] = bad
    e = coefficient(DESIGN_PK, y_SP, 1)
    assert (
        math.isnan(e.value)
        and e.objections == ("2 of 36 points are not finite",)
        and (e.lo, e.hi)
        == (
            -math.inf,
            math.inf,
        )
    )


@pytest.mark.parametrize(
    ("design", "y"), [(DESIGN_PK, np.ones((2, 8))), (DESIGN_PK, np.ones(9)), (np.ones(9), np.ones((2, 9)))]
)
def test_a_design_without_a_row_for_each_point_is_refused(design, y):
    with pytest.raises(InputError, match="a row of the design") as refusal:
        coefficient(design, y, 0)
    assert str(np.shape(design)) in refusal.value.got and str(np.shape(y)) in refusal.value.got


@pytest.mark.parametrize(
    ("design", "rank"),
    [
        (DESIGN_PK[:2], 2),
        (np.column_stack([DESIGN_PK, DESIGN_PK[:, 1] - DESIGN_PK[:, 2]]), 3),
        (np.ones((9, 2)), 1),
    ],
)
def test_points_that_do_not_tell_coefficients_apart_are_refused(design, rank):
    with pytest.raises(DataError, match=f"tell {design.shape[1]} coefficients apart") as refusal:
        coefficient(design, np.ones((3, len(design))), 0)
    assert f"tell {rank} apart" in refusal.value.got
