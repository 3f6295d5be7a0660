"""What the ICL paper predicts (Li et al., ICML 2024, arXiv 2402.15607), as plain functions.

    symbol    meaning
    alpha     share of test examples that carry mu_a or mu_b: alpha/2 carry the query's pattern
    l         number of examples
    eps       target error
    S_1       coefficient sum of an out-of-domain pattern

The oracle is the idealised mechanism of the paper's Proposition 1: all attention on the examples that share the query's
pattern, whose labels are all right. A prompt without such an example leaves it the average of the others, most of which
carry the opposite label, so it then answers wrongly more often than not. It has no fitted parameter.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from lemmata.lab.errors import InputError
from lemmata.lab.figure import Reference

__all__ = [
    "ITERATIONS_POSTER",
    "ITERATIONS_SLIDES",
    "TRAIN_LENGTH",
    "length_needed",
    "oracle",
    "oracle_curve",
    "task_share",
]

# Exponents in alpha: Theorem 1's iterations as the slides (Oct 2024) and as the poster state them, and the length.
ITERATIONS_SLIDES = -2 / 3
ITERATIONS_POSTER = -1.0
TRAIN_LENGTH = -1.0


def oracle(l: int, alpha: float) -> float:
    """Error of the idealised mechanism on iid prompts of l examples; exact.

    With probability (1 - alpha/2)^l no example shares the query's pattern. Each of the others then carries the opposite
    pattern with probability p = (alpha/2) / (1 - alpha/2), else a random label, so that K ~ Bin(l, (1 - p)/2) of the l
    labels are right, and the sign of their average is wrong when K < l/2, or by a coin at K = l/2.

    Raises:
        InputError: a negative length, or a share outside (0, 1].

    >>> oracle(0, 0.8)
    0.5
    >>> oracle(4, 1.0) == 0.5**4
    True
    >>> round(oracle(8, 0.8), 4)
    0.0165
    """
    if l < 0 or not 0 < alpha <= 1:
        raise InputError("l >= 0 and alpha in (0, 1]", f"l = {l}, alpha = {alpha}", "choose them in these ranges")
    none = (1 - alpha / 2) ** l
    p = (alpha / 2) / (1 - alpha / 2)
    right = (1 - p) / 2
    below = math.ceil(l / 2) - 1
    wrong = binom.cdf(below, l, right) + (0.5 * binom.pmf(l // 2, l, right) if l % 2 == 0 else 0.0)
    return float(none * wrong)


def oracle_curve(alpha: float, longest: int, *, label: str = "oracle", group: int | None = None) -> Reference:
    """The oracle's error against l = 0 .. `longest`, as a mark of a figure.

    >>> oracle_curve(0.8, 2).y
    (0.5, 0.5, 0.3)
    """
    lengths = range(longest + 1)
    return Reference(label, tuple(lengths), tuple(oracle(l, alpha) for l in lengths), "oracle", group)


def length_needed(eps: float, alpha: float) -> float:
    """Examples after which the oracle's error stays at eps, interpolated in log error between whole lengths.

    Close to ln(eps) / ln(1 - alpha/2), which behaves as 1/alpha for small alpha only.

    Raises:
        InputError: a target outside (0, 1/2), or a share outside (0, 1].

    >>> round(length_needed(0.01, 0.8), 2)
    9.0
    """
    if not 0 < eps < 0.5:
        raise InputError("a target error in (0, 1/2)", str(eps), "choose one in between, as 0.01")
    l = 1
    while oracle(l, alpha) > eps:
        l += 1
    above, below = np.log(oracle(l - 1, alpha)), np.log(oracle(l, alpha))
    return float(l - 1 + (above - np.log(eps)) / (above - below))


def task_share(M1: int) -> float:
    """The share of the tasks that Theorem 1 asks to train on, (M1 - 1)^(-1/2).

    Raises:
        InputError: fewer than two patterns, of which no task can be made.

    >>> round(task_share(6), 3)
    0.447
    """
    if M1 < 2:
        raise InputError("at least two patterns", f"M1 = {M1}", "a task needs two: raise M1")
    return (M1 - 1) ** -0.5
