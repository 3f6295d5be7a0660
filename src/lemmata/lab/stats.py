"""Intervals over seeds: what stands between measurements and a verdict.

Seeds are the unit; test prompts are nested in them. Each function turns one number a seed, or one
curve a seed, into an `Estimate`, whose interval a rule of `lemmata.lab.rule` compares with a
prediction. One that cannot carry a verdict says why in its objections, and is returned all the
same so that a report can show it. docs/statistics.md measures how often each interval is wrong.

Letters of shapes: S seeds, K columns, R resamples, J data sets with one seed left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv
from scipy.stats import binomtest

from lemmata.lab.censored import censored_mean, crossing
from lemmata.lab.errors import InputError
from lemmata.lab.estimate import (
    Array,
    Estimate,
    check_level,
    exponentiated,
    hull,
    logarithm,
    one_a_seed,
    student,
)
from lemmata.lab.exponents import censored_exponent, coefficient, exponent

__all__ = [
    "Estimate",
    "above_chance",
    "bootstrap_t",
    "censored_exponent",
    "censored_mean",
    "clopper_pearson",
    "coefficient",
    "crossing",
    "error_rate_t",
    "exponent",
    "geometric_t",
    "hull",
    "mean_t",
    "paired_t",
    "wilson",
]

FEWEST_FOR_BOOTSTRAP = 20
RESAMPLES_AT_ONCE = 100  # R x S x S numbers are in memory at a time


def mean_t(values_S: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The mean of one statistic a seed, with Student's t interval.

    Valid where the spread over seeds is about symmetric; a positive statistic that spreads by more
    than a fifth of itself wants `geometric_t`. Seeds that agree to the last digit give a width of
    zero, which is false for counts and grid points: `error_rate_t` and `censored_mean` are theirs.
    A value that is not finite is a diverged member, a failure and never a missing value.

    Raises:
        DataError: no seeds.
        InputError: a level outside (0, 1), or values with more than one axis.

    >>> e = mean_t([0.9, 1.1, 1.0, 1.2, 0.8])
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3), e.n
    (1.0, 0.804, 1.196, 5)
    >>> mean_t([0.9, float("nan")]).objections
    ('1 of 2 seeds without a finite value',)
    """
    return student(one_a_seed(values_S), level, method="Student t over seeds")


def paired_t(a_S: ArrayLike, b_S: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The mean over seeds of a - b, both measured under the same seed; valid as `mean_t` is.

    Raises:
        DataError: no seeds.
        InputError: a level outside (0, 1), or not one b for each a.

    >>> e = paired_t([0.50, 0.71, 0.62], [0.40, 0.60, 0.50])
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3)
    (0.11, 0.085, 0.135)
    """
    a_S, b_S = one_a_seed(a_S), one_a_seed(b_S)
    if a_S.shape != b_S.shape:
        fix = "pass both lists in the order of the same seeds"
        raise InputError("one a and one b for each seed", f"{len(a_S)} and {len(b_S)}", fix)
    with np.errstate(invalid="ignore"):  # inf - inf, where both diverged
        return student(a_S - b_S, level, method="Student t over paired seeds")


def above_chance(value: float, chance_R: ArrayLike, *, level: float = 0.95) -> Estimate:
    """How far a number is above what it is by chance, in R draws, with Student's t interval for one further draw.

    `lo` is above 0 where chance would hardly reach the number. Valid where the draws are nearly normal, such as means
    over many nodes whose labels were dealt out anew.

    Raises:
        DataError: no draws.
        InputError: a level outside (0, 1).

    >>> e = above_chance(0.5, [0.1, 0.3, 0.2])
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3)
    (0.3, -0.197, 0.797)
    """
    chance_R = one_a_seed(chance_R)
    mean = student(value - chance_R, level, method="Student t prediction from draws by chance")
    # Of the mean of R draws to one more: their variances add.
    half = (mean.hi - mean.value) * math.sqrt(len(chance_R) + 1)
    return replace(mean, lo=mean.value - half, hi=mean.value + half)


def geometric_t(values_S: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The geometric mean of a positive statistic, such as a ratio: Student's t on its logarithm.

    Valid for a log-normal spread of any size. It estimates the geometric mean, which lies below
    the arithmetic one.

    Raises:
        DataError: no seeds.
        InputError: a level outside (0, 1), or values with more than one axis.

    >>> e = geometric_t([0.5, 1.0, 2.0])
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3)
    (1.0, 0.179, 5.595)
    >>> geometric_t([0.0, 1.0, 2.0]).objections
    ('1 of 3 seeds without a finite logarithm',)
    """
    method = "Student t over seeds, of logarithms"
    log_S = logarithm(one_a_seed(values_S))
    return exponentiated(student(log_S, level, method=method, part="a finite logarithm"))


