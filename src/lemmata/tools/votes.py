"""How the nodes at each distance vote: for the labels as they are, and for labels dealt out anew at random.

    symbol   meaning                                                                      shape
    size     nodes at a distance                                                          (L, Z)
    margin   Delta_l(z), of the labels as they are                                        (L, Z)
    same     share of the nodes there that have l's label                                 (L, Z)
    ..._RZ   means over nodes that have somebody there, of labels dealt out R times anew  (R, Z)

Nodes that are near each other see the same neighbours, so that what labels show by chance differs much less from node
to node than from deal to deal: chance is read from whole deals, in which every node's label is another one's.

Shapes: L labelled nodes, Z distances from 1 on, R deals, K classes, N nodes, B nodes of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from lemmata.graph.theory import margins
from lemmata.lab.cache import cached
from lemmata.lab.graphs import Graph, content_hash
from lemmata.lab.hops import Ints, class_counts, groups, one_hot
from lemmata.lab.streams import stream

__all__ = ["DEALS", "Votes", "votes"]

DEALS = 19
# Bumped whenever the same graph begins to give other numbers.
VERSION = 1

Floats = NDArray[np.float64]


@final
class Votes(NamedTuple):
    """The votes around each labelled node, in order, and the means of DEALS deals; nan where nobody is."""

    size_LZ: Ints
    margin_LZ: Floats
    same_LZ: Floats
    dealt_margin_RZ: Floats
    dealt_same_RZ: Floats


def votes(graph: Graph, *, max_hops: int, told: Callable[[int, int], None]) -> Votes:
    """The votes at the distances 1 to `max_hops`, from the cache; `told` hears of nodes searched from, of all.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.graph_of([[0, 1], [1, 2]], np.eye(3), [0, 1, 0], name="path")
    >>> found = votes(graph, max_hops=2, told=lambda done, total: None)
    >>> found.margin_LZ.tolist(), found.dealt_margin_RZ.shape
    ([[-1.0, 1.0], [-1.0, nan], [-1.0, 1.0]], (19, 2))
    """
    of = {"edges": graph.edge_key, "labels": content_hash(graph.label_N), "max_hops": max_hops, "version": VERSION}
    return Votes(**cached("votes", Votes._fields, of, lambda: _search(graph, max_hops, told)._asdict()))


def _search(graph: Graph, max_hops: int, told: Callable[[int, int], None]) -> Votes:
    known_L, K = np.flatnonzero(graph.label_N >= 0), graph.classes
    label_RN = _dealt(graph.label_N)
    # One product counts the classes of all deals. The first "deal" is the labels as they are.
    class_NC = np.concatenate([one_hot(label_N, K) for label_N in label_RN], 1)
    parts: list[tuple[Ints, Floats, Floats]] = []
    total_RZ, there_Z = np.zeros((2, len(label_RN), max_hops)), np.zeros(max_hops)
    done = 0
    for source_B, found in groups(graph.indptr, graph.indices, max_hops=max_hops, sources=known_L):
        size_BZ = np.stack([group.size_B for group in found], 1)
        count_BZRK = np.stack([class_counts(group, class_NC) for group in found], 1).reshape(*size_BZ.shape, -1, K)
        of_deals = [_of(count_BZRK[:, :, r], size_BZ, label_RN[r, source_B]) for r in range(len(label_RN))]
        parts.append((size_BZ, *of_deals[0]))
        total_RZ += np.nansum(of_deals, 2).transpose(1, 0, 2)
        there_Z += (size_BZ > 0).sum(0)
        done += len(source_B)
        told(done, len(known_L))
    mean_RZ = np.where(there_Z > 0, total_RZ / np.maximum(there_Z, 1), np.nan)
    return Votes(*(np.concatenate(part) for part in zip(*parts, strict=True)), *mean_RZ[:, 1:])


def _dealt(label_N: Ints) -> Ints:
    """The labels as they are, then dealt out anew to the labelled nodes, (1 + R, N)."""
    known_N, label_RN = label_N >= 0, np.tile(label_N, (1 + DEALS, 1))
    for r in range(1, 1 + DEALS):
        label_RN[r, known_N] = stream("tools.votes", r).permutation(label_N[known_N])
    return label_RN


def _of(count_BZK: Ints, size_BZ: Ints, label_B: Ints) -> tuple[Floats, Floats]:
    """Margins, and shares of the node's own label; both (B, Z), nan where nobody is."""
    own_BZ = np.take_along_axis(count_BZK, label_B[:, None, None], 2)[..., 0]
    same_BZ = np.where(size_BZ > 0, own_BZ / np.maximum(size_BZ, 1), np.nan)
    return margins(count_BZK, size_BZ, label_B), same_BZ
