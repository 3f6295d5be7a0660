"""The one-layer graph transformer of Li et al. (ICML 2024, arXiv 2406.01977) on sampled neighbourhoods.

    F(n) = a^T relu( W_O W_V sum_{s in T^n} x_s attn_sn ),   attn_sn = softmax_s( (W_K x_s)^T W_Q x_n + b_d(s, n) )

    symbol   meaning                                                              shape
    x_n      pattern of node n                                                    (d,), d = M
    b        bias of each distance d(s, n), 0 at the start                        (Z,)
    W_Q W_K  w0 I + delta N(0, 1/d) at the start                                  (d, d)
    W_V      an orthogonal matrix + sigma N(0, 1/d) at the start                  (d, d)
    W_O      N(0, xi^2) at the start                                              (m, d)
    a        readout, +1/sqrt(m) or -1/sqrt(m), half each, fixed                  (m,)

Three networks: "encoded" as above, "plain" without b, and "uniform" with W_Q = W_K = b = 0 for ever, the graph
convolutional network that the paper compares with. Training has two phases, as in the paper: W_O alone, then all.

Nodes of one pattern at one distance are attended alike, so that a neighbourhood is the number of nodes of each pattern
at each distance, whose logit adds the logarithm of the number (`lemmata.lab.counts`). That is exact over whole
trajectories (tests/test_graph_network.py, against the textbook form in tests/textbook_graph.py).

Shapes: E members, B nodes of a batch, N nodes, Z distances, M patterns, m neurons, d coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self, final

import numpy as np
import torch
from torch import Tensor

from lemmata.graph.data import Planted, Structure, measured_margins, planted, structure
from lemmata.lab.counts import attend_counts
from lemmata.lab.ensemble import Job, Params, Phase
from lemmata.lab.errors import ConstantError
from lemmata.lab.job import HingeJob
from lemmata.lab.patterns import orthonormal
from lemmata.lab.sparing import places
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant

__all__ = ["NETWORKS", "Nodes", "OneLayer", "attention", "forward"]

NETWORKS = ("encoded", "plain", "uniform")


@final
class Nodes(NamedTuple):
    """Nodes and their neighbourhoods: own pattern_EB, counts count_EBZM, label_EB."""

    pattern_EB: Tensor
    count_EBZM: Tensor
    label_EB: Tensor

    def take(self, member_E: Tensor, at_EK: Tensor | None) -> Nodes:
        """The nodes of some members: all, or K of each."""
        own = places(member_E, at_EK)
        return Nodes(*(part[own] for part in self))


def attention(params: Params, nodes: Nodes) -> Tensor:
    """What each node attends to: the share attn_EBZM of a pattern's nodes at a distance, together."""
    score_Edd = params["W_Q"].transpose(1, 2) @ params["W_K"]
    E, B, Z, M = nodes.count_EBZM.shape
    score_EBM = score_Edd.gather(1, nodes.pattern_EB.unsqueeze(2).expand(-1, -1, M))
    score_EBZM = score_EBM.unsqueeze(2) + params["b"].view(E, 1, Z, 1)
    return attend_counts(score_EBZM.flatten(2), nodes.count_EBZM.flatten(2)).view(E, B, Z, M)


def forward(params: Params, nodes: Nodes) -> Tensor:
    """The outputs of the members at their nodes, output_EB; the sign is the answer."""
    row_Edm = (params["W_O"] @ params["W_V"]).transpose(1, 2)
    hidden_EBm = torch.bmm(attention(params, nodes).sum(2), row_Edm).relu()
    # A product with one column would round by how many members there are.
    return (hidden_EBm * params["a"].unsqueeze(1)).sum(-1)


