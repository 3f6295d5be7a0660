"""The hidden layer and its fixed output weights, a^T relu(W_O W_V x), as one function and its adjoint.

    symbol  meaning                                              shape
    x       what the attention pooled                            (D,)
    W_V     value matrix                                         (H, D)
    W_O     hidden layer                                         (M, H)
    W       W_O W_V, multiplied before it meets a point          (D, M), as it is kept here
    s       1[W x > 0], which neurons fire                       (M,)
    a       output weights                                       (M,)

The output is x . (W^T (a * s)), its gradient in x is W^T (a * s), and in W it is (a * s) x^T: the three products of the
usual form, and of the (E, X, M) plane nothing but s is ever written. Each has in the columns of its result the neurons
or the points, of which there are many, and not D: a product of 31 columns takes twice as long as one of 32.

Shapes: E members, X points, D their width, H hidden width, M neurons.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["readout"]


def readout(point_EXD: Tensor, W_O_EMH: Tensor, W_V_EHD: Tensor, a_EM: Tensor) -> Tensor:
    """a^T relu(W_O W_V x) at every point, output_EX.

    >>> W = torch.eye(2).unsqueeze(0)
    >>> readout(torch.tensor([[[3.0, -1.0], [1.0, 2.0]]]), W, W, torch.tensor([[1.0, 0.5]])).tolist()
    [[3.0, 2.0]]
    """
    if torch.is_grad_enabled():
        return _Readout.apply(point_EXD, W_O_EMH, W_V_EHD, a_EM)  # pyright: ignore[reportReturnType]
    hidden_EXM = (point_EXD @ (W_V_EHD.mT @ W_O_EMH.mT)).relu_()
    # A product with one column would round by how many members there are.
    return hidden_EXM.mul_(a_EM.unsqueeze(1)).sum(-1)


class _Readout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, point_EXD: Tensor, W_O_EMH: Tensor, W_V_EHD: Tensor, a_EM: Tensor) -> Tensor:
        W_EDM = W_V_EHD.mT @ W_O_EMH.mT
        mask_EXM = (point_EXD @ W_EDM).gt_(0)
        signed_EDM = W_EDM * a_EM.unsqueeze(1)
        many = point_EXD.shape[1] >= point_EXD.shape[2]
        slope_EXD = (signed_EDM @ mask_EXM.mT).mT.contiguous() if many else mask_EXM @ signed_EDM.mT
        ctx.save_for_backward(point_EXD, W_O_EMH, W_V_EHD, a_EM, W_EDM, mask_EXM, slope_EXD)
        return (point_EXD * slope_EXD).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        point_EXD, W_O_EMH, W_V_EHD, a_EM, W_EDM, mask_EXM, slope_EXD = ctx.saved_tensors
        grad_EX1 = grad_outputs[0].unsqueeze(-1)
        moved_EDM = (grad_EX1 * point_EXD).mT @ mask_EXM
        signs_EM = (W_EDM * moved_EDM).sum(1) if ctx.needs_input_grad[3] else None
        W_EDM = moved_EDM * a_EM.unsqueeze(1)
        return grad_EX1 * slope_EXD, W_EDM.mT @ W_V_EHD.mT, (W_EDM @ W_O_EMH).mT, signs_EM
