"""The chain-of-thought oracle against enumeration of all prompts, against its own trials, and against known values."""

import math
from itertools import combinations_with_replacement, permutations, product
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lemmata.cot.theory import (
    condition_matrices,
    cot_error,
    cot_examples,
    cot_examples_of,
    cot_oracle,
    icl_error,
    icl_examples,
    icl_examples_of,
    icl_oracle,
    outcome_rows,
    plain_examples,
    plain_oracle,
    right_in_the_end,
    step_errors,
    step_matrices,
    transitions,
)
from lemmata.cot.theory.mechanism import chain, chain_of
from lemmata.cot.theory.prompts import Sampled
from lemmata.lab.errors import DataError, InputError

EXACT = np.eye(3)
SHIFT = np.roll(EXACT, 1, axis=1)
SWAP = EXACT[[1, 0, 2]]
# Two corruptions of three states without any symmetry; f is (0, 2, 1) and (0, 1, 0), the second no permutation.
LEAKY = np.array([[0.5, 0.3, 0.2], [0.1, 0.25, 0.65], [0.3, 0.4, 0.3]])
MERGING = np.array([[0.6, 0.0, 0.4], [0.35, 0.4, 0.25], [0.45, 0.15, 0.4]])


# Enumeration: every prompt of l examples with its probability, and every way to break ties


def prompts(l, alpha, matrices, z_0):
    """All prompts as multisets of paths, with their probabilities."""
    S = len(matrices[0])
    paths = {}
    for path in product(range(S), repeat=len(matrices) + 1):
        p = alpha if path[0] == z_0 else (1 - alpha) / (S - 1)
        for A, here, there in zip(matrices, path, path[1:], strict=False):
            p *= A[here][there]
        if p > 0:
            paths[path] = p
    for examples in combinations_with_replacement(paths, l):
        ways = factorial(l)
        for path in set(examples):
            ways //= factorial(examples.count(path))
        yield examples, ways * math.prod(paths[path] for path in examples)


def answers(examples, k, state, S):
    """The states that share the most votes when step k is asked at `state`."""
    votes = [path[k + 1] for path in examples if path[k] == state] or [path[k + 1] for path in examples]
    counts = [votes.count(j) for j in range(S)]
    return [j for j in range(S) if counts[j] == max(counts)]


def enumerated(l, alpha, matrices, *, forced):
    """Error of every step, averaged over the starts; `forced` asks every step at the correct state."""
    S, K = len(matrices[0]), len(matrices)
    wrong_K = np.zeros(K)
    for z_0 in range(S):
        correct = [z_0]
        for A in matrices:
            correct.append(int(np.argmax(A[correct[-1]])))
        for examples, chance in prompts(l, alpha, matrices, z_0):
            asked = {z_0: 1.0}
            for k in range(K):
                given = {}
                for state, p in asked.items():
                    tied = answers(examples, k, state, S)
                    for j in tied:
                        given[j] = given.get(j, 0) + p / len(tied)
                wrong_K[k] += chance / S * (1 - given.get(correct[k + 1], 0))
                asked = {correct[k + 1]: 1.0} if forced else given
    return wrong_K


