"""Step matrices and their constants, and the rates (votes and the oracle have files of their own)."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lemmata.cot.theory import (
    TEST_LENGTH,
    check_steps,
    condition_matrices,
    cot_length,
    icl_length,
    iterations,
    rho_range,
    step_accuracies,
    step_matrices,
    train_length,
    transitions,
    wrong_pieces,
)
from lemmata.lab.errors import InputError

WORKED = [[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.8, 0.2]]]


# Given matrices


def test_the_worked_example_of_the_paper():
    t = transitions(WORKED)
    np.testing.assert_allclose(t.product, [[0.56, 0.44], [0.64, 0.36]], rtol=1e-12)
    assert t.path.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert (t.tau, t.tau_o) == pytest.approx((0.36, 0.56), rel=1e-12)
    assert (t.rho, t.rho_o) == pytest.approx((1 / 3, 1 - 0.56 / 0.44), rel=1e-12)
    assert not t.condition_1


def test_tau_follows_the_correct_path_and_not_the_likeliest_one():
    # From state 0 the correct path is 0, 1, 1 with .5 * .7; staying in 0 throughout has .3 * .9.
    A = [[0.3, 0.5, 0.2], [0.1, 0.1, 0.8], [0.9, 0.1, 0.0]]
    B = [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]]
    t = transitions([A, B])
    assert t.path.tolist() == [[0, 1, 1], [1, 2, 2], [2, 0, 0]]
    assert t.tau == pytest.approx(0.35) and t.rho == pytest.approx(1 - 0.3 / 0.5)


def test_a_tie_does_not_satisfy_condition_1():
    # From the first start .7 * .6 + .3 * 4/15 = .5, up to rounding.
    t = transitions([[[0.7, 0.3], [0.3, 0.7]], [[0.6, 0.4], [4 / 15, 11 / 15]]])
    assert t.rho_o == pytest.approx(0, abs=1e-12) and not t.condition_1


@settings(deadline=None, max_examples=50)
@given(S=st.integers(2, 8), K=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_the_constants_are_those_of_their_definitions(S, K, seed):
    steps = np.random.default_rng(seed).dirichlet(np.ones(S), (K, S))
    t = transitions(list(steps))
    product_SS = np.linalg.multi_dot([np.eye(S), *steps, np.eye(S)])
    np.testing.assert_allclose(t.product, product_SS, rtol=1e-9)
    taus, rhos = [], []
    for start in range(S):
        state, path = start, 1.0
        for A in steps:
            path *= max(A[state])
            state = int(np.argmax(A[state]))
        taus.append(path)
        rhos.append(1 - max(np.delete(product_SS[start], state)) / product_SS[start, state])
        assert t.path[start, -1] == state
    assert t.tau == pytest.approx(min(taus)) and t.rho_o == pytest.approx(min(rhos))
    assert t.tau_o == pytest.approx(min(max(row) for row in product_SS))
    assert t.rho == pytest.approx(min(1 - sorted(row)[-2] / max(row) for A in steps for row in A))
    assert t.condition_1 == (min(rhos) > 0)


@pytest.mark.parametrize(
    "matrices, said",
    [
        ([], "none"),
        ([[[0.6, 0.4]]], "A_1: a square matrix"),
        ([[[1.0]]], "at least 2 states"),
        ([[[0.6, 0.4], [0.4]]], "A_1: rows of numbers"),
        ([np.eye(2), np.eye(3)], "sizes [2, 3]"),
        ([np.eye(2), [[1.2, -0.2], [0, 1]]], "A_2: probabilities\ngot      row 0"),
        ([[[0.6, float("nan")], [0, 1]]], "row 0 holds nan"),
        (
            [np.eye(2), [[1, 0], [0.5, 0.4]]],
            "A_2: rows that sum to 1\ngot      row 1: 0.9\nfix      divide each row by its sum",
        ),
        ([[[1, 0], [0.5, 0.5]]], "A_1: a single largest entry in every row, the correct step\ngot      row 1"),
        (
            [[[0.1 + 0.2, 0.3, 0.4 - 1e-17], [0.3, 0.4, 0.3], [0.1 + 0.2, 0.4, 0.3]], [[0.35, 0.35 + 1e-16, 0.3]] * 3],
            "A_2",
        ),
    ],
)
def test_what_is_no_step_matrix_is_refused(matrices, said):
    with pytest.raises(InputError) as caught:
        transitions(matrices)
    assert said in str(caught.value) and caught.value.fix


def test_rounded_rows_are_accepted_and_sum_to_1():
    t = transitions([[[0.333333, 0.666667], [0.5000004, 0.4999999]]])
    np.testing.assert_allclose(t.steps[0].sum(1), 1, rtol=1e-15)


# Prescribed constants

splits = st.sampled_from(["one", "even"])


@settings(deadline=None)
@given(tau=st.floats(0.05, 0.999), K=st.integers(1, 5), states=st.integers(2, 15), split=splits, at=st.floats(0, 1))
def test_step_matrices_have_the_constants_that_were_asked_for(tau, K, states, split, at):
    p = step_accuracies(tau, K, split)[-1]
    assume(p * states > 1.001)
    lo, hi = rho_range(p, states)
    rho = max(lo + at * (hi - lo), 1e-6)
    assume(rho < hi or states == 2)
    t = transitions(step_matrices(tau, rho, K, states, split))
    assert t.tau == pytest.approx(tau, abs=1e-9) and t.rho == pytest.approx(rho, abs=1e-9)
    assert (t.path == np.arange(states)[:, None]).all()
    for A in t.steps:
        np.testing.assert_allclose(A.sum(0), 1)
    if split == "one":
        assert all(np.array_equal(A, np.eye(states)) for A in t.steps[:-1])


@settings(deadline=None)
@given(p=st.floats(0.02, 1, exclude_max=True), states=st.integers(2, 30), at=st.floats(0, 1))
def test_the_wrong_pieces_are_the_wrong_mass_cut_at_the_primacy(p, states, at):
    assume(p * states > 1.001)
    lo, hi = rho_range(p, states)
    rho = max(lo + at * (hi - lo), 1e-6)
    assume(rho < 1)
    pieces = wrong_pieces(p, rho, states)
    assert 1 <= len(pieces) < states and pieces.sum() == pytest.approx(1 - p)
    assert pieces[0] == pytest.approx((1 - rho) * p, rel=1e-9, abs=1e-12)
    assert (pieces[:-1] == (1 - rho) * p).all() and (pieces > 0).all()
    assert pieces[-1] <= pieces[0] * (1 + 1e-6)


@pytest.mark.parametrize("states", [2, 3, 10])
def test_the_ends_of_the_range_are_reached_and_no_more(states):
    lo, hi = rho_range(0.7, states)
    assert lo == pytest.approx(1 - 0.3 / 0.7) and hi == pytest.approx(1 - 0.3 / 0.7 / (states - 1))
    assert len(wrong_pieces(0.7, lo, states)) == 1 and len(wrong_pieces(0.7, hi, states)) == states - 1
    for beyond in (lo - 1e-6, hi + 1e-6):
        with pytest.raises(InputError, match="rho in"):
            wrong_pieces(0.7, beyond, states)


def test_an_exact_step_has_no_wrong_pieces_whatever_the_primacy():
    assert len(wrong_pieces(1.0, 0.5, 10)) == 0 and rho_range(1.0, 10) == (1.0, 1.0)
    t = transitions(step_matrices(1.0, 0.5, 3, 4, "even"))
    assert t.tau == 1 and t.rho == 1 and t.rho_o == 1


def test_an_even_split_leaves_little_choice_of_the_primacy():
    with pytest.raises(InputError) as caught:
        check_steps(0.5, 0.5, 3, 10, "even")
    assert caught.value.expected == 'rho in [0.741, 0.971] where tau = 0.5, split = "even", K = 3, states = 10'
    assert "[0.001, 0.888]" in caught.value.fix
    for rho in (0.741, 0.971):
        check_steps(0.5, rho, 3, 10, "even")
    for rho in (0.001, 0.888):
        check_steps(0.5, rho, 3, 10, "one")


def test_where_there_is_no_choice_at_all_the_whole_number_is_named():
    with pytest.raises(InputError) as caught:
        check_steps(0.7, 0.5, 1, 2, "one")
    named = caught.value.expected.split("[")[1].split(",")[0]
    check_steps(0.7, float(named), 1, 2, "one")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((0.0, 0.5, 3, 10, "one"), "tau in (0, 1]"),
        ((1.1, 0.5, 3, 10, "one"), "tau in (0, 1]"),
        ((0.5, 0.5, 0, 10, "one"), "K = 0"),
        ((0.5, 0.0, 3, 10, "one"), "rho in (0, 1)"),
        ((0.5, 1.0, 3, 10, "one"), "rho in (0, 1)"),
        ((0.5, 0.5, 3, 1, "one"), "states = 1"),
        ((0.1, 0.5, 3, 10, "one"), "a correct step more likely than 1/states = 0.1\ngot      p = 0.1"),
        ((0.5, 0.9, 3, 10, "one"), "[0.001, 0.888]"),
        ((0.5, 0.5, 3, 10, "evn"), "did you mean even?"),
    ],
)
def test_constants_that_no_matrices_have_are_refused(arguments, said):
    with pytest.raises(InputError) as caught:
        step_matrices(*arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize("states", range(3, 15))
def test_the_matrices_of_the_condition_satisfy_or_break_it_and_nothing_else(states):
    kept, broken = (transitions(condition_matrices(satisfied, states)) for satisfied in (True, False))
    assert kept.condition_1 and not broken.condition_1
    for t in (kept, broken):
        assert (t.path == np.arange(states)[:, None]).all()
        assert t.tau == pytest.approx(0.45 * 0.55) and t.rho > 0
    # From every start but the favoured state itself the outcome is mostly that state.
    assert (broken.product.argmax(1) == 0).all()
    np.testing.assert_allclose(broken.steps[2][1:, 0], 0.35)


# Rates


def test_the_rates_have_the_exponents_that_claims_test():
    few, many = iterations(0.2, 3, 20, 0.1), iterations(0.1, 6, 40, 0.1)
    assert many.position / few.position == pytest.approx(2**2 * 2**3)
    assert many.pattern / few.pattern == pytest.approx(2 * 2 * (10 + 10) / (5 + 10))
    assert few.total == few.position + few.pattern
    assert train_length(0.1) == 10
    assert cot_length(0.2, 0.5) == pytest.approx(100) and cot_length(0.2, 0.5, 0.5) == pytest.approx(
        100 * 0.5**TEST_LENGTH
    )
    assert icl_length(0.2, 0.5, 0.5) == cot_length(0.2, 0.5, 0.5)


@pytest.mark.parametrize(
    "call", [lambda: cot_length(0, 0.5), lambda: icl_length(0.5, 0.5, -0.27), lambda: iterations(0.5, 0, 20, 0.1)]
)
def test_rates_outside_their_range_are_refused(call):
    with pytest.raises(InputError):
        call()
