"""Which coefficient to edit with, from what the fine-tuned models answer: Li et al., ICLR 2025.

    symbol       meaning
    u_i          what fine-tuning i changed in the answer to an input, f(X; Psi*_i) - f(X; Psi^(0))
    alpha        correlation of the two tasks, estimated by the similarity of u_1 and u_2
    lambda       coefficient of the second task vector; the first has 1
    beta         by how much the smallest lambda that works may differ from 1 - alpha

Without labels there is what the theorems say of alpha; with labels there is the coefficient that is best on them, and
how far the two are apart.

Source: Theorems 1 and 2, arXiv 2504.10957; the estimate is `lemmata.editing.theory.function_similarity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike

from lemmata.editing.theory import (
    Interval,
    changes_correlation,
    function_similarity,
    multi_task,
    products,
    similarity_of,
    unlearning,
)
from lemmata.lab.errors import InputError
from lemmata.lab.streams import stream

__all__ = ["BETA", "GRIDS", "Advice", "Goal", "Validated", "advise", "validate"]

Goal = Literal["add", "subtract"]
Relation = Literal["aligned", "irrelevant", "contradictory", "unclear"]

# Chosen on networks whose alpha is known, seeds from 1000 on: the smallest lambda that works was within 0.15 of
# 1 - similarity in 96 % of them. tests/test_advise.py holds it against other seeds.
BETA = 0.15
# Correlations as small as this count as none.
CLOSE = 0.1
RESAMPLES = 2000
# Inputs and resamples that are in memory at a time.
AT_ONCE = 4_000_000
# Coefficients that are tried where there are labels.
GRIDS: dict[Goal, tuple[float, ...]] = {
    "add": tuple(round(0.1 * i, 1) for i in range(21)),
    "subtract": (0.0, *(round(-0.1 * i, 1) for i in range(1, 21))),
}


@final
@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the theorems say of two task vectors.

    alpha: the similarity of what they change, with its 95 % interval over the inputs. correlation: of the changes,
    which is farther from 0 than alpha. relation: unclear where the interval has other correlations beside small ones.
    region: the coefficients that the theorem allows; empty where it allows none.
    proposed: the one to take, and the interval in which the smallest that works (--add) is expected; None where the
    region is empty. inputs: how many there were.
    """

    goal: Goal
    alpha: float
    alpha_interval: Interval
    correlation: float
    relation: Relation
    region: Interval
    proposed: float | None
    interval: Interval | None
    inputs: int


@final
@dataclass(frozen=True, kw_only=True)
class Validated:
    """What labels say: the best coefficient of a grid, its score, and the score of each."""

    coefficient: float
    score: float
    grid: tuple[float, ...]
    scores: tuple[float, ...]

    def at(self, coefficient: float) -> float:
        """The score at any coefficient inside the grid, interpolated."""
        order = np.argsort(self.grid)
        return float(np.interp(coefficient, np.asarray(self.grid)[order], np.asarray(self.scores)[order]))


def advise(change_1: ArrayLike, change_2: ArrayLike, *, goal: Goal = "add") -> Advice:
    """What the theorems say of editing with Delta_1 + lambda Delta_2, from changes on a pooled sample without labels.

    Changes are those of one score or several an input, (N,) or (N, C), on the same inputs: about as many of each task.

    Raises:
        InputError: fewer than two inputs, changes of different shapes, or a change that is not finite.

    Source: Theorems 1 and 2, arXiv 2504.10957.

    >>> change_1, change_2 = [1.0, -0.5, 0.5, -1.0] * 100, [0.5, -1.0, 1.0, -0.5] * 100
    >>> found = advise(change_1, change_2)
    >>> found.relation, round(found.alpha, 2), round(found.proposed, 2)
    ('aligned', 0.5, 0.5)
    >>> [round(end, 1) for end in found.interval]
    [0.3, 0.7]
    >>> advise(change_1, change_2, goal="subtract").proposed is None
    True
    """
    product_N, square_1_N, square_2_N = products(change_1, change_2)
    if len(product_N) < 2:
        raise InputError("at least two inputs", str(len(product_N)), "give some hundred, about as many of each task")
    alpha = function_similarity(change_1, change_2)
    alpha_interval = _resampled(product_N, square_1_N, square_2_N)
    relation = _relation(alpha_interval)
    # Where the interval has small correlations, the sign of the estimate says nothing.
    open_sign = relation in ("irrelevant", "unclear")
    used = 0.0 if open_sign and (alpha < 0) == (goal == "add") else alpha
    region = multi_task(used) if goal == "add" else unlearning(used)
    proposed, interval = None, None
    if not region.empty and goal == "add":
        proposed = region.lo
        interval = Interval(
            max(0.0, round(1 - max(alpha_interval.hi, used) - BETA, 6)),
            round(1 - max(min(alpha_interval.lo, used), 0.0) + BETA, 6),
        )
    elif not region.empty:
        proposed, interval = max(-1.0, region.lo), region
    return Advice(
        goal=goal,
        alpha=alpha,
        alpha_interval=alpha_interval,
        correlation=changes_correlation(change_1, change_2),
        relation=relation,
        region=region,
        proposed=proposed,
        interval=interval,
        inputs=len(product_N),
    )


def validate(score: Callable[[float], float], grid: Sequence[float], *, near: float | None = None) -> Validated:
    """The coefficient with the best score; of several that are as good the one nearest to `near`, 0 if there is none.

    Raises:
        InputError: no coefficients.

    >>> validate(lambda x: min(x, 0.5), [0.0, 0.25, 0.5, 0.75, 1.0], near=0.7).coefficient
    0.75
    """
    if not grid:
        raise InputError("coefficients to try", "none", "pass at least one")
    scores = [score(x) for x in grid]
    best = max(scores)
    as_good = [x for x, value in zip(grid, scores, strict=True) if value == best]
    chosen = min(as_good, key=lambda x: abs(x - (near or 0.0)))
    return Validated(coefficient=chosen, score=best, grid=tuple(grid), scores=tuple(scores))


def _relation(alpha: Interval) -> Relation:
    if alpha.lo > CLOSE:
        return "aligned"
    if alpha.hi < -CLOSE:
        return "contradictory"
    return "irrelevant" if alpha.lo >= -2 * CLOSE and alpha.hi <= 2 * CLOSE else "unclear"


def _resampled(product_N: np.ndarray, square_1_N: np.ndarray, square_2_N: np.ndarray) -> Interval:
    """The percentile interval of the similarity over resamples of the inputs."""
    rng, count = stream("advise"), len(product_N)
    values: list[np.ndarray] = []
    rest = RESAMPLES
    while rest:
        size = min(rest, max(1, AT_ONCE // count))
        which = rng.integers(0, count, (size, count))
        values.append(similarity_of(product_N[which], square_1_N[which], square_2_N[which]))
        rest -= size
    lo, hi = np.quantile(np.concatenate(values), [0.025, 0.975])
    return Interval(float(lo), float(hi))
