"""A one-layer graph transformer on nodes sampled by distance, with a scalar bias for each distance.

    H       = ReLU(x W_in + b_in)                             of every node, once a step
    score_s = (H_n W_Q) (H_s W_K)^T / sqrt(D) + b_z           s one of node n's sampled nodes, z its distance from n
    attend  = sum_s softmax(score)_s H_s W_V                  0 where nobody was sampled
    F       = ReLU([H_n, attend] W_1 + b_1) W_2 + b_2         H_n only with `own`

    symbol   meaning                                                                          shape
    x        features, rows or columns brought to one scale (`Graph features`)               (N, C)
    W_in     read-in, N(0, 1/C)                                                               (C, D)
    W_Q...   queries, keys, values, N(0, 1/D); no W_Q and W_K with uniform attention          (D, D)
    bias     b_z, from 0; only with attention "encoded"                                       (Z)
    W_1 W_2  output, N(0, 1/rows)                                                             (2 D or D, D), (D, K)

Cross-entropy plus decay/2 of all squared weights but `bias`, by Adam. Dropout of the input drops a feature of all nodes
at once, which is dropout of rows of W_in: so x, the same for all members, is multiplied and never copied.

Source: Section 2, arXiv 2406.01977; softmax over several classes and the sampling by distance after its experiments.

Shapes: E members, B nodes of a batch, N nodes, C features, D width, Z distances, T sampled nodes, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, Self, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.lab.ensemble import Adam, Job, Params
from lemmata.lab.errors import ConstantError
from lemmata.lab.graph_sets import open_graph
from lemmata.lab.hop_data import SAMPLINGS, SCALINGS, Table, features, hops_of, split, table
from lemmata.lab.job import StackedJob
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["Batch", "HopTransformer", "forward", "hidden", "seen_by"]

ATTENTIONS = ("encoded", "plain", "uniform")
# The score of a node that was not sampled: finite, so that 0 times it is 0.
UNSEEN = -1e9
# Measured on PubMed with 4 to 192 sampled nodes.
GATHERED = 50


@final
class Batch(NamedTuple):
    """Nodes, what was sampled around them (-1: nobody), at which distance (from 0), their labels, and dropout."""

    node_EB: Tensor
    key_EBT: Tensor
    hop_EBT: Tensor
    label_EB: Tensor
    input_EC: Tensor
    head_EBD: Tensor


def hidden(params: Params, feature_NC: Tensor, input_EC: Tensor | None = None) -> Tensor:
    """H of every node, (E, N, D); `input_EC` multiplies the features.

    >>> hidden({"W_in": torch.ones(2, 3, 4), "b_in": torch.zeros(2, 4)}, torch.ones(5, 3)).shape
    torch.Size([2, 5, 4])
    """
    W_in_ECD = params["W_in"] if input_EC is None else params["W_in"] * input_EC.unsqueeze(-1)
    # Member by member: all columns in one product would round by how many members there are.
    h_END = torch.stack([feature_NC @ W_in_CD for W_in_CD in W_in_ECD.unbind()])
    return (h_END + params["b_in"].unsqueeze(1)).relu()


def forward(
    params: Params, h_END: Tensor, node_EB: Tensor, key_EBT: Tensor, hop_EBT: Tensor, head_EBD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The outputs F, (E, B, K), and the attention on sampled nodes, (E, B, T), which is 0 on nobody.

    `head_EBD` multiplies what the output reads, its dropout.
    """
    own_EBD = _gathered(h_END, node_EB)
    read, attn_EBT = [own_EBD] if _reads_own(params) else [], key_EBT.new_zeros(key_EBT.shape, dtype=h_END.dtype)
    if "W_V" in params:
        present_EBT = key_EBT >= 0
        key_EBTD = _gathered(h_END, key_EBT.clamp_min(0).flatten(1)).view(*key_EBT.shape, -1)
        score_EBT = attn_EBT
        if "W_Q" in params:
            query_EBD = torch.bmm(torch.bmm(own_EBD, params["W_Q"]), params["W_K"].transpose(1, 2))
            score_EBT = (key_EBTD * query_EBD.unsqueeze(2)).sum(-1) * own_EBD.shape[-1] ** -0.5
        if "bias" in params:
            bias_EX = params["bias"].gather(1, hop_EBT.clamp_min(0).flatten(1))
            score_EBT = score_EBT + bias_EX.view(hop_EBT.shape)
        attn_EBT = score_EBT.masked_fill(~present_EBT, UNSEEN).softmax(-1) * present_EBT
        read.append(torch.bmm((key_EBTD * attn_EBT.unsqueeze(-1)).sum(2), params["W_V"]))
    x_EBD = torch.cat(read, -1) if head_EBD is None else torch.cat(read, -1) * head_EBD
    inner_EBD = torch.baddbmm(params["b_1"].unsqueeze(1), x_EBD, params["W_1"]).relu()
    return torch.baddbmm(params["b_2"].unsqueeze(1), inner_EBD, params["W_2"]), attn_EBT


