"""Who wins a vote: exact probabilities of the most voted class.

Each of n voters votes, independently, for the right class with probability p, for wrong class j with probability w_j,
and for none with what is left. The class with the most votes wins, and m + 1 classes that share the most votes win
with probability 1/(m + 1) each. With N the votes of the right class and N_j those of the others,

    P(right wins) = sum over t >= 1 of  P(N = t)  integral over v in [0, 1] of  prod_j (1[N_j < t] + v 1[N_j = t]),

since a tie with m others contributes the integral of v^m, which is 1/(m + 1). Two exact steps make it fast:

- If n were Poisson, the counts would be independent, and the expectation of the product the product of expectations.
  A Fourier sum over the angle of e^{i angle (number of voters)} brings back the number n.
- The integrand is a polynomial in v, so Gauss-Legendre integrates it exactly.

Only counts and numbers of voters within about 9 standard deviations take part; the rest has probability below 1e-17,
and the results are accurate to 1e-12. Letters of shapes: V numbers of voters, W wrong classes, F angles, T top counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lemmata.cot.theory.steps import Floats, Ints
from lemmata.lab.errors import InputError

__all__ = ["TINY", "mean_win", "top_count", "win"]

# What is less likely cannot be seen in a probability.
TINY = 1e-17
# Probabilities are rounded to so many decimals, so that classes and rows that are equal are recognised as equal.
DECIMALS = 14
# Top counts at once: the arrays of a block stay in the processor's cache.
BLOCK = 64

Complexes = NDArray[np.complex128]


def win(right: float, wrong: ArrayLike, voters: int) -> float:
    """Probability that the right class wins and at least one vote is cast.

    right: probability that a voter votes for it. wrong: the same of each other class, (W,). The rest is abstention.

    Raises:
        InputError: fewer than 0 voters, negative probabilities, or a sum above 1.

    >>> round(win(0.6, [0.4], 3), 6)  # 0.6^3 + 3 * 0.6^2 * 0.4
    0.648
    >>> round(win(0.3, [0.2], 2), 6)  # 0.3^2, 2 * 0.3 * 0.5 with an abstention, half of the ties 2 * 0.3 * 0.2
    0.45
    """
    if voters < 0:
        raise InputError("a number of voters of at least 0", str(voters), "count the columns that vote")
    return _win(*_classes(right, wrong), (voters,), (1.0,))


def mean_win(right: float, wrong: ArrayLike, law: ArrayLike) -> float:
    """The same where the number of voters is random: law[n] is the probability of n voters, (V,).

    The law should be no wider than about Poisson's, as binomial numbers and top counts are: what it gives to numbers
    that are far less likely under Poisson's law of the same mean loses digits.

    Raises:
        InputError: negative probabilities, of classes or of numbers of voters, or a sum above 1.

    >>> round(mean_win(0.6, [0.4], [0.5, 0.25, 0.0, 0.25]), 4)  # no voter, or one, or three
    0.312
    """
    law_V = np.asarray(law, dtype=float)
    if law_V.ndim != 1 or (law_V < 0).any() or law_V.sum() > 1 + 1e-9:
        raise InputError("probabilities of 0, 1, 2, ... voters", f"shape {law_V.shape}", "pass a law that sums to 1")
    voters_V = np.flatnonzero(law_V > TINY)
    return _win(*_classes(right, wrong), tuple(voters_V.tolist()), tuple(law_V[voters_V].tolist()))


def top_count(voters: int, classes: int) -> Floats:
    """How many votes the most voted of equally likely classes has: the probabilities of 0 .. `voters`.

    Raises:
        InputError: fewer than 0 voters, or no class.

    >>> top_count(2, 4).round(3).tolist()
    [0.0, 0.75, 0.25]
    """
    if voters < 0 or classes < 1:
        given = f"{voters} voters, {classes} classes"
        raise InputError("at least 0 voters and 1 class", given, "choose them in these ranges")
    if voters == 0:
        return np.ones(1)
    election = _Election.of(np.array([voters]), np.ones(1), 1 / classes)
    mass_T = election.poisson(1 / classes)
    at_most_T = np.where(np.arange(voters + 1) < election.first, 0.0, 1.0)
    below_F = np.zeros(1)
    for block, turn_TF in election.blocks():
        upto_TF = below_F + np.cumsum(mass_T[block, None] * turn_TF, axis=0)
        at_most_T[election.first :][block] = (_power(upto_TF, classes) @ election.readout_F).real
        below_F = upto_TF[-1]
    return np.clip(np.diff(at_most_T, prepend=0), 0, 1)


def _classes(right: float, wrong: ArrayLike) -> tuple[float, tuple[float, ...]]:
    """The probabilities, checked, rounded, and in an order that is the same for equal classes."""
    wrong_W = np.sort(np.asarray(wrong, dtype=float).ravel())
    if not (right >= 0 and (wrong_W >= 0).all() and right + wrong_W.sum() <= 1 + 1e-9):
        given = f"right = {right:g}, wrong = {wrong_W.round(3).tolist()}"
        raise InputError("probabilities whose sum is at most 1", given, "pass one for each class")
    wrong_W = wrong_W.round(DECIMALS)
    return round(float(right), DECIMALS), tuple(wrong_W[wrong_W > 0].tolist())


@lru_cache(maxsize=8192)
def _win(right: float, wrong: tuple[float, ...], voters: tuple[int, ...], law: tuple[float, ...]) -> float:
    """The sum and integral of the module's docstring, averaged over the numbers of voters."""
    voters_V, law_V, wrong_W = np.array(voters, dtype=int), np.array(law), np.array(wrong)
    if right == 0 or not voters_V.any():
        return 0.0
    # Chernoff's bound of how likely the less likely of the right class and class j has as many votes as the other.
    upset_W = (1 - (math.sqrt(right) - np.sqrt(wrong_W)[:, None]) ** 2) ** voters_V @ law_V
    if (upset_W[wrong_W > right] < TINY).any():
        return 0.0
    # A class that cannot draw level with the right one may as well abstain.
    rivals, copies = np.unique(wrong_W[upset_W >= TINY], return_counts=True)
    if not len(rivals):
        return float(law_V @ (1 - (1 - right) ** voters_V))

    election = _Election.of(voters_V, law_V, right, *rivals)
    right_T, *rival_RT = (election.poisson(p) for p in (right, *rivals))
    right_T[: max(0, 1 - election.first)] = 0  # a class without a vote does not win
    nodes, weights = np.polynomial.legendre.leggauss(copies.sum() // 2 + 1)
    below_RF = [np.zeros(1)] * len(rivals)
    won_F = np.zeros(1)
    for block, turn_TF in election.blocks():
        level_RTF = [mass_T[block, None] * turn_TF for mass_T in rival_RT]
        upto_RTF = [
            below_F + np.cumsum(level_TF, axis=0) for below_F, level_TF in zip(below_RF, level_RTF, strict=True)
        ]
        integral_TF = np.zeros(1)
        for v, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
            product_TF = np.full(1, weight)
            for level_TF, upto_TF, m in zip(level_RTF, upto_RTF, copies, strict=True):
                product_TF = product_TF * _power(upto_TF - (1 - v) * level_TF, m)
            integral_TF = integral_TF + product_TF
        won_F = won_F + right_T[block] @ (turn_TF * integral_TF)
        below_RF = [upto_TF[-1] for upto_TF in upto_RTF]
    abstains = max(0.0, 1 - right - float(rivals @ copies))
    others_F = np.exp(abstains * election.rate * (election.unit_F - 1))
    return min(max(float((won_F * others_F @ election.readout_F).real), 0.0), 1.0)


@final
@dataclass(frozen=True)
class _Election:
    """The Fourier sum over the number of voters, and the window of top counts.

    rate: the mean of the Poisson number that stands in for the number of voters. first, last: the window. most: the
    greatest number of voters. roots_A: the A roots of unity, of which the first half are the angles F and the others
    their conjugates. readout_F: weights that turn a transform into its value at n voters over Poisson's probability of
    n, averaged over the law of n.
    """

    rate: float
    first: int
    last: int
    most: int
    roots_A: Complexes
    readout_F: Complexes

    @classmethod
    def of(cls, voters_V: Ints, law_V: Floats, *probabilities: float) -> _Election:
        """The election of these classes: one argument for each that can win."""
        fewest, most = int(voters_V.min()), int(voters_V.max())
        rate = float(voters_V @ law_V / law_V.sum())
        lows = [_window(p * fewest)[0] for p in probabilities]
        highs = [_window(p * most)[1] for p in probabilities]
        # So many angles that a number of voters is only mistaken for others that have no probability.
        low, high = _window(rate)
        A = 2 * math.ceil((high - rate + most - fewest) / 2) + 1
        roots_A = np.exp(2j * np.pi / A * np.arange(A))
        f_F = np.arange(A // 2 + 1)
        low, high = min(low, fewest), max(high, most)
        weights_V = law_V / _poisson(rate, low, high)[voters_V - low]
        back_FV = roots_A[-f_F[:, None] * voters_V % A]
        readout_F = np.asarray(back_FV @ weights_V * np.where(f_F > 0, 2, 1) / A, dtype=complex)
        return cls(rate, min(lows), max(highs), most, roots_A, readout_F)

    @property
    def unit_F(self) -> Complexes:
        """e^{i angle}."""
        return self.roots_A[: len(self.readout_F)]

    def poisson(self, p: float) -> Floats:
        """How likely each count of the window is for a class that voters vote for with probability p, (T,)."""
        return _poisson(p * self.rate, self.first, self.last)

    def blocks(self) -> Iterator[tuple[slice, Complexes]]:
        """The window in pieces that stay in cache: where a piece is, and e^{i angle count} of its counts, (T, F)."""
        f_F, stop = np.arange(len(self.readout_F)), min(self.last, self.most) + 1
        for start in range(self.first, stop, BLOCK):
            count_T = np.arange(start, min(start + BLOCK, stop))
            block = slice(start - self.first, count_T[-1] + 1 - self.first)
            yield block, self.roots_A[count_T[:, None] * f_F % len(self.roots_A)]


def _window(mean: float) -> tuple[int, int]:
    """Counts outside have probability below 1e-17, under Poisson's law and under binomial ones (Bernstein)."""
    margin = 9 * math.sqrt(mean) + 27
    return max(0, math.floor(mean - margin)), math.ceil(mean + margin)


def _poisson(mean: float, first: int, last: int) -> Floats:
    """Poisson's probabilities of the counts first .. last, which hold all but nothing of them.

    From the ratios of neighbours: the usual formula loses five digits where the counts are in the thousands.
    """
    log_T = np.cumsum(np.log(mean / np.arange(first + 1, last + 1)))
    mass_T = np.exp(np.append(0.0, log_T) - max(0.0, log_T.max()))
    return mass_T / mass_T.sum()


def _power(x: Complexes, m: int) -> Complexes:
    """x^m for m >= 1 by squaring: NumPy's own complex power is slow."""
    if m == 1:
        return x
    root = _power(x * x, m // 2)
    return root * x if m % 2 else root
