"""The estimate that a rule judges, and Student's t, on which most of them rest.

Import from `lemmata.lab.stats`, which gathers this room with those of the exponents and of the
censored quantities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from lemmata.lab.errors import DataError, InputError

__all__ = [
    "Array",
    "Estimate",
    "check_level",
    "exponentiated",
    "hull",
    "logarithm",
    "one_a_seed",
    "student",
]

Array = NDArray[np.floating]


@final
@dataclass(frozen=True)
class Estimate:
    """A number with its interval, the seeds behind it, and what forbids a verdict on it.

    `objections` are plain sentences (diverged members, curvature, censoring); a rule says
    UNDECIDED to an estimate that has any. `value` is nan where there is no number to give.
    """

    value: float
    lo: float
    hi: float
    n: int
    objections: tuple[str, ...] = ()
    method: str = ""

    @classmethod
    def without_number(cls, n: int, objections: tuple[str, ...], method: str) -> Estimate:
        """What is left when the data allow no number at all."""
        return cls(np.nan, -np.inf, np.inf, n, objections, method)


def student(
    values_S: Array,
    level: float,
    *,
    method: str,
    part: str = "a finite value",
    shared_shift: float = 0.0,
) -> Estimate:
    """The mean over seeds with Student's t interval.

    `part` names what a value that is not finite lacks. `shared_shift` is the largest error that the
    seeds may have in common, so that their spread does not show it; it is added in quadrature.

    >>> e = student(np.array([1.0, 1.0]), 0.95, method="", shared_shift=0.1)
    >>> round(e.lo, 3), round(e.hi, 3)
    (0.9, 1.1)
    """
    check_level(level)
    seeds = len(values_S)
    lacking = seeds - int(np.isfinite(values_S).sum())
    if lacking:
        objection = f"{lacking} of {seeds} seeds without {part}"
        return Estimate.without_number(seeds, (objection,), method)
    mean = float(values_S.mean())
    if seeds < 2:
        return Estimate(mean, -np.inf, np.inf, seeds, ("one seed has no interval",), method)
    over_seeds = stdtrit(seeds - 1, (1 + level) / 2) * values_S.std(ddof=1) / np.sqrt(seeds)
    half = float(np.hypot(over_seeds, shared_shift))
    return Estimate(mean, mean - half, mean + half, seeds, (), method)


def hull(one: Estimate, other: Estimate) -> Estimate:
    """What holds for both, as of the least and the most that a quantity may be: the middle, and the outermost ends.

    Objections to either count.

    >>> e = hull(Estimate(1.0, 0.8, 1.2, n=5), Estimate(2.0, 1.7, 2.3, n=5))
    >>> e.value, e.lo, e.hi
    (1.5, 0.8, 2.3)
    """
    objections = tuple(dict.fromkeys([*one.objections, *other.objections]))
    lo, hi = min(one.lo, other.lo), max(one.hi, other.hi)
    return replace(one, value=(one.value + other.value) / 2, lo=lo, hi=hi, objections=objections)


def logarithm(values: Array) -> Array:
    """The natural logarithm; -inf or nan, and no warning, where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def exponentiated(estimate: Estimate) -> Estimate:
    """An estimate of a logarithm, back on the scale of the quantity itself."""
    with np.errstate(over="ignore"):  # two seeds far apart: the end is as good as infinite
        value, lo, hi = (float(np.exp(end)) for end in (estimate.value, estimate.lo, estimate.hi))
    return replace(estimate, value=value, lo=lo, hi=hi)


def one_a_seed(values_S: ArrayLike) -> Array:
    """The values as an array, refused where they are not one number a seed."""
    array = np.asarray(values_S, dtype=float)
    if array.ndim != 1:
        fix = "reduce the prompts and steps of a seed to one statistic first"
        raise InputError("one number for each seed", f"an array of shape {array.shape}", fix)
    if not len(array):
        raise DataError("at least one seed", "none", "measure this statistic, or ask for another")
    return array


def check_level(level: float) -> None:
    """Refuse a level that is not a probability."""
    if not 0 < level < 1:
        raise InputError("a level between 0 and 1", f"{level:g}", "pass 0.95 for 95 %")
