"""Regions of coefficients at their borders, bounds, and how alike two fine-tunings are on what the model idealises."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmata.editing.theory import (
    NEGATION,
    ROW_NORM,
    Interval,
    changes_correlation,
    expected_correlation,
    function_similarity,
    multi_task,
    out_of_domain,
    products,
    rank_1_bound,
    row_bounds,
    similarity_of,
    unlearning,
)
from lemmata.lab.errors import InputError

# Regions


def test_adding_a_task_takes_at_least_what_the_correlation_leaves():
    region = multi_task(0.25, beta=0.125)
    assert region == (0.875, math.inf) and not region.empty
    assert 0.875 in region and 1e9 in region and math.inf in region and 0.8749 not in region
    assert multi_task(0.0).lo == 1 and multi_task(1.0).lo == 0 and multi_task(1.0, 0.1).lo == 0.1


@pytest.mark.parametrize("alpha", [-1.0, -0.3, -1e-9])
def test_no_coefficient_joins_contradictory_tasks(alpha):
    region = multi_task(alpha)
    assert region.empty and not any(x in region for x in (-1, 0, 1, 2.0, 100, math.inf, -math.inf))


def test_unlearning_has_a_window_that_widens_to_no_end():
    region = unlearning(-0.5)
    assert region == (-4, 0) and -4 in region and 0 in region and -4.001 not in region and 0.001 not in region
    assert unlearning(-1.0) == (-1, 0) and unlearning(-0.5, constant=3) == (-12, 0)
    assert unlearning(0.0) == (-math.inf, 0) and -1e9 in unlearning(0.0) and not unlearning(0.0).empty
    assert NEGATION == -2 and unlearning(-0.1).lo / unlearning(-0.2).lo == pytest.approx(4)


@pytest.mark.parametrize("alpha", [1e-9, 0.3, 1.0])
def test_no_coefficient_unlearns_an_aligned_task(alpha):
    assert unlearning(alpha).empty and 0 not in unlearning(alpha)


def test_what_is_no_number_lies_in_no_interval():
    assert "1" not in Interval(0, 2) and None not in Interval(0, 2) and math.nan not in Interval(0, 2)
    assert 1 in Interval(1, 1) and not Interval(1, 1).empty and Interval(1, 0).empty
    assert np.float64(1) in Interval(0, 2)


@pytest.mark.parametrize("function", [multi_task, unlearning, expected_correlation])
@pytest.mark.parametrize("alpha", [-1.001, 1.001, 7.0, math.nan, math.inf])
def test_a_correlation_outside_its_range_is_refused(function, alpha):
    with pytest.raises(InputError) as caught:
        function(alpha)
    assert "[-1, 1]" in caught.value.expected and caught.value.got == f"{alpha:g}" and caught.value.fix


# The polytope


# Multiples of an eighth: sums are exact, so that borders are hit.
eighths = st.integers(-16, 16).map(lambda n: n / 8)
rows = st.integers(1, 4).flatmap(
    lambda T: st.tuples(
        st.lists(st.lists(eighths, min_size=T, max_size=T), min_size=1, max_size=5),
        st.lists(eighths, min_size=T, max_size=T),
    )
)


@settings(deadline=None)
@given(rows, st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5]), st.sampled_from([0.0, 0.125, 0.25]))
def test_the_polytope_is_its_inequalities_one_by_one(drawn, threshold, beta):
    lambda_LT, gamma_T = drawn
    if not 1 < threshold < 2:
        beta = 0.0
    expected = []
    for lambdas in lambda_LT:
        first = second = 0.0
        small = True
        for value, gamma in zip(lambdas, gamma_T, strict=True):
            first += value * gamma
            second += value * gamma * gamma
            small = small and (beta == 0 or abs(value) * beta <= threshold - 1)
        expected.append(first >= threshold and second >= threshold and small)
    found = out_of_domain(lambda_LT, gamma_T, threshold=threshold, beta=beta)
    assert found.dtype == bool and found.tolist() == expected
    # Any shape of vectors.
    stacked = out_of_domain(np.array([lambda_LT, lambda_LT]), gamma_T, threshold=threshold, beta=beta)
    assert stacked.tolist() == [expected, expected]
    assert bool(out_of_domain(lambda_LT[0], gamma_T, threshold=threshold, beta=beta)) == expected[0]


def test_the_polytope_has_all_its_borders():
    gamma = [0.5, -0.5]
    # lambda_1 - lambda_2 >= 2 and lambda_1 + lambda_2 >= 4, which meet at (3, 1).
    pairs = [(3, 1), (3, 1.01), (3, 0.99), (5, 3), (5, 3.01), (5, -1), (5, -1.01)]
    assert out_of_domain(pairs, gamma).tolist() == [True, False, False, True, False, True, False]
    # The third condition alone: |lambda| beta of at most c.
    assert out_of_domain([[5.0, 0], [5.01, 0]], [1.0, 0], threshold=1.5, beta=0.1).tolist() == [True, False]
    assert out_of_domain([[2.0, -5.0], [2.0, -5.01]], [1.0, 0], threshold=1.5, beta=0.1).tolist() == [True, False]


@pytest.mark.parametrize(
    ("lambdas", "gamma", "changes", "expected", "got"),
    [
        ([1.0, 2.0], [0.5], {}, "one gamma for each lambda", "shapes (2,) and (1,)"),
        ([[1.0], [2.0]], [0.5, 0.1], {}, "one gamma for each lambda", "shapes (2, 1) and (2,)"),
        ([1.0], [[0.5]], {}, "one gamma for each lambda", "shapes (1,) and (1, 1)"),
        (1.0, [0.5], {}, "one gamma for each lambda", "shapes () and (1,)"),
        ([1.0], [0.5], {"threshold": 0.9, "beta": 0.1}, "where beta is above 0", "beta = 0.1 at threshold 0.9"),
        ([1.0], [0.5], {"threshold": 1.0, "beta": 0.1}, "where beta is above 0", "beta = 0.1 at threshold 1"),
        ([1.0], [0.5], {"threshold": 2.0, "beta": 0.1}, "where beta is above 0", "beta = 0.1 at threshold 2"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(lambdas, gamma, changes, expected, got):
    with pytest.raises(InputError) as caught:
        out_of_domain(lambdas, gamma, **changes)
    assert expected in caught.value.expected and caught.value.got == got and caught.value.fix


# Bounds


def test_bounds_of_rank_and_rows_are_their_formulas():
    assert rank_1_bound(2, 0.0) == pytest.approx(1 / math.log(2))
    assert rank_1_bound(100, 0.02) == pytest.approx(2 + 1 / math.log(100))
    assert row_bounds(16, 0.5) == (0.25, 0.125) and row_bounds(1, 0.0) == (1.0, 0.0)
    assert row_bounds(400, 0)[0] / row_bounds(100, 0)[0] == pytest.approx(4**ROW_NORM)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rank_1_bound(1, 0.1),
        lambda: rank_1_bound(20, -0.1),
        lambda: rank_1_bound(20, math.nan),
        lambda: row_bounds(100, math.inf),
        lambda: row_bounds(0, 0.1),
        lambda: row_bounds(10, -0.1),
    ],
)
def test_bounds_of_what_cannot_be_are_refused(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "at least" in caught.value.expected and "eps =" in caught.value.got and "own" in caught.value.fix


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: multi_task(0.5, -0.1), "beta"),
        (lambda: multi_task(0.5, math.nan), "beta"),
        (lambda: out_of_domain([1.0], [0.5], beta=-0.1), "beta"),
        (lambda: unlearning(-0.5, 0.0), "constant"),
        (lambda: unlearning(-0.5, math.inf), "constant"),
    ],
)
def test_open_constants_of_theorems_are_sizes(call, name):
    with pytest.raises(InputError) as caught:
        call()
    assert name in caught.value.expected and caught.value.fix


# How alike two fine-tunings are


def idealised(alpha, y_1, y_2):
    """Changes on inputs of task 1 with margins y_1 and of task 2 with margins y_2."""
    y_1, y_2 = np.asarray(y_1), np.asarray(y_2)
    return np.concatenate([y_1, alpha * y_2]), np.concatenate([alpha * y_1, y_2])


@settings(deadline=None)
@given(alpha=st.floats(-1, 1), count=st.integers(1, 20), seed=st.integers(0, 1000))
def test_on_idealised_changes_the_similarity_is_alpha_and_the_correlation_is_not(alpha, count, seed):
    labels = np.random.default_rng(seed).choice([-1.0, 1.0], (2, count))
    changes = idealised(alpha, *labels)
    assert function_similarity(*changes) == pytest.approx(alpha, abs=1e-12)
    assert changes_correlation(*changes) == pytest.approx(2 * alpha / (1 + alpha**2), abs=1e-12)
    assert expected_correlation(alpha) == pytest.approx(2 * alpha / (1 + alpha**2), rel=1e-15, abs=1e-300)


@settings(deadline=None)
@given(alpha=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_margins_may_be_of_any_size_where_both_tasks_have_the_same(alpha, seed):
    """A change grows in proportion to how far an input lies along the task's direction."""
    y = np.random.default_rng(seed).normal(size=30)
    assert function_similarity(*idealised(alpha, y, y)) == pytest.approx(alpha, abs=1e-12)


some = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12)


@settings(deadline=None)
@given(some, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 100))
def test_estimates_do_not_depend_on_scales_or_on_the_signs_of_labels(pairs, scale_1, scale_2, seed):
    # Squares have to be numbers that are not denormal.
    u_1, u_2 = np.array([*pairs, (1.0, 1.0)]).T
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], len(u_1))
    for estimate in (function_similarity, changes_correlation):
        plain = estimate(u_1, u_2)
        assert -1 <= plain <= 1
        assert estimate(scale_1 * u_1, scale_2 * u_2) == pytest.approx(plain, abs=1e-9)
        assert estimate(sign * u_1, sign * u_2) == pytest.approx(plain, abs=1e-12)
        assert estimate(u_2, u_1) == pytest.approx(plain, abs=1e-12)
        assert estimate(u_1, -u_2) == pytest.approx(-plain, abs=1e-12)
        assert estimate(u_1, u_1) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("estimate", [changes_correlation, function_similarity])
def test_an_estimate_is_a_correlation_that_regions_take(estimate):
    rng = np.random.default_rng(0)
    for _ in range(300):
        u = rng.normal(size=50)
        for sign in (-1, 1):
            region = multi_task(estimate(u, 3 * sign * u))
            assert region.empty == (sign < 0)


def test_many_resamples_are_estimated_at_once():
    rng = np.random.default_rng(0)
    u_1, u_2 = rng.normal(size=(2, 40))
    u_2[:5] = 0
    parts = products(u_1, u_2)
    for found, by_hand in zip(parts, (u_1 * u_2, u_1**2, u_2**2), strict=True):
        np.testing.assert_allclose(found, by_hand)
    which = rng.integers(0, 40, (3, 7, 40))
    which[0, 0] = 2
    found = similarity_of(*(part[which] for part in parts))
    assert found.shape == (3, 7) and found[0, 0] == 0
    for i in np.ndindex(3, 7):
        assert found[i] == pytest.approx(function_similarity(u_1[which[i]], u_2[which[i]]), abs=1e-12)


