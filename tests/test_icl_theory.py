"""What the theory promises as plain functions: limits, bounds and errors (the oracle is in test_icl_oracle.py too)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmata.icl import theory
from lemmata.icl.theory import length_needed, oracle, oracle_curve, task_share
from lemmata.lab.errors import InputError

alphas = st.floats(0.05, 1.0)


@settings(deadline=None)
@given(l=st.integers(0, 60), alpha=alphas)
def test_the_oracle_lies_between_half_and_all_of_the_prompts_without_the_pattern(l, alpha):
    without = (1 - alpha / 2) ** l
    assert without / 2 * (1 - 1e-12) <= oracle(l, alpha) <= without * (1 + 1e-12)


@pytest.mark.parametrize("alpha", [0.2, 0.6, 0.8, 1.0])
def test_the_oracle_falls_towards_all_of_the_prompts_without_the_pattern(alpha):
    curve = np.array([oracle(l, alpha) for l in range(300)])
    assert (np.diff(curve) <= 0).all() and curve[0] == 0.5
    assert curve[-1] / (1 - alpha / 2) ** 299 == pytest.approx(1, abs=0.03)


@settings(deadline=None)
@given(l=st.integers(1, 60))
def test_with_alpha_1_every_prompt_without_the_pattern_is_wrong(l):
    assert oracle(l, 1.0) == pytest.approx(0.5**l, rel=1e-12)


@settings(deadline=None)
@given(l=st.integers(0, 40), lower=alphas, higher=alphas)
def test_a_higher_alpha_is_never_worse(l, lower, higher):
    lower, higher = sorted((lower, higher))
    assert oracle(l, higher) <= oracle(l, lower) * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(eps=st.floats(1e-6, 0.4), alpha=alphas)
def test_the_needed_length_is_where_the_curve_crosses_eps(eps, alpha):
    needed = length_needed(eps, alpha)
    assert oracle(math.ceil(needed), alpha) <= eps * (1 + 1e-9)
    assert oracle(max(math.ceil(needed) - 1, 0), alpha) >= eps * (1 - 1e-9)
    assert all(oracle(l, alpha) <= eps for l in range(math.ceil(needed), math.ceil(needed) + 20))


def test_with_alpha_1_the_needed_length_is_the_logarithm_of_eps():
    assert length_needed(0.01, 1.0) == pytest.approx(math.log2(100))


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_the_needed_length_is_close_to_the_logarithm_that_replaces_1_over_alpha(alpha):
    about = math.log(1e-4) / math.log(1 - alpha / 2)
    assert 0.9 * about < length_needed(1e-4, alpha) <= about
    assert length_needed(1e-4, alpha) < 2 * math.log(1e4) / alpha


def test_the_oracle_as_a_mark_of_a_figure():
    mark = oracle_curve(0.6, 12, label="oracle, alpha' = 0.6", group=3)
    assert (mark.label, mark.style, mark.group) == ("oracle, alpha' = 0.6", "oracle", 3)
    assert mark.x == tuple(range(13)) and mark.y == tuple(oracle(l, 0.6) for l in range(13))


def test_the_share_of_tasks_of_theorem_1():
    assert task_share(6) == pytest.approx(0.447, abs=5e-4)
    assert task_share(2) == 1.0
    # 14 of the 30 tasks of six patterns.
    assert math.ceil(task_share(6) * 30) == 14


def test_the_exponents_are_those_of_the_sources():
    assert (theory.ITERATIONS_SLIDES, theory.ITERATIONS_POSTER, theory.TRAIN_LENGTH) == (-2 / 3, -1.0, -1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: oracle(-1, 0.8),
        lambda: oracle(4, 0.0),
        lambda: oracle(4, 1.1),
        lambda: oracle(4, math.nan),
        lambda: length_needed(0.0, 0.8),
        lambda: length_needed(0.5, 0.8),
        lambda: length_needed(math.nan, 0.8),
        lambda: length_needed(0.01, 0.0),
        lambda: oracle_curve(2.0, 4),
        lambda: task_share(1),
    ],
)
def test_what_the_theory_does_not_cover_is_refused(call):
    with pytest.raises(InputError):
        call()
