"""The usual script of task vectors: the network of Li et al. (ICLR 2025, arXiv 2504.10957), model after model.

What Lemmata is measured against: the formula

    f(X) = (1/P) sum_l a^T relu( sum_s V x_s attn_sl ),   attn_sl = softmax_s( x_s^T W x_l )

as one writes it down, a module with two matrices for each of two tasks that are fine-tuned from one start, all samples
written out token by token and drawn beforehand, a DataLoader that shuffles them anew in every epoch, autograd and
torch's own SGD; and where several models are needed, one single-threaded process a core. It is on its own: but for the
loops of `usual.py` it uses nothing of Lemmata.

    python -m lemmata.bench.usual_editing --models 4 --steps 300
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemmata.bench.usual import Script, main

__all__ = ["SCRIPT", "Network", "draw_prompts", "loss"]

TASKS = 2
D = 30  # dimension of a token
J = 20  # irrelevant patterns
LENGTH = 20  # tokens in a sample
RIGHT, WRONG = 0.4, 0.1  # shares of the tokens along the label and against it
NEURONS = 100
XI = 0.05  # W = 0 and V ~ N(0, XI^2) at the start
BATCH = 32
LEARNING_RATE = 1.0
DATASET = 50 * BATCH  # samples of a model


class Network(nn.Module):
    """One layer of attention with a hidden layer on top for each task, averaged over tokens; the sign is the answer."""

    def __init__(self, d: int = D, m: int = NEURONS) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(TASKS, d, d))
        self.V = nn.Parameter((XI * torch.randn(m, d)).repeat(TASKS, 1, 1))
        self.a: Tensor
        self.register_buffer("a", torch.where(torch.rand(m) < 0.5, 1.0, -1.0) / m**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Outputs (batch, tasks) on samples (batch, tasks, tokens, d)."""
        scores = tokens @ self.W.transpose(1, 2) @ tokens.transpose(2, 3)
        hidden = torch.relu(torch.softmax(scores, dim=-1) @ (tokens @ self.V.transpose(1, 2)))
        return (hidden @ self.a).mean(-1)


def draw_prompts(count: int) -> tuple[Tensor, Tensor]:
    """Samples (count, TASKS, LENGTH, D) and labels +-1 (count, TASKS), on orthonormal directions drawn at random."""
    rows = torch.linalg.qr(torch.randn(D, D)).Q
    labels = torch.where(torch.rand(count, TASKS) < 0.5, 1.0, -1.0)
    right, wrong = round(RIGHT * LENGTH), round(WRONG * LENGTH)
    signs = torch.cat([torch.ones(right), -torch.ones(wrong)])
    voting = (labels[..., None] * signs)[..., None] * rows[:TASKS, None]
    irrelevant = rows[TASKS + torch.randint(J, (count, TASKS, LENGTH - right - wrong))]
    return torch.cat([voting, irrelevant], 2), labels


def loss(network: Network, tokens: Tensor, labels: Tensor) -> Tensor:
    """The hinge loss of a batch, summed over the tasks."""
    return torch.relu(1 - labels * network(tokens)).mean(0).sum()


SCRIPT = Script(draw_prompts, Network, loss, dataset=DATASET, batch=BATCH, learning_rate=LEARNING_RATE)

if __name__ == "__main__":
    main(SCRIPT)
