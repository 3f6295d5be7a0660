"""The oracle against enumeration, against the mechanism played on drawn prompts, and against trained networks."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from lemmata.icl.data import draw, task_set
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import TestSet, outputs
from lemmata.icl.theory import length_needed, oracle
from lemmata.lab.losses import error
from lemmata.lab.stats import error_rate_t


def enumerated(l, alpha, M1):
    """The mechanism's error over every prompt of l examples, each with its exact probability, for a query of +mu_0.

    An example is one of M1 patterns: mu_0 with label +1, mu_1 with label -1, or another with either label.
    """
    half = alpha / 2
    kinds = [(0, 1, half), (1, -1, half)]
    kinds += [(j, label, (1 - alpha) / (M1 - 2) / 2) for j in range(2, M1) for label in (1, -1)]
    wrong = Fraction(0)
    for examples in product(kinds, repeat=l):
        chance = Fraction(1)
        for _, _, p in examples:
            chance *= p
        seen = [label for pattern, label, _ in examples if pattern == 0] or [label for _, label, _ in examples]
        answer = sum(seen)
        wrong += chance * (Fraction(1, 2) if answer == 0 else int(answer < 0))
    return wrong


@pytest.mark.parametrize("alpha", [Fraction(1, 10), Fraction(4, 10), Fraction(8, 10), Fraction(1)])
@pytest.mark.parametrize("l", range(6))
def test_the_oracle_is_the_sum_over_all_prompts(l, alpha):
    assert oracle(l, float(alpha)) == pytest.approx(float(enumerated(l, alpha, M1=3)), rel=1e-12)


def test_the_number_of_patterns_does_not_matter():
    assert enumerated(3, Fraction(3, 5), M1=3) == enumerated(3, Fraction(3, 5), M1=6)


def mechanism(prompts):
    """How many of the prompts the idealised mechanism answers wrongly; a tie is half an error."""
    idr_BL, y_BL = prompts.idr_EBL[0], prompts.label_EBL[0]
    same_BL = (idr_BL == idr_BL[:, -1:])[:, :-1]
    has_B = same_BL.any(1, keepdim=True)
    answer_B = torch.where(has_B, y_BL[:, :-1] * same_BL, y_BL[:, :-1]).sum(1) * prompts.target_EB[0]
    return int((answer_B < 0).sum()) + int((answer_B == 0).sum()) / 2


@pytest.mark.parametrize("l", [1, 4, 7, 10])
@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.8, 1.0])
def test_the_oracle_is_the_mechanism_played_on_drawn_prompts(l, alpha):
    count = 60_000
    prompts = draw(np.random.default_rng(l), count, l, alpha=alpha, kappa=0.5, beta=1.0, tasks=task_set("all", 6))
    assert binomtest(round(mechanism(prompts)), count, oracle(l, alpha)).pvalue > 1e-4


def test_out_of_domain_prompts_have_the_same_oracle():
    prompts = TestSet(l=6, alpha=0.8, prompts=60_000, S_1=1.1).member(OneLayer(), 0)
    assert binomtest(round(mechanism(prompts)), 60_000, oracle(6, 0.8)).pvalue > 1e-4


# Trained networks

LENGTHS = tuple(range(8, 21, 2))
ALPHAS = (0.6, 0.8, 1.0)
PROMPTS = 8192
SEEDS = 8


@pytest.fixture(scope="module")
def errors():
    """0-1 error of trained networks by alpha' and length, a number a seed."""
    net = OneLayer(steps=400).train(range(SEEDS))
    found = {}
    for alpha in ALPHAS:
        prompts = TestSet(l=20, alpha=alpha, prompts=PROMPTS).ensemble(net)
        for l in LENGTHS:
            found[alpha, l] = error(outputs(net, prompts.first(l)), prompts.target_EB).numpy()
    return found


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("l", LENGTHS)
def test_a_trained_network_is_within_10_percent_of_the_oracle_plus_its_interval(l, alpha, errors):
    interval = error_rate_t(errors[alpha, l], PROMPTS)
    assert interval.lo <= 1.1 * oracle(l, alpha) and 0.9 * oracle(l, alpha) <= interval.hi


@pytest.mark.parametrize("alpha", ALPHAS)
def test_over_all_lengths_from_8_on_the_error_itself_is_within_10_percent_of_the_oracle(alpha, errors):
    measured = sum(errors[alpha, l].mean() for l in LENGTHS)
    assert measured == pytest.approx(sum(oracle(l, alpha) for l in LENGTHS), rel=0.1)


@pytest.mark.parametrize("alpha", (0.6, 0.8))
def test_a_trained_network_needs_as_many_examples_as_the_oracle(alpha, errors):
    lengths = [l for l in LENGTHS if l <= 14]
    log_error_L = np.log([errors[alpha, l].mean() for l in lengths])
    crossing = np.interp(-np.log(0.01), -log_error_L, lengths)
    assert crossing == pytest.approx(length_needed(0.01, alpha), rel=0.05)
