"""Simulated truths: runs whose true value is known, for measuring how often rules are wrong.

They resemble what rules meet: statistics that spread normally or log-normally over seeds, 0-1
errors nested in seeds, times and sizes known only between two checks. Each draw returns the
estimate that a claim would make of such a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from lemmata.lab import stats
from lemmata.lab.estimate import Array, Estimate
from lemmata.lab.rule import Rule, at_most, between, within

__all__ = ["SEEDS", "TRUTHS", "Truth", "bent_line", "bent_times"]

SEEDS = (5, 10, 20)  # of the quick, default and full profiles
ALPHA_P = np.geomspace(0.2, 1.0, 6)
SLOPE = -2 / 3
PROMPTS = 4096
Draw = Callable[[np.random.Generator, int, float], Estimate]


@final
@dataclass(frozen=True)
class Truth:
    """A kind of run, and the rule that judges it.

    `draw(rng, seeds, value)` simulates a run whose true value is `value` and estimates it. `true`
    is a value that the rule ought to confirm; at the `edges` of its region confirming is as wrong
    as it can be. `valid` is false where docs/statistics.md advises against the interval.
    """

    name: str
    interval: str
    rule: Rule
    true: float
    edges: tuple[float, ...]
    draw: Draw
    seeds: tuple[int, ...] = SEEDS
    valid: bool = True


def _normal(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
    return stats.mean_t(rng.normal(value, 0.1, seeds))


def _paired(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
    seed_S = rng.normal(1.0, 0.3, seeds)
    own_SK = rng.normal(0.0, 0.05, (seeds, 2))
    return stats.paired_t(seed_S + value + own_SK[:, 0], seed_S + own_SK[:, 1])


def _lognormal(rng: np.random.Generator, seeds: int, spread: float) -> Array:
    """Factors with an arithmetic mean of 1."""
    return np.exp(rng.normal(-(spread**2) / 2, spread, seeds))


def _skewed(spread: float) -> Draw:
    return lambda rng, seeds, value: stats.mean_t(value * _lognormal(rng, seeds, spread))


def _ratio(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
    return stats.geometric_t(value * np.exp(rng.normal(0.0, 0.5, seeds)))


def _errors(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
    wrong_S = rng.binomial(PROMPTS, value * _lognormal(rng, seeds, 0.2))
    return stats.error_rate_t(wrong_S / PROMPTS, PROMPTS)


def _sums(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
    weight_S = _lognormal(rng, seeds, 0.5)
    part_S = weight_S * rng.normal(value, 0.15, seeds)
    return stats.bootstrap_t(
        np.stack([part_S, weight_S], axis=1),
        lambda data_XSK: data_XSK[..., 0].sum(-1) / data_XSK[..., 1].sum(-1),
        rng=rng,
        resamples=499,
    )


def _times(rng: np.random.Generator, seeds: int, slope: float, *, noise: float, bend: float = 0.0) -> Array:
    """Steps needed at each alpha: about 100 at the smallest; seeds differ by `noise` as points do.

    The local slope changes by `bend` along the range.
    """
    u_P = np.log(ALPHA_P / ALPHA_P[0])
    curve_P = np.log(100) + slope * u_P + bend * u_P * (u_P / u_P[-1] - 1) / 2
    common_S1 = rng.uniform(0.0, 0.15) + rng.normal(0.0, noise, (seeds, 1))
    return np.exp(curve_P + common_S1 + rng.normal(0.0, noise, (seeds, len(u_P))))


def _checked(times: Array, *, last: float = np.inf) -> tuple[Array, Array]:
    """What checks every 5 steps tell of times, when nothing is trained beyond the step `last`."""
    hi = 5 * np.ceil(times / 5)
    never = hi > last
    return np.where(never, last, hi - 5), np.where(never, np.inf, hi)


def _power_law(noise: float) -> Draw:
    return lambda rng, seeds, value: stats.exponent(ALPHA_P, _times(rng, seeds, value, noise=noise))


def _beside(noise: float) -> Draw:
    """One of three exponents, from a star of conditions: one constant varies at a time."""
    centre = np.log([0.8, 0.5, 0.8])
    arms = (np.log([0.3, 0.4, 0.6, 1.0]), np.log([0.4, 0.6, 0.7]), np.log([0.5, 0.6, 0.7]))
    points_PA = np.array([centre, *(np.where(np.arange(3) == a, x, centre) for a, arm in enumerate(arms) for x in arm)])
    design_PK = np.column_stack([np.ones(len(points_PA)), points_PA])

    def draw(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
        exponents_K = np.array([3.0, -1.0, -2.0, value])
        log_SP = (
            design_PK @ exponents_K
            + rng.normal(0.0, noise, (seeds, 1))
            + rng.normal(0.0, noise, (seeds, len(design_PK)))
        )
        return stats.coefficient(design_PK, log_SP, 3)

    return draw


def _passage(noise: float, *, last: float = np.inf) -> Draw:
    def draw(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
        lo_SP, hi_SP = _checked(_times(rng, seeds, value, noise=noise), last=last)
        return stats.censored_exponent(ALPHA_P, lo_SP, hi_SP)

    return draw


def _coarse(noise: float) -> Draw:
    def draw(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
        cell_SP = np.floor(np.log(_times(rng, seeds, value, noise=noise)) / np.log(1.4))
        return stats.censored_exponent(ALPHA_P, 1.4**cell_SP, 1.4 ** (cell_SP + 1))

    return draw


def _needed(noise: float, *, last: float = np.inf) -> Draw:
    def draw(rng: np.random.Generator, seeds: int, value: float) -> Estimate:
        return stats.censored_mean(*_checked(value * np.exp(rng.normal(0, noise, seeds)), last=last))

    return draw


def bent_line(rng: np.random.Generator, seeds: int, bend: float) -> Estimate:
    """The exponent of a line whose local slope changes by `bend` along the range, noise 0.1."""
    return stats.exponent(ALPHA_P, _times(rng, seeds, SLOPE, noise=0.1, bend=bend))


def bent_times(rng: np.random.Generator, seeds: int, bend: float) -> Estimate:
    """The same, known only between checks."""
    times_SP = _times(rng, seeds, SLOPE, noise=0.1, bend=bend)
    return stats.censored_exponent(ALPHA_P, *_checked(times_SP))


def _exponents(name: str, margin: float, draw: Draw, interval: str = "censored_exponent") -> Truth:
    rule = within(SLOPE, margin)
    return Truth(name, interval, rule, SLOPE, (rule.lo, rule.hi), draw)


def _sizes(name: str, true: float, draw: Draw) -> Truth:
    lo, hi = 0.8 * true, 1.25 * true
    return Truth(name, "censored_mean", between(lo, hi), true, (lo, hi), draw)


TRUTHS = (
    Truth("normal, spread 0.1", "mean_t", within(0.0, 0.15), 0.0, (-0.15, 0.15), _normal),
    Truth("pairs, own spread 0.05", "paired_t", at_most(0.0), -0.1, (0.0,), _paired),
    Truth("log-normal, spread 0.2", "mean_t", at_most(1.0), 0.7, (1.0,), _skewed(0.2)),
    Truth("log-normal, spread 0.5", "mean_t", at_most(1.0), 0.5, (1.0,), _skewed(0.5), valid=False),
    Truth("ratio, spread 0.5", "geometric_t", between(0.5, 2.0), 1.0, (0.5, 2.0), _ratio),
    Truth("errors, 1 in 100", "error_rate_t", at_most(0.01), 0.006, (0.01,), _errors),
    Truth("errors, 1 in 1000", "error_rate_t", at_most(0.001), 0.0002, (0.001,), _errors),
    Truth("ratio of sums", "bootstrap_t", within(1.0, 0.15), 1.0, (0.85, 1.15), _sums, (20,)),
    _exponents("power law, noise 0.1", 0.12, _power_law(0.1), "exponent"),
    _exponents("power law, noise 0.2", 0.15, _power_law(0.2), "exponent"),
    Truth("one exponent of three, noise 0.1", "coefficient", within(-2.0, 0.15), -2.0, (-2.15, -1.85), _beside(0.1)),
    _exponents("times, noise 0.1", 0.12, _passage(0.1)),
    _exponents("times, noise 0.2", 0.15, _passage(0.2)),
    _exponents("times, noise 0.2, late ones cut off", 0.15, _passage(0.2, last=100)),
    _exponents("times, noise 0.01, same check", 0.12, _passage(0.01)),
    _exponents("sizes in steps of 1.4, noise 0.05", 0.3, _coarse(0.05)),
    _sizes("size, noise 0.2", 57.0, _needed(0.2)),
    _sizes("size, noise 0.2, late ones cut off", 57.0, _needed(0.2, last=70)),
    _sizes("size, noise 0.02, same check", 59.0, _needed(0.02)),
)
