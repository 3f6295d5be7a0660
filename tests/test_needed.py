"""Sizes that are needed: where each seed's curve arrives at a threshold, between two sizes or interpolated."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmata.lab.errors import DataError
from lemmata.lab.needed import needed, needed_between

NAN, INF = math.nan, math.inf


def frame(curves, sizes, by="alpha", size="x"):
    """Rows of curves {(seed, value of `by`): (a value a size)}, the last ones first."""
    rows = [
        {"seed": seed, by: at, size: x, "value": y}
        for (seed, at), curve in curves.items()
        for x, y in zip(sizes, curve, strict=True)
    ]
    return pd.DataFrame(rows[::-1])


# Between two sizes


def test_a_curve_arrives_between_the_last_size_above_and_the_first_from_which_it_stays():
    curves = {
        (0, 0.4): (0.3, 0.2, 0.05, 0.01),
        (0, 0.8): (0.3, 0.04, 0.03, 0.01),
        (3, 0.4): (0.04, 0.3, 0.2, 0.01),  # below once, and then not
        (3, 0.8): (0.05, 0.05, 0.05, 0.05),  # at the threshold from the start
        (7, 0.4): (0.3, 0.2, 0.1, 0.06),  # never
        (7, 0.8): (0.3, NAN, 0.01, 0.01),  # what is not a number has not arrived
    }
    by, lo_SP, hi_SP = needed_between(frame(curves, (2, 4, 8, 16), size="l_tr"), "l_tr", "alpha", 0.05)
    assert by.tolist() == [0.4, 0.8]
    assert lo_SP.tolist() == [[4, 2], [8, 0], [16, 4]]
    assert hi_SP.tolist() == [[8, 4], [16, 2], [INF, 8]]


def test_columns_may_have_any_names_and_sizes_any_order():
    rows = frame({(1, 30): (0.0, 0.5, 0.2)}, (8, 2, 4), by="M", size="prompts")
    by, lo_SP, hi_SP = needed_between(rows, "prompts", "M", 0.1)
    assert (by.tolist(), lo_SP.tolist(), hi_SP.tolist()) == ([30], [[4]], [[8]])


def test_one_size_is_not_a_curve():
    with pytest.raises(DataError, match="sizes l_tr to compare"):
        needed_between(frame({(0, 0.4): (0.3,)}, (2,), size="l_tr"), "l_tr", "alpha", 0.05)


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_seed_without_any_number_has_never_arrived(everywhere):
    curves = {(0, 0.4): (0.3, 0.01), (0, 0.8): (0.3, 0.01), (1, 0.4): (NAN, NAN), (1, 0.8): (0.3, 0.01)}
    if everywhere:
        curves[1, 0.8] = NAN, NAN
    rows = frame(curves, (2, 4))
    _, lo_SP, hi_SP = needed_between(rows, "x", "alpha", 0.05)
    assert hi_SP.tolist() == [[4, 4], [INF, INF if everywhere else 4]]
    assert lo_SP.tolist() == [[2, 2], [4, 4 if everywhere else 2]]
    assert np.isfinite(needed(rows, "alpha", 0.05, least=1e-4).to_numpy(float)).tolist() == (hi_SP < INF).tolist()


# Interpolated


def crossed(sizes, curve, threshold, *, least=1e-9):
    return needed(frame({(0, 0.4): curve}, sizes), "alpha", threshold, least=least).to_numpy(float).item()


@settings(deadline=None)
@given(rate=st.floats(0.02, 1), threshold=st.floats(1e-4, 0.2))
def test_where_an_error_falls_exponentially_the_size_is_exact(rate, threshold):
    sizes = np.array([1, 3, 10, 40, 600])
    exact = -math.log(threshold) / rate
    found = crossed(sizes, np.exp(-rate * sizes), threshold, least=1e-300)
    if exact < 1:
        assert found == INF
    else:
        assert found == pytest.approx(exact, rel=1e-9)


@settings(deadline=None)
@given(exponent=st.floats(0.3, 3), threshold=st.floats(1e-3, 0.2))
def test_where_an_error_falls_as_a_power_the_size_is_exact_between_logarithms(exponent, threshold):
    sizes = np.array([1, 3, 10, 40, 10**11])
    found = crossed(np.log(sizes), sizes**-exponent, threshold, least=1e-300)
    assert math.exp(found) == pytest.approx(threshold ** (-1 / exponent), rel=1e-9)


def test_the_first_arrival_counts():
    assert crossed((2, 4, 8), (0.4, 0.1, 0.3), 0.2) == pytest.approx(3.0)
    assert crossed((2, 4, 8), (0.4, 0.3, 0.2), 0.2) == pytest.approx(8.0)


def test_a_curve_that_never_arrives_or_is_there_at_once_has_no_size():
    assert crossed((2, 4, 8), (0.4, 0.3, 0.21), 0.2) == INF
    assert crossed((2, 4, 8), (0.2, 0.1, 0.01), 0.2) == INF


def test_an_error_of_nothing_counts_as_the_least_that_can_be_seen():
    for least in (1e-2, 1e-4):
        share = math.log(0.4 / 0.02) / math.log(0.4 / least)
        assert crossed((2, 4, 8), (0.5, 0.4, 0.0), 0.02, least=least) == pytest.approx(4 + share * 4)


def test_seeds_are_rows_and_the_values_of_one_or_several_constants_columns():
    curves = {(seed, at): (0.8, 0.8 * 0.5**at, 0.0) for seed in (5, 2) for at in (1, 3)}
    table = needed(frame(curves, (2, 4, 8)), "alpha", 0.5, least=1e-4)
    assert table.index.tolist() == [2, 5] and table.columns.tolist() == [1, 3]
    expected = [2 + 2 * math.log(1.6) / (n * math.log(2)) for n in (1, 3)]
    np.testing.assert_allclose(table.to_numpy(float), [expected, expected])
    rows = pd.concat([frame(curves, (2, 4, 8)).assign(tau=tau) for tau in (0.5, 0.7)])
    both = needed(rows, ["alpha", "tau"], 0.5, least=1e-4)
    assert both.columns.tolist() == [(1, 0.5), (1, 0.7), (3, 0.5), (3, 0.7)]
    np.testing.assert_allclose(both.to_numpy(float), table.to_numpy(float).repeat(2, 1))
