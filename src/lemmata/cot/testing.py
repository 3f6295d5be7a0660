"""Test prompts with wrong steps and noise, and the errors of trained networks on them, with and without steps.

    symbol       meaning                                                                    here
    mu'_j        TSR pattern, j = 1 .. M', a unit vector in R^d_X                           pattern_XD
    r            its part in the span of the TRR patterns; the rest is orthogonal to them   span
    c            common correlation of the TSR patterns                                     c_ts
    y_{i,k}      mu' of a state plus noise; as y of step k and as x of step k + 1 the same  vector_BLSD
    z_k          the query's right state after k steps                                      path_BS
    v_k          the answer to step k: the TSR pattern nearest to the output F

With intermediate steps (CoT) the network answers step by step: v_k, without noise, becomes the next query, and
(v_{k-1}; v_k) one more column. The error is that of its K answers, on average. Without (ICL) an example is the column
(x_i; y_{i,K}) and K - 1 columns of zeros, all with their codes; the error is that of the one answer.

Test prompts are a function of the seed, of d_X and of the numbers of states, steps, examples and prompts. All else
(alpha', tau, rho, how steps go wrong, the noise's size, where the patterns lie) moves the same random numbers, so that
differences are differences of what was changed. A prompt's first l examples are the test prompt of length l.

Shapes: B prompts, L examples, K steps, S = K + 1 states of a path, X states, D = d_X, N lengths, M TRR patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from lemmata.cot.data import pattern_rows
from lemmata.cot.mistakes import check_mistakes, follow
from lemmata.cot.reasoning import Reasoning
from lemmata.lab.errors import ConstantError, nearest
from lemmata.lab.patterns import correlated, orthonormal
from lemmata.lab.streams import stream

__all__ = ["LAWS", "Slice", "TestPrompts", "TestSet", "slices", "tsr_patterns"]

# Prompts that are drawn and answered at once: what one needs then stays in cache.
SLICE = 64
Law = Literal["coordinate", "norm"]
# Every coordinate Gaussian of this standard deviation, or a vector of this length in a random direction.
LAWS: tuple[Law, ...] = ("coordinate", "norm")


def tsr_patterns(config: Reasoning, seed: int, *, states: int, span: float, c_ts: float) -> np.ndarray:
    """The TSR patterns, pattern_XD: a part `span` in the span of the TRR patterns, which is the first M coordinates.

    With 0 states they are the TRR patterns themselves.

    >>> from lemmata.cot import OneLayer
    >>> mu = tsr_patterns(OneLayer(), 0, states=10, span=0.6, c_ts=0.0)
    >>> bool(np.abs(mu @ mu.T - np.eye(10)).max() < 1e-6), round(float(np.linalg.norm(mu[0, :20])), 3)
    (True, 0.6)
    """
    M, d_X = config.M, config.d_X
    if states == 0:
        return np.pad(pattern_rows(M, config.c_tr), [(0, 0), (0, d_X - M)])
    rng = stream("cot.test.patterns", M, d_X, states, seed)
    inside_XD = np.pad(orthonormal(rng, states, M), [(0, 0), (0, d_X - M)])
    if span < 1:
        outside_XD = np.pad(orthonormal(rng, states, d_X - M), [(0, 0), (M, 0)])
        inside_XD = span * inside_XD + (1 - span**2) ** 0.5 * outside_XD
    return correlated(inside_XD, c_ts)


@final
@dataclass(frozen=True)
class Slice:
    """The random numbers of some prompts, before anything is decided; see `lemmata.cot.mistakes` for most of them.

    away_BL: which other start an example has if it has not the query's, decided by same_BL. noise_BLSD, query_BD:
    Gaussian.
    """

    start_B: np.ndarray
    right_BKX: np.ndarray
    order_BKW: np.ndarray
    chosen_B: np.ndarray
    favoured_B: np.ndarray
    same_BL: np.ndarray
    away_BL: np.ndarray
    chance_BLK: np.ndarray
    noise_BLSD: np.ndarray
    query_BD: np.ndarray

    @cached_property
    def path_BS(self) -> np.ndarray:
        """The query's right states."""
        B, K, _ = self.right_BKX.shape
        path = [self.start_B]
        for k in range(K):
            path.append(self.right_BKX[np.arange(B), k, path[-1]])
        return np.stack(path, -1)


