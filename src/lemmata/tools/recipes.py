"""What is kept of a task vector before it is added: low rank, few rows, few entries.

    recipe      of each tensor's Delta                                                           source
    rank        matrices: the best approximation of rank K, by singular values                   Corollary 1, 2504.10957
    keep_rows   matrices: the ceil(F m) of m rows (output neurons) with the largest norms        Corollary 2, 2504.10957
    ties        the floor(D n) of n entries with the largest magnitudes, at least one; then      2306.01708
                signs are elected and the entries that agree are averaged
    dare        each entry with probability 1 - p, divided by 1 - p                              2311.03099

rank and keep_rows leave tensors that are no matrices (norms, biases, convolutions) whole; together they act in this
order. ties trims each tensor by itself, as mergekit does and the authors' code does not, which trims the whole vector.

A recipe looks at a tensor's Delta ahead, slice by slice, and then changes slices in their order: a `Step`. Memory
beyond a few slices: nothing for keep_rows (a number a row), ties and dare; for rank three matrices of the shorter side
squared in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.linalg

from lemmata.lab.errors import InputError
from lemmata.lab.streams import stream
from lemmata.tools.vectors import SLICE, Delta, slices

__all__ = ["Recipe", "Step", "elected"]

# A slice, and where it starts, to what is kept of it.
Step = Callable[[np.ndarray, int], np.ndarray]
# Elements of a block of rows of which inner products are taken.
BLOCK = 4 * SLICE
# Magnitudes held and sorted, at most.
HELD = 2 * SLICE
# Random numbers drawn at once, as a function of the block's number.
DRAWN = 1 << 16
# A share times a count may lie this far from the whole number that it is meant to be.
SLACK = 1e-9


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to keep of every task vector; by default all of it.

    Raises:
        InputError: a rank below 1, a share outside its range, or recipes that do not go together.
    """

    rank: int | None = None
    keep_rows: float | None = None
    ties: float | None = None
    dare: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.rank is not None and self.rank < 1:
            raise InputError("a rank of at least 1", str(self.rank), "for example --rank 1")
        for name, share in (("--keep-rows", self.keep_rows), ("--ties", self.ties)):
            if share is not None and not 0 < share <= 1:
                raise InputError(f"a share above 0 and at most 1 for {name}", str(share), f"for example {name} 0.2")
        if self.dare is not None and not 0 <= self.dare < 1:
            expected = "a probability of at least 0 and below 1 for --dare"
            raise InputError(expected, str(self.dare), "for example --dare 0.9, which drops nine in ten")
        ours = [f"--{name}" for name in ("rank", "keep-rows") if getattr(self, name.replace("-", "_")) is not None]
        theirs = [f"--{name}" for name in ("ties", "dare") if getattr(self, name) is not None]
        if len(theirs) > 1 or (ours and theirs):
            got = " and ".join(ours + theirs)
            raise InputError("--ties alone, --dare alone, or --rank with --keep-rows", got, "leave one of them out")
        if self.seed is not None and self.dare is None:
            raise InputError("--seed with --dare", "--seed alone", "only --dare is random: leave --seed out")

    @property
    def whole_rows(self) -> bool:
        """Whether slices have to be whole rows."""
        return self.rank is not None

    def step(self, delta: Delta, name: str, number: int) -> Step:
        """What is kept of a tensor's Delta: of this name, in the vector of this number, counted from 1.

        >>> class Ones:
        ...     shape = (2, 3)
        ...     def read(self, start, stop):
        ...         return np.array([1.0, -3.0, 2.0, 0.5, 0.0, 0.0])[start:stop]
        >>> ones = Ones().read(0, 6)
        >>> Recipe(keep_rows=0.5).step(Ones(), "w", 1)(ones, 0).tolist()
        [1.0, -3.0, 2.0, 0.0, 0.0, 0.0]
        >>> Recipe(ties=0.4).step(Ones(), "w", 1)(ones, 0).tolist()
        [0.0, -3.0, 2.0, 0.0, 0.0, 0.0]
        """
        if not math.prod(delta.shape):
            return _everything
        if self.ties is not None:
            return _largest_entries(delta, self.ties)
        if self.dare is not None:
            return _surviving_entries(self.dare, self.seed or 0, name, number)
        if len(delta.shape) != 2:
            return _everything
        low = _low_rank(delta, self.rank) if self.rank is not None else _everything
        if self.keep_rows is None:
            return low
        rows = _largest_rows(_Kept(delta, low), self.keep_rows, self.whole_rows)
        return lambda slice, start: rows(low(slice, start), start)


@final
@dataclass(frozen=True)
class _Kept:
    """What a step keeps of a Delta, as a Delta again."""

    delta: Delta
    step: Step

    @property
    def shape(self) -> tuple[int, ...]:
        """As before."""
        return self.delta.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        """From start to stop; whole rows where the step needs them."""
        return self.step(self.delta.read(start, stop), start)


def elected(changes: Sequence[np.ndarray]) -> np.ndarray:
    """TIES: for each entry the mean of the changes, coefficients included, whose sign is that of their sum.

    A sum of zero elects the plus sign. Changes of zero agree with nobody.

    >>> elected([np.array([1.0, 1.0, 0.0]), np.array([3.0, -4.0, 0.0])]).tolist()
    [2.0, -4.0, 0.0]
    """
    sign = np.where(sum(changes) >= 0, 1.0, -1.0)
    total, count = np.zeros_like(sign), np.zeros_like(sign)
    for change in changes:
        agrees = np.sign(change) == sign
        total += np.where(agrees, change, 0.0)
        count += agrees
    return total / np.maximum(count, 1)


