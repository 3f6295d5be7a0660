"""Quantities that are known only to lie in an interval: the fit, their mean, where they come from.

A training checked every five steps is known to have arrived between two checks; one that was
stopped early would have arrived after its last. Neither is a number, and neither may be dropped.
Import `censored_mean` and `crossing` from `lemmata.lab.stats`.

| symbol | meaning | shape |
|---|---|---|
| S, P, K | seeds, points along x, coefficients | |
| lo, hi | log y of seed s at point p lies in (lo, hi] | (S, P) |
| X | the design: powers of log x | (P, K) |
| beta | the coefficients, one polynomial a seed | (S, K) |
| sigma | the noise of log y about its seed's polynomial, one for all seeds | () |

The model is log y_sp = (X beta_s)_p + sigma e_sp, with e_sp standard normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, stdtrit

from lemmata.lab.errors import InputError
from lemmata.lab.estimate import (
    Array,
    Estimate,
    check_level,
    exponentiated,
    logarithm,
    one_a_seed,
)

__all__ = [
    "CensoredFit",
    "censored_mean",
    "crossing",
    "fit_censored",
    "log_bounds",
    "open_ended",
    "shared_rounding",
    "truncated_moments",
]

TOLERANCE = 1e-6  # of log y: a millionth part of y
MOST_ROUNDS = 500
LEAST_WEIGHT = 1e-6  # of a point in a Newton step, so that no set of points is quite without any
# Noise below this share of a typical interval leaves the likelihood flat: every line that passes
# through the intervals is then as likely as any other.
LEAST_NOISE = 0.25


@final
@dataclass(frozen=True)
class CensoredFit:
    """A maximum-likelihood fit: `beta_SK` and `sigma`, and how much each point told it.

    `variance_SP` is what its interval leaves of the variance of log y, between 0 (known exactly)
    and 1 (not known at all). `settled` is false where the iteration had not come to rest.
    """

    beta_SK: Array
    sigma: float
    variance_SP: Array
    settled: bool


def fit_censored(design_PK: Array, lo_SP: Array, hi_SP: Array) -> CensoredFit:
    """Fit one polynomial a seed, with one noise level for all seeds, by maximum likelihood.

    The likelihood has one maximum only (Burridge 1981, J. R. Statist. Soc. B 43, 41-45). Each round
    takes the moments of every log y inside its interval, moves each polynomial by a Newton step and
    the noise by a step of expectation-maximisation: a few rounds where the latter alone takes
    hundreds. The noise is kept above a quarter of the median width of the closed intervals.

    It is not enlarged for the number of coefficients fitted, as a least-squares noise would be:
    enlarged, it pulls the censored ends outwards and at least doubles the bias of the slope.

    Valid where every seed has at least K intervals with two finite ends.

    >>> x = np.log([1.0, 2.0, 4.0, 8.0])
    >>> y = 3.0 - 0.5 * x
    >>> design = np.vander(x, 2, increasing=True)
    >>> fit_censored(design, y[None] - 0.01, y[None] + 0.01).beta_SK.round(6)
    array([[ 3. , -0.5]])
    """
    closed_SP = np.isfinite(lo_SP) & np.isfinite(hi_SP)
    least = LEAST_NOISE * float(np.median((hi_SP - lo_SP)[closed_SP]))
    start_SP = np.where(np.isfinite(lo_SP), lo_SP, np.where(np.isfinite(hi_SP), hi_SP, 0.0))
    start_SP[closed_SP] = (lo_SP + hi_SP)[closed_SP] / 2
    beta_SK = start_SP @ np.linalg.pinv(design_PK).T
    line_SP = beta_SK @ design_PK.T
    sigma = max(float(np.sqrt(np.mean((start_SP - line_SP) ** 2))), least)
    variance_SP, settled = np.zeros_like(line_SP), False
    for _ in range(MOST_ROUNDS):
        mean_SP, variance_SP = truncated_moments((lo_SP - line_SP) / sigma, (hi_SP - line_SP) / sigma)
        score_SK1 = (sigma * mean_SP @ design_PK)[..., None]
        weight_SP = np.maximum(1 - variance_SP, LEAST_WEIGHT)
        information_SKK = np.einsum("pk,sp,pl->skl", design_PK, weight_SP, design_PK)
        beta_SK = beta_SK + np.linalg.solve(information_SKK, score_SK1)[..., 0]
        old_line_SP, line_SP = line_SP, beta_SK @ design_PK.T
        noise = sigma * float(np.sqrt(np.mean(mean_SP**2 + variance_SP)))
        old_sigma, sigma = sigma, max(noise, least)
        moved = max(float(np.abs(line_SP - old_line_SP).max()), abs(sigma - old_sigma))
        if settled := moved < TOLERANCE:
            break
    return CensoredFit(beta_SK, sigma, variance_SP, settled)


def truncated_moments(lo: Array, hi: Array) -> tuple[Array, Array]:
    """Mean and variance of a standard normal variable that is known to lie in (lo, hi].

    The same as `scipy.stats.truncnorm`, whose moments are formed one element at a time: too slow
    for a fit. Logarithms keep it right far out in a tail.

    >>> mean, variance = truncated_moments(np.array([0.0]), np.array([np.inf]))
    >>> mean.round(4), variance.round(4)
    (array([0.7979]), array([0.3634]))
    """
    # In the upper tail the two probabilities round to 1 and their difference is lost: mirror.
    flip = lo > 0
    lo, hi = np.where(flip, -hi, lo), np.where(flip, -lo, hi)
    log_below_hi = log_ndtr(hi)
    log_mass = log_below_hi + np.log1p(-np.exp(log_ndtr(lo) - log_below_hi))
    at_lo = np.exp(-(lo**2) / 2 - log_mass) / np.sqrt(2 * np.pi)
    at_hi = np.exp(-(hi**2) / 2 - log_mass) / np.sqrt(2 * np.pi)
    mean = at_lo - at_hi
    # The density is zero at an infinite end, and zero times infinity must be zero here.
    slack = np.where(np.isfinite(lo), lo, 0.0) * at_lo - np.where(np.isfinite(hi), hi, 0.0) * at_hi
    return np.where(flip, -mean, mean), np.clip(1 + slack - mean**2, 0.0, 1.0)


def shared_rounding(lo_SP: Array, hi_SP: Array) -> Array:
    """How far a grid of checks may shift the seeds alike, (P,): half an interval at most.

    Where seeds fall into different intervals they average the rounding out; where all fall into
    one, more seeds say no more, and the truth is anywhere in it. Between the two, with a share s of
    the seeds in one interval, it is taken times (2 s - 1)^2: of the simple weights that vanish at
    one half, the smallest with which slopes were covered at every coarseness of the grid.
    Intervals with an open end count as none.

    >>> shared_rounding(np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [1.0, 2.0]]))
    array([0.5, 0. ])
    """
    # What most seeds have is their median; the same lower end is the same interval of the grid.
    alike_SP = lo_SP == np.quantile(lo_SP, 0.5, axis=0, method="lower")
    width_P = np.where(alike_SP, hi_SP - lo_SP, 0.0).max(axis=0)
    weight_P = np.maximum(2 * alike_SP.mean(axis=0) - 1, 0.0) ** 2
    return np.where(np.isfinite(width_P), width_P, 0.0) / 2 * weight_P


def open_ended(closed: NDArray[np.bool_], most: float) -> tuple[str, ...]:
    """The objection to too large a share of points with an open end, if it is too large."""
    share = 1 - float(closed.mean())
    if share <= most:
        return ()
    return (f"{share:.0%} of the points known only from one side, more than {most:.0%}",)


def log_bounds(lo: Array, hi: Array) -> tuple[Array, Array]:
    """The logarithms of both ends; -inf for a lower end of zero.

    Raises:
        InputError: shapes that differ, a negative or unknown end, an empty interval.
    """
    if lo.shape != hi.shape or not ((lo >= 0) & (lo < hi)).all():
        got = f"lo of shape {lo.shape} and hi of shape {hi.shape} where that fails"
        fix = "a member that diverged or never arrived is (last check, inf], not nan"
        raise InputError("intervals with 0 <= lo < hi", got, fix)
    return logarithm(lo), logarithm(hi)


def censored_mean(lo_S: ArrayLike, hi_S: ArrayLike, *, max_censored: float = 0.25, level: float = 0.95) -> Estimate:
    """The geometric mean over seeds of a positive quantity known only to lie in (lo, hi].

    Log-normal, by maximum likelihood; the interval is Student's t with the standard error from the
    observed information, so that a point with an open end counts for less than one seed. As far
    as seeds fall into one interval its rounding is added (`shared_rounding`). An objection where
    more than a share `max_censored` has an open end, or fewer than two seeds have both ends.

    Raises:
        DataError: no seeds.
        InputError: lists that differ in length, lo < 0 or hi <= lo, a level outside (0, 1).

    >>> e = censored_mean([10, 15, 15, 10, 20], [15, 20, 20, 15, 25])
    >>> round(e.value, 1), round(e.lo, 1), round(e.hi, 1)
    (16.2, 11.8, 22.1)
    """
    check_level(level)
    lo_S, hi_S = log_bounds(one_a_seed(lo_S), one_a_seed(hi_S))
    seeds, method = len(lo_S), "Student t over seeds, of interval-censored logarithms"
    closed_S = np.isfinite(lo_S) & np.isfinite(hi_S)
    objections = open_ended(closed_S, max_censored)
    if closed_S.sum() < 2:
        objections += (f"{int(closed_S.sum())} of {seeds} seeds known from both sides",)
        return exponentiated(Estimate.without_number(seeds, objections, method))
    fit = fit_censored(np.ones((seeds, 1)), lo_S[None], hi_S[None])
    if not fit.settled:
        objections += ("the censored fit did not settle",)
    known = seeds - float(fit.variance_SP.sum())  # the information, in seeds
    error = fit.sigma * np.sqrt(seeds / (seeds - 1) / known)
    rounding = shared_rounding(lo_S[:, None], hi_S[:, None])[0]
    half = float(np.hypot(stdtrit(seeds - 1, (1 + level) / 2) * error, rounding))
    mean = float(fit.beta_SK[0, 0])
    return exponentiated(Estimate(mean, mean - half, mean + half, seeds, objections, method))


def crossing(x_P: ArrayLike, y_P: ArrayLike, threshold: float) -> tuple[float, float]:
    """The interval (lo, hi] in which a falling measured curve arrives at a threshold to stay.

    `x_P` rises and is positive. A point that is not a number counts as above the threshold: a
    diverged member has not arrived. "To stay" means up to the last point measured, so seeds can
    be compared only over the same range of x.

    Returns:
        (x_i, x_i+1] where the curve is at or below the threshold from x_i+1 on; (0, x_1] where it
        is there from the start; (x_P, inf) where it never arrives.

    Raises:
        InputError: x does not rise from above zero, or x and y differ in length.

    >>> crossing([5, 10, 15, 20], [0.4, 0.2, 0.05, 0.01], 0.1)
    (10.0, 15.0)
    >>> crossing([5, 10], [0.4, 0.2], 0.1)
    (10.0, inf)
    """
    x, y = np.asarray(x_P, float), np.asarray(y_P, float)
    if x.ndim != 1 or x.shape != y.shape or not len(x) or x[0] <= 0 or (np.diff(x) <= 0).any():
        raise InputError(
            "x rising from above zero, with one y each",
            f"x of shape {x.shape}, y of shape {y.shape}",
            "sort the points by x and drop repeated ones",
        )
    above = np.flatnonzero(~(y <= threshold))
    last = int(above[-1]) if len(above) else -1
    lo = 0.0 if last < 0 else float(x[last])
    return lo, float(x[last + 1]) if last + 1 < len(x) else float("inf")
