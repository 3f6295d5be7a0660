"""The one-layer Transformer of Li et al. (ICML 2024, arXiv 2402.15607), for an ensemble of members at once.

    F(P) = a^T relu( W_O sum_s W_V p_s attn_s ),   attn_s = softmax_s( (W_K p_s)^T W_Q p_query ),   s = 1 .. l+1

    symbol   meaning                                               shape
    p_s      column (x_s; y_s q), the last one (x_query; 0)        D = V + 1 where it is not zero
    W_Q W_K  query and key matrices, delta I at the start          (D, D)
    W_V      value matrix, delta I at the start                    (H, D), H = d_X + d_Y
    W_O      hidden layer, N(0, xi^2) at the start                 (M, H)
    a        output signs, +-1/sqrt(m), half each, never trained   (M,)

Three savings, exact over whole trajectories (tests/test_icl_network.py, against the textbook form in tests/textbook.py):
only the query column attends, so W_K^T W_Q p_query is formed once; W_O W_V is multiplied before it meets a prompt; and a
column is three coordinates on the pattern axes, so a score is three look-ups and pooling is three additions, where the
textbook multiplies 60 x 60 matrices with every column. The rows of W_Q and W_K beyond D stay 0 and are left out.

Shapes: E members, B prompts, L = l + 1 columns, V pattern axes, D = V + 1, H hidden width, M neurons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Sequence, final

import numpy as np
import torch
from torch import Tensor

from lemmata.icl.data import Prompts
from lemmata.icl.prompting import Prompting, training_draws
from lemmata.lab.ensemble import Job, Params, Phase
from lemmata.lab.losses import hinge
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant

__all__ = ["OneLayer", "OneLayerJob", "attention", "forward", "initial", "output_signs", "pool", "readout"]


def attention(params: Params, prompts: Prompts) -> Tensor:
    """Attention of the query on every column, attn_EBL; the query itself is the last."""
    query_EBD = _query(prompts, params["W_Q"].shape[-1])
    key_EDD = params["W_K"].transpose(1, 2) @ params["W_Q"]
    u_EBD = query_EBD @ key_EDD.transpose(1, 2)
    # A score is u . p_s, and p_s is three coordinates: three look-ups in u, seen from the prompt's own axes.
    u_EBV = _from_axes(u_EBD, prompts.axis_EVD)
    E, B, _, L = prompts.index_EB3L.shape
    parts_EB3L = u_EBV.gather(2, prompts.index_EB3L.view(E, B, 3 * L)).view(E, B, 3, L)
    return (parts_EB3L * prompts.coef_EB3L).sum(2).softmax(-1)


def pool(params: Params, prompts: Prompts) -> Tensor:
    """The columns averaged with the query's attention, sum_s p_s attn_s, as pooled_EBD."""
    attn_EBL = attention(params, prompts)
    E, B, _, L = prompts.index_EB3L.shape
    weight_EBN = (attn_EBL.unsqueeze(2) * prompts.coef_EB3L).view(E, B, 3 * L)
    V = params["W_Q"].shape[-1] if prompts.axis_EVD is None else prompts.axis_EVD.shape[1] + 1
    pooled_EBV = weight_EBN.new_zeros(E, B, V).scatter_add(2, prompts.index_EB3L.view(E, B, 3 * L), weight_EBN)
    return _to_axes(pooled_EBV, prompts.axis_EVD)


def forward(params: Params, prompts: Prompts) -> Tensor:
    """The network's output F, output_EB; its sign is the answer."""
    return readout(params, pool(params, prompts))


def readout(params: Params, pooled_EBD: Tensor) -> Tensor:
    """a^T relu(W_O W_V p) of what the attention pooled, output_EB."""
    return _Readout.apply(pooled_EBD, params["W_O"] @ params["W_V"], params["a"])  # pyright: ignore[reportReturnType]


