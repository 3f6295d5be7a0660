"""How many demonstrations a prompt needs, with intermediate steps (CoT) and without (ICL): Li et al., ICLR 2025.

    symbol       meaning
    K, S         steps of the task, and states (the paper's M')
    alpha        share of the demonstrations that start where the query does
    A_k          S x S, row-stochastic: what step k of a demonstration does; its correct step is the row's largest entry
    B            A_1 A_2 ... A_K: from a start to an outcome
    tau, rho     of the steps: probability of the whole correct path; 1 - (most likely wrong) / (correct)
    tau_o, rho_o the same of B: its largest entry; 1 - (most likely wrong) / (true outcome)
    Condition 1  the true outcome is the only most likely one, from every start; without it ICL cannot work
    error        the target: with steps the share of wrong steps, without the share of wrong outcomes

The numbers are those of the oracle: perfect attention, without a fitted parameter. A scaling of the theorems is a
number up to a constant that they leave open, so it says how the need grows and not how large it is.

Prescribed tau and rho leave open towards which wrong states a step errs. Where several steps err, B and whether
Condition 1 holds depend on it; both numbers are then means over tasks drawn at random, the same ones.

Source: Theorems 2 and 3 of arXiv 2410.02167.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from lemmata.cot.theory import (
    Split,
    Transitions,
    cot_examples,
    cot_examples_of,
    cot_length,
    icl_examples_of,
    icl_length,
    outcome_rows,
    plain_examples,
    right_in_the_end,
    step_matrices,
    transitions,
)
from lemmata.lab.errors import DataError, InputError
from lemmata.lab.stats import Estimate

__all__ = ["LONGEST", "Needed", "Scaling", "examples", "examples_of"]

# Longer prompts are not tried.
LONGEST = 100_000
# Where there is no formula the mechanism is played: so often, and so that this many trials err at the target,
TRIALS, ERRORS, FEWEST_ERRORS = 8000, 20, 10
# with no more than so many counts in memory, S x S x K a trial.
COUNTS = 24_000_000


@final
@dataclass(frozen=True)
class Scaling:
    """How a theorem lets the needed number grow, up to a constant: `formula`, its value, and where it is stated."""

    formula: str
    value: float
    source: str


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Needed:
    """How many demonstrations are enough, with and without intermediate steps.

    with_steps: where the oracle's error is at the target, between whole numbers; with an interval where it was played
    in trials. without_steps: the same without steps, inf where ever more demonstrations do not reach the target, and
    None where it takes more than 100,000. limit: the error without steps after ever more demonstrations.
    scaling_with: as the two sources state it. scaling_without: None without Condition 1, where Theorem 3 promises
    nothing, and where it differs from task to task.
    tasks: how many were drawn, each erring towards wrong states of its own; 1 where there is a single one.
    satisfied: in how many of them Condition 1 holds. tau_o, rho_o: their least and their greatest.
    transitions: B, tau, tau_o, rho, rho_o of the single task. misled: its starts whose true outcome is not the only
    most likely one. Both are empty where tasks were drawn.
    """

    alpha: float
    error: float
    tau: float
    rho: float
    with_steps: Estimate
    without_steps: Estimate | None
    limit: float
    scaling_with: tuple[Scaling, Scaling]
    scaling_without: Scaling | None = None
    tasks: int = 1
    satisfied: int
    tau_o: tuple[float, float]
    rho_o: tuple[float, float]
    transitions: Transitions | None = None
    misled: tuple[int, ...] = ()

    @property
    def condition_1(self) -> bool:
        """Whether plain demonstrations can work at all, in every task."""
        return self.satisfied == self.tasks


def examples(
    *,
    alpha: float = 0.8,
    tau: float = 0.5,
    rho: float = 0.8,
    steps: int = 3,
    patterns: int = 10,
    split: Split = "one",
    error: float = 0.01,
) -> Needed:
    """What a task with these constants needs; `split` says whether one step holds all errors or every step its share.

    With steps it is `cot_examples`, without them `plain_examples`. Both are exact where one step holds all errors. An
    even share is played in trials, each with a task of its own, in which the wrong states of a step are drawn. With
    tau = 1 no step is wrong, and rho is 1.

    Raises:
        InputError: a share outside (0, 1], a target that is not above 0 and below 1 - 1/patterns or too small to be
            played, or constants that no step matrices have; the message says which rho are possible.
        DataError: more than 100,000 demonstrations with intermediate steps.

    Source: the exact counterparts of Theorems 2 and 3, arXiv 2410.02167.

    >>> found = examples(alpha=0.8, tau=0.5, rho=0.8)
    >>> round(found.with_steps.value, 1), round(found.without_steps.value, 1), found.condition_1
    (27.6, 30.6, True)
    >>> [(scaling.formula, round(scaling.value, 2)) for scaling in found.scaling_with]
    [('(alpha tau rho)^-2', 9.77), ('(alpha tau)^-2', 6.25)]
    """
    _check(alpha, error)
    if steps * patterns**2 > COUNTS:
        most = math.isqrt(COUNTS // max(1, steps))
        raise InputError(f"at most {most} patterns with {steps} steps", str(patterns), "choose fewer")
    one_of_them = transitions(step_matrices(tau, rho, steps, patterns, split))
    trials = _trials(one_of_them, error)
    found = cot_examples(error, alpha, tau, rho, K=steps, states=patterns, split=split, trials=trials)
    plain = _tried(
        partial(plain_examples, error, alpha, tau, rho, K=steps, states=patterns, split=split, trials=trials)
    )
    row_TS = outcome_rows(tau, rho, K=steps, states=patterns, split=split, trials=trials)
    if len(row_TS) == 1:
        return _of_one_task(one_of_them, alpha, error, found, plain)
    right_T = right_in_the_end(row_TS, np.zeros(len(row_TS), dtype=int))
    rho_o_T = 1 - row_TS[:, 1:].max(1) / row_TS[:, 0]
    return Needed(
        alpha=alpha,
        error=error,
        with_steps=found,
        without_steps=plain,
        limit=float(1 - right_T.mean()),
        tau=one_of_them.tau,
        rho=one_of_them.rho,
        scaling_with=_with_steps(alpha, one_of_them.tau, one_of_them.rho),
        tasks=len(row_TS),
        satisfied=int((right_T == 1).sum()),
        tau_o=_range(row_TS.max(1)),
        rho_o=_range(rho_o_T),
    )


def examples_of(matrices: Sequence[ArrayLike], *, alpha: float = 0.8, error: float = 0.01) -> Needed:
    """What a task with the step matrices A_1 .. A_K, each (S, S), needs.

    Raises:
        InputError: a share outside (0, 1], a target that is not above 0 and below 1 - 1/S or too small to be played,
            or no step matrices (see `lemmata.cot.theory.transitions`).
        DataError: more than 100,000 demonstrations with intermediate steps.

    Source: as `examples`. The paper's worked example, in which the most likely outcome from the first start is wrong:

    >>> found = examples_of([[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.8, 0.2]]])
    >>> found.without_steps.value, found.condition_1, found.misled, found.limit
    (inf, False, (0,), 0.5)
    >>> found.with_steps.lo < 200 < found.with_steps.hi, found.with_steps.method
    (True, '8000 trials of the mechanism, Wilson')
    """
    _check(alpha, error)
    task = transitions(matrices)
    found = cot_examples_of(error, alpha, task.steps, trials=_trials(task, error))
    plain = _tried(partial(icl_examples_of, error, alpha, task.product, task.path[:, -1]))
    return _of_one_task(task, alpha, error, found, plain)


def _of_one_task(task: Transitions, alpha: float, error: float, found: Estimate, plain: Estimate | None) -> Needed:
    """Both numbers of a task, and all that it says about doing without steps."""
    scaling = None
    if task.condition_1:
        value = icl_length(alpha, task.tau_o, task.rho_o)
        scaling = Scaling("(alpha tau_o rho_o)^-2", value, "Theorem 3, under Condition 1")
    right_S = right_in_the_end(task.product, task.path[:, -1])
    return Needed(
        alpha=alpha,
        error=error,
        with_steps=found,
        without_steps=plain,
        limit=float(1 - right_S.mean()),
        tau=task.tau,
        rho=task.rho,
        scaling_with=_with_steps(alpha, task.tau, task.rho),
        scaling_without=scaling,
        satisfied=int(task.condition_1),
        tau_o=(task.tau_o, task.tau_o),
        rho_o=(task.rho_o, task.rho_o),
        transitions=task,
        misled=tuple(np.flatnonzero(right_S < 1).tolist()),
    )


def _with_steps(alpha: float, tau: float, rho: float) -> tuple[Scaling, Scaling]:
    with_rho = Scaling("(alpha tau rho)^-2", cot_length(alpha, tau, rho), "Theorem 2, slides of Feb 2025")
    return with_rho, Scaling("(alpha tau)^-2", cot_length(alpha, tau), "Theorem 2, slides of Oct 2024")


def _tried(look: Callable[[], Estimate | float]) -> Estimate | None:
    """The number without steps, or None where it is more than 100,000."""
    try:
        found = look()
    except DataError:
        return None
    return found if isinstance(found, Estimate) else Estimate(found, found, found, 0, (), "exact")


def _range(value_T: np.ndarray) -> tuple[float, float]:
    return float(value_T.min()), float(value_T.max())


def _trials(task: Transitions, error: float) -> int:
    """Trials of the mechanism, which only matter where more than one step is corrupted.

    Raises:
        InputError: so many as the target takes do not fit in memory.
    """
    K, S = len(task.steps), len(task.product)
    most = max(1, COUNTS // (K * S * S))
    played = sum(not _is_permutation(A_SS) for A_SS in task.steps) > 1
    if played and most * (1 - 1 / S) <= FEWEST_ERRORS:
        expected = "fewer patterns or steps where several steps err, or the trials do not fit in memory"
        raise InputError(expected, f"{S} patterns, {K} steps", "choose fewer, or a task in which one step errs")
    if played and most * error < FEWEST_ERRORS:
        expected = f"an error of at least {_up(FEWEST_ERRORS / most)} where several of {K} steps among {S} patterns err"
        raise InputError(expected, f"{error:g}", "choose a larger error, or fewer patterns or steps")
    return math.ceil(min(max(TRIALS, ERRORS / error), most))


def _is_permutation(A_SS: np.ndarray) -> bool:
    return bool(((A_SS == 0) | (A_SS == 1)).all() and (A_SS.sum(0) == 1).all())


def _up(x: float) -> str:
    """Two significant digits, rounded up, so that what is named is accepted.

    >>> _up(0.000125), _up(0.0101)
    ('0.00013', '0.011')
    """
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return f"{math.ceil(x / unit - 1e-9) * unit:.2g}"


def _check(alpha: float, error: float) -> None:
    """Refuse what the theory would refuse in other words, or not at all."""
    if not 0 < alpha <= 1:
        expected = "alpha in (0, 1], the share of the demonstrations that start where the query does"
        raise InputError(expected, f"{alpha:g}", "choose a share, as 0.8")
    if not error > 0:
        fix = "no number of demonstrations makes the error 0: choose a small target, as 0.01"
        raise InputError("a target error above 0", f"{error:g}", fix)