def error_rate_t(errors_S: ArrayLike, prompts: int, *, level: float = 0.95) -> Estimate:
    """The mean 0-1 error of S networks, each tested on `prompts` prompts of its own.

    The hull of two intervals: Student's t over seeds, which sees how networks differ, and
    Clopper-Pearson of the pooled count, which knows that 0 of 4096 is not exactly 0. Valid where
    the error rates of networks spread by up to a fifth of themselves; a failure that strikes one
    network in twenty goes unseen in five networks three times out of four.

    Raises:
        DataError: no seeds.
        InputError: prompts below 1, errors outside [0, 1], a level outside (0, 1).

    >>> e = error_rate_t([0.0] * 5, 4096)
    >>> e.value, e.lo, f"{e.hi:.5f}"
    (0.0, 0.0, '0.00018')
    """
    errors_S = one_a_seed(errors_S)
    if prompts < 1 or (errors_S < 0).any() or (errors_S > 1).any():
        got = f"{prompts} prompts, errors from {errors_S.min():g} to {errors_S.max():g}"
        fix = "pass the share of prompts that each seed got wrong"
        raise InputError("at least one prompt, and errors in [0, 1]", got, fix)
    seeds = student(errors_S, level, method="Student t over seeds with Clopper-Pearson")
    if seeds.objections:
        return replace(seeds, lo=0.0, hi=1.0)
    wrong = round(float(errors_S.sum()) * prompts)
    counted = clopper_pearson(wrong, len(errors_S) * prompts, level=level)
    lo, hi = max(min(seeds.lo, counted.lo), 0.0), min(max(seeds.hi, counted.hi), 1.0)
    return replace(seeds, lo=lo, hi=hi)


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Estimate:
    """A share of seeds (how many networks did it), with Wilson's interval.

    Valid where every trial is its own seed. It covers on average over shares, not at each one: a
    rule with few seeds or a bound near 0 wants `clopper_pearson` (limits in docs/statistics.md).

    Raises:
        InputError: no trials, more successes than trials, a level outside (0, 1).

    >>> e = wilson(9, 10)
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3)
    (0.9, 0.596, 0.982)
    """
    _check_share(successes, trials, level)
    interval = binomtest(successes, trials).proportion_ci(level, method="wilson")
    lo, hi = float(interval.low), float(interval.high)
    return Estimate(successes / trials, lo, hi, trials, (), "Wilson over seeds")


def clopper_pearson(successes: int, trials: int, *, level: float = 0.95) -> Estimate:
    """A share of seeds with the exact interval: never wrong too often, and wider for it.

    Valid where every trial is its own seed. Clopper and Pearson 1934, Biometrika 26, 404-413.

    Raises:
        InputError: no trials, more successes than trials, a level outside (0, 1).

    >>> e = clopper_pearson(9, 10)
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3)
    (0.9, 0.555, 0.997)
    """
    _check_share(successes, trials, level)
    # The same as scipy's proportion_ci(method="exact"), without its search for the root.
    tail, failures = (1 - level) / 2, trials - successes
    lo = betaincinv(successes, failures + 1, tail) if successes else 0.0
    hi = betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    value = successes / trials
    return Estimate(value, float(lo), float(hi), trials, (), "Clopper-Pearson over seeds")


def bootstrap_t(
    data_SK: ArrayLike,
    statistic: Callable[[Array], Array],
    *,
    rng: np.random.Generator,
    resamples: int = 1999,
    level: float = 0.95,
) -> Estimate:
    """A statistic of all seeds together, with the studentised bootstrap interval.

    For what has no value in a single seed, such as a ratio of sums. `statistic` maps many data
    sets at once, (X, S, K) -> (X,), and is smooth in the data (no median), since its standard
    error is the jackknife's. Fewer than 20 seeds are an objection.

    Raises:
        InputError: data without two axes, no resamples, a level outside (0, 1).

    >>> rng = np.random.default_rng(1)
    >>> data_SK = rng.normal([2.0, 1.0], 0.1, size=(20, 2))
    >>> e = bootstrap_t(data_SK, lambda x: x[..., 0].sum(-1) / x[..., 1].sum(-1), rng=rng)
    >>> round(e.value, 1), e.lo < 2 < e.hi
    (2.0, True)
    """
    check_level(level)
    data_SK = np.asarray(data_SK, dtype=float)
    if data_SK.ndim != 2 or resamples < 1:
        got = f"shape {data_SK.shape}, {resamples} resamples"
        raise InputError("data (S, K) and at least one resample", got, "give each seed a row")
    seeds, method = len(data_SK), "studentised bootstrap over seeds"
    lacking = seeds - int(np.isfinite(data_SK).all(axis=1).sum())
    objections = []
    if lacking:
        objections.append(f"{lacking} of {seeds} seeds without finite values")
    if seeds < FEWEST_FOR_BOOTSTRAP:
        objections.append(f"a bootstrap wants {FEWEST_FOR_BOOTSTRAP} seeds, and there are {seeds}")
    if objections:
        return Estimate.without_number(seeds, tuple(objections), method)

    values, errors = _jackknifed(data_SK[None], statistic)
    value, error = float(values[0]), float(errors[0])
    pivots = []
    for block in range(0, resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, resamples - block)
        values, errors = _jackknifed(data_SK[rng.integers(seeds, size=(size, seeds))], statistic)
        off = values - value
        with np.errstate(divide="ignore", invalid="ignore"):
            pivots.append(np.where(off == 0, 0.0, off / errors))  # one seed drawn S times: error 0
    # An infinite pivot must stay one, and not be averaged with its neighbour.
    tails = [(1 + level) / 2, (1 - level) / 2]
    high, low = np.quantile(np.concatenate(pivots), tails, method="inverted_cdf")
    lo, hi = value - float(high) * error, value - float(low) * error
    return Estimate(value, lo, hi, seeds, (), method)


def _jackknifed(data_RSK: Array, statistic: Callable[[Array], Array]) -> tuple[Array, Array]:
    """The statistic of each data set (R,) and its standard error (R,), by leaving one seed out."""
    sets, seeds, columns = data_RSK.shape
    others_JS = np.nonzero(~np.eye(seeds, dtype=bool))[1].reshape(seeds, seeds - 1)
    without_one = data_RSK[:, others_JS].reshape(sets * seeds, seeds - 1, columns)
    values_RJ = statistic(without_one).reshape(sets, seeds)
    return statistic(data_RSK), np.sqrt((seeds - 1) * values_RJ.var(axis=1))


def _check_share(successes: int, trials: int, level: float) -> None:
    check_level(level)
    if not 0 <= successes <= trials or trials < 1:
        fix = "count each seed once, as a success or not"
        raise InputError("0 <= successes <= trials", f"{successes} of {trials}", fix)
