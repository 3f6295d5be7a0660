"""Attention on counts: keys that are the same attend alike, so that they need one logit and their number.

With n_k copies of key k, the softmax over all copies gives those of k together

    A_k = n_k exp(s_k) / sum_j n_j exp(s_j) = softmax_k(s_k + log n_k),

so that a sample of noise-free copies of a few patterns is as many columns as it has patterns, however many tokens. The
numbers may be shares: a factor that all have in common cancels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend_counts"]


def attend_counts(score: Tensor, count: Tensor) -> Tensor:
    """The attention on all copies of each key together, along the last axis; what broadcasts may broadcast.

    Valid where a sample has some key; one with a count of 0 gets no attention.

    >>> import torch
    >>> attend_counts(torch.zeros(3), torch.tensor([2.0, 1.0, 0.0])).tolist()
    [0.6666..., 0.3333..., 0.0]
    """
    return F.softmax(score + count.log(), -1)
