"""How much faster a model is with fewer tokens: both in one interleaved run on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from lemmata.lab.stats import Estimate
from lemmata.tools.layers import Bound
from lemmata.tools.tokens import Policy, sparsified

__all__ = ["ROUNDS", "Speed", "median", "speed"]

ROUNDS = 11


@final
@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images a second with all tokens and with fewer, medians of rounds, and the median of the rounds' ratios."""

    before: float
    after: float
    ratio: Estimate
    batch: int
    threads: int


def speed(
    bound: Bound,
    pixels: Tensor,
    *,
    keep: float,
    policy: Policy,
    layer: int,
    seed: int = 0,
    rounds: int = ROUNDS,
    told: Callable[[int], None] = lambda images: None,
) -> Speed:
    """Time a model on a batch by turns, with all tokens and with fewer; which comes first changes from round to round.

    One run of each warms up and does not count. Threads are torch's own number, as it is set.
    """
    seconds: dict[bool, list[float]] = {False: [], True: []}

    def run(sparse: bool) -> float:
        with torch.no_grad(), sparsified(bound, keep=keep if sparse else 1.0, policy=policy, layer=layer, seed=seed):
            _wait(pixels)
            began = time.perf_counter()
            bound.model(pixels)
            _wait(pixels)
            lasted = time.perf_counter() - began
        told(len(pixels))
        return lasted

    for sparse in (False, True):
        run(sparse)
    for number in range(rounds):
        for sparse in (False, True) if number % 2 else (True, False):
            seconds[sparse].append(run(sparse))
    before, after = np.array(seconds[False]), np.array(seconds[True])
    return Speed(
        before=float(len(pixels) / np.median(before)),
        after=float(len(pixels) / np.median(after)),
        ratio=median(before / after),
        batch=len(pixels),
        threads=torch.get_num_threads(),
    )


def median(ratio_R: np.ndarray) -> Estimate:
    """The median over rounds, with the 95 % interval that two of the values in order make, whatever their distribution.

    >>> e = median(np.arange(1.0, 12.0))
    >>> e.value, e.lo, e.hi
    (6.0, 2.0, 10.0)
    """
    ordered, rounds = np.sort(ratio_R), len(ratio_R)
    rank = int(binom.ppf(0.025, rounds, 0.5))
    if not rank:
        objection = f"{rounds} rounds are too few for an interval"
        return Estimate(float(np.median(ordered)), -np.inf, np.inf, rounds, (objection,), "median over rounds")
    lo, hi = float(ordered[rank - 1]), float(ordered[-rank])
    return Estimate(float(np.median(ordered)), lo, hi, rounds, (), "median over rounds, order statistics")


def _wait(pixels: Tensor) -> None:
    """Until a GPU has done what it was told to."""
    if pixels.is_cuda:
        torch.cuda.synchronize(pixels.device)
