"""Step matrices with prescribed constants, and which constants there can be.

A step that is right with probability p has 1 - p for its wrong states. With primacy rho none of them has more than
(1 - rho) p, and here the mass is cut into as few pieces as that allows. So tau and rho cannot be chosen freely: with K
steps of p = tau^(1/K) each there may be too little wrong mass for a low rho, or too few states for a high one.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from lemmata.cot.theory.steps import EQUAL, Floats
from lemmata.lab.errors import InputError, nearest

__all__ = [
    "Split",
    "check_steps",
    "circulant",
    "circulants",
    "condition_matrices",
    "rho_range",
    "step_accuracies",
    "step_matrices",
    "wrong_pieces",
]

# Where the errors of a chain are: all of them in one step, or an even share in every step.
Split = Literal["one", "even"]

# How far rho may be outside its range, which is a single number among 2 states and has to be typed.
TYPED = 1e-9


def rho_range(p: float, states: int) -> tuple[float, float]:
    """The least and the greatest primacy of a step that is right with probability p among so many states.

    A wrong state can be as likely as (1 - rho) p, and all S-1 of them share 1 - p. The least value is not reached
    where it is 0: that would be a tie.

    Raises:
        InputError: fewer than 2 states, or p outside (1/states, 1], where it cannot be the likeliest.

    >>> [round(rho, 3) for rho in rho_range(0.5, 10)]
    [0.0, 0.889]
    >>> rho_range(1.0, 10)
    (1.0, 1.0)
    """
    if states < 2 or not 1 / states < p <= 1:
        expected = "at least 2 states and a correct step more likely than one of so many"
        raise InputError(expected, f"p = {p:g}, states = {states}", "choose p in (1/states, 1]")
    wrong = (1 - p) / p
    return max(0.0, 1 - wrong), 1 - wrong / (states - 1)


def wrong_pieces(p: float, rho: float, states: int) -> Floats:
    """The probabilities of the wrong states of a step that is right with probability p and has primacy rho.

    The mass 1 - p is cut into pieces of (1 - rho) p, the last of them smaller: at most states-1 numbers, descending. An
    exact step has none, whatever rho.

    Raises:
        InputError: no step of this accuracy has this primacy (see `rho_range`), or a tie, rho = 0.

    >>> wrong_pieces(0.5, 0.6, 10).round(2).tolist()
    [0.2, 0.2, 0.1]
    """
    lo, hi = rho_range(p, states)
    if p == 1:
        return np.empty(0)
    if not _within(rho, lo, hi):
        expected = f"rho in {_shown(lo, hi)} where p = {p:.3g} and states = {states}"
        raise InputError(expected, f"rho = {rho:g}", "choose rho in this range, or another p")
    piece = (1 - rho) * p
    whole = min(math.ceil((1 - p) / piece * (1 - EQUAL)) - 1, states - 2)
    return np.append(np.full(whole, piece), 1 - p - whole * piece)


def step_accuracies(tau: float, K: int, split: Split) -> tuple[float, ...]:
    """How likely the correct step is in each of K steps whose product is tau.

    Raises:
        InputError: tau outside (0, 1], no step, or another word than "one" or "even".

    >>> step_accuracies(0.5, 3, "one")
    (1.0, 1.0, 0.5)
    >>> [round(p, 3) for p in step_accuracies(0.5, 3, "even")]
    [0.794, 0.794, 0.794]
    """
    if not 0 < tau <= 1 or K < 1:
        raise InputError("tau in (0, 1] and K >= 1", f"tau = {tau:g}, K = {K}", "choose them in these ranges")
    match split:
        case "one":
            return (1.0,) * (K - 1) + (tau,)
        case "even":
            return (tau ** (1 / K),) * K
        case _:
            raise InputError('a split "one" or "even"', repr(split), nearest(str(split), get_args(Split)))


def check_steps(tau: float, rho: float, K: int, states: int, split: Split) -> None:
    """Refuse constants that no step matrices have. With tau = 1 no step is wrong, and any rho will do.

    Raises:
        InputError: says which primacies are possible where rho is not.

    An even split of tau = 0.5 leaves little to choose:

    >>> check_steps(0.5, 0.5, 3, 10, "even")
    Traceback (most recent call last):
    lemmata.lab.errors.InputError: expected rho in [0.741, 0.971] where tau = 0.5, split = "even", K = 3, states = 10
    got      rho = 0.5
    fix      choose rho in this range, or split = "one", which has [0.001, 0.888]
    """
    p = step_accuracies(tau, K, split)[-1]
    if states < 2 or not 0 < rho < 1:
        fix = "choose them in these ranges"
        raise InputError("rho in (0, 1) and states >= 2", f"rho = {rho:g}, states = {states}", fix)
    if p == 1:
        return
    given = f'tau = {tau:g}, split = "{split}", K = {K}, states = {states}'
    if p * states <= 1:
        expected = f"a correct step more likely than 1/states = {1 / states:.3g}"
        raise InputError(expected, f"p = {p:.3g}, from {given}", "raise tau, or the number of states")
    lo, hi = rho_range(p, states)
    if not _within(rho, lo, hi):
        fix = "choose rho in this range"
        if split == "even" and tau * states > 1 and _within(rho, *rho_range(tau, states)):
            fix += f', or split = "one", which has {_shown(*rho_range(tau, states))}'
        raise InputError(f"rho in {_shown(lo, hi)} where {given}", f"rho = {rho:g}", fix)


def step_matrices(tau: float, rho: float, K: int, states: int, split: Split) -> tuple[Floats, ...]:
    """Step matrices with these constants: every step maps a state to itself, and piece q of its errors to state i + q.

    Under "one" the last step holds all errors.

    Raises:
        InputError: constants that no matrices have (see `check_steps`).

    >>> step_matrices(0.5, 0.6, 2, 4, "one")[1].round(2).tolist()[1]
    [0.1, 0.5, 0.2, 0.2]
    >>> from lemmata.cot.theory import transitions
    >>> t = transitions(step_matrices(0.5, 0.8, 3, 10, "even"))
    >>> round(t.tau, 3), round(t.rho, 3)
    (0.5, 0.8)
    """
    check_steps(tau, rho, K, states, split)
    return tuple(circulant(p, wrong_pieces(p, rho, states), states) for p in step_accuracies(tau, K, split))


def circulant(p: float, pieces: Floats, states: int) -> Floats:
    """The matrix, (S, S), with p at i and the q-th wrong piece at i + q mod S in every row i.

    >>> circulant(0.5, np.array([0.3, 0.2]), 4)[1].tolist()
    [0.0, 0.5, 0.3, 0.2]
    """
    row_S = np.zeros(states)
    row_S[0], row_S[1 : 1 + len(pieces)] = p, pieces
    return circulants(row_S)


def circulants(row_TS: Floats) -> Floats:
    """The matrices, (..., S, S), whose row i is the given one, (..., S), moved on by i states.

    >>> circulants(np.array([[0.5, 0.3, 0.2], [0.6, 0.0, 0.4]]))[:, 1].tolist()
    [[0.2, 0.5, 0.3], [0.4, 0.6, 0.0]]
    """
    every_S = np.arange(row_TS.shape[-1])
    return row_TS[..., (every_S - every_S[:, None]) % len(every_S)]


def condition_matrices(satisfied: bool, states: int = 10) -> tuple[Floats, ...]:
    """Three steps that satisfy Condition 1, or break it for every start but one; all map a state to itself.

    Step 1 is right with probability 0.45 and wrong evenly, step 2 is exact, step 3 is right with probability 0.55. To
    break the condition, state 0 draws 0.35 from every other one in step 3, and so from all that step 1 has scattered.

    Raises:
        InputError: fewer than 3 states.

    >>> from lemmata.cot.theory import transitions
    >>> [transitions(condition_matrices(satisfied)).condition_1 for satisfied in (True, False)]
    [True, False]
    """
    if states < 3:
        raise InputError("at least 3 states", str(states), "a right one, one that draws, and another")

    def evenly(right: float) -> Floats:
        return np.where(np.eye(states) == 1, right, (1 - right) / (states - 1))

    last_SS = evenly(0.55)
    if not satisfied:
        last_SS[1:] = np.where(np.eye(states)[1:] == 1, 0.55, 0.10 / (states - 2))
        last_SS[1:, 0] = 0.35
    return evenly(0.45), np.eye(states), last_SS


def _within(rho: float, lo: float, hi: float) -> bool:
    return 0 < rho < 1 and lo - TYPED <= rho <= hi + TYPED


def _shown(lo: float, hi: float) -> str:
    """The range in three decimals, rounded inwards so that what it names is accepted; in full where it is narrower."""
    inner = max(math.ceil(lo * 1000), 1) / 1000, math.floor(hi * 1000) / 1000
    return "[{:g}, {:g}]".format(*inner) if inner[0] < inner[1] else f"[{lo:.10g}, {hi:.10g}]"
