"""Samples of the vision paper: sets of tokens whose majority pattern is the label (Li et al., arXiv 2302.06015).

    symbol     meaning
    mu_1 mu_2  discriminative patterns; the labels +1 and -1 are the more frequent one's
    mu_3 ...   irrelevant patterns, M - 2 of them; a sample has `mixing` of them
    alpha_*    share of a sample's tokens that are of its label's pattern
    alpha_#    share of confusion tokens, of the other discriminative pattern
    tau        noise of a token, N(0, tau^2) in each coordinate

Patterns are the coordinate axes: any orthonormal ones are, up to a rotation that the network does not see. A sample
without noise is the share of each of its T = 2 + mixing patterns, its own label's first; with noise it is its tokens.

Shapes: E members, B samples, T patterns of a sample, L tokens, d = M coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.sparing import places

__all__ = [
    "POLICIES",
    "Samples",
    "Shares",
    "Tokens",
    "draw_counts",
    "moved",
    "picked",
    "split",
    "stacked",
    "taken",
    "thinned",
    "tokens_of",
]

# What is removed from a sample: tokens at random, such of irrelevant patterns, or such with more noise.
POLICIES = ("random", "irrelevant", "noisy")


@final
@dataclass(frozen=True)
class Shares:
    """Samples without noise: their patterns pattern_EBT, the share of each share_EBT, label_EB."""

    pattern_EBT: Tensor
    share_EBT: Tensor
    label_EB: Tensor


@final
@dataclass(frozen=True)
class Tokens:
    """Samples as their tokens token_EBLd, the pattern of each pattern_EBL, and label_EB."""

    token_EBLd: Tensor
    pattern_EBL: Tensor
    label_EB: Tensor


Samples = Shares | Tokens


def stacked(members: Sequence[Samples]) -> Samples:
    """The samples of several members as one ensemble's."""
    return _of(members[0], *(torch.cat(parts) for parts in zip(*map(_parts, members), strict=True)))


def split(samples: Samples, size: int) -> list[Samples]:
    """Consecutive batches of `size` samples, sharing memory."""
    return [_of(samples, *parts) for parts in zip(*(p.split(size, 1) for p in _parts(samples)), strict=True)]


def picked(samples: Samples, at_EB: Tensor) -> Samples:
    """Of each member the samples at these places."""
    return taken(samples, torch.arange(len(at_EB), device=at_EB.device), at_EB)


def taken(samples: Samples, member_E: Tensor, at_EK: Tensor | None) -> Samples:
    """The samples of some members: all, or those at K places of each."""
    own = places(member_E, at_EK)
    return _of(samples, *(part[own] for part in _parts(samples)))


def moved(samples: Samples, device: str | torch.device) -> Samples:
    """The same on another device."""
    return _of(samples, *(part.to(device) for part in _parts(samples)))


def _parts(samples: Samples) -> list[Tensor]:
    return [getattr(samples, f.name) for f in fields(samples)]


def _of(like: Samples, *parts: Tensor) -> Samples:
    return type(like)(*parts)


def draw_counts(
    rng: np.random.Generator, count: int, *, L: int, M: int, mixing: int, right: int, wrong: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The patterns of `count` samples (B, T), how often each occurs (B, T), and labels (B,), half of them each.

    The first pattern is the label's, `right` tokens; the second the other discriminative one, `wrong` tokens; of the
    other L - right - wrong tokens each is one of the sample's irrelevant patterns, uniformly.

    >>> pattern_BT, count_BT, label_B = draw_counts(
    ...     np.random.default_rng(0), 2, L=10, M=5, mixing=2, right=4, wrong=1
    ... )
    >>> pattern_BT.shape, count_BT[:, :2].tolist(), count_BT.sum(1).tolist(), sorted(label_B.tolist())
    ((2, 4), [[4, 1], [4, 1]], [10, 10], [-1.0, 1.0])
    """
    label_B = rng.permutation(np.where(np.arange(count) % 2, -1.0, 1.0).astype(np.float32))
    own_B = (label_B < 0).astype(np.int64)
    # The `mixing` smallest of uniform numbers are a uniform choice.
    irrelevant_BT = 2 + rng.random((count, M - 2)).argsort(1)[:, :mixing]
    pattern_BT = np.column_stack([own_B, 1 - own_B, irrelevant_BT])
    count_BT = rng.multinomial(L - right - wrong, np.full(mixing, 1 / mixing), count)
    fixed_B2 = np.broadcast_to([right, wrong], (count, 2))
    return pattern_BT, np.column_stack([fixed_B2, count_BT]), label_B


def tokens_of(
    rng: np.random.Generator, pattern_BT: np.ndarray, count_BT: np.ndarray, *, d: int, tau_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (B, L, d) of samples with these counts, in random order, and the pattern of each (B, L).

    >>> token_BLd, pattern_BL = tokens_of(
    ...     np.random.default_rng(0), np.array([[1, 0]]), np.array([[2, 1]]), d=2, tau_BL=np.zeros((1, 3))
    ... )
    >>> token_BLd.sum(1).tolist(), sorted(pattern_BL[0].tolist())
    ([[1.0, 2.0]], [0, 1, 1])
    """
    B = len(pattern_BT)
    ordered_BL = np.repeat(pattern_BT.ravel(), count_BT.ravel()).reshape(B, -1)
    pattern_BL = rng.permuted(ordered_BL, axis=1)
    noise_BLd = tau_BL[..., None] * rng.standard_normal((*pattern_BL.shape, d))
    return (np.eye(d)[pattern_BL] + noise_BLd).astype(np.float32), pattern_BL


def thinned(
    rng: np.random.Generator, pattern_BL: np.ndarray, noisy_BL: np.ndarray, *, removed: int, policy: str
) -> np.ndarray:
    """The places of the tokens that stay when `removed` of a kind are taken out at random, (B, L - removed), in order.

    Valid where a sample has as many of the kind.

    >>> pattern_BL, noisy_BL = np.array([[0, 2, 3, 1]]), np.zeros((1, 4), bool)
    >>> thinned(np.random.default_rng(0), pattern_BL, noisy_BL, removed=2, policy="irrelevant").tolist()
    [[0, 3]]
    """
    first_BL = {
        "random": np.ones_like(pattern_BL, dtype=bool),
        "irrelevant": pattern_BL >= 2,
        "noisy": noisy_BL,
    }[policy]
    # Tokens of the kind come first, in random order.
    order_BL = (rng.random(pattern_BL.shape) - first_BL).argsort(1)
    return np.sort(order_BL[:, removed:], axis=1)
