"""What a network that samples by distance is trained on: scaled features, splits, and a table of sampled nodes.

    symbol    meaning                                                                   shape
    feature   rows of one length, or columns with mean 0 and one spread                 (N, C)
    key       sampled nodes of each node, those of the nearest distance first, or -1    (N, T)
    hop       the place of each one's distance among those that are used, from 0        (N, T)

Twice as many nodes as are used are drawn once, and each seed uses a random half, so that seeds differ in what they see
without a search each: where a distance has no more than that, all seeds see the same.

Shapes: N nodes, C features, Z distances, S nodes at a distance, P nodes held at it, T = Z S, X nodes of a split.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from lemmata.lab.around import around, ball
from lemmata.lab.errors import ConstantError, DataError
from lemmata.lab.graph_sets import open_graph
from lemmata.lab.streams import stream

__all__ = ["HELD", "SAMPLINGS", "SCALINGS", "Split", "Table", "features", "hops_of", "split", "table"]

SAMPLINGS, SCALINGS = ("distance", "ball"), ("rows", "columns")
# Nodes that are drawn once for each that a seed uses.
HELD = 2

Array = NDArray[np.int32]


@final
class Table(NamedTuple):
    """Sampled nodes of every node, key_NT, and the places of their distances, hop_NT; -1 for nobody."""

    key_NT: NDArray[np.int32]
    hop_NT: NDArray[np.int8]


@final
class Split(NamedTuple):
    """Labelled nodes to train on, to choose the step with, and to test on."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def hops_of(first: int, last: int, only: str) -> tuple[int, ...]:
    """The distances that are used, in order.

    Raises:
        ConstantError: `only` names others, or is no list of numbers.

    >>> hops_of(1, 3, ""), hops_of(1, 12, "1,2,12"), hops_of(1, 0, "")
    ((1, 2, 3), (1, 2, 12), ())
    """
    span = tuple(range(first, last + 1))
    parts = only.split(",") if only else []
    found = tuple(z for z in span if str(z) in parts) if parts else span
    if len(found) < len(parts):
        fix = f"name distances from {first} to {last}, each once, such as {first},{last}"
        raise ConstantError("distances with commas between them for only", only, fix)
    return found


@functools.lru_cache(maxsize=2)
def features(graph: str, scaling: str, scale: float) -> NDArray[np.float32]:
    """The features of a graph, at one scale; rows and columns without any stay 0.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.keep(graphs.graph_of([[0], [1]], [[3.0, 4.0], [0.0, 0.0]], [0, 1], name="two"))
    >>> features(graph, "rows", 5.0).tolist(), features(graph, "columns", 1.0).tolist()
    ([[3.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [-1.0, -1.0]])
    """
    feature_NC = open_graph(graph).feature_NC.astype(np.float64)
    if scaling == "columns":
        feature_NC = feature_NC - feature_NC.mean(0)
    axis = 0 if scaling == "columns" else 1
    length = np.sqrt((feature_NC**2).mean(0) if axis == 0 else (feature_NC**2).sum(1, keepdims=True))
    return np.ascontiguousarray(feature_NC * scale / np.where(length > 0, length, 1), np.float32)


def split(graph: str, labelled: float, seed: int) -> Split:
    """One seed's split of the labelled nodes; of two shares the smaller one's nodes to train on are among the other's.

    Raises:
        DataError: too few labelled nodes to have one of each part.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.keep(graphs.graph_of([[0], [1]], np.eye(10), [0, 1] * 5, name="ten"))
    >>> [len(part) for part in split(graph, 0.6, 0)]
    [6, 2, 2]
    """
    known_X = np.flatnonzero(open_graph(graph).label_N >= 0)
    order_X = known_X[stream("lab.hops.split", graph, seed).permutation(len(known_X))]
    train = round(labelled * len(known_X))
    test = (len(known_X) - train) // 2
    if not (train and test):
        got = f"{len(known_X)} labelled nodes, {train} of them to train on"
        raise DataError("labelled nodes to train on, to choose the step with and to test on", got, "label more nodes")
    return Split(order_X[:train], order_X[train : len(order_X) - test], order_X[len(order_X) - test :])


@functools.lru_cache(maxsize=8)
def table(graph: str, first: int, last: int, only: str, S: int, sampling: str, seed: int) -> Table:
    """What one seed has sampled around every node of a graph.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.keep(graphs.graph_of([[0, 1], [1, 2]], np.eye(3), [0, 1, 0], name="path"))
    >>> [part.tolist() for part in table(graph, 1, 2, "", 1, "distance", 0)]
    [[[1, 2], [0, -1], [1, 0]], [[0, 1], [0, -1], [0, 1]]]
    """
    of, hops = open_graph(graph), hops_of(first, last, only)
    if not hops:
        return Table(np.zeros((of.nodes, 0), np.int32), np.zeros((of.nodes, 0), np.int8))
    if sampling == "ball":
        T = S * len(hops)
        found = ball(of, first=first, last=last, T=HELD * T)
        at_NT = _half(found.node_NT, T, stream("lab.hops.ball", graph, seed))
        key_NT, hop_NT = np.take_along_axis(found.node_NT, at_NT, 1), np.take_along_axis(found.hop_NT, at_NT, 1)
        return Table(key_NT, np.where(hop_NT < 0, -1, hop_NT - first).astype(np.int8))
    sampled_NZS = around(of, max_hops=hops[-1], S=HELD * S).sampled_NZS
    keys: list[Array] = []
    for z in hops:
        held_NP = sampled_NZS[:, z - 1]
        # Of the distance alone: what is used there does not depend on what else is.
        at_NS = _half(held_NP, S, stream("lab.hops.near", graph, z, seed))
        keys.append(np.take_along_axis(held_NP, at_NS, 1))
    key_NT = np.concatenate(keys, 1)
    return Table(key_NT, np.where(key_NT < 0, -1, np.arange(len(hops)).repeat(S)).astype(np.int8))


def _half(held_NP: Array, S: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places of S of the nodes held, those that are somebody first."""
    order_NP = np.where(held_NP >= 0, rng.random(held_NP.shape), 2.0)
    return order_NP.argsort(1, kind="stable")[:, :S]
