"""What is around the nodes of a graph, distance by distance: drawn nodes and counts of classes, kept on disk.

    symbol    meaning                                                                   shape
    sampled   nodes drawn at each exact distance, -1 where there are fewer              (N, Z, S)
    size      how many there are                                                        (N, Z)
    node      nodes drawn from a span of distances together, and the distance of each   (N, T)
    count     labelled nodes of each class at each distance                             (N, Z, K)

Each is one search of the whole graph (`lemmata.lab.hops`), about a minute for twenty thousand nodes, and read from the
cache the next time.

Shapes: N nodes, Z distances from 1 on, S nodes at a distance, T nodes at all together, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from lemmata.lab.cache import cached
from lemmata.lab.errors import InputError
from lemmata.lab.graphs import Graph, content_hash
from lemmata.lab.hops import BATCH, Ints, class_counts, draw, draw_ball, groups, one_hot
from lemmata.lab.streams import stream

__all__ = ["Ball", "Near", "Progress", "around", "ball", "counts"]

# Bumped whenever the same graph begins to give other numbers.
VERSION = 1

# Called with the sources that are done and those that there are.
Progress = Callable[[int, int], None]
Found = TypeVar("Found", bound=Any)


@final
class Near(NamedTuple):
    """Nodes drawn at each exact distance, sampled_NZS, and how many there are, size_NZ."""

    sampled_NZS: NDArray[np.int32]
    size_NZ: Ints


@final
class Ball(NamedTuple):
    """Nodes drawn from all distances together, node_NT, and the distance of each, hop_NT, from 1 on; -1 for none."""

    node_NT: NDArray[np.int32]
    hop_NT: NDArray[np.int8]


def around(graph: Graph, *, max_hops: int, S: int, seed: int = 0, progress: Progress | None = None) -> Near:
    """Up to S nodes at each exact distance, drawn uniformly without replacement and in random order; from the cache.

    What is drawn at a distance does not depend on how many distances are searched, and any prefix of a row is a draw
    as well.

    Raises:
        InputError: max_hops below 1.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.graph_of([[0, 1], [1, 2]], np.eye(3), [0, 1, 0], name="path")
    >>> [found.tolist() for found in around(graph, max_hops=2, S=1)][1]
    [[1, 1], [2, 0], [1, 1]]
    """

    def search() -> Near:
        sampled_NZS = np.full((graph.nodes, max_hops, S), -1, np.int32)
        size_NZ = np.zeros((graph.nodes, max_hops), np.int32)
        for done, (source_B, found) in enumerate(groups(graph.indptr, graph.indices, max_hops=max_hops)):
            for z, group in enumerate(found):
                rng = stream("lab.around", seed, done, z)
                sampled_NZS[source_B, z], size_NZ[source_B, z] = draw(group, S, rng), group.size_B
            _tell(progress, done, graph)
        return Near(sampled_NZS, size_NZ)

    _check_hops(max_hops)
    of = _identity(graph, max_hops=max_hops, S=S, seed=seed)
    return _cached(Near, of, search)


def ball(graph: Graph, *, first: int, last: int, T: int, seed: int = 0, progress: Progress | None = None) -> Ball:
    """Up to T nodes of all distances from `first` to `last` together, drawn as `around` does it; from the cache.

    Raises:
        InputError: last below 1.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.graph_of([[0, 1], [1, 2]], np.eye(3), [0, 1, 0], name="path")
    >>> [sorted(node) for node in ball(graph, first=1, last=2, T=2).node_NT.tolist()]
    [[1, 2], [0, 2], [0, 1]]
    """

    def search() -> Ball:
        node_NT, hop_NT = np.full((graph.nodes, T), -1, np.int32), np.full((graph.nodes, T), -1, np.int8)
        for done, (source_B, found) in enumerate(groups(graph.indptr, graph.indices, max_hops=last)):
            node_BT, hop_BT = draw_ball(found[first - 1 :], T, stream("lab.ball", seed, done))
            node_NT[source_B], hop_NT[source_B] = node_BT, np.where(hop_BT < 0, -1, hop_BT + first)
            _tell(progress, done, graph)
        return Ball(node_NT, hop_NT)

    _check_hops(last)
    of = _identity(graph, first=first, last=last, T=T, seed=seed)
    return _cached(Ball, of, search)


def counts(graph: Graph, *, max_hops: int, progress: Progress | None = None) -> NDArray[np.int32]:
    """Labelled nodes of each class at each distance, count_NZK; from the cache.

    Raises:
        InputError: max_hops below 1.

    >>> from lemmata.lab import graphs
    >>> graph = graphs.graph_of([[0, 1], [1, 2]], np.eye(3), [0, 1, 0], name="path")
    >>> counts(graph, max_hops=1)[:, 0].tolist()
    [[0, 1], [2, 0], [0, 1]]
    """

    def search() -> dict[str, NDArray[np.int32]]:
        count_NZK = np.zeros((graph.nodes, max_hops, graph.classes), np.int32)
        class_NK = one_hot(graph.label_N, graph.classes)
        for done, (source_B, found) in enumerate(groups(graph.indptr, graph.indices, max_hops=max_hops)):
            for z, group in enumerate(found):
                count_NZK[source_B, z] = class_counts(group, class_NK)
            _tell(progress, done, graph)
        return {"count_NZK": count_NZK}

    _check_hops(max_hops)
    of = _identity(graph, max_hops=max_hops, labels=content_hash(graph.label_N))
    return cached("counts", ["count_NZK"], of, search)["count_NZK"]


def _identity(graph: Graph, **axes: str | int) -> dict[str, str | int]:
    return {"edges": graph.edge_key, "version": VERSION, "batch": BATCH, **axes}


def _cached(kind: type[Found], of: dict[str, str | int], search: Callable[[], Found]) -> Found:
    return kind(**cached(kind.__name__.lower(), kind._fields, of, lambda: search()._asdict()))


def _tell(progress: Progress | None, done: int, graph: Graph) -> None:
    if progress:
        progress(min((done + 1) * BATCH, graph.nodes), graph.nodes)


def _check_hops(max_hops: int) -> None:
    if max_hops < 1:
        raise InputError("at least 1 hop", f"max-hops {max_hops}", "for example --max-hops 12")
