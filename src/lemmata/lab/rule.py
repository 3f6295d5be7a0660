"""The rule of a verdict: a region for the estimate, written down before the run."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import final

from lemmata.lab.errors import InputError
from lemmata.lab.estimate import Estimate

__all__ = ["Rule", "Verdict", "above", "at_least", "at_most", "below", "between", "within"]


@final
class Verdict(enum.StrEnum):
    """What is said of one prediction. NOT RUN is said where data or an extra are missing."""

    CONFIRMED = "CONFIRMED"
    REFUTED = "REFUTED"
    UNDECIDED = "UNDECIDED"
    NOT_RUN = "NOT RUN"


@final
@dataclass(frozen=True)
class Rule:
    """The region [lo, hi] that a prediction allows, both ends included, or with `strict` without them.

    Make one with `within`, `between`, `at_most`, `at_least`, `above` or `below`. The profile of a run changes the
    seeds behind an estimate, never its rule.

    Raises:
        InputError: a region that is empty, or so wide that nothing could refute it.
    """

    lo: float
    hi: float
    strict: bool = False

    def __post_init__(self) -> None:
        """Refuse a rule under which some verdict is impossible."""
        empty = not self.lo <= self.hi or self.lo == math.inf or self.hi == -math.inf
        if empty or (self.lo == -math.inf and self.hi == math.inf):
            fix = "give the bounds in rising order, at least one of them finite"
            raise InputError("a region that can be met and missed", f"[{self.lo}, {self.hi}]", fix)

    def judge(self, estimate: Estimate) -> Verdict:
        """CONFIRMED with the interval inside the region, REFUTED with it outside, else UNDECIDED.

        An estimate that carries an objection is UNDECIDED whatever its interval.

        >>> rule = within(-2 / 3, 0.12)
        >>> str(rule.judge(Estimate(-0.66, -0.71, -0.61, n=10)))
        'CONFIRMED'
        >>> str(rule.judge(Estimate(-0.66, -0.71, -0.61, n=10, objections=("the line bends",))))
        'UNDECIDED'
        """
        if estimate.objections:
            return Verdict.UNDECIDED
        if self.strict:
            inside = self.lo < estimate.lo and estimate.hi < self.hi
            outside = estimate.hi <= self.lo or self.hi <= estimate.lo
        else:
            inside = self.lo <= estimate.lo and estimate.hi <= self.hi
            outside = estimate.hi < self.lo or self.hi < estimate.lo
        if inside:
            return Verdict.CONFIRMED
        if outside:
            return Verdict.REFUTED
        return Verdict.UNDECIDED

    def __str__(self) -> str:
        """The rule as a sentence.

        >>> print(within(-0.67, 0.12))
        CONFIRMED if the 95 % interval lies inside [-0.79, -0.55], REFUTED if disjoint,
        else UNDECIDED
        >>> print(at_most(0.01))
        CONFIRMED if the 95 % interval ends at or below 0.01, REFUTED if it begins above,
        else UNDECIDED
        """
        if self.lo == -math.inf and self.strict:
            region, missed = f"ends below {self.hi:.4g}", "it begins at or above"
        elif self.lo == -math.inf:
            region, missed = f"ends at or below {self.hi:.4g}", "it begins above"
        elif self.strict and self.hi == math.inf:
            region, missed = f"begins above {self.lo:.4g}", "it ends at or below"
        elif self.hi == math.inf:
            region, missed = f"begins at or above {self.lo:.4g}", "it ends below"
        else:
            region, missed = f"lies inside [{self.lo:.4g}, {self.hi:.4g}]", "disjoint"
        return f"CONFIRMED if the 95 % interval {region}, REFUTED if {missed}, else UNDECIDED"


def within(centre: float, margin: float) -> Rule:
    """A predicted value and how far from it still counts as the same.

    Raises:
        InputError: a negative margin, or a centre or margin that is not finite.

    >>> within(-1.0, 0.15)
    Rule(lo=-1.15, hi=-0.85, strict=False)
    """
    return Rule(centre - margin, centre + margin)


def between(lo: float, hi: float) -> Rule:
    """A predicted range.

    Raises:
        InputError: bounds that do not rise, or that nothing could miss.

    >>> between(0.1, 0.2)
    Rule(lo=0.1, hi=0.2, strict=False)
    """
    return Rule(lo, hi)


def at_most(bound: float) -> Rule:
    """An upper bound.

    Raises:
        InputError: a bound that is not finite.

    >>> at_most(0.01)
    Rule(lo=-inf, hi=0.01, strict=False)
    """
    return Rule(-math.inf, bound)


def at_least(bound: float) -> Rule:
    """A lower bound.

    Raises:
        InputError: a bound that is not finite.

    >>> at_least(0.9)
    Rule(lo=0.9, hi=inf, strict=False)
    """
    return Rule(bound, math.inf)


def above(bound: float) -> Rule:
    """More than a bound, which itself does not count: two things that are equal to the last digit do not differ.

    Raises:
        InputError: a bound that is not finite.

    >>> print(above(0.0))
    CONFIRMED if the 95 % interval begins above 0, REFUTED if it ends at or below, else UNDECIDED
    """
    return Rule(bound, math.inf, strict=True)


def below(bound: float) -> Rule:
    """Less than a bound, which itself does not count.

    Raises:
        InputError: a bound that is not finite.

    >>> str(below(0.0).judge(Estimate(0.0, 0.0, 0.0, n=5)))
    'REFUTED'
    """
    return Rule(-math.inf, bound, strict=True)