@final
@dataclass(frozen=True, kw_only=True)
class OneLayer(Trainee):
    """The network, trained by gradient descent on the hinge loss of the labelled nodes of one graph.

    >>> net = OneLayer(steps=2, m=8).train(seeds=[0])
    >>> {name: tuple(p.shape) for name, p in net.params.items() if name != "a"}
    {'b': (1, 4), 'W_Q': (1, 10, 10), 'W_K': (1, 10, 10), 'W_V': (1, 10, 10), 'W_O': (1, 8, 10)}
    """

    kind: ClassVar[str] = "graph.one-layer"
    version: ClassVar[int] = 3
    together: ClassVar[int] = 16
    most: ClassVar[int] = 64

    lr: float = constant(0.2, "learning rate eta", origin="chosen", room="training", low=0)
    first: int = constant(
        50, "steps in which W_O alone moves, of all", origin="chosen", room="training", low=0, shape=True
    )
    mult: float = constant(
        5.0, "learning rate of W_Q and W_K over eta", origin="chosen", room="training", low=0, shape=True
    )
    mult_b: float = constant(15.0, "that of b over eta", origin="chosen", room="training", low=0, shape=True)
    B: int = constant(20, "nodes in a batch", origin="chosen", room="training", low=1, shape=True)
    labelled: int = constant(200, "labelled nodes |L|", origin="given", room="data", low=2)
    flipped: float = constant(
        0.0, "share of the labelled nodes whose label is wrong", origin="given", room="data", low=0, high=1
    )
    N: int = constant(1000, "nodes", origin="chosen", room="data", low=10)
    tested: int = constant(300, "nodes to test on", origin="chosen", room="data", low=1)
    degree: float = constant(5.0, "mean degree", origin="chosen", room="data", low=1, high=100)
    core: int = constant(2, "core distance z_m", origin="given", room="data", low=1, high=2)
    margin: float = constant(
        0.64, "equal less other labels at the core distance, over all", origin="given", room="data", low=0, high=1
    )
    plus: float = constant(0.5, "share of nodes with label +1", origin="given", room="data", low=0.05, high=0.95)
    gamma_d: float = constant(0.4, "share of discriminative nodes, gamma_d", origin="given", room="data", low=0, high=1)
    eps_S: float = constant(
        0.0, "confusion ratio: share of these that have the other pattern", origin="given", room="data", low=0, high=0.5
    )
    violated: float = constant(
        0.0, "share of nodes whose label is turned against the vote", origin="given", room="data", low=0, high=0.5
    )
    M: int = constant(10, "patterns, and coordinates of a node", origin="chosen", room="data", low=3, shape=True)
    Z: int = constant(4, "largest distance", origin="chosen", room="data", low=1, high=20, shape=True)
    S: int = constant(16, "nodes sampled at a distance", origin="chosen", room="data", low=1, high=1000)
    own: bool = constant(False, "a node sees itself, at distance 0", origin="chosen", room="data", shape=True)
    network: str = constant("encoded", "attention", origin="given", room="network", choices=NETWORKS, shape=True)
    m: int = constant(40, "neurons, rows of W_O", origin="chosen", room="network", low=2, shape=True)
    w0: float = constant(0.3, "W_Q = W_K = w0 I at the start", origin="chosen", room="network")
    delta: float = constant(0.1, "initial error of W_Q and W_K", origin="given", room="network", low=0)
    sigma: float = constant(0.1, "initial error of W_V", origin="given", room="network", low=0)
    xi: float = constant(0.01, "W_O ~ N(0, xi^2) at the start", origin="chosen", room="network", low=0)

    def validate(self) -> None:
        """Labelled nodes and nodes to test on are different ones that have neighbours, and the core is within reach."""
        # The larger class has the smaller degree. Of the nodes without an edge there are hardly ever more than this.
        alone = self.N * math.exp(-self.degree / 2 / max(self.plus, 1 - self.plus))
        there = int(self.N - alone - 4 * math.sqrt(alone))
        if self.labelled + self.tested > there:
            got = f"labelled = {self.labelled} and tested = {self.tested}"
            expected = f"labelled and tested nodes among about {there} of {self.N} that have neighbours"
            raise ConstantError(expected, got, "raise N, or label fewer")
        if self.core > self.Z:
            raise ConstantError(f"a core distance of at most Z = {self.Z}", f"core = {self.core}", "raise Z")

    @property
    def distances(self) -> range:
        """The distances that b has a number for."""
        return range(0 if self.own else 1, self.Z + 1)

    def work(self) -> float:
        """Operations of all steps: scores and averages of every count, neurons of every node, and twice that back."""
        each = len(self.distances) * self.M * 4 + self.M * self.m
        return 6.0 * self.steps * (self.B * each + self.m * self.M**2 + self.M**3)

    def phases(self) -> tuple[Phase, ...]:
        """W_O alone, then all that the network has; b, W_Q and W_K at rates of their own."""
        attention = {
            "encoded": {"W_Q": self.mult, "W_K": self.mult, "b": self.mult_b},
            "plain": {"W_Q": self.mult, "W_K": self.mult, "b": 0.0},
            "uniform": {"W_Q": 0.0, "W_K": 0.0, "b": 0.0},
        }[self.network]
        first = min(self.first, self.steps)
        frozen = {name: 0.0 for name in ("a", "b", "W_Q", "W_K", "W_V")}
        return Phase(first, frozen), Phase(self.steps - first, {"a": 0.0, **attention})

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis; the same draws whatever their sizes."""
        rng = stream("graph.weights", self.M, self.m, seed)
        d = self.M
        V_dd = orthonormal(rng, d, d)
        error_3dd = rng.standard_normal((3, d, d), dtype=np.float32) / np.float32(math.sqrt(d))
        start_dd = self.w0 * np.eye(d, dtype=np.float32)
        found = {
            "b": np.zeros(len(self.distances), np.float32),
            "W_Q": start_dd + np.float32(self.delta) * error_3dd[0],
            "W_K": start_dd + np.float32(self.delta) * error_3dd[1],
            "W_V": V_dd + np.float32(self.sigma) * error_3dd[2],
            "W_O": np.float32(self.xi) * rng.standard_normal((self.m, d), dtype=np.float32),
            "a": np.where(np.arange(self.m) < self.m // 2, 1, -1).astype(np.float32) / np.float32(math.sqrt(self.m)),
        }
        if self.network == "uniform":
            found |= {name: np.zeros((d, d), np.float32) for name in ("W_Q", "W_K")}
        return {name: torch.from_numpy(p) for name, p in found.items()}

    def structure(self, seed: int) -> Structure:
        """The edges of one seed, which networks and shares of discriminative nodes have in common."""
        return structure(self.N, self.degree, self.core, self.margin, self.plus, self.Z, self.S, seed)

    def graph(self, seed: int) -> Planted:
        """The graph of one seed, a function of the constants of its edges and patterns."""
        return planted(
            self.structure(seed),
            M=self.M,
            gamma_d=self.gamma_d,
            eps_S=self.eps_S,
            violated=self.violated,
            own=self.own,
            seed=seed,
        )

    def margins(self, seed: int) -> np.ndarray:
        """Delta_n(z) of every node, (N, Z)."""
        return measured_margins(self.structure(seed), self.graph(seed), Z=self.Z)

    def training_nodes(self, seed: int) -> Nodes:
        """The labelled nodes of one member (E = 1), a share `flipped` of them with the wrong label.

        More labelled nodes are the same ones and some more.
        """
        graph = self.graph(seed)
        nodes = _nodes(graph, graph.order_N[: -self.tested][: self.labelled])
        wrong_B = stream("graph.flipped", self.N, seed).random(self.N)[: self.labelled] < self.flipped
        turn_B = torch.from_numpy(np.where(wrong_B, np.float32(-1), np.float32(1)))[: nodes.label_EB.shape[1]]
        return nodes._replace(label_EB=nodes.label_EB * turn_B)

    def held_out(self, seed: int) -> Nodes:
        """The nodes to test one member on, none of them ever labelled."""
        graph = self.graph(seed)
        return _nodes(graph, graph.order_N[-self.tested :])

    @classmethod
    def gap(cls, params: Params, nodes: Nodes) -> Tensor:
        """1 - y F at every node of a batch, (E, B): the hinge loss where it is above 0."""
        return 1 - nodes.label_EB * forward(params, nodes)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, each on batches of its own labelled nodes, drawn with replacement."""
        B = configs[0].B
        sets = [config.training_nodes(seed) for config, seed in zip(configs, seeds, strict=True)]

        def block(b: int) -> list[Nodes]:
            members = []
            for own, c, seed in zip(sets, configs, seeds, strict=True):
                count = own.label_EB.shape[1]
                at_X = stream("graph.batches", c.labelled, seed, b).integers(count, size=BLOCK * B)
                members.append(Nodes(*(part[:, at_X] for part in own)))
            parts = [torch.cat(part).to(device).split(B, 1) for part in zip(*members, strict=True)]
            return [Nodes(*step) for step in zip(*parts, strict=True)]

        return HingeJob(configs, seeds, device, gap=cls.gap, take=Nodes.take, draws=Blocks(block))


def _nodes(graph: Planted, at_B: np.ndarray) -> Nodes:
    return Nodes(
        torch.from_numpy(graph.pattern_N[at_B])[None],
        torch.from_numpy(graph.count_NZM[at_B].astype(np.float32))[None],
        torch.from_numpy(graph.label_N[at_B])[None],
    )
