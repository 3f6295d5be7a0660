"""The error of a prompt of l examples, as a thing that can be made longer: exactly, or played in trials.

A needed number of examples is found by making a prompt longer until its error is small. Where the error has a formula,
`Exact` evaluates it at any l. Where it has none, `Sampled` plays the mechanism; the longer prompt then has the examples
of the shorter one and new ones, so that two lengths differ by the new examples and not by chance.

Letters of shapes: T trials, K steps, S states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, final

import numpy as np
from scipy.special import ndtri

from lemmata.cot.theory.steps import Floats, Ints
from lemmata.lab.errors import InputError
from lemmata.lab.stats import Estimate
from lemmata.lab.streams import stream

__all__ = ["Exact", "Prompt", "Sampled", "check_prompt", "sampled", "start_law", "wilson_mean"]


@final
@dataclass(frozen=True)
class Exact:
    """A prompt whose error is the value of a formula at l.

    >>> Exact(lambda l: 0.5**l).longer(2).longer(1).error.value
    0.125
    """

    formula: Callable[[int], float]
    l: int = 0

    @cached_property
    def error(self) -> Estimate:
        """The formula's value, without an interval."""
        value = self.formula(self.l)
        return Estimate(value, value, value, 0, (), "exact")

    def longer(self, examples: int) -> Self:
        """The formula at a greater l."""
        return replace(self, l=self.l + examples)


@final
@dataclass(frozen=True, eq=False)
class Sampled:
    """Trials of the mechanism with their prompts as counts: the cost does not depend on l.

    step_K: the matrices A_k, (S, S), or (T, S, S) where every trial has its own. start_TS: law of an example's start.
    path_TP: the query's correct states, P = K + 1. draw_TKS: uniform numbers in [0, 1) that break ties.
    votes_K: how many examples go from state i to state j in step k, (T, S, S).
    """

    step_K: tuple[Floats, ...]
    start_TS: Floats
    path_TP: Ints
    draw_TKS: Floats
    votes_K: tuple[Ints, ...]
    seed: int
    l: int = 0

    @cached_property
    def error(self) -> Estimate:
        """The mean over trials of the share of wrong steps, with a 95 % interval.

        The interval is Wilson's for as many coins. It is a little wide, as a share varies less than a coin of the same
        mean, and it is right where no trial has an error.
        """
        T, K, S = self.draw_TKS.shape
        method = f"{T} trials of the mechanism, Wilson"
        if self.l == 0:  # every state ties in every step, so nothing has to be drawn
            return Estimate(1 - 1 / S, 1 - 1 / S, 1 - 1 / S, T, (), method)
        each_T = np.arange(T)
        state_T, wrong_T = self.path_TP[:, 0], np.zeros(T)
        for k, votes_TSS in enumerate(self.votes_K):
            same_TS = votes_TSS[each_T, state_T]
            votes_TS = np.where(same_TS.any(1, keepdims=True), same_TS, votes_TSS.sum(1))
            state_T = (votes_TS + self.draw_TKS[:, k]).argmax(1)
            wrong_T += state_T != self.path_TP[:, k + 1]
        return wilson_mean(float(wrong_T.mean()) / K, T, method)

    def longer(self, examples: int) -> Self:
        """The prompts with so many new examples, drawn as counts along A_1 .. A_K."""
        rng = stream("cot.theory", self.seed, self.l, examples)
        count_TS = rng.multinomial(examples, self.start_TS)
        votes_K = []
        for step_SS, votes_TSS in zip(self.step_K, self.votes_K, strict=True):
            moves_TSS = rng.multinomial(count_TS, step_SS)
            votes_K.append(votes_TSS + moves_TSS.astype(votes_TSS.dtype))
            count_TS = moves_TSS.sum(1)
        return replace(self, votes_K=tuple(votes_K), l=self.l + examples)


Prompt = Exact | Sampled


def sampled(alpha: float, step_K: Sequence[Floats], path_TP: Ints, *, seed: int) -> Sampled:
    """Trials without examples yet: query t starts at path_TP[t, 0], and its correct states are path_TP[t].

    step_K: A_1 .. A_K, each (S, S) or (T, S, S).

    >>> exact = np.zeros((100, 2), dtype=int)  # 100 queries that stay in state 0
    >>> sampled(0.5, [np.eye(3)], exact, seed=0).longer(1).error.value  # about half of the only examples start there
    0.47
    """
    T, P = path_TP.shape
    S = step_K[0].shape[-1]
    draw_TKS = stream("cot.theory", seed, "ties").random((T, P - 1, S))
    votes_K = (np.zeros((T, S, S), dtype=np.int32),) * (P - 1)
    return Sampled(tuple(step_K), start_law(alpha, S)[path_TP[:, 0]], path_TP, draw_TKS, votes_K, seed)


def start_law(alpha: float, states: int) -> Floats:
    """Where the examples of a query from state i start, row i of (S, S): at i with probability alpha, else elsewhere.

    >>> start_law(0.4, 3).round(2).tolist()[1]
    [0.3, 0.4, 0.3]
    """
    return np.where(np.eye(states) == 1, alpha, (1 - alpha) / (states - 1))


def check_prompt(l: int, alpha: float) -> None:
    """Refuse a prompt that does not exist.

    Raises:
        InputError: a negative length, or a share outside (0, 1].

    >>> check_prompt(20, 0.4)
    """
    if l < 0 or not 0 < alpha <= 1:
        raise InputError("l >= 0 and alpha in (0, 1]", f"l = {l}, alpha = {alpha:g}", "choose them in these ranges")


def wilson_mean(mean: float, trials: int, method: str) -> Estimate:
    """The mean over trials of numbers in [0, 1], with Wilson's 95 % interval for as many coins.

    >>> e = wilson_mean(0.01, 8000, "trials")
    >>> round(e.lo, 4), round(e.hi, 4)
    (0.008, 0.0124)
    """
    z2 = ndtri(0.975) ** 2 / trials
    centre = (mean + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * (mean * (1 - mean) + z2 / 4)) / (1 + z2)
    return Estimate(mean, max(0.0, float(centre - half)), min(1.0, float(centre + half)), trials, (), method)
