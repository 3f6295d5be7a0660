"""What the paper on graph transformers predicts, as plain functions (Li et al., ICML 2024, arXiv 2406.01977).

    symbol     meaning
    Delta_n(z) winning margin of node n: nodes of its label less those of the strongest other, over all at distance z
    z_m        core distance, where the vote is right for every node
    gamma_d    share of discriminative nodes
    eps_S      confusion ratio: share of these that have another label's pattern
    |L|        labelled nodes for a generalisation error of at most eps
    T          steps of gradient descent until then

Theorems are sufficient conditions up to constants, which are arguments here. The paper states how |L| and T depend on
gamma_d and eps_S by name; the exponents are the ones that its analysis of vision transformers has.

Shapes: N nodes, Z distances, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lemmata.lab.errors import InputError

__all__ = [
    "CONFUSION",
    "LABELS",
    "LABELS_UNIFORM",
    "STEPS",
    "condition",
    "core_distance",
    "labels",
    "margins",
    "steps",
]

# Exponents in gamma_d: labelled nodes with trained and with uniform attention, and the range of those of the steps.
LABELS, LABELS_UNIFORM, STEPS = -2.0, -4.0, (-2.0, -1.0)
# Exponent of the labelled nodes in 1 - 2 eps_S.
CONFUSION = -2.0


def margins(count_NZK: ArrayLike, size_NZ: ArrayLike, label_N: ArrayLike) -> NDArray[np.float64]:
    """The majority-vote margin Delta_n(z) of each node at each distance, (N, Z), in [-1, 1]; nan where no node is.

    count_NZK: voting nodes of each class. size_NZ: all nodes there, voting or not. label_N: the node's own class; -1
    has none, and its margin is nan.

    Raises:
        InputError: shapes that do not belong together, or classes that are none.

    Source: Assumption 1, arXiv 2406.01977; with more than two classes the strongest other one is subtracted.

    >>> margins([[[3, 1]], [[0, 0]]], [[4], [0]], [0, 1]).tolist()
    [[0.5], [nan]]
    """
    count, size, label = (np.asarray(part) for part in (count_NZK, size_NZ, label_N))
    if count.ndim != 3 or count.shape[2] < 2 or size.shape != count.shape[:2] or label.shape != count.shape[:1]:
        got = f"{count.shape}, {size.shape} and {label.shape}"
        raise InputError(
            "counts (N, Z, K) of two classes or more, sizes (N, Z) and labels (N,)", got, "give each node a row"
        )
    if len(label) and not (label.min() >= -1 and label.max() < count.shape[2]):
        got = f"{label.min()} to {label.max()}"
        raise InputError(f"labels from -1 to {count.shape[2] - 1}", got, "number the classes from 0 on")
    at = np.maximum(label, 0)[:, None, None]
    own = np.take_along_axis(count, at, 2)[..., 0]
    others = count.astype(float)
    np.put_along_axis(others, at, -np.inf, 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # an empty group has no margin
        found = (own - others.max(2)) / size
    return np.where((size > 0) & (label >= 0)[:, None], found, np.nan)


def core_distance(margin_NZ: ArrayLike) -> int:
    """The estimated core distance z_m, from 1 on: where the mean margin is largest.

    Distances that fewer than half as many nodes reach as the distance that most do are left out: a few nodes far off
    say nothing of the others.

    Raises:
        InputError: no distance at which any node has a margin.

    Source: made here from Assumption 1, arXiv 2406.01977.

    >>> core_distance([[-0.5, 0.5, 0.1], [-0.2, 0.4, np.nan]])
    2
    """
    margin = np.asarray(margin_NZ, float)
    known = np.isfinite(margin)
    if margin.ndim != 2 or not known.any():
        raise InputError(
            "margins (N, Z), some of them known", f"{margin.shape}", "label some nodes that have neighbours"
        )
    nodes = known.sum(0)
    mean = np.where(known, margin, 0).sum(0) / np.maximum(nodes, 1)
    return int(np.where(2 * nodes >= nodes.max(), mean, -np.inf).argmax()) + 1


def condition(margin_NZ: ArrayLike, z: int) -> float:
    """For which share of the nodes the vote at distance z is right, Delta_n(z) > 0; the theorem wants all of them.

    A node whose margin is not known there does not obey.

    Raises:
        InputError: a distance that the margins do not have.

    Source: Assumption 1, arXiv 2406.01977.

    >>> condition([[0.5], [0.0], [0.1], [np.nan]], 1)
    0.5
    """
    margin = np.asarray(margin_NZ, float)
    if not 1 <= z <= margin.shape[1]:
        raise InputError(f"a distance from 1 to {margin.shape[1]}", str(z), "search further, or look nearer")
    return float((margin[:, z - 1] > 0).mean())


def _check_share(share: NDArray[np.float64], name: str) -> None:
    if not ((share > 0) & (share <= 1)).all():
        raise InputError(f"{name} in (0, 1]", f"{share}", "pass a share of the nodes")


def labels(
    gamma_d: ArrayLike, eps_S: ArrayLike = 0.0, *, attention: bool = True, constant: float = 1.0
) -> NDArray[np.float64]:
    """Labelled nodes |L| that are enough, up to a constant: (gamma_d (1 - 2 eps_S))^-2.

    With uniform attention the exponent of gamma_d is -4. The bias of distances changes the constant: it is as if only
    the core neighbourhood were sampled.

    Raises:
        InputError: a gamma_d outside (0, 1], or an eps_S outside [0, 1/2).

    Source: Theorem 4.1 and the theorem on graph convolution, arXiv 2406.01977; exponents assumed.

    >>> labels(0.5).item(), labels(0.5, attention=False).item(), labels(1.0, 0.25).item()
    (4.0, 16.0, 4.0)
    """
    share, confusion = np.asarray(gamma_d, float), np.asarray(eps_S, float)
    _check_share(share, "gamma_d")
    if not ((confusion >= 0) & (confusion < 0.5)).all():
        raise InputError("eps_S in [0, 1/2)", f"{confusion}", "at a half the patterns say nothing of the label")
    return constant * share ** (LABELS if attention else LABELS_UNIFORM) * (1 - 2 * confusion) ** CONFUSION


def steps(gamma_d: ArrayLike, *, constant: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps T until the generalisation error is small, up to a constant: between gamma_d^-1 and gamma_d^-2.

    Raises:
        InputError: a gamma_d outside (0, 1].

    Source: Theorem 4.1, arXiv 2406.01977; exponents assumed.

    >>> least, most = steps(0.5)
    >>> least.item(), most.item()
    (2.0, 4.0)
    """
    share = np.asarray(gamma_d, float)
    _check_share(share, "gamma_d")
    return constant * share ** STEPS[1], constant * share ** STEPS[0]
