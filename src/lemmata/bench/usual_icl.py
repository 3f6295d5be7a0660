"""The usual script of ICL: train the one-layer network of Li et al. (ICML 2024, arXiv 2402.15607), model after model.

What Lemmata is measured against: the formula

    F(P) = a^T relu( W_O sum_s W_V p_s attn_s ),   attn_s = softmax_s( (W_K p_s)^T W_Q p_query ),   s = 1 .. l+1

as one writes it down, a module with four matrices, all prompts multiplied out and drawn beforehand, a DataLoader that
shuffles them anew in every epoch, autograd and torch's own SGD; and where several models are needed, one
single-threaded process a core. It is on its own: but for the loops of `usual.py` it uses nothing of Lemmata.

    python -m lemmata.bench.usual_icl --models 4 --steps 300
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemmata.bench.usual import Script, main

__all__ = ["SCRIPT", "Network", "draw_prompts", "loss"]

M1, M2 = 6, 24  # relevant and irrelevant patterns
D_X, D_Y = M1 + M2, 30  # dimensions of an input x and of a label y q, together those of a column (x; y q)
LENGTH = 20  # examples in a prompt
ALPHA = 0.8  # share of the examples that carry one of the task's two patterns
BETA = 2.0  # norm of the patterns
KAPPA = 0.5  # x = beta (mu_j + kappa nu_k), kappa uniform on (-KAPPA, KAPPA)
NEURONS = 400
DELTA, XI = 0.2, 0.03  # W_Q = W_K = W_V = DELTA I and W_O ~ N(0, XI^2) at the start
BATCH = 200
LEARNING_RATE = 0.5
DATASET = 50 * BATCH  # prompts drawn for a model


class Network(nn.Module):
    """One layer of attention with a hidden layer on top; its sign at the last column is the answer."""

    def __init__(self, d: int = D_X + D_Y, m: int = NEURONS) -> None:
        super().__init__()
        self.W_Q = nn.Parameter(DELTA * torch.eye(d))
        self.W_K = nn.Parameter(DELTA * torch.eye(d))
        self.W_V = nn.Parameter(DELTA * torch.eye(d))
        self.W_O = nn.Parameter(XI * torch.randn(m, d))
        self.a: Tensor
        self.register_buffer("a", torch.cat([torch.ones(m // 2), -torch.ones(m - m // 2)]) / m**0.5)

    def forward(self, prompt: Tensor) -> Tensor:
        """Outputs (batch,) on prompts (batch, columns, d), the query's column last."""
        query = prompt[:, -1:] @ self.W_Q.T
        keys = prompt @ self.W_K.T
        values = prompt @ self.W_V.T
        attention = torch.softmax(query @ keys.transpose(1, 2), dim=-1)
        pooled = (attention @ values).squeeze(1)
        return torch.relu(pooled @ self.W_O.T) @ self.a


def draw_prompts(count: int) -> tuple[Tensor, Tensor]:
    """Prompts (count, LENGTH + 1, D_X + D_Y) and the labels +-1 of their queries, on patterns drawn at random.

    A task is a pair (a, b) of neighbours on the cycle of the relevant patterns: a is labelled +1, b is labelled -1,
    and any other pattern at random.
    """
    patterns = torch.linalg.qr(torch.randn(D_X, D_X)).Q
    label_direction = nn.functional.normalize(torch.randn(D_Y), dim=0)
    a = torch.randint(M1, (count, 1))
    b = (a + 1) % M1

    # Which of the two, or any of the others; the others are counted on from b, around the cycle.
    of_task = torch.rand(count, LENGTH + 1) < ALPHA
    of_task[:, -1] = True
    is_a = torch.rand(count, LENGTH + 1) < 0.5
    other = (b + torch.randint(1, M1 - 1, (count, LENGTH + 1))) % M1
    relevant = torch.where(of_task, torch.where(is_a, a, b), other)
    # A coin decides both which of the task's patterns an example carries and how the others are labelled.
    y = torch.where(is_a, 1.0, -1.0)

    irrelevant = torch.randint(M1, M1 + M2, (count, LENGTH + 1))
    kappa = KAPPA * (2 * torch.rand(count, LENGTH + 1, 1) - 1)
    x = BETA * (patterns[relevant] + kappa * patterns[irrelevant])
    labels = y[:, -1].clone()
    y[:, -1] = 0
    return torch.cat([x, y.unsqueeze(-1) * label_direction], dim=-1), labels


def loss(network: Network, prompts: Tensor, labels: Tensor) -> Tensor:
    """The hinge loss of a batch."""
    return torch.relu(1 - labels * network(prompts)).mean()


SCRIPT = Script(draw_prompts, Network, loss, dataset=DATASET, batch=BATCH, learning_rate=LEARNING_RATE)

if __name__ == "__main__":
    main(SCRIPT)
