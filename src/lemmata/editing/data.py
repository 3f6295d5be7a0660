"""Samples of binary tasks by majority vote (Li et al., ICLR 2025, arXiv 2504.10957).

    symbol         meaning                                                             here
    mu_t           discriminative direction of task t, a unit vector                   rows of direction_SD
    alpha          correlation mu_1^T mu_2 of the tasks, of every two if there are more
    v_j            irrelevant pattern, j = 1 .. J, orthonormal and orthogonal to all mu
    X              a sample: P tokens, each mu, -mu or some v_j, with Gaussian noise of size tau
    y              +1 if more tokens are mu than -mu, else -1; even odds
    delta_s        share of the tokens that are y mu (the paper's delta_*)
    delta_h        share of the tokens that are -y mu (the paper's delta_#)
    mu'            direction of an out-of-domain task: sum_t gamma_t mu_t + kappa mu_perp
    K              kinds of tokens, 2 + J: mu, -mu, v_1 .. v_J

Without noise a sample is how often each kind occurs in it: `Counts`. With noise, or where a token's place matters, it
is its tokens: `Tokens`. Both are in the coordinates of the patterns' span, in which the first S directions of tasks
are e_1 .. e_S up to their correlation, e_{S+1} is mu_perp and the irrelevant patterns follow. The network's first
weights have a law that no rotation changes, so that nothing is lost; noise takes all d coordinates.

Shapes: E members, T tasks, B samples, P tokens, K kinds, D coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.errors import InputError
from lemmata.lab.patterns import correlated

__all__ = [
    "Counts",
    "Samples",
    "Tokens",
    "count_kinds",
    "directions",
    "kind_rows",
    "outside",
    "stacked",
    "taken",
    "tokens_of",
]


def directions(tasks: int, alpha: float) -> np.ndarray:
    """Unit vectors mu_t of so many tasks, every two with correlation alpha, (tasks, tasks + 1).

    The last coordinate is that of mu_perp, in which they have nothing.

    Raises:
        InputError: fewer than two tasks, or a correlation that so many unit vectors cannot have.

    >>> directions(2, -0.6).round(6).tolist()
    [[1.0, 0.0, 0.0], [-0.6, 0.8, 0.0]]
    """
    least = -1.0 if tasks == 2 else 0.0
    if tasks < 2 or not least <= alpha <= 1:
        expected = f"two tasks with alpha in [-1, 1], or more with alpha in [0, 1), of which {tasks} were asked for"
        raise InputError(expected, f"alpha = {alpha:g}", "choose alpha = 0 for several orthogonal tasks")
    if tasks == 2:
        row_TT = np.array([[1.0, 0.0], [alpha, np.sqrt(1 - alpha**2)]])
    else:
        row_TT = correlated(np.eye(tasks), alpha).astype(float)
    return np.concatenate([row_TT, np.zeros((tasks, 1))], axis=1)


def outside(gamma: Sequence[float]) -> np.ndarray:
    """The direction mu' = sum_t gamma_t mu_t + kappa mu_perp over orthogonal tasks, (tasks + 1,).

    kappa >= 0 makes it a unit vector.

    Raises:
        InputError: coefficients whose squares sum to more than 1.

    >>> outside([0.6, 0.0]).round(6).tolist()
    [0.6, 0.0, 0.8]
    """
    rest = 1 - float(np.square(gamma).sum())
    if rest < -1e-9:
        expected, got = "coefficients gamma with a sum of squares of at most 1", f"{1 - rest:g}"
        raise InputError(expected, got, "scale them down: mu' is a unit vector")
    return np.array([*gamma, np.sqrt(max(rest, 0.0))])


def kind_rows(direction_TS: np.ndarray, J: int, D: int | None = None) -> Tensor:
    """The kinds of tokens of each task as vectors (T, K, D): mu_t, -mu_t, then the irrelevant patterns.

    D is the number of coordinates, those of the span if it is not given.

    >>> kind_rows(directions(2, 0.0), J=1)[1].tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    tasks, S = direction_TS.shape
    row_TKD = np.zeros((tasks, 2 + J, D or S + J), dtype=np.float32)
    row_TKD[:, 0, :S] = direction_TS
    # Adding 0 makes a zero positive again.
    row_TKD[:, 1, :S] = -direction_TS + 0.0
    row_TKD[:, np.arange(2, 2 + J), np.arange(S, S + J)] = 1.0
    return torch.from_numpy(row_TKD)


