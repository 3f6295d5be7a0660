"""The usual script of CoT: train the one-layer network of Li et al. (ICLR 2025, arXiv 2410.02167), model after model.

What Lemmata is measured against: the formula

    f(P) = sum_i W_V p_i attn_i,   attn_i = softmax_i( (W_K p_i)^T W_Q p_query ),   i over all columns but the query's

as one writes it down, a module with three matrices, all prompts multiplied out, padded to one length and drawn
beforehand, a DataLoader that shuffles them anew in every epoch, autograd and torch's own SGD; and where several models
are needed, one single-threaded process a core. It is on its own: but for the loops of `usual.py` it uses nothing of
Lemmata.

    python -m lemmata.bench.usual_cot --models 4 --steps 300
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lemmata.bench.usual import Script, main

__all__ = ["SCRIPT", "Network", "draw_prompts", "loss"]

M = 20  # patterns
D_X = 30  # dimension of a pattern; that of a column (x; y; code of the step) is 2 D_X + K
K = 3  # steps of a task
LENGTH = 20  # examples in a prompt, K columns each
ALPHA = 0.4  # probability that an example starts from the query's pattern
DELTA = 0.2  # W_Q = W_K = DELTA I at the start
TRAIN_VALUE = False  # whether W_V moves; else it stays what it is at the start, the selector of y
BATCH = 64
LEARNING_RATE = 1.0
DATASET = 50 * BATCH  # prompts drawn for a model


class Network(nn.Module):
    """One layer of attention; what it averages for the query's column is the answer."""

    def __init__(self, d_x: int = D_X, k: int = K) -> None:
        super().__init__()
        d = 2 * d_x + k
        self.W_Q = nn.Parameter(DELTA * torch.eye(d))
        self.W_K = nn.Parameter(DELTA * torch.eye(d))
        self.W_V = nn.Parameter(torch.eye(d)[d_x : 2 * d_x].clone(), requires_grad=TRAIN_VALUE)

    def forward(self, prompt: Tensor, mask: Tensor) -> Tensor:
        """Outputs (batch, d_x) on prompts (batch, columns, d), the query's column last; `mask` is false at padding."""
        values = prompt[:, :-1] @ self.W_V.T
        return (self.attention(prompt, mask) @ values).squeeze(1)

    def attention(self, prompt: Tensor, mask: Tensor) -> Tensor:
        """Attention (batch, 1, columns - 1) of the query on all other columns."""
        query = prompt[:, -1:] @ self.W_Q.T
        keys = prompt[:, :-1] @ self.W_K.T
        scores = (query @ keys.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -torch.inf)
        return torch.softmax(scores, dim=-1)


def draw_prompts(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts, masks and labels (count, D_X) of K-step tasks, on patterns drawn at random.

    Prompts (count, LENGTH K + K, 2 D_X + K) hold LENGTH examples, the query's own earlier columns, as many columns of
    zeros as are missing, and the query's column; masks (count, LENGTH K + K - 1) are true where a column is none of the
    latter two. Step k of a task shifts the cycle of the patterns by s_k, drawn uniformly. The query is at step k, drawn
    uniformly: its column is the pattern after k - 1 steps, its label that after k.
    """
    patterns = torch.linalg.qr(torch.randn(D_X, D_X)).Q[:M]
    shifts = torch.randint(M, (count, 1, K))

    # Where each example starts, and last the query, which is one more example for now.
    start = torch.randint(M, (count, 1))
    elsewhere = (start + torch.randint(1, M, (count, LENGTH))) % M
    starts = torch.where(torch.rand(count, LENGTH) < ALPHA, start, elsewhere)
    starts = torch.cat([starts, start], dim=1).unsqueeze(-1)
    path = torch.cat([starts, starts + shifts.cumsum(-1)], dim=-1) % M
    x, y = patterns[path[..., :-1]], patterns[path[..., 1:]]
    codes = torch.eye(K).expand(count, LENGTH + 1, K, K)
    columns = torch.cat([x, y, codes], dim=-1).flatten(1, 2)

    # The columns before the one that is asked for stay, those after it are padding.
    asked = LENGTH * K + torch.randint(K, (count,))
    mask = torch.arange(columns.shape[1] - 1) < asked.unsqueeze(1)
    last = columns[torch.arange(count), asked]
    labels = last[:, D_X : 2 * D_X].clone()
    last[:, D_X : 2 * D_X] = 0
    return torch.cat([columns[:, :-1] * mask.unsqueeze(-1), last.unsqueeze(1)], dim=1), mask, labels


def loss(network: Network, prompts: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Half the squared distance from the label, mean over a batch."""
    return 0.5 * (labels - network(prompts, mask)).square().sum(-1).mean()


SCRIPT = Script(draw_prompts, Network, loss, dataset=DATASET, batch=BATCH, learning_rate=LEARNING_RATE)

if __name__ == "__main__":
    main(SCRIPT)
