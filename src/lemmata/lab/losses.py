"""Losses, a number a member: outputs and targets are (E, B), the mean is over the prompts B.

`error` is the one that figures plot: an output of exactly 0, or one that is not a number, is an error.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["error", "hinge", "hinges", "logistic", "squared", "squared_distance"]


def hinge(output_EB: Tensor, target_EB: Tensor) -> Tensor:
    """max(0, 1 - z F), the training loss of the ICL paper (arXiv 2402.15607).

    >>> import torch
    >>> hinge(torch.tensor([[2.0, 0.5]]), torch.tensor([[1.0, -1.0]])).tolist()
    [0.75]
    """
    return F.relu(1 - target_EB * output_EB).mean(-1)


def hinges(gap: Tensor) -> Tensor:
    """The mean of max(0, gap) over the samples, the last axis, summed over all axes between members and samples.

    >>> import torch
    >>> hinges(torch.tensor([[[-1.0, 0.5], [2.0, 2.0]]])).tolist()
    [2.25]
    """
    mean = F.relu(gap).mean(-1)
    return mean.flatten(1).sum(-1) if mean.dim() > 1 else mean


def logistic(output_EB: Tensor, target_EB: Tensor) -> Tensor:
    """log(1 + exp(-z F)), in the form that does not overflow.

    >>> import torch
    >>> round(logistic(torch.tensor([[0.0]]), torch.tensor([[1.0]])).item(), 4)
    0.6931
    """
    return F.softplus(-target_EB * output_EB).mean(-1)


def squared(output_EB: Tensor, target_EB: Tensor) -> Tensor:
    """(F - z)^2 / 2.

    >>> import torch
    >>> squared(torch.tensor([[3.0]]), torch.tensor([[1.0]])).tolist()
    [2.0]
    """
    return 0.5 * (output_EB - target_EB).square().mean(-1)


def squared_distance(output_EBD: Tensor, target_EBD: Tensor) -> Tensor:
    """|F - z|^2 / 2 of vectors, the training loss of the chain-of-thought paper (arXiv 2410.02167).

    >>> import torch
    >>> squared_distance(torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 4.0]]])).tolist()
    [12.5]
    """
    return 0.5 * (output_EBD - target_EBD).square().sum(-1).mean(-1)


def error(output_EB: Tensor, target_EB: Tensor) -> Tensor:
    """The share of prompts whose sign is not the target's; a tie or a NaN is wrong.

    >>> import torch
    >>> error(torch.tensor([[2.0, 0.0, float("nan"), -1.0]]), torch.ones(1, 4)).tolist()
    [0.75]
    """
    return 1 - (target_EB * output_EB > 0).to(output_EB.dtype).mean(-1)