def count_kinds(
    rng: np.random.Generator, count: int, *, P: int, J: int, delta_s: float, delta_h: float
) -> tuple[np.ndarray, np.ndarray]:
    """How often each kind occurs in each of `count` samples (B, K), and their labels (B,).

    The numbers of y mu and of -y mu are the same in every sample; the other tokens are irrelevant patterns, each drawn
    uniformly on its own.

    >>> count_BK, label_B = count_kinds(np.random.default_rng(0), 2, P=10, J=3, delta_s=0.4, delta_h=0.1)
    >>> label_B.tolist(), count_BK.tolist()
    ([-1.0, 1.0], [[1, 4, 5, 0, 0], [4, 1, 0, 3, 2]])
    """
    right, wrong = round(delta_s * P), round(delta_h * P)
    label_B = np.where(rng.random(count) < 0.5, 1.0, -1.0).astype(np.float32)
    kind_BI = rng.integers(2, 2 + J, (count, P - right - wrong)) + (2 + J) * np.arange(count)[:, None]
    count_BK = np.bincount(kind_BI.ravel(), minlength=count * (2 + J)).reshape(count, 2 + J)
    count_BK[:, 0] = np.where(label_B > 0, right, wrong)
    count_BK[:, 1] = np.where(label_B > 0, wrong, right)
    return count_BK, label_B


@final
@dataclass(frozen=True)
class Counts:
    """Samples without noise: the kinds of each task row_ETKD, the share of each in a sample share_ETBK, label_ETB."""

    row_ETKD: Tensor
    share_ETBK: Tensor
    label_ETB: Tensor

    def split(self, size: int) -> list[Self]:
        """Consecutive batches of `size` samples, sharing memory."""
        parts = zip(self.share_ETBK.split(size, 2), self.label_ETB.split(size, 2), strict=True)
        return [type(self)(self.row_ETKD, share_ETBK, label_ETB) for share_ETBK, label_ETB in parts]

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        return type(self)(self.row_ETKD.to(device), self.share_ETBK.to(device), self.label_ETB.to(device))


@final
@dataclass(frozen=True)
class Tokens:
    """Samples as their tokens: token_ETBPD and label_ETB."""

    token_ETBPD: Tensor
    label_ETB: Tensor

    def split(self, size: int) -> list[Self]:
        """Consecutive batches of `size` samples, sharing memory."""
        parts = zip(self.token_ETBPD.split(size, 2), self.label_ETB.split(size, 2), strict=True)
        return [type(self)(token_ETBPD, label_ETB) for token_ETBPD, label_ETB in parts]

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        return type(self)(self.token_ETBPD.to(device), self.label_ETB.to(device))


Samples = Counts | Tokens


def stacked(members: Sequence[Samples]) -> Samples:
    """The samples of several members as one ensemble's."""
    kind = type(members[0])
    return kind(*(torch.cat([getattr(m, f.name) for m in members]) for f in fields(kind)))


def taken(samples: Samples, member_E: Tensor, at_EK: Tensor | None) -> Samples:
    """The samples of some members: all, or K of each, the same ones of every task."""
    own = member_E
    if at_EK is not None:
        own = member_E.view(-1, 1, 1), torch.arange(samples.label_ETB.shape[1]).view(-1, 1), at_EK.unsqueeze(1)
    if isinstance(samples, Tokens):
        return Tokens(samples.token_ETBPD[own], samples.label_ETB[own])
    return Counts(samples.row_ETKD[member_E], samples.share_ETBK[own], samples.label_ETB[own])


def tokens_of(rng: np.random.Generator, count_BK: np.ndarray, row_KD: Tensor, tau: float) -> Tensor:
    """The tokens (B, P, D) of samples with these counts, in random order, with noise N(0, tau^2 I).

    >>> tokens_of(np.random.default_rng(0), np.array([[2, 1]]), torch.eye(2), 0.0).sum(1).tolist()
    [[2.0, 1.0]]
    """
    B, K = count_BK.shape
    kind_BP = np.repeat(np.tile(np.arange(K), B), count_BK.ravel()).reshape(B, -1)
    token_BPD = row_KD[torch.from_numpy(rng.permuted(kind_BP, axis=1))]
    if tau > 0:
        token_BPD = token_BPD + torch.from_numpy(tau * rng.standard_normal(token_BPD.shape, dtype=np.float32))
    return token_BPD