def _reads_own(params: Params) -> bool:
    """Whether the output sees the node's own features: W_1 has room for both, or there is nothing else."""
    return "W_V" not in params or params["W_1"].shape[1] > params["W_V"].shape[2]


def _gathered(h_END: Tensor, at_EX: Tensor) -> Tensor:
    """Rows of each member, (E, X, D); member by member, so that none copies what it does not read."""
    return torch.stack([h_ND.index_select(0, at_X) for h_ND, at_X in zip(h_END.unbind(), at_EX.unbind(), strict=True)])


def seen_by(config: HopTransformer, seed: int, node_B: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of one member with what it has sampled around them, as `forward` takes them with E = 1."""
    found = config.table(seed)
    parts = (node_B, found.key_NT[node_B], found.hop_NT[node_B])
    node, key, hop = (torch.from_numpy(part.astype(np.int64))[None] for part in parts)
    return node, key, hop


@final
@dataclass(frozen=True, kw_only=True)
class HopTransformer(Trainee):
    """The graph transformer on nodes sampled by distance.

    `graph` is a name that `lemmata.lab.graph_sets.open_graph` knows, or the key of a graph that was kept. last = 0 is
    without neighbours.

    >>> from lemmata.lab import graphs
    >>> ring = graphs.keep(graphs.graph_of([[*range(20)], [*range(1, 20), 0]], np.eye(20), [0, 1] * 10, name="ring"))
    >>> net = HopTransformer(graph=ring, last=3, S=2, steps=2, D=8).train(seeds=[0, 1])
    >>> net.params["bias"].shape
    torch.Size([2, 3])
    """

    kind: ClassVar[str] = "lab.hops"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 2

    lr: float = constant(0.01, "learning rate of Adam", origin="chosen", room="training", low=0)
    steps: int = constant(300, "gradient steps", origin="chosen", room="training", low=0, shape=True)
    decay: float = constant(5e-4, "weight decay, of all weights but b_z", origin="chosen", room="training", low=0)
    drop_input: float = constant(0.3, "share of features dropped", origin="chosen", room="training", low=0, high=0.99)
    drop_head: float = constant(
        0.3, "share dropped of what the output reads", origin="chosen", room="training", low=0, high=0.99
    )
    B: int = constant(1024, "nodes in a batch", origin="chosen", room="data", low=1, shape=True)
    graph: str = constant("PubMed", "the graph, by name", origin="given", room="data", shape=True)
    labelled: float = constant(
        0.6,
        "share of the labelled nodes to train on; of the rest half choose the step, half test",
        origin="chosen",
        room="data",
        low=0,
        high=1,
    )
    first: int = constant(1, "the nearest distance", origin="given", room="data", low=1, high=100, shape=True)
    last: int = constant(
        12, "the farthest distance; 0: no neighbours", origin="given", room="data", low=0, high=100, shape=True
    )
    only: str = constant(
        "", "distances among them that are used, such as 1,2,12; all if empty", origin="chosen", room="data", shape=True
    )
    S: int = constant(4, "sampled nodes, a number a distance", origin="chosen", room="data", low=1, shape=True)
    sampling: str = constant(
        "distance",
        "S nodes at each distance, or as many in all from the whole ball",
        origin="chosen",
        room="data",
        choices=SAMPLINGS,
        shape=True,
    )
    scaling: str = constant(
        "rows",
        "whether rows of features get one length, or columns mean 0 and one spread",
        origin="chosen",
        room="data",
        choices=SCALINGS,
        shape=True,
    )
    scale: float = constant(3.0, "that length, or that spread", origin="chosen", room="data", low=0, shape=True)
    D: int = constant(32, "width", origin="chosen", room="network", low=1, shape=True)
    own: bool = constant(True, "whether the output sees the node itself", origin="chosen", room="network", shape=True)
    attention: str = constant(
        "encoded",
        "with the bias b_z, without it, or uniform over the sampled nodes",
        origin="given",
        room="network",
        choices=ATTENTIONS,
        shape=True,
    )

    def validate(self) -> None:
        """There is something to read, and the distances are some."""
        if self.last and self.first > self.last:
            raise ConstantError("first up to last", f"first = {self.first}, last = {self.last}", "or last = 0 for none")
        if not self.hops and not self.own:
            raise ConstantError("distances, or the node itself", "neither", "set last, or own = true")
        if self.only and self.sampling == "ball":
            raise ConstantError("only with sampling distance", "a ball", "leave only out, or choose sampling=distance")

    @property
    def hops(self) -> tuple[int, ...]:
        """The distances that are used."""
        return hops_of(self.first, self.last, self.only)

    @property
    def T(self) -> int:
        """Sampled nodes of a node."""
        return len(self.hops) * self.S

    def optimizer(self) -> Adam:
        """Adam, with its usual constants."""
        return Adam()

    def work(self) -> float:
        """Three passes of read-in and of the batch; what it takes to sample is not counted.

        What is done with sampled nodes runs at the speed of memory: an operation takes as long as GATHERED in a
        product.
        """
        graph, D = open_graph(self.graph), self.D
        read_in = graph.feature_NC.size * D
        token = GATHERED * self.T * 3 * D + 6 * D * D
        return 6.0 * self.steps * (read_in + self.B * token)

    def table(self, seed: int) -> Table:
        """What was sampled around every node."""
        at = (self.first, self.last, self.only) if self.hops else (1, 0, "")
        return table(self.graph, *at, self.S, self.sampling, seed)

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        graph, D = open_graph(self.graph), self.D
        rng = stream("lab.hops.weights", self.axes("network"), self.graph, seed)

        def gaussian(rows: int, columns: int) -> Tensor:
            std = np.float32(rows**-0.5)
            return torch.from_numpy(std * rng.standard_normal((rows, columns), dtype=np.float32))

        weights = {"W_in": gaussian(graph.feature_NC.shape[1], D), "b_in": torch.zeros(D)}
        if self.hops:
            weights["W_V"] = gaussian(D, D)
            if self.attention != "uniform":
                weights |= {"W_Q": gaussian(D, D), "W_K": gaussian(D, D)}
            if self.attention == "encoded":
                weights["bias"] = torch.zeros(len(self.hops))
        read = D * (bool(self.hops) + self.own)
        weights |= {"W_1": gaussian(read, D), "b_1": torch.zeros(D)}
        return weights | {"W_2": gaussian(D, graph.classes), "b_2": torch.zeros(graph.classes)}

    def batch(self, seed: int, step: int) -> Batch:
        """The nodes of one member's step (E = 1): the same for all networks."""
        train_X, graph = split(self.graph, self.labelled, seed).train, open_graph(self.graph)
        node_B = train_X[stream("lab.hops.batch", self.graph, seed, step).integers(len(train_X), size=self.B)]
        rng = stream("lab.hops.dropout", self.graph, seed, step)
        read = self.D * (bool(self.hops) + self.own)
        dropout = [
            torch.from_numpy((rng.random(shape, dtype=np.float32) >= share) / np.float32(1 - share))[None]
            for shape, share in (((graph.feature_NC.shape[1],), self.drop_input), ((self.B, read), self.drop_head))
        ]
        return Batch(*seen_by(self, seed, node_B), torch.from_numpy(graph.label_N[node_B])[None], *dropout)

    @classmethod
    def loss(cls, feature_NC: Tensor, decay_E: Tensor, params: Params, batch: Batch) -> Tensor:
        """The mean cross-entropy and the decay, (E,)."""
        h_END = hidden(params, feature_NC, batch.input_EC)
        logit_EBK, _ = forward(params, h_END, batch.node_EB, batch.key_EBT, batch.hop_EBT, batch.head_EBD)
        entropy_EB = F.cross_entropy(logit_EBK.flatten(0, 1), batch.label_EB.flatten(), reduction="none")
        squares = [p.square().flatten(1).sum(1) for name, p in params.items() if name != "bias"]
        return entropy_EB.view(batch.label_EB.shape).mean(1) + decay_E / 2 * torch.stack(squares).sum(0)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, each on a split, sampled nodes and batches of its own."""
        feature_NC = torch.from_numpy(features(configs[0].graph, configs[0].scaling, configs[0].scale)).to(device)
        decay_E = torch.tensor([config.decay for config in configs], device=device)
        loss: Callable[[Params, Batch], Tensor] = partial(cls.loss, feature_NC, decay_E)

        def block(b: int) -> list[Batch]:
            found: list[Batch] = []
            for step in range(b * BLOCK, (b + 1) * BLOCK):
                members = [config.batch(seed, step) for config, seed in zip(configs, seeds, strict=True)]
                found.append(Batch(*(torch.cat(parts).to(device) for parts in zip(*members, strict=True))))
            return found

        return StackedJob(configs, seeds, device, loss=loss, draws=Blocks(block))