TASKS = {
    "first step": [LEAKY, SHIFT],
    "last step": [SWAP, LEAKY],
    "middle step": [SHIFT, LEAKY, SWAP],
    "no step": [SHIFT, SWAP],
    "single step": [LEAKY],
    "both steps": [LEAKY, MERGING],
}
ONE_CORRUPTED = [name for name in TASKS if name != "both steps"]


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("name", TASKS)
def test_step_errors_are_the_sum_over_all_prompts(name, alpha):
    for l in range(4 if len(TASKS[name]) < 3 else 3):
        expected = enumerated(l, alpha, TASKS[name], forced=True)
        np.testing.assert_allclose(step_errors(l, alpha, TASKS[name]), expected, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("name", ONE_CORRUPTED)
def test_the_chain_with_one_corrupted_step_is_the_sum_over_all_prompts(name, alpha):
    for l in range(4 if len(TASKS[name]) < 3 else 3):
        e = cot_error(l, alpha, TASKS[name])
        assert e.value == pytest.approx(enumerated(l, alpha, TASKS[name], forced=False).mean(), abs=1e-12)
        assert e.lo == e.value == e.hi and e.method == "exact"


def assert_within(estimate, expected, alpha=1e-4):
    """The estimate is a mean of so many trials around the expected value."""
    assert estimate.lo <= estimate.value <= estimate.hi
    spread = norm.isf(alpha / 2) * math.sqrt(expected * (1 - expected) / estimate.n)
    assert abs(estimate.value - expected) <= spread


@pytest.mark.parametrize("alpha", [0.3, 0.8])
@pytest.mark.parametrize("l", [1, 2, 3])
def test_trials_of_the_chain_agree_with_the_sum_over_all_prompts(l, alpha):
    expected = enumerated(l, alpha, TASKS["both steps"], forced=False).mean()
    assert_within(cot_error(l, alpha, TASKS["both steps"], trials=90_000), expected)


@pytest.mark.parametrize("l", [5, 40])
@pytest.mark.parametrize("alpha", [0.2, 0.6])
def test_trials_agree_with_the_formula_where_there_is_one(l, alpha):
    # A second step that is as good as exact is played in trials.
    nearly = np.where(np.eye(4) == 1, 1 - 3e-9, 1e-9)
    matrices = step_matrices(0.5, 0.4, 2, 4, "one")
    played = cot_error(l, alpha, [nearly, *matrices], trials=40_000)
    assert played.method.startswith("40000 trials")
    assert_within(played, cot_error(l, alpha, [np.eye(4), *matrices]).value)


def test_nearly_all_intervals_hold_the_true_error():
    expected = enumerated(3, 0.8, TASKS["both steps"], forced=False).mean()
    found = [cot_error(3, 0.8, TASKS["both steps"], trials=300, seed=seed) for seed in range(200)]
    assert sum(e.lo <= expected <= e.hi for e in found) >= 185


def in_any_order(p, wrong):
    """Circulant steps with every order of the wrong pieces."""
    return [np.stack([np.roll([p, *order], i) for i in range(3)]) for order in permutations(wrong)]


@pytest.mark.parametrize("alpha", [0.4, 0.8])
@pytest.mark.parametrize("l", [0, 1, 2, 3])
def test_the_prescribed_chain_is_the_mean_over_the_corrupted_step_and_the_orders(l, alpha):
    # tau = .6, rho = 1/2: wrong pieces .3 and .1.
    corrupted = in_any_order(0.6, (0.3, 0.1))
    tasks = [task for A in corrupted for task in ([A, EXACT], [EXACT, A])]
    expected = np.mean([enumerated(l, alpha, task, forced=False).mean() for task in tasks])
    assert cot_oracle(l, alpha, 0.6, 0.5, K=2, states=3).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("l", [1, 3])
def test_the_evenly_corrupted_chain_is_the_mean_over_the_orders(l):
    corrupted = in_any_order(0.6, (0.3, 0.1))
    tasks = list(product(corrupted, corrupted))
    expected = np.mean([enumerated(l, 0.7, task, forced=False).mean() for task in tasks])
    assert_within(cot_oracle(l, 0.7, 0.36, 0.5, K=2, states=3, split="even", trials=90_000), expected)


@pytest.mark.parametrize("alpha", [0.4, 1.0])
@pytest.mark.parametrize("l", [0, 1, 2, 3])
def test_demonstrations_are_one_step_with_the_product(l, alpha):
    t = transitions([LEAKY, MERGING])
    expected = 0.0
    for z_0 in range(3):
        for examples, chance in prompts(l, alpha, [t.product], z_0):
            tied = answers(examples, 0, z_0, 3)
            expected += chance / 3 * (1 - (t.path[z_0, -1] in tied) / len(tied))
    assert icl_error(l, alpha, t.product, t.path[:, -1]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("l", [0, 3, 30, 300])
def test_prescribed_demonstrations_are_a_chain_of_one_step(l):
    assert icl_oracle(l, 0.6, 0.5, 0.6) == pytest.approx(cot_oracle(l, 0.6, 0.5, 0.6, K=1).value, abs=1e-12)
    matrices = step_matrices(0.5, 0.6, 1, 10, "one")
    assert icl_oracle(l, 0.6, 0.5, 0.6) == pytest.approx(cot_error(l, 0.6, matrices).value, abs=1e-12)


def products_in_any_order(corrupted):
    """B for every order of the wrong pieces in both of two steps."""
    return [A @ C for A, C in product(corrupted, corrupted)]


@pytest.mark.parametrize("alpha", [0.4, 0.7, 1.0])
@pytest.mark.parametrize("l", [1, 2])
def test_plain_demonstrations_of_an_even_split_are_the_mean_over_the_orders(l, alpha):
    expected = []
    for B in products_in_any_order(in_any_order(0.6, (0.3, 0.1))):
        right = 0.0
        for z_0 in range(3):
            for examples, chance in prompts(l, alpha, [B], z_0):
                tied = answers(examples, 0, z_0, 3)
                right += chance / 3 * (z_0 in tied) / len(tied)
        expected.append(1 - right)
    e = plain_oracle(l, alpha, 0.36, 0.5, K=2, states=3, split="even", trials=90_000)
    assert_within(e, np.mean(expected))


@pytest.mark.parametrize("l", [10, 40, 160])
def test_trials_of_plain_demonstrations_agree_with_the_exact_error_of_every_order(l):
    in_every_order = products_in_any_order(in_any_order(0.6, (0.3, 0.1)))
    expected = np.mean([icl_error(l, 0.7, B, range(3)) for B in in_every_order])
    assert_within(plain_oracle(l, 0.7, 0.36, 0.5, K=2, states=3, split="even", trials=90_000), expected)


def test_outcome_rows_are_those_of_the_products_of_the_tasks_that_the_chain_is_played_in():
    played = chain(0.8, 0.5, 0.8, K=3, states=10, split="even", trials=50, seed=3)
    assert isinstance(played, Sampled)
    A_TSS, B_TSS, C_TSS = played.step_K
    row_TS = outcome_rows(0.5, 0.8, K=3, states=10, split="even", trials=50, seed=3)
    np.testing.assert_allclose(row_TS, (A_TSS @ B_TSS @ C_TSS)[:, 0], atol=1e-15)
    np.testing.assert_allclose((A_TSS @ B_TSS @ C_TSS)[:, 4], np.roll(row_TS, 4, axis=1), atol=1e-15)
    assert len(np.unique(row_TS.round(12), axis=0)) > 25


@pytest.mark.parametrize("l", [0, 1, 7, 30])
def test_plain_demonstrations_are_exact_where_all_tasks_are_alike(l):
    exact = icl_oracle(l, 0.6, 0.5, 0.8)
    for e in (plain_oracle(l, 0.6, 0.5, 0.8), plain_oracle(l, 0.6, 0.5, 0.8, K=1, split="even")):
        assert (e.lo, e.value, e.hi, e.n, e.method) == (exact, exact, exact, 0, "exact")
    # No step is wrong, one wrong state, or wrong states that are equally likely.
    assert plain_oracle(l, 0.6, 1.0, 0.8, split="even").value == icl_oracle(l, 0.6, 1.0, 0.8)
    for states in (2, 5):
        rho = 1 - 0.1 / (states - 1) / 0.9
        task = transitions(step_matrices(0.9**3, rho, 3, states, "even"))
        e = plain_oracle(l, 0.6, 0.9**3, rho, states=states, split="even")
        assert e.method == "exact"
        assert e.value == pytest.approx(icl_error(l, 0.6, task.product, range(states)), abs=1e-9)


@pytest.mark.parametrize("rows, labels", [(LEAKY @ MERGING, [0, 1, 0]), ([[0.4, 0.4, 0.2]] * 3, [0, 1, 2])])
def test_the_error_tends_to_what_is_not_right_in_the_end(rows, labels):
    limit = 1 - right_in_the_end(rows, labels).mean()
    assert icl_error(20_000, 0.8, rows, labels) == pytest.approx(limit, abs=1e-3)


# Known values and limits


@pytest.mark.parametrize("alpha, expected", [(0.4, (0.34, 0.17, 0.046, 0.012, 0.001)), (0.8, (0.16, 0.042, 0.003))])
def test_the_corrupted_step_has_the_errors_of_an_earlier_simulation(alpha, expected):
    for l, known in zip((10, 20, 40, 60, 100), expected, strict=False):
        error = step_errors(l, alpha, step_matrices(0.5, 0.8, 3, 10, "one"))[2]
        assert error == pytest.approx(known, abs=0.5 * 10 ** (math.floor(math.log10(known)) - 1) + 5e-4)


@pytest.mark.parametrize("K", [1, 2, 3])
def test_without_examples_every_state_is_as_likely(K):
    for e in (cot_oracle(0, 0.5, 0.5, 0.8, K=K, split=split) for split in ("one", "even")):
        assert e.lo == e.value == e.hi == 0.9
    assert step_errors(0, 0.5, step_matrices(0.5, 0.8, K, 10, "one")).tolist() == pytest.approx([0.9] * K)
    assert icl_oracle(0, 0.5, 0.5, 0.6) == 0.9


def test_a_single_start_can_be_asked_for():
    each = [step_errors(7, 0.6, [LEAKY, MERGING], start) for start in range(3)]
    np.testing.assert_allclose(np.mean(each, axis=0), step_errors(7, 0.6, [LEAKY, MERGING]))
    assert not np.allclose(each[0], each[1])


@pytest.mark.parametrize("alpha", [0.2, 0.6, 1.0])
def test_more_examples_and_better_steps_never_harm(alpha):
    curves = np.array([[cot_oracle(l, alpha, tau, 0.8).value for l in range(4, 80, 4)] for tau in (0.4, 0.5, 0.6, 0.7)])
    assert (np.diff(curves, axis=0) <= 0).all() and (np.diff(curves, axis=1) <= 0).all()


def test_the_seed_decides_the_trials_and_a_longer_prompt_keeps_its_examples():
    matrices = condition_matrices(False)
    assert cot_error(20, 0.8, matrices).value == cot_error(20, 0.8, matrices).value
    assert cot_error(20, 0.8, matrices).value != cot_error(20, 0.8, matrices, seed=1).value
    short = chain_of(0.8, matrices, trials=50, seed=0).longer(20)
    assert isinstance(short, Sampled)
    long = short.longer(5)
    assert all((b >= a).all() and (b.sum((1, 2)) == 25).all() for a, b in zip(short.votes_K, long.votes_K, strict=True))


# How many examples are needed


@settings(deadline=None, max_examples=30)
@given(eps=st.floats(1e-6, 0.3), alpha=st.floats(0.1, 1), rho=st.floats(0.3, 0.85))
def test_the_needed_number_is_where_the_curve_crosses_eps(eps, alpha, rho):
    for needed, curve in (
        (cot_examples(eps, alpha, 0.5, rho).value, lambda l: cot_oracle(l, alpha, 0.5, rho).value),
        (icl_examples(eps, alpha, 0.5, rho), lambda l: icl_oracle(l, alpha, 0.5, rho)),
    ):
        above, below = curve(math.floor(needed)), curve(math.floor(needed) + 1)
        assert below <= eps * (1 + 1e-6) and above >= eps * (1 - 1e-6)
        between = math.log(above) + (needed % 1) * (math.log(below) - math.log(above))
        assert between == pytest.approx(math.log(eps), abs=1e-6)


def test_for_given_matrices_it_is_the_same():
    one = step_matrices(0.5, 0.6, 1, 10, "one")
    assert cot_examples_of(0.01, 0.5, one).value == pytest.approx(
        cot_examples(0.01, 0.5, 0.5, 0.6, K=1).value, rel=1e-9
    )
    assert icl_examples_of(0.01, 0.5, one[0], range(10)) == pytest.approx(icl_examples(0.01, 0.5, 0.5, 0.6), rel=1e-9)


def test_the_interval_of_trials_holds_the_needed_number_and_the_error_there():
    e = cot_examples(0.02, 0.8, 0.5, 0.8, split="even")
    assert e.lo < e.value < e.hi and e.n == 8000
    other = cot_examples(0.02, 0.8, 0.5, 0.8, split="even", trials=40_000, seed=5)
    assert e.lo < other.value < e.hi and other.hi - other.lo < 0.6 * (e.hi - e.lo)
    at = cot_oracle(round(e.value), 0.8, 0.5, 0.8, split="even", trials=40_000, seed=9)
    assert at.value == pytest.approx(0.02, rel=0.25)


def test_demonstrations_without_condition_1_never_suffice():
    for satisfied in (True, False):
        t = transitions(condition_matrices(satisfied))
        needed = icl_examples_of(0.05, 0.8, t.product, t.path[:, -1])
        assert math.isfinite(needed) == satisfied
        assert math.isfinite(cot_examples_of(0.05, 0.8, t.steps).value)
    # Half of the starts are lost, so that a target above a half can be reached, and none below.
    t = transitions([[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.8, 0.2]]])
    assert math.isinf(icl_examples_of(0.49, 0.8, t.product, t.path[:, -1]))
    # A tie loses half of its starts' queries: a quarter of all here.
    tied = [[0.5, 0.5], [0.2, 0.8]]
    assert math.isinf(icl_examples_of(0.25, 1.0, tied, [0, 1])) and icl_examples_of(0.26, 1.0, tied, [0, 1]) < 100


@pytest.mark.parametrize("tau, rho, about", [(0.5, 0.8, 38), (0.5, 0.75, 56), (0.7, 0.9, 13)])
def test_what_an_even_split_needs_without_steps(tau, rho, about):
    e = plain_examples(0.01, 0.8, tau, rho, split="even")
    assert e.lo < about < e.hi and e.value == pytest.approx(about, rel=0.05) and e.n == 8000
    other = plain_examples(0.01, 0.8, tau, rho, split="even", trials=40_000, seed=5)
    assert e.lo < other.value < e.hi and other.hi - other.lo < 0.6 * (e.hi - e.lo)
    with_steps = cot_examples(0.01, 0.8, tau, rho, split="even")
    assert with_steps.hi < e.lo


def test_one_wrong_step_needs_without_steps_what_its_constants_say():
    for e in (plain_examples(0.01, 0.6, 0.5, 0.7), plain_examples(0.01, 0.6, 0.5, 0.7, K=1, split="even")):
        assert e.lo == e.value == e.hi == icl_examples(0.01, 0.6, 0.5, 0.7) and e.n == 0
    assert plain_examples(0.01, 0.5, 1.0, 0.5, split="even").value == pytest.approx(math.log2(100))


def failing(tau, rho, **trials):
    """The share of the tasks that fail Condition 1."""
    row_TS = outcome_rows(tau, rho, K=3, states=10, split="even", **trials)
    return (row_TS.argmax(1) > 0).mean()


def test_tasks_without_condition_1_leave_an_error():
    # About 1 % fail, so that a target of 1 % may be reached or not.
    assert 0.006 < failing(0.3, 0.62) < 0.014
    assert math.isinf(plain_examples(0.004, 0.8, 0.3, 0.62, split="even").lo)
    e = plain_examples(0.01, 0.8, 0.3, 0.62, split="even")
    assert 100 < e.lo < math.inf and math.isinf(e.hi)
    e = plain_examples(0.03, 0.8, 0.3, 0.62, split="even")
    assert e.lo < e.value < e.hi < math.inf
    # The error at many examples is that share.
    far = plain_oracle(50_000, 0.8, 0.3, 0.62, split="even", trials=4000)
    assert far.value == pytest.approx(failing(0.3, 0.62, trials=4000), abs=0.002)
    assert math.isfinite(cot_examples(0.01, 0.8, 0.3, 0.62, split="even").hi)


def test_an_open_upper_end_is_infinite_and_a_lower_one_beyond_what_is_tried_is_told(monkeypatch):
    e = plain_examples(0.01, 0.8, 0.5, 0.75, split="even")
    monkeypatch.setattr("lemmata.cot.theory.examples.LONGEST", math.ceil(e.value) + 1)
    assert e.hi > math.ceil(e.value) + 1
    assert plain_examples(0.01, 0.8, 0.5, 0.75, split="even").hi == math.inf
    monkeypatch.setattr("lemmata.cot.theory.examples.LONGEST", math.floor(e.value) - 1)
    with pytest.raises(DataError, match="examples"):
        plain_examples(0.01, 0.8, 0.5, 0.75, split="even")
    monkeypatch.setattr("lemmata.cot.theory.examples.LONGEST", 200)
    e = plain_examples(0.01, 0.8, 0.3, 0.62, split="even")
    assert (e.lo, e.value, e.hi) == (200, math.inf, math.inf)


def test_exact_examples_suffice_once_one_is_there():
    assert cot_examples(0.01, 1.0, 1.0, 0.5).value == 1
    assert cot_examples(0.01, 0.5, 1.0, 0.5, split="even").value == pytest.approx(math.log2(100))


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: cot_examples(0, 0.8, 0.5, 0.8), "no number of examples makes the error 0"),
        (lambda: cot_examples(math.nan, 0.8, 0.5, 0.8), "no number of examples makes the error 0"),
        (lambda: plain_examples(math.nan, 0.8, 0.5, 0.8), "a target above 0"),
        (lambda: plain_examples(1e-3, 0.8, 0.5, 0.8, split="even"), "pass trials=10000 or more"),
        (lambda: plain_examples(0.01, 1.1, 0.5, 0.8), "alpha in (0, 1]"),
        (lambda: plain_oracle(1, 0.8, 0.5, 0.5, split="even"), "rho in [0.741, 0.971]"),
        (lambda: plain_oracle(1, 0.8, 0.5, 0.8, split="even", trials=1), "trials of at least 2"),
        (lambda: plain_oracle(-1, 0.8, 0.5, 0.8), "l = -1"),
        (lambda: cot_examples(0.9, 0.8, 0.5, 0.8), "below 1 - 1/states = 0.9"),
        (lambda: icl_examples(1e-12, 0.8, 0.5, 0.6), "1e-10"),
        (lambda: cot_examples(1e-3, 0.8, 0.5, 0.8, split="even"), "pass trials=10000 or more"),
        (lambda: cot_examples(0.01, 0.0, 0.5, 0.8), "alpha in (0, 1]"),
        (lambda: cot_examples_of(0.01, 1.1, [LEAKY]), "alpha in (0, 1]"),
        (lambda: icl_examples(0.01, 0.8, 0.5, 0.95), "rho in [0.001, 0.888]"),
        (lambda: icl_examples_of(0.01, 0.8, LEAKY, [0, 1]), "3 labels"),
        (lambda: icl_examples_of(0.01, 0.8, LEAKY, [0, 1, 3]), "a state from 0 to 2"),
        (lambda: icl_error(5, 0.8, [[0.5, 0.4], [0, 1]], [0, 1]), "B: rows that sum to 1"),
        (lambda: step_errors(-1, 0.8, [LEAKY]), "l = -1"),
        (lambda: step_errors(1, 0.8, [LEAKY], start=3), "a start from 0 to 2"),
        (lambda: cot_error(1, 0.8, [LEAKY, LEAKY], trials=0), "trials of at least 1"),
        (lambda: cot_oracle(1, 0.8, 0.5, 0.5, split="even"), "rho in [0.741, 0.971]"),
    ],
)
def test_what_cannot_be_asked_is_refused(call, said):
    with pytest.raises(InputError) as caught:
        call()
    assert said in str(caught.value)


def test_too_many_examples_are_given_up():
    with pytest.raises(DataError, match="within 100,000 examples"):
        cot_examples(0.01, 0.4, 0.5, 0.01)