def slices(config: Reasoning, seed: int, *, prompts: int, l: int, states: int) -> Iterator[Slice]:
    """The random numbers of `prompts` prompts of l examples, a slice at a time."""
    K, X, D = config.K, states or config.M, config.d_X
    for i, at in enumerate(range(0, prompts, SLICE)):
        B = min(SLICE, prompts - at)
        rng = stream("cot.test", X, K, D, l, prompts, seed, i)
        yield Slice(
            start_B=rng.integers(X, size=B),
            right_BKX=rng.random((B, K, X), dtype=np.float32).argsort(-1),
            order_BKW=1 + rng.random((B, K, X - 1), dtype=np.float32).argsort(-1),
            chosen_B=rng.integers(K, size=B),
            favoured_B=rng.integers(X, size=B),
            same_BL=rng.random((B, l)),
            away_BL=rng.integers(1, X, size=(B, l)),
            chance_BLK=rng.random((B, l, K)),
            noise_BLSD=rng.standard_normal((B, l, K + 1, D), dtype=np.float32),
            query_BD=rng.standard_normal((B, D), dtype=np.float32),
        )


@final
@dataclass(frozen=True)
class TestPrompts:
    """Test prompts of one member: vectors of all examples' states and of the query, and what is right."""

    __test__: ClassVar[bool] = False  # not a pytest class

    vector_BLSD: Tensor
    query_BD: Tensor
    path_BS: Tensor
    pattern_XD: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class TestSet:
    """What test prompts are like; `states` = 0: on the TRR patterns themselves.

    Splits that are about Condition 1 have their own tau and rho, and take none.
    """

    __test__: ClassVar[bool] = False  # not a pytest class

    alpha: float = 0.8
    tau: float | None = 0.5
    rho: float | None = 0.8
    split: str = "one"
    noise: float = 0.2
    noise_law: str = "coordinate"
    states: int = 10
    span: float = 1.0
    c_ts: float = 0.0

    def check(self, config: Reasoning) -> None:
        """Refuse test prompts that cannot be drawn.

        Raises:
            ConstantError: a number outside its range, or a word that is none of those known.
            InputError: no step matrices have this tau and rho.
        """
        for name, value, low, high in (
            ("alpha_test (share of the test examples that start where the query does)", self.alpha, 0, 1),
            ("noise (of the test vectors)", self.noise, 0, 100),
            ("span (part of a TSR pattern in the span of the TRR patterns)", self.span, 0, 1),
            ("c_ts (correlation of the TSR patterns)", self.c_ts, 0, 0.99),
        ):
            if not low <= value <= high or (value == 0 and name.startswith("alpha")):
                interval = f"{'(' if name.startswith('alpha') else '['}{low}, {high}]"
                raise ConstantError(f"{name} in {interval}", f"{value:g}", f"choose it in {interval}")
        if self.noise_law not in LAWS:
            expected = f"noise_law (of the test vectors) as one of {', '.join(LAWS)}"
            raise ConstantError(expected, self.noise_law, nearest(self.noise_law, LAWS))
        X, room = self.states or config.M, config.M if self.span == 1 else min(config.M, config.d_X - config.M)
        if room < X and self.states:
            fix = "raise M" if self.span == 1 else "raise M or d_X, or set span to 1"
            raise ConstantError(f"room for {X} orthogonal TSR patterns", f"{room} dimensions", fix)
        check_mistakes(self.split, self.tau, self.rho, config.K, X)

    def patterns(self, config: Reasoning, seed: int) -> np.ndarray:
        """The patterns that the states stand for, pattern_XD."""
        return tsr_patterns(config, seed, states=self.states, span=self.span, c_ts=self.c_ts)

    def prompts(self, numbers: Slice, pattern_XD: np.ndarray) -> TestPrompts:
        """The prompts that these random numbers make under this set's constants."""
        X = len(pattern_XD)
        start_BL = (numbers.start_B[:, None] + np.where(numbers.same_BL < self.alpha, 0, numbers.away_BL)) % X
        state_BLS = follow(
            self.split,
            self.tau,
            self.rho,
            start_BL=start_BL,
            right_BKX=numbers.right_BKX,
            order_BKW=numbers.order_BKW,
            chosen_B=numbers.chosen_B,
            favoured_B=numbers.favoured_B,
            chance_BLK=numbers.chance_BLK,
        )
        return TestPrompts(
            vector_BLSD=torch.from_numpy(self._noisy(pattern_XD[state_BLS], numbers.noise_BLSD)),
            query_BD=torch.from_numpy(self._noisy(pattern_XD[numbers.start_B], numbers.query_BD)),
            path_BS=torch.from_numpy(numbers.path_BS),
            pattern_XD=torch.from_numpy(pattern_XD),
        )

    def _noisy(self, vector: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if self.noise == 0:
            return vector
        size = np.float32(self.noise)
        if self.noise_law == "norm":
            return vector + noise * (size / np.linalg.norm(noise, axis=-1, keepdims=True))
        return vector + size * noise
