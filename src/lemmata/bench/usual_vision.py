"""The usual script of ViT: train the one-layer network of Li et al. (ICLR 2023, arXiv 2302.06015), model after model.

What Lemmata is measured against: the formula

    F(X) = (1/L) sum_l a^T relu( W_O sum_s W_V x_s attn_sl ),   attn_sl = softmax_s( (W_K x_s)^T W_Q x_l )

as one writes it down, a module with four matrices, all samples written out token by token and drawn beforehand, a
DataLoader that shuffles them anew in every epoch, autograd and torch's own SGD; and where several models are needed,
one single-threaded process a core. It is on its own: but for the loops of `usual.py` it uses nothing of Lemmata.

    python -m lemmata.bench.usual_vision --models 4 --steps 300
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemmata.bench.usual import Script, main

__all__ = ["SCRIPT", "Network", "draw_prompts", "loss"]

M = 20  # patterns, as many as coordinates
LENGTH = 200  # tokens in a sample
ALPHA = 0.3  # share of label-relevant tokens
RATIO = 0.1  # confusion tokens over relevant ones
MIXING = 4  # irrelevant patterns in a sample
NEURONS = 40
DELTA, SIGMA, XI = 0.1, 0.1, 0.01  # W_Q = W_K = I and W_V orthogonal, to such errors, and W_O ~ N(0, XI^2) at the start
BATCH = 20
LEARNING_RATE = 0.2
DATASET = 100  # samples of a model


class Network(nn.Module):
    """One layer of attention with a hidden layer on top, averaged over tokens; the sign is the answer."""

    def __init__(self, d: int = M, m: int = NEURONS) -> None:
        super().__init__()
        self.W_Q = nn.Parameter(torch.eye(d) + DELTA * torch.randn(d, d) / d**0.5)
        self.W_K = nn.Parameter(torch.eye(d) + DELTA * torch.randn(d, d) / d**0.5)
        self.W_V = nn.Parameter(torch.linalg.qr(torch.randn(d, d)).Q + SIGMA * torch.randn(d, d) / d**0.5)
        self.W_O = nn.Parameter(XI * torch.randn(m, d))
        self.a: Tensor
        self.register_buffer("a", torch.cat([torch.ones(m // 2), -torch.ones(m - m // 2)]) / m**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Outputs (batch,) on samples (batch, tokens, d)."""
        queries, keys, values = (tokens @ W.T for W in (self.W_Q, self.W_K, self.W_V))
        attention = torch.softmax(queries @ keys.transpose(1, 2), dim=-1)
        return (torch.relu(attention @ values @ self.W_O.T) @ self.a).mean(-1)


def draw_prompts(count: int) -> tuple[Tensor, Tensor]:
    """Samples (count, LENGTH, M) and labels +-1, on random orthonormal patterns, the first two of them labels'."""
    patterns = torch.linalg.qr(torch.randn(M, M)).Q
    labels = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)
    own = (labels < 0).long().unsqueeze(1)
    relevant = round(ALPHA * LENGTH)
    confusing = round(RATIO * ALPHA * LENGTH)
    mixed = 2 + torch.rand(count, M - 2).argsort(1)[:, :MIXING]
    irrelevant = mixed.gather(1, torch.randint(MIXING, (count, LENGTH - relevant - confusing)))
    of_token = torch.cat([own.expand(-1, relevant), (1 - own).expand(-1, confusing), irrelevant], 1)
    return patterns[of_token], labels


def loss(network: Network, tokens: Tensor, labels: Tensor) -> Tensor:
    """The hinge loss of a batch."""
    return torch.relu(1 - labels * network(tokens)).mean()


SCRIPT = Script(draw_prompts, Network, loss, dataset=DATASET, batch=BATCH, learning_rate=LEARNING_RATE)

if __name__ == "__main__":
    main(SCRIPT)
