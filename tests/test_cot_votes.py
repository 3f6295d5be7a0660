"""Who wins a vote, against enumeration, binomial tails, a slow count class by class, and drawn votes."""

from itertools import product
from math import factorial, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from lemmata.cot.theory import mean_win, top_count, win
from lemmata.lab.errors import InputError


def enumerated(right, wrong, voters):
    """P(right wins) over all outcomes of the vote."""
    shares, total = [right, *wrong], 0.0
    rest = max(0.0, 1 - sum(shares))
    for counts in product(range(voters + 1), repeat=len(shares)):
        silent = voters - sum(counts)
        if silent < 0 or counts[0] == 0 or max(counts) > counts[0]:
            continue
        ways = factorial(voters) // prod(map(factorial, (*counts, silent)))
        total += ways * rest**silent * prod(p**n for p, n in zip(shares, counts, strict=True)) / counts.count(counts[0])
    return total


def classes(seed, silent):
    """Random probabilities, some of them equal or 0."""
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.2, 0.5, 0.5, 1.0, rng.random()], rng.integers(1, 5))
    shares = np.append(0.1 + rng.random(), weights)
    return shares / shares.sum() * (rng.random() if silent else 1)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 100_000), silent=st.booleans(), voters=st.integers(0, 7))
def test_a_win_is_the_sum_over_all_outcomes(seed, silent, voters):
    right, *wrong = classes(seed, silent)
    assert win(right, wrong, voters) == pytest.approx(enumerated(right, wrong, voters), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 100_000), voters=st.integers(1, 60))
def test_without_abstentions_somebody_wins(seed, voters):
    shares = classes(seed, silent=False)
    assert sum(win(p, np.delete(shares, j), voters) for j, p in enumerate(shares)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("voters", [25, 101, 1001, 20_001, 100_001])
@pytest.mark.parametrize("p", [0.3, 0.49, 0.503, 0.6])
def test_between_two_classes_a_win_is_a_binomial_tail(voters, p):
    assert win(p, [1 - p], voters) == pytest.approx(binom.sf(voters // 2, voters, p), abs=1e-12)


def counted(right, wrong, voters):
    """P(right wins) by adding one class after the other: probabilities of (votes given so far, classes that tie)."""
    total = 0.0
    for top in range(1, voters + 1):
        table = np.zeros((voters + 1, len(wrong) + 1))
        table[top, 0] = binom_pmf(top, voters, right)
        left = 1 - right
        for p in wrong:
            more = np.zeros_like(table)
            for n in range(voters + 1):
                for c in range(min(top, voters - n) + 1):
                    ties = table[n] if c < top else np.roll(table[n], 1)
                    more[n + c] += ties * binom_pmf(c, voters - n, min(p / left, 1.0))
            table, left = more, left - p
        total += (table.sum(0) / np.arange(1, len(wrong) + 2)).sum()
    return total


def binom_pmf(c, n, p):
    return factorial(n) // (factorial(c) * factorial(n - c)) * p**c * (1 - p) ** (n - c)


@pytest.mark.parametrize("shares", [(0.3, 0.25, 0.25, 0.1), (0.2, 0.3, 0.1, 0.05), (0.4, 0.2, 0.2, 0.2)])
def test_a_win_is_that_of_a_count_class_by_class(shares):
    right, *wrong = shares
    assert win(right, wrong, 24) == pytest.approx(counted(right, wrong, 24), abs=1e-12)


def test_a_win_is_as_frequent_as_in_drawn_votes():
    rng, shares, draws = np.random.default_rng(0), np.array([0.3, 0.22, 0.22, 0.1, 0.16]), 100_000
    votes = rng.multinomial(40, shares, draws)[:, :4]
    won = (votes + rng.random(votes.shape)).argmax(1) == 0
    assert binomtest(int(won.sum()), draws, win(0.3, [0.22, 0.22, 0.1], 40)).pvalue > 1e-3


@pytest.mark.parametrize("voters", [50, 5000])
def test_the_number_of_voters_may_be_random(voters):
    law = top_count(voters, 9)
    likely = np.flatnonzero(law > 1e-14).tolist()
    expected = sum(law[n] * win(0.3, [0.25, 0.2, 0.05], n) for n in likely)
    assert mean_win(0.3, [0.25, 0.2, 0.05], law) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("voters, count", [(0, 3), (1, 1), (4, 1), (1, 4), (3, 2), (5, 3), (6, 4)])
def test_the_top_count_is_that_of_all_outcomes(voters, count):
    expected = np.zeros(voters + 1)
    for votes in product(range(count), repeat=voters):
        expected[max((votes.count(j) for j in range(count)), default=0)] += count**-voters
    np.testing.assert_allclose(top_count(voters, count), expected, atol=1e-13)


@pytest.mark.parametrize("voters", [100, 20_000])
def test_the_top_count_of_two_classes_is_a_folded_binomial(voters):
    expected = 2 * binom.pmf(np.arange(voters + 1), voters, 0.5)
    expected[: voters // 2] = 0
    expected[voters // 2] /= 2
    np.testing.assert_allclose(top_count(voters, 2), expected, atol=1e-12)


@pytest.mark.parametrize("arguments", [(-0.1, [0.5], 3), (0.5, [-0.1], 3), (0.6, [0.6], 3), (0.5, [0.5], -1)])
def test_what_is_no_vote_is_refused(arguments):
    with pytest.raises(InputError):
        win(*arguments)
