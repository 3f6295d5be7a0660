"""Attention of one query on columns that are kept in coordinates, as one function and its adjoint.

Where a column is a few numbers on known patterns, its score is a few look-ups (`dot`) and pooling is as many additions
(`mix`). The two are adjoint linear maps, <dot(u), w> = <u, mix(w)>, so that the backward pass through average, softmax
and scores is made of the same two.

Shapes: E members, B prompts, C... the columns (one axis or more), V coordinates of a column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Dot", "Mix", "attend", "average"]

Dot = Callable[..., Tensor]
Mix = Callable[..., Tensor]


def attend(score_EBC: Tensor) -> Tensor:
    """The softmax over all columns of a prompt, however many axes they have.

    >>> round(attend(torch.zeros(1, 1, 2, 5)).sum().item(), 6)
    1.0
    """
    return score_EBC.flatten(2).softmax(-1).view_as(score_EBC)


def average(dot: Dot, mix: Mix, u_EBV: Tensor, bias_EBC: Tensor | None, *planes: Tensor) -> Tensor:
    """The columns averaged with the softmax of their inner products with u plus a bias, pooled_EBV.

    `dot(u_EBV, *planes)` gives the inner product of every column with u, `mix(weight_EBC, V, *planes)` the sum of the
    columns with a weight each. Gradients flow to u only: the columns are data.

    >>> x_EBLV = torch.eye(2).view(1, 1, 2, 2)
    >>> dot = lambda u, x: (x @ u.unsqueeze(-1)).squeeze(-1)
    >>> mix = lambda w, V, x: (w.unsqueeze(2) @ x).squeeze(2)
    >>> average(dot, mix, torch.zeros(1, 1, 2), None, x_EBLV).tolist()
    [[[0.5, 0.5]]]
    """
    return _Average.apply(dot, mix, u_EBV, bias_EBC, *planes)  # pyright: ignore[reportReturnType]


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dot: Dot, mix: Mix, u_EBV: Tensor, bias_EBC: Tensor | None, *planes: Tensor) -> Tensor:
        score_EBC = dot(u_EBV, *planes)
        attn_EBC = attend(score_EBC if bias_EBC is None else score_EBC.add_(bias_EBC))
        ctx.dot, ctx.mix = dot, mix
        ctx.save_for_backward(attn_EBC, *planes)
        return mix(attn_EBC, u_EBV.shape[-1], *planes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_EBV,) = grad_outputs
        attn_EBC, *planes = ctx.saved_tensors
        weighted_EBC = attn_EBC * ctx.dot(grad_EBV, *planes)
        total_EB = weighted_EBC.flatten(2).sum(-1).view(*attn_EBC.shape[:2], *[1] * (attn_EBC.dim() - 2))
        score_EBC = weighted_EBC - attn_EBC * total_EB
        return None, None, ctx.mix(score_EBC, grad_EBV.shape[-1], *planes), None, *[None] * len(planes)
