"""Mini-batches of a graph whose nodes are sampled at exact distances, for PyG.

    seed nodes  come first, `batch_size` of them
    edges       from every sampled node to its seed, with the distance as their attribute

PyG's own NeighborLoader samples neighbours of neighbours and needs compiled packages; this one needs none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from lemmata.lab.errors import InputError
from lemmata.lab.graphs import simple_edges
from lemmata.lab.hops import draw, groups
from lemmata.lab.needs import missing
from lemmata.lab.streams import stream

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["Sampler"]


@final
class Sampler:
    """Batches of PyG's `Data`, anew in every pass: up to `size` nodes at each of the distances `hops` from every seed.

    `data` has edge_index (2, E), x (N, C) and y (N,); edges count in both directions. `nodes` are the seeds, as
    positions or as a mask; all nodes without it. A batch has n_id, the nodes' positions in `data`, seeds first; x and y
    of these; edge_index and edge_attr, the distances (M, 1); and batch_size. A node that is sampled for two seeds is
    there once.

    Raises:
        InputError: distances that are none, a size or batch_size below 1, or edges that cannot be.

    >>> from torch_geometric.data import Data
    >>> ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6])
    >>> data = Data(x=torch.eye(6), edge_index=ring, y=torch.arange(6) % 2)
    >>> sampler = Sampler(data, hops=[2], size=4, batch_size=3, shuffle=False)
    >>> batch = next(iter(sampler))
    >>> len(sampler), batch.batch_size, batch.n_id.tolist(), batch.edge_attr.flatten().tolist()
    (2, 3, [0, 1, 2, 3, 4, 5], [2, 2, 2, 2, 2, 2])
    """

    def __init__(
        self,
        data: Data,
        hops: Sequence[int],
        size: int,
        *,
        batch_size: int = 128,
        nodes: Any = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        """See the class."""
        if absent := missing(["extra:torch_geometric"]):
            raise InputError("PyG, to make batches of its Data", absent[0], "install it, as the line above says")
        self._hops = sorted({int(hop) for hop in hops})
        if not self._hops or self._hops[0] < 1:
            raise InputError("distances from 1 on", f"{list(hops)}", "for example hops=[1, 2]")
        for name, value in (("size", size), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"a {name} of at least 1", f"{value}", f"for example {name}=4")
        count = int(data.num_nodes or 0)
        self._data = data
        self._indptr, self._indices, _ = simple_edges(np.asarray(data.edge_index), count)
        self._nodes = np.arange(count) if nodes is None else _positions(nodes, count)
        self._size, self._batch, self._shuffle, self._seed, self._passes = size, batch_size, shuffle, seed, 0

    def __len__(self) -> int:
        """Batches of a pass."""
        return math.ceil(len(self._nodes) / self._batch)

    def __iter__(self) -> Iterator[Data]:
        """A pass over the seeds, with other sampled nodes than the last one."""
        rng = stream("tools.sampler", self._seed, self._passes)
        self._passes += 1
        order = rng.permutation(self._nodes) if self._shuffle else self._nodes
        searched = groups(self._indptr, self._indices, max_hops=self._hops[-1], sources=order, batch=self._batch)
        for source_B, found in searched:
            yield self._batch_of(source_B, np.stack([draw(found[z - 1], self._size, rng) for z in self._hops], 1))

    def _batch_of(self, source_B: np.ndarray, sampled_BZS: np.ndarray) -> Data:
        from torch_geometric.data import Data

        seed_at, hop_at, _ = np.nonzero(sampled_BZS >= 0)
        node_M = sampled_BZS[sampled_BZS >= 0]
        others = np.setdiff1d(node_M, source_B)
        n_id = np.concatenate([source_B, others])
        place_N = np.full(int(self._data.num_nodes or 0), -1)
        place_N[n_id] = np.arange(len(n_id))
        ids = torch.from_numpy(n_id.astype(np.int64))
        batch = Data(
            x=None if self._data.x is None else self._data.x[ids],
            edge_index=torch.from_numpy(np.stack([place_N[node_M], seed_at]).astype(np.int64)),
            edge_attr=torch.tensor(self._hops)[torch.from_numpy(hop_at)][:, None],
            y=self._data.y[ids] if isinstance(self._data.y, torch.Tensor) else None,
        )
        batch.n_id, batch.batch_size = ids, len(source_B)
        return batch


def _positions(nodes: Any, count: int) -> np.ndarray:
    """Positions of a mask, or positions."""
    found = np.asarray(nodes)
    if found.dtype == bool:
        found = np.flatnonzero(found) if len(found) == count else np.array([count])
    if found.ndim != 1 or not len(found) or found.min() < 0 or found.max() >= count:
        raise InputError(f"positions of nodes from 0 to {count - 1}, or a mask of {count}", "others", "name some nodes")
    return found
