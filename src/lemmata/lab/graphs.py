"""A graph with features and labels, checked and repaired once at the door.

    symbol    meaning                                        shape
    edge      pairs of nodes, in one direction or both       (2, M)
    feature   what is known of a node                        (N, C)
    label     the class of a node, -1 where it is unknown    (N)

A graph of a user's has no name that another process knows: `keep` gives it one that is a hash of its content, so that
a constant of a trainee can hold it.

Shapes: N nodes, M directed edges, C features, K classes.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from lemmata.lab.errors import InputError, UnknownNameError
from lemmata.lab.hops import Ints

__all__ = ["Graph", "content_hash", "graph_of", "keep", "kept", "simple_edges"]


@final
@dataclass(frozen=True)
class Graph:
    """A simple undirected graph: edges as CSR without values, features, labels.

    `repairs` says in words what had to be changed, and what is harmless and good to know. Make one with `graph_of`.
    """

    name: str
    indptr: Ints = field(repr=False)
    indices: Ints = field(repr=False)
    feature_NC: NDArray[np.float32] = field(repr=False)
    label_N: NDArray[np.int64] = field(repr=False)
    classes: int
    repairs: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.label_N)

    @property
    def edges(self) -> int:
        """How many edges there are, each counted once."""
        return len(self.indices) // 2

    @functools.cached_property
    def edge_key(self) -> str:
        """A hash of the edges alone."""
        return content_hash(self.indptr, self.indices)

    @functools.cached_property
    def key(self) -> str:
        """A hash of edges, features and labels."""
        return f"graph-{content_hash(self.indptr, self.indices, self.feature_NC, self.label_N)}"


def graph_of(edge_2E: ArrayLike, feature_NC: ArrayLike, label_N: ArrayLike, *, name: str) -> Graph:
    """A graph from pairs of nodes, whose direction and order do not matter.

    Self-loops and repeated edges are dropped and every edge gets both directions; `Graph.repairs` tells what was done.

    Raises:
        InputError: no edges, an edge to no node, features that are not finite, labels that are not one whole number a
            node from -1 on, or a class without a labelled node.

    >>> found = graph_of([[0, 1, 1, 2], [1, 0, 2, 2]], np.eye(4), [0, 1, 0, -1], name="small")
    >>> found.edges, found.classes
    (2, 2)
    >>> found.repairs  # doctest: +NORMALIZE_WHITESPACE
    ('1 self-loop dropped', '1 edge was given in one direction only and now has both',
     '1 node has no edge and sees its own features only')
    """
    feature, label = np.asarray(feature_NC), np.asarray(label_N)
    label = _checked_labels(_checked_features(feature), label)
    indptr, indices, repairs = simple_edges(np.asarray(edge_2E), len(label))
    features = np.ascontiguousarray(feature, np.float32)
    return Graph(name, indptr, indices, features, label, int(label.max()) + 1, repairs)


def simple_edges(edge_2E: NDArray[Any], N: int) -> tuple[Ints, Ints, tuple[str, ...]]:
    """The edges between N nodes as a CSR matrix without values, both ways and once each, and what was repaired.

    Raises:
        InputError: no edges, or an edge to no node.

    >>> [part.tolist() for part in simple_edges(np.array([[0, 1], [1, 2]]), 3)[:2]]
    [[0, 1, 3, 4], [1, 0, 2, 1]]
    """
    _check_edges(edge_2E, N)
    edge = edge_2E.astype(np.int64)
    repairs: list[str] = []
    proper_M = edge[0] != edge[1]
    if loops := int((~proper_M).sum()):
        repairs.append(f"{_count(loops, 'self-loop')} dropped")
    code_M = edge[0, proper_M] * N + edge[1, proper_M]
    once_M = np.unique(code_M)
    if repeated := len(code_M) - len(once_M):
        repairs.append(f"{_count(repeated, 'repeated edge')} dropped")
    back_M = once_M % N * N + once_M // N
    if single := int((~np.isin(once_M, back_M)).sum()):
        was, have = ("was", "has") if single == 1 else ("were", "have")
        repairs.append(f"{_count(single, 'edge')} {was} given in one direction only and now {have} both")
    both_M = np.union1d(once_M, back_M)
    if not len(both_M):
        raise InputError("at least one edge between two nodes", "none", "without edges there is nothing to measure")
    matrix = sp.csr_matrix((np.ones(len(both_M), bool), (both_M // N, both_M % N)), shape=(N, N))
    if alone := int((np.diff(matrix.indptr) == 0).sum()):
        has = "has no edge and sees its" if alone == 1 else "have no edge and see their"
        repairs.append(f"{_count(alone, 'node')} {has} own features only")
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), tuple(repairs)


def _checked_features(feature: NDArray[Any]) -> int:
    """How many nodes there are."""
    if feature.ndim != 2 or 0 in feature.shape or feature.dtype.kind not in "biuf":
        got = f"shape {feature.shape} of {feature.dtype}"
        raise InputError(
            "features (N, C), numbers for each node", got, "give every node a row; without any, the degree"
        )
    wrong_N = ~np.isfinite(feature).all(1)
    if wrong_N.any():
        got = f"{_count(int(wrong_N.sum()), 'node')} with NaN or infinity, the first is {wrong_N.argmax()}"
        raise InputError("finite features", got, "fill them in, or leave those nodes out")
    return len(feature)


def _checked_labels(N: int, label: NDArray[Any]) -> NDArray[np.int64]:
    if label.shape != (N,) or label.dtype.kind not in "biu":
        got = f"shape {label.shape} of {label.dtype}"
        raise InputError(
            f"labels ({N},), a whole number for each node", got, "number the classes from 0, -1 for unknown"
        )
    classes = int(label.max()) + 1
    if label.min() < -1 or classes < 2:
        got = f"labels from {label.min()} to {label.max()}"
        raise InputError("labels from 0 on, of two classes or more", got, "number the classes from 0, -1 for unknown")
    if classes > N or (count_K := np.bincount(label[label >= 0], minlength=classes)).min() == 0:
        lacking = f"none of class {count_K.argmin()}" if classes <= N else f"class {classes - 1} of {N} nodes"
        fix = "label a node of it, or number the classes without gaps (-1 stands for unknown)"
        raise InputError(f"a labelled node of every class from 0 to {classes - 1}", lacking, fix)
    return label.astype(np.int64)


def _check_edges(edge: NDArray[Any], N: int) -> None:
    if edge.ndim != 2 or edge.shape[0] != 2 or edge.dtype.kind not in "iu":
        if edge.size == 0:
            raise InputError("at least one edge", "none", "without edges there is nothing to measure")
        got = f"shape {edge.shape} of {edge.dtype}"
        raise InputError("edges (2, M), two nodes for each", got, "as PyG's edge_index; transpose a list of pairs")
    if edge.size == 0:
        raise InputError("at least one edge", "none", "without edges there is nothing to measure")
    if edge.min() < 0 or edge.max() >= N:
        got = f"{edge.min() if edge.min() < 0 else edge.max()}"
        raise InputError(f"edges between nodes 0 to {N - 1}, one a row of features", got, "number nodes from 0")


_KEPT: dict[str, Graph] = {}


def keep(graph: Graph) -> str:
    """Keep a graph for as long as this process lives, and return the key that a constant can hold.

    >>> graph = graph_of([[0], [1]], np.eye(2), [0, 1], name="mine")
    >>> kept(keep(graph)) is graph
    True
    """
    return _KEPT.setdefault(graph.key, graph).key


def kept(key: str) -> Graph:
    """The graph of a key.

    Raises:
        UnknownNameError: no graph of this key was kept in this process.
    """
    if key not in _KEPT:
        fix = "keep the graph with lemmata.lab.graphs.keep in the process that trains on it"
        raise UnknownNameError("a graph that was kept", key, fix)
    return _KEPT[key]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def content_hash(*arrays: NDArray[Any]) -> str:
    """Twenty hexadecimal digits of shapes, types and values.

    >>> content_hash(np.arange(3)) == content_hash(np.arange(4)[:3]), content_hash() == content_hash(np.zeros(0))
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=10)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
