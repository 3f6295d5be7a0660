"""Nodes by their distance from every node of a graph: a breadth-first search of 64 sources a word.

    bit s of word w     source 64 w + s of the batch has reached the node
    a step              reached'_n = OR over the neighbours m of n of reached_m
    distance z          the bits that are new after step z

The neighbours' words are gathered and OR-ed row by row, so that one pass over the edges serves a whole batch of
sources. Memory does not grow with the number of nodes squared: a batch is handed on before the next one is searched.

    symbol       meaning                                                          shape
    indptr       where each node's neighbours begin (CSR)                         (N + 1)
    indices      neighbours, each edge in both directions                         (M)
    sampled      up to S nodes at each exact distance, -1 where there are fewer   (N, Z, S)
    size         nodes at each exact distance                                     (N, Z)
    count        those of each class, the unlabelled left out                     (N, Z, K)

Shapes: N nodes, M directed edges, B sources of a batch, Z distances from 1 on, X nodes in all groups of a batch,
S nodes to be drawn, K classes, W words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lemmata.lab.errors import InputError

__all__ = ["BATCH", "Groups", "Ints", "class_counts", "draw", "draw_ball", "groups", "one_hot"]

Ints = NDArray[np.integer]

# Sources that are searched together: the draws of a batch are a function of it, so it is part of the cache's version.
BATCH = 256


@final
@dataclass(frozen=True)
class Groups:
    """The nodes at one distance from each source of a batch: those of source b are node_X[start_B1[b] : start_B1[b+1]].

    Within a group nodes are in order of their numbers.
    """

    node_X: Ints
    start_B1: Ints

    @property
    def size_B(self) -> Ints:
        """How many there are, a number a source."""
        return np.diff(self.start_B1)


def groups(
    indptr: Ints, indices: Ints, *, max_hops: int, sources: Ints | None = None, batch: int = BATCH
) -> Iterator[tuple[Ints, list[Groups]]]:
    """For every batch of sources its nodes, and the groups at the distances 1 to `max_hops` from them.

    `indptr` and `indices` are a CSR matrix without values, each edge in both directions. Without `sources` every node
    is one, in order.

    Raises:
        InputError: max_hops below 1, or sources that are no nodes.

    >>> path = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])  # 0 - 1 - 2
    >>> [(sources, found)] = groups(*path, max_hops=2)
    >>> [[each.tolist() for each in np.split(z.node_X, z.start_B1[1:-1])] for z in found]
    [[[1], [0, 2], [1]], [[2], [], [0]]]
    """
    if max_hops < 1:
        raise InputError("at least 1 hop", f"max-hops {max_hops}", "for example --max-hops 12")
    count = len(indptr) - 1
    wanted = np.arange(count) if sources is None else np.asarray(sources)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= count):
        fix = "pass positions in the list of nodes"
        raise InputError(f"sources from 0 to {count - 1}", f"{wanted.min()} to {wanted.max()}", fix)
    # reduceat wants non-empty rows: an isolated node reaches nothing, and is left out.
    row_R = np.flatnonzero(np.diff(indptr))
    for first in range(0, len(wanted), batch):
        source_B = wanted[first : first + batch]
        yield source_B, list(_search(count, indptr[row_R], indices, row_R, source_B, max_hops))


def _search(count: int, begin_R: Ints, indices: Ints, row_R: Ints, source_B: Ints, max_hops: int) -> Iterator[Groups]:
    B = len(source_B)
    bit_B = np.uint64(1) << (np.arange(B, dtype=np.uint64) % np.uint64(64))
    reached_NW = np.zeros((count, -(-B // 64)), np.uint64)
    # `at`, since the same node may be a source twice.
    np.bitwise_or.at(reached_NW, (source_B, np.arange(B) // 64), bit_B)
    new_NW, found = reached_NW.copy(), True
    for _ in range(max_hops):
        if found:
            next_RW = np.bitwise_or.reduceat(new_NW[indices], begin_R, axis=0) if len(indices) else new_NW[:0]
            next_RW &= ~reached_NW[row_R]
            new_NW = np.zeros_like(reached_NW)
            new_NW[row_R] = next_RW
            reached_NW |= new_NW
        node_A = np.flatnonzero(new_NW.any(1))
        found = len(node_A) > 0
        # Little-endian bytes, whatever the machine's own order is.
        byte_AC = new_NW[node_A].astype("<u8").view(np.uint8)
        new_BA = np.unpackbits(byte_AC, axis=1, count=B, bitorder="little").T
        size_B = new_BA.sum(1, dtype=np.int64)
        at_X = np.flatnonzero(np.ascontiguousarray(new_BA))
        at_X -= np.repeat(np.arange(B) * len(node_A), size_B)
        yield Groups(node_A[at_X], np.concatenate([[0], np.cumsum(size_B)]))


def one_hot(label_N: Ints, classes: int) -> NDArray[np.float32]:
    """A column a class, (N, K): 1 where a node is of it; a row of zeros for the label -1.

    >>> one_hot(np.array([1, -1]), 2).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return (label_N[:, None] == np.arange(classes)).astype(np.float32)


