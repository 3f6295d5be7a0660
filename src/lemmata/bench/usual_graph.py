"""The usual script of graphs: the one-layer network of Li et al. (ICML 2024, arXiv 2406.01977), model after model.

What Lemmata is measured against: the formula

    F(n) = a^T relu( W_O sum_s W_V x_s attn_sn ),   attn_sn = softmax_s( (W_K x_s)^T W_Q x_n + b_d(s, n) )

as one writes it down, a module with four matrices and a bias a distance, the sampled nodes of every node written out,
padded to one number and drawn beforehand, a DataLoader that shuffles the nodes anew in every epoch, autograd and
torch's own SGD; and where several models are needed, one single-threaded process a core. It is on its own: but for the
loops of `usual.py` it uses nothing of Lemmata.

    python -m lemmata.bench.usual_graph --models 4 --steps 300
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemmata.bench.usual import Script, main

__all__ = ["SCRIPT", "Network", "draw_prompts", "loss"]

M = 10  # patterns, as many as coordinates
HOPS, SIZE = 4, 16  # distances, and nodes sampled at each at most
DEGREE = 5.0  # neighbours of a node, on average
EQUAL = 0.1  # share of the edges that join equal labels: distance 2 is the core
GAMMA = 0.4  # share of nodes with a label's pattern
NEURONS = 40
W0, DELTA, SIGMA, XI = 0.3, 0.1, 0.1, 0.01  # W_Q = W_K = W0 I and W_V orthogonal, to errors; W_O ~ N(0, XI^2)
BATCH = 20
LEARNING_RATE = 0.2
DATASET = 200  # labelled nodes


class Network(nn.Module):
    """One layer of attention with a bias a distance and a hidden layer on top; the sign is the answer."""

    def __init__(self, d: int = M, m: int = NEURONS) -> None:
        super().__init__()
        self.W_Q = nn.Parameter(W0 * torch.eye(d) + DELTA * torch.randn(d, d) / d**0.5)
        self.W_K = nn.Parameter(W0 * torch.eye(d) + DELTA * torch.randn(d, d) / d**0.5)
        self.W_V = nn.Parameter(torch.linalg.qr(torch.randn(d, d)).Q + SIGMA * torch.randn(d, d) / d**0.5)
        self.W_O = nn.Parameter(XI * torch.randn(m, d))
        self.b = nn.Parameter(torch.zeros(HOPS))
        self.a: Tensor
        self.register_buffer("a", torch.cat([torch.ones(m // 2), -torch.ones(m - m // 2)]) / m**0.5)

    def forward(self, node: Tensor, sampled: Tensor, hop: Tensor, there: Tensor) -> Tensor:
        """Outputs (batch,) on nodes (batch, d), sampled ones (batch, S, d), the places of their distances, a mask."""
        query = (node @ self.W_Q.T).unsqueeze(1)
        keys, values = sampled @ self.W_K.T, sampled @ self.W_V.T
        scores = (query @ keys.transpose(1, 2)).squeeze(1) + self.b[hop]
        attention = torch.softmax(scores.masked_fill(~there, -torch.inf), dim=-1)
        pooled = (attention.unsqueeze(1) @ values).squeeze(1)
        return torch.relu(pooled @ self.W_O.T) @ self.a


def draw_prompts(count: int) -> tuple[Tensor, ...]:
    """Nodes, sampled ones, their distances, a mask and labels +-1, on orthonormal patterns drawn at random.

    Neighbourhoods are those of a tree of this degree: at distance z a share (1 + (2 EQUAL - 1)^z) / 2 has a node's
    label.
    """
    patterns = torch.linalg.qr(torch.randn(M, M)).Q
    labels = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)
    hop = torch.arange(HOPS).repeat_interleave(SIZE).expand(count, -1)
    near = torch.poisson(torch.full((count, 1), DEGREE)).clamp(1, SIZE)
    there = (torch.arange(HOPS * SIZE) % SIZE < near) | (hop > 0)
    equal = torch.rand(count, HOPS * SIZE) < (1 + (2 * EQUAL - 1) ** (hop + 1)) / 2
    of_sampled = torch.where(equal, labels.unsqueeze(1), -labels.unsqueeze(1))
    return patterns[_pattern(labels)], patterns[_pattern(of_sampled)], hop.clone(), there, labels


def _pattern(labels: Tensor) -> Tensor:
    """The pattern of each node: its label's, or one of the irrelevant ones."""
    irrelevant = torch.randint(2, M, labels.shape)
    return torch.where(torch.rand(labels.shape) < GAMMA, (labels < 0).long(), irrelevant)


def loss(network: Network, node: Tensor, sampled: Tensor, hop: Tensor, there: Tensor, labels: Tensor) -> Tensor:
    """The hinge loss of a batch."""
    return torch.relu(1 - labels * network(node, sampled, hop, there)).mean()


SCRIPT = Script(draw_prompts, Network, loss, dataset=DATASET, batch=BATCH, learning_rate=LEARNING_RATE)

if __name__ == "__main__":
    main(SCRIPT)