def test_changes_are_not_centred():
    assert changes_correlation([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]) == 1
    assert function_similarity([1.0, 1.0], [1.0, 0.0]) == pytest.approx(math.sqrt(2) / 3)
    assert changes_correlation([1.0, 1.0], [1.0, 0.0]) == pytest.approx(1 / math.sqrt(2))


def test_changes_may_be_vectors_of_scores():
    """Turned scores are as alike; one score alone is a vector of one."""
    rng = np.random.default_rng(0)
    u_1, u_2 = rng.normal(size=(2, 40, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for estimate in (function_similarity, changes_correlation):
        assert estimate(u_1 @ turn, u_2 @ turn) == pytest.approx(estimate(u_1, u_2), abs=1e-12)
        assert estimate(u_1[:, :1], u_2[:, :1]) == pytest.approx(estimate(u_1[:, 0], u_2[:, 0]), abs=1e-12)
    one, other = idealised(-0.4, *rng.choice([-1.0, 1.0], (2, 10)))
    along = np.array([0.6, 0.0, 0.8])
    assert function_similarity(np.outer(one, along), np.outer(other, along)) == pytest.approx(-0.4)
    # By hand: products of two inputs over the larger squares, at mean squares of 1.
    u_1, u_2 = np.array([[1.0, 0], [0, 1.0]]), np.array([[1.0, 1.0], [0, 0]]) * 3
    assert function_similarity(u_1, u_2) == pytest.approx(1 / math.sqrt(1 * 1) / (2 + 1))
    assert changes_correlation(u_1, u_2) == pytest.approx(3 / math.sqrt(2 * 18))


def test_without_a_change_nothing_is_alike():
    nothing, something = np.zeros(4), np.array([1.0, -1.0, 2.0, 0.5])
    for estimate in (function_similarity, changes_correlation):
        assert estimate(nothing, something) == estimate(something, nothing) == estimate(nothing, nothing) == 0


@pytest.mark.parametrize("estimate", [function_similarity, changes_correlation])
@pytest.mark.parametrize(
    ("u_1", "u_2", "expected", "got", "fix"),
    [
        ([1.0, 2.0], [1.0], "(N,) or (N, C)", "shapes (2,) and (1,)", "the same inputs"),
        ([], [], "(N,) or (N, C)", "shapes (0,) and (0,)", "the same inputs"),
        (1.0, 1.0, "(N,) or (N, C)", "shapes () and ()", "the same inputs"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2)), "(N,) or (N, C)", "shapes (2, 2, 2) and (2, 2, 2)", "the same inputs"),
        ([1.0, math.nan], [1.0, 2.0], "finite", "nan or inf", "leave out"),
        ([1.0, 1.0], [1.0, math.inf], "finite", "nan or inf", "leave out"),
    ],
)
def test_changes_that_cannot_be_compared_are_refused(estimate, u_1, u_2, expected, got, fix):
    with pytest.raises(InputError) as caught:
        estimate(u_1, u_2)
    assert expected in caught.value.expected and got in caught.value.got and fix in caught.value.fix


@pytest.mark.parametrize("number", [1, 1.0, np.float32(1), np.int64(1)])
def test_an_interval_holds_numbers_of_any_kind(number):
    assert number in multi_task(0.2) and number not in multi_task(-0.2) and "1" not in multi_task(0.2)
