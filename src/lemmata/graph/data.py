"""Planted graphs: nodes whose label is the majority vote at one distance (Li et al., ICML 2024, arXiv 2406.01977).

    symbol     meaning
    y_n        label of node n, +1 or -1
    mu_1 mu_2  discriminative patterns, of the labels +1 and -1; mu_3 ... mu_M are irrelevant
    z_m        core distance: the nodes there vote for the label
    gamma_d    share of nodes that have a discriminative pattern
    eps_S      share of these that have the other label's
    Delta_n(z) winning margin: (consistent - opposite discriminative nodes) / all nodes at distance z of n
    T^n        nodes that node n aggregates: S at each distance from 1 to Z, fewer where there are not as many

An edge joins equal labels with probability q, so that graphs that are nearly trees have a share (1 + (2q - 1)^z) / 2 of
equal labels at distance z, in both classes: half of the edges begin in each, however large it is, so that the nodes of
a small class have more edges each. With z_m = 1, q is above a half; with z_m = 2 it is below, and distance 1 votes
against the label: among trees no graph says nothing at distance 1 and something at distance 2 of every node.

Shapes: N nodes, Z distances, M patterns, S nodes sampled at a distance.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, final

import numpy as np
from scipy import sparse

from lemmata.graph.theory import margins
from lemmata.lab.hops import class_counts, draw, groups, one_hot
from lemmata.lab.streams import stream

__all__ = ["Planted", "Structure", "measured_margins", "planted", "structure", "winning_margin"]


@final
class Structure(NamedTuple):
    """A graph without features.

    label_N: that edges were drawn for. indptr, indices: each node's neighbours (CSR). node_NZS: T^n, -1 where there are
    fewer.
    """

    label_N: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    node_NZS: np.ndarray


@final
class Planted(NamedTuple):
    """A graph with features.

    label_N: +1 or -1. pattern_N: of each node. count_NZM: nodes of each pattern among those sampled at each distance.
    order_N: all nodes that have a neighbour, at random; those to test come last.
    """

    label_N: np.ndarray
    pattern_N: np.ndarray
    count_NZM: np.ndarray
    order_N: np.ndarray


def winning_margin(margin: float, gamma_d: float, eps_S: float, violated: float = 0.0) -> float:
    """The mean of Delta_n(z_m) that a planted graph has: gamma_d (1 - 2 eps_S) (1 - 2 violated) times that of labels.

    >>> round(winning_margin(0.8, 0.5, 0.1), 6)
    0.32
    """
    return gamma_d * (1 - 2 * eps_S) * (1 - 2 * violated) * margin


@functools.lru_cache(maxsize=64)
def structure(N: int, degree: float, core: int, margin: float, plus: float, Z: int, S: int, seed: int) -> Structure:
    """Labels, edges and sampled nodes, a function of these alone; kept, since many conditions share a graph.

    `margin` is the mean over nodes of (equal labels - others) / all at distance `core`, for large N.

    >>> found = structure(200, 5.0, 1, 0.8, 0.5, 3, 4, 0)
    >>> float(found.label_N.sum()), found.node_NZS.shape
    (0.0, (200, 3, 4))
    """
    rng = stream("graph.structure", N, degree, core, margin, plus, seed)
    label_N = np.where(np.arange(N) < round(plus * N), np.float32(1), np.float32(-1))
    root = margin ** (1 / core)
    q = (1 + root) / 2 if core == 1 else (1 - root) / 2
    count = round(N * degree / 2)
    size = round(plus * N)
    # The classes lie one after the other, so that a node of a class is a number in a range.
    first_2, size_2 = np.array([0, size]), np.array([size, N - size])
    # A number below N: its half is the class, its place in the half the node.
    begin_K = 2 * rng.integers(N, size=count)
    class_K = (begin_K >= N).astype(np.int64)
    one_K = first_2[class_K] + (begin_K - class_K * N) * size_2[class_K] // N
    other_class_K = np.where(rng.random(count) < q, class_K, 1 - class_K)
    other_K = first_2[other_class_K] + (rng.random(count) * size_2[other_class_K]).astype(np.int64)
    edges = sparse.coo_matrix((np.ones(count, bool), (one_K, other_K)), shape=(N, N)).tocsr()
    edges = edges + edges.T
    edges.setdiag(False)
    edges.eliminate_zeros()
    drawn = stream("graph.sampled", N, degree, core, margin, plus, Z, S, seed)
    searched = groups(edges.indptr, edges.indices, max_hops=Z)
    node_NZS = np.concatenate([np.stack([draw(z, S, drawn) for z in of], 1) for _, of in searched])
    return Structure(label_N, edges.indptr, edges.indices, node_NZS)


def planted(
    found: Structure, *, M: int, gamma_d: float, eps_S: float, violated: float, own: bool, seed: int
) -> Planted:
    """Patterns and what is counted of them, on a graph.

    More discriminative or confused nodes are the same ones and some more. A share `violated` of the labels is turned
    after all else, so that the vote goes against them. With `own` a node is in T^n itself, as distance 0.

    >>> graph = planted(
    ...     structure(200, 5.0, 1, 0.8, 0.5, 3, 4, 0), M=10, gamma_d=0.4, eps_S=0.0, violated=0.0, own=False, seed=0
    ... )
    >>> graph.count_NZM.shape, int(graph.count_NZM.sum(2).max())
    ((200, 3, 10), 4)
    """
    label_N, node_NZS = found.label_N, found.node_NZS
    N = len(label_N)
    rng = stream("graph.patterns", N, seed)
    discriminative_N, confused_N, irrelevant_N, turned_N = rng.random((4, N))
    own_N = (label_N < 0) ^ (confused_N < eps_S)
    pattern_N = np.where(discriminative_N < gamma_d, own_N, 2 + (irrelevant_N * (M - 2)).astype(np.int64))
    # A place that holds no node counts for a pattern that is cut off.
    pattern_NZS = np.append(pattern_N, M)[node_NZS]
    Z = node_NZS.shape[1]
    bin_NZS = (M + 1) * np.arange(N * Z).reshape(N, Z, 1) + pattern_NZS
    count_NZM = np.bincount(bin_NZS.ravel(), minlength=N * Z * (M + 1)).reshape(N, Z, M + 1)[:, :, :M]
    has_neighbour_N = count_NZM.sum((1, 2)) > 0
    if own:
        count_NZM = np.concatenate([np.eye(M, dtype=count_NZM.dtype)[pattern_N][:, None], count_NZM], 1)
    order_N = rng.permutation(N)
    turned = np.where(turned_N < violated, np.float32(-1), np.float32(1))
    return Planted(label_N * turned, pattern_N, count_NZM, order_N[has_neighbour_N[order_N]])


def measured_margins(found: Structure, graph: Planted, *, Z: int) -> np.ndarray:
    """Delta_n(z) of every node at the distances 1 to Z, (N, Z), over all nodes there and not a sample of them.

    nan where no node is.

    >>> edges = structure(200, 5.0, 1, 0.8, 0.5, 3, 4, 0)
    >>> graph = planted(edges, M=10, gamma_d=1.0, eps_S=0.0, violated=0.0, own=False, seed=0)
    >>> bool(abs(np.nanmean(measured_margins(edges, graph, Z=2)[:, 0]) - winning_margin(0.8, 1.0, 0.0)) < 0.1)
    True
    """
    # Classes 0 and 1 are the discriminative patterns; all others count for the size alone.
    class_N2 = one_hot(np.where(graph.pattern_N < 2, graph.pattern_N, -1), 2)
    searched = groups(found.indptr, found.indices, max_hops=Z)
    parts = [
        (np.stack([class_counts(z, class_N2) for z in of], 1), np.stack([z.size_B for z in of], 1))
        for _, of in searched
    ]
    count_NZK, size_NZ = (np.concatenate(part) for part in zip(*parts, strict=True))
    return margins(count_NZK, size_NZ, (graph.label_N < 0).astype(np.int64))