class _Readout(torch.autograd.Function):
    """a^T relu(W p) for rows W_EMD and points p_EBD, with the (E, B, M) plane touched as little as can be.

    With the mask s = 1[W p > 0], the output is p . (W^T (a * s)), its gradient in p is W^T (a * s), and in W it is
    (a * s) p^T: the same three products as the usual form, and of the (E, B, M) plane nothing but s is ever written.
    """

    @staticmethod
    def forward(ctx: Any, point_EBD: Tensor, row_EMD: Tensor, a_EM: Tensor) -> Tensor:
        mask_EBM = (point_EBD @ row_EMD.transpose(1, 2)).gt_(0)
        slope_EBD = mask_EBM @ (a_EM.unsqueeze(-1) * row_EMD)
        ctx.save_for_backward(point_EBD, row_EMD, a_EM, mask_EBM, slope_EBD)
        return (point_EBD * slope_EBD).sum(-1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        point_EBD, row_EMD, a_EM, mask_EBM, slope_EBD = ctx.saved_tensors
        grad_EB1 = grad_outputs[0].unsqueeze(-1)
        moved_EMD = mask_EBM.transpose(1, 2) @ (grad_EB1 * point_EBD)
        return grad_EB1 * slope_EBD, a_EM.unsqueeze(-1) * moved_EMD, (row_EMD * moved_EMD).sum(-1)


def _query(prompts: Prompts, D: int) -> Tensor:
    """The query column multiplied out, query_EBD."""
    V = D if prompts.axis_EVD is None else prompts.axis_EVD.shape[1] + 1
    index_EB3, coef_EB3 = prompts.index_EB3L[..., -1], prompts.coef_EB3L[..., -1]
    query_EBV = coef_EB3.new_zeros(*coef_EB3.shape[:2], V).scatter_add(2, index_EB3, coef_EB3)
    return _to_axes(query_EBV, prompts.axis_EVD)


def _to_axes(t_EBV: Tensor, axis_EVD: Tensor | None) -> Tensor:
    """From coordinates on the prompts' own patterns to those of training; the label's coordinate is the last in both."""
    return t_EBV if axis_EVD is None else torch.cat([t_EBV[..., :-1] @ axis_EVD, t_EBV[..., -1:]], -1)


def _from_axes(t_EBD: Tensor, axis_EVD: Tensor | None) -> Tensor:
    """Inner products with the prompts' own patterns, of a vector in the coordinates of training."""
    if axis_EVD is None:
        return t_EBD
    return torch.cat([t_EBD[..., :-1] @ axis_EVD.transpose(1, 2), t_EBD[..., -1:]], -1)


def output_signs(m: int) -> Tensor:
    """a_i = +1/sqrt(m) for the first half of the neurons, -1/sqrt(m) for the second, (M,).

    >>> output_signs(4).tolist()
    [0.5, 0.5, -0.5, -0.5]
    """
    return torch.cat([torch.ones(m // 2), -torch.ones(m - m // 2)]) / math.sqrt(m)


def initial(rng: np.random.Generator, *, V: int, d_Y: int, m: int, delta: float, xi: float) -> Params:
    """First weights of one member, without the member axis: W_Q, W_K, W_V = delta I, W_O Gaussian."""
    D, H = V + 1, V + d_Y
    return {
        "W_Q": delta * torch.eye(D),
        "W_K": delta * torch.eye(D),
        "W_V": delta * torch.eye(H, D),
        "W_O": torch.from_numpy(np.float32(xi) * rng.standard_normal((m, H), dtype=np.float32)),
        "a": output_signs(m),
    }


@final
@dataclass(frozen=True, kw_only=True)
class OneLayer(Prompting):
    """The one-layer network with all four matrices trained by plain gradient descent on the hinge loss."""

    kind: ClassVar[str] = "icl.one-layer"
    version: ClassVar[int] = 1

    d_Y: int = constant(1, "dimension of the label's embedding", origin="chosen", room="network", low=1, shape=True)
    m: int = constant(64, "neurons in the hidden layer", origin="chosen", room="network", low=2, shape=True)
    delta: float = constant(0.2, "W_Q = W_K = W_V = delta I at the start", origin="chosen", room="network", low=0)
    xi: float = constant(0.03, "W_O ~ N(0, xi^2) at the start", origin="chosen", room="network", low=0)

    @staticmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs F on an ensemble's prompts, output_EB."""
        return forward(params, prompts)

    def phases(self) -> tuple[Phase, ...]:
        """All four matrices move, the output signs do not."""
        return (Phase(self.steps, {"a": 0.0}),)

    def work(self) -> float:
        """The fewest operations of all steps: forward, and twice that backward for all but the input."""
        V = self.M1 + self.M2
        D, H, L = V + 1, V + self.d_Y, self.l_tr + 1
        hidden = 3 * (self.B * self.m * D + self.m * H * D)
        attend = 3 * self.B * D * D + 4 * self.B * L * D
        return 2.0 * self.steps * (hidden + attend)

    @classmethod
    def job(cls, configs: Sequence[OneLayer], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members."""
        return OneLayerJob(configs, seeds, device)


@final
class OneLayerJob:
    """First weights, loss and draws of an ensemble of one-layer networks."""

    def __init__(self, configs: Sequence[OneLayer], seeds: Sequence[int], device: str) -> None:
        """Members must share their shapes."""
        self.configs, self.seeds, self.device = configs, seeds, device
        self.lr_E = torch.tensor([c.lr for c in configs], device=device)
        self.draws = training_draws(configs, seeds, device)

    def params(self) -> Params:
        """The first weights of every member."""
        members = [
            initial(stream("icl.weights", c.axes("network"), seed), V=c.M1 + c.M2, d_Y=c.d_Y, m=c.m, delta=c.delta, xi=c.xi)
            for c, seed in zip(self.configs, self.seeds, strict=True)
        ]
        return {name: torch.stack([p[name] for p in members]).to(self.device) for name in members[0]}

    def loss(self, params: Params, draws: Prompts) -> Tensor:
        """The hinge loss of a batch of fresh prompts."""
        return hinge(forward(params, draws), draws.target_EB)