def _everything(slice: np.ndarray, start: int) -> np.ndarray:
    """Keep all of it."""
    return slice


def _low_rank(delta: Delta, K: int) -> Step:
    """The best approximation of rank K in the Frobenius norm.

    It is the projection on the K leading singular vectors of the shorter side, which are the eigenvectors of the
    inner products of its lines. Those are summed up from blocks of rows, so that the matrix is never held.
    """
    m, n = delta.shape
    side = min(m, n)
    if side <= K:
        return _everything
    blocks = list(slices((m, n), BLOCK, whole_rows=True))
    product = np.zeros((side, side))
    for i, (a, b) in enumerate(blocks):
        rows = delta.read(a, b).reshape(-1, n)
        if n <= m:
            product += rows.T @ rows
            continue
        for c, d in blocks[: i + 1]:  # the lower triangle is enough
            others = rows if a == c else delta.read(c, d).reshape(-1, n)
            product[a // n : b // n, c // n : d // n] = rows @ others.T
    leading = (side - K, side - 1)
    _, U = scipy.linalg.eigh(product, lower=True, overwrite_a=True, check_finite=False, subset_by_index=leading)
    if n <= m:
        return lambda slice, start: ((slice.reshape(-1, n) @ U) @ U.T).ravel()
    W = np.zeros((K, n))
    for a, b in blocks:
        W += U[a // n : b // n].T @ delta.read(a, b).reshape(-1, n)
    return lambda slice, start: (U[start // n : (start + len(slice)) // n] @ W).ravel()


def _largest_rows(delta: Delta, F: float, whole_rows: bool) -> Step:
    """The rows with the largest norms; of equal ones the first."""
    m, n = delta.shape
    squares = np.zeros(m)
    for a, b in slices((m, n), whole_rows=whole_rows):
        first, last = a // n, (b - 1) // n + 1
        squares[first:last] += np.bincount(np.arange(a, b) // n - first, np.square(delta.read(a, b)))
    kept = np.zeros(m)
    kept[np.argsort(-squares, kind="stable")[: math.ceil(F * m - SLACK)]] = 1
    return lambda slice, start: slice * kept[np.arange(start, start + len(slice)) // n]


def _largest_entries(delta: Delta, D: float) -> Step:
    """The entries with the largest magnitudes; of equal ones the first, so the step has to meet slices in order."""
    size = math.prod(delta.shape)
    k = max(1, math.floor(D * size + SLACK))
    if k >= size:
        return _everything
    threshold, left = _kth_largest(delta, k)

    def keep(slice: np.ndarray, start: int) -> np.ndarray:
        nonlocal left
        magnitude = np.abs(slice)
        kept = magnitude > threshold
        equal = np.flatnonzero(magnitude == threshold)[:left]
        kept[equal] = True
        left -= len(equal)
        return np.where(kept, slice, 0.0)

    return keep


def _kth_largest(delta: Delta, k: int) -> tuple[float, int]:
    """The k-th largest magnitude, and how many entries of just this magnitude are among the k.

    The bits of a positive float64, read as a whole number, order as the floats do. A pass settles sixteen of them,
    until so few entries begin like the one looked for that they can be held and sorted.
    """
    settled, rank = 0, k
    for shift in (48, 32, 16, 0):
        counts = np.zeros(1 << 16, np.int64)
        for a, b in slices(delta.shape):
            bits = _beginning_like(settled, shift + 16, delta.read(a, b))
            digits = (bits >> np.uint64(shift)) & np.uint64(0xFFFF)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << 16)
        at_least = np.cumsum(counts[::-1])[::-1]
        digit = int(np.flatnonzero(at_least >= rank)[-1])
        rank -= int(at_least[digit] - counts[digit])
        settled = settled << 16 | digit
        if counts[digit] <= HELD:
            held = [_beginning_like(settled, shift, delta.read(a, b)) for a, b in slices(delta.shape)]
            found = np.concatenate(held).view(np.float64)
            value = np.partition(found, -rank)[-rank]
            return float(value), rank - int((found > value).sum())
    return float(np.uint64(settled).view(np.float64)), rank


def _beginning_like(settled: int, shift: int, slice: np.ndarray) -> np.ndarray:
    """The bits of those magnitudes in a slice that are the settled ones from this place on."""
    bits = np.abs(slice).view(np.uint64)
    return bits if shift == 64 else bits[bits >> np.uint64(shift) == settled]


def _surviving_entries(p: float, seed: int, name: str, number: int) -> Step:
    """Entries drawn by the seed, the vector's number, the tensor's name and their place in it, and by nothing else."""
    axes = ("lemmata edit, dare", seed, number, name)

    def keep(slice: np.ndarray, start: int) -> np.ndarray:
        stop = start + len(slice)
        blocks = range(start // DRAWN, -(-stop // DRAWN))
        drawn = np.concatenate([stream(*axes, block).random(DRAWN) for block in blocks])
        first = start % DRAWN
        return np.where(drawn[first : first + len(slice)] >= p, slice, 0.0) / (1 - p)

    return keep