def class_counts(group: Groups, class_NK: NDArray[np.float32]) -> NDArray[np.int32]:
    """How many of each group are of each class, (B, K), where `class_NK` has a 1 for the classes of a node.

    >>> of_classes = one_hot(np.array([0, 1, -1]), 2)
    >>> class_counts(Groups(np.array([0, 1, 2]), np.array([0, 2, 3])), of_classes).tolist()
    [[1, 1], [0, 0]]
    """
    shape = (len(group.size_B), len(class_NK))
    # Sums of ones are exact in float32 up to 2^24 nodes.
    there_BN = sp.csr_matrix((np.ones(len(group.node_X), np.float32), group.node_X, group.start_B1), shape=shape)
    return (there_BN @ class_NK).astype(np.int32)


def draw(group: Groups, S: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Up to S nodes of each group, uniformly without replacement and in random order, (B, S); then -1.

    Any prefix of a row is such a draw too.

    >>> draw(Groups(np.array([7, 8, 9]), np.array([0, 0, 3])), 4, np.random.default_rng(0)).tolist()
    [[-1, -1, -1, -1], [8, 9, 7, -1]]
    """
    position_BS = _positions(group.size_B, S, rng)
    return _picked(group.node_X, group.start_B1[:-1, None] + position_BS, position_BS >= 0)


def draw_ball(found: list[Groups], S: int, rng: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Up to S nodes of all groups of a source together, as `draw` does it, and which of the groups each is of, (B, S).

    The first group counts as 0; -1 goes with no node.

    >>> near, far = Groups(np.array([5]), np.array([0, 1])), Groups(np.array([6, 7]), np.array([0, 2]))
    >>> [found.tolist() for found in draw_ball([near, far], 4, np.random.default_rng(0))]
    [[[7, 5, 6, -1]], [[1, 0, 1, -1]]]
    """
    size_BZ = np.stack([group.size_B for group in found], 1)
    # The number of a source's nodes up to and including each distance.
    upto_BZ = size_BZ.cumsum(1)
    position_BS = _positions(upto_BZ[:, -1], S, rng)
    hop_BS = (position_BS[:, :, None] >= upto_BZ[:, None]).sum(-1)
    valid_BS = position_BS >= 0
    hop_BS = np.where(valid_BS, hop_BS, 0)
    within_BS = position_BS - np.take_along_axis(upto_BZ - size_BZ, hop_BS, 1)
    begin_BZ = np.stack([group.start_B1[:-1] for group in found], 1)
    begin_BZ = begin_BZ + np.cumsum([0, *(len(group.node_X) for group in found[:-1])])
    at_BS = np.take_along_axis(begin_BZ, hop_BS, 1) + within_BS
    node_BS = _picked(np.concatenate([group.node_X for group in found]), at_BS, valid_BS)
    return node_BS, np.where(valid_BS, hop_BS, -1).astype(np.int8)


def _positions(size_B: Ints, S: int, rng: np.random.Generator) -> Ints:
    """Up to S different positions below each size, (B, S), in random order, then -1: Floyd's algorithm on all rows.

    Bentley and Floyd 1987, Communications of the ACM 30, 754-757.
    """
    uniform_BS, order_BS = rng.random((2, len(size_B), S))
    position_BS = np.full((len(size_B), S), -1, np.int64)
    for i in range(S):
        # A group of up to S is taken whole: then i itself is the position, since all before it are taken.
        last_B = np.maximum(size_B - S, 0) + i
        at_B = (uniform_BS[:, i] * (last_B + 1)).astype(np.int64)
        taken_B = (position_BS[:, :i] == at_B[:, None]).any(1) | (size_B <= S)
        position_BS[:, i] = np.where(last_B < size_B, np.where(taken_B, last_B, at_B), -1)
    # Floyd's set is uniform, its order is not.
    order_BS = np.where(position_BS >= 0, order_BS, 2.0)
    return np.take_along_axis(position_BS, order_BS.argsort(1), 1)


def _picked(node_X: Ints, at_BS: Ints, valid_BS: NDArray[np.bool_]) -> NDArray[np.int32]:
    if not len(node_X):
        return np.full(at_BS.shape, -1, np.int32)
    return np.where(valid_BS, node_X[np.where(valid_BS, at_BS, 0)], -1).astype(np.int32)
