"""The one-layer Transformer of Li et al. (ICML 2024, arXiv 2402.15607), for an ensemble of members at once.

    F(P) = a^T relu( W_O sum_s W_V p_s attn_s ),   attn_s = softmax_s( (W_K p_s)^T W_Q p_query ),   s = 1 .. l+1

    symbol   meaning                                               shape
    p_s      column (x_s; y_s q), the last one (x_query; 0)        D = V + 1 where it is not zero
    W_Q W_K  query and key matrices, delta I at the start          (D, D)
    W_V      value matrix, delta I at the start                    (H, D), H = d_X + d_Y
    W_O      hidden layer, N(0, xi^2) at the start                 (M, H)
    a        output signs, +-1/sqrt(m), half each, never trained   (M,)

Three savings, exact over whole trajectories (tests/test_icl_network.py, against the textbook form in
tests/textbook.py): only the query column attends, so W_K^T W_Q p_query is formed once; W_O W_V is multiplied before it
meets a prompt; and a column is three coordinates on the pattern axes, so a score is two look-ups and pooling is two
additions, where the textbook multiplies 60 x 60 matrices with every column. The rows of W_Q and W_K beyond D stay 0
and are left out.

Shapes: E members, B prompts, L = l + 1 columns, V pattern axes, D = V + 1, H hidden width, M neurons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.icl import hidden
from lemmata.icl.data import Prompts
from lemmata.icl.prompting import Prompting
from lemmata.lab.attend import attend, average
from lemmata.lab.ensemble import Params, Phase
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant

__all__ = ["OneLayer", "attention", "forward", "initial", "output_signs", "pool", "readout"]


def attention(params: Params, prompts: Prompts) -> Tensor:
    """Attention of the query on every column, attn_EBL; the query itself is the last."""
    return attend(_dot(_query_key(params, prompts), *_planes(prompts)))


def pool(params: Params, prompts: Prompts) -> Tensor:
    """The columns averaged with the query's attention, sum_s p_s attn_s, as pooled_EBD."""
    pooled_EBV = average(_dot, _mix, _query_key(params, prompts), None, *_planes(prompts))
    return _to_training(pooled_EBV, prompts.axis_EVD)


def readout(params: Params, pooled_EBD: Tensor) -> Tensor:
    """a^T relu(W_O W_V p) of what the attention pooled, output_EB."""
    return hidden.readout(pooled_EBD, params["W_O"], params["W_V"], params["a"])


def forward(params: Params, prompts: Prompts) -> Tensor:
    """The network's output F, output_EB; its sign is the answer."""
    return readout(params, pool(params, prompts))


def _query_key(params: Params, prompts: Prompts) -> Tensor:
    """The vector u = W_K^T W_Q p_query on the prompts' own axes: a column's score is its inner product with u."""
    key_EDD = params["W_Q"].transpose(1, 2) @ params["W_K"]
    u_EBD = _query(prompts, params["W_Q"].shape[-1]) @ key_EDD
    if prompts.axis_EVD is None:
        return u_EBD
    return torch.cat([u_EBD[..., :-1] @ prompts.axis_EVD.transpose(1, 2), u_EBD[..., -1:]], -1)


def _to_training(t_EBV: Tensor, axis_EVD: Tensor | None) -> Tensor:
    """From coordinates on the prompts' own axes to those of training; the label's coordinate is the last in both."""
    return t_EBV if axis_EVD is None else torch.cat([t_EBV[..., :-1] @ axis_EVD, t_EBV[..., -1:]], -1)


def _query(prompts: Prompts, D: int) -> Tensor:
    """The query column multiplied out, query_EBD."""
    V = D if prompts.axis_EVD is None else prompts.axis_EVD.shape[1] + 1
    relevant_EB1 = prompts.beta_E.view(-1, 1, 1).expand(*prompts.target_EB.shape, 1)
    query_EBV = prompts.noise_EBL.new_zeros(*prompts.target_EB.shape, V)
    query_EBV.scatter_(2, prompts.idr_EBL[..., -1:], relevant_EB1)
    query_EBV.scatter_(2, prompts.idi_EBL[..., -1:], prompts.noise_EBL[..., -1:])
    return _to_training(query_EBV, prompts.axis_EVD)


def _planes(prompts: Prompts) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The coordinates of the columns: two axes, and how much of each and of the label."""
    return prompts.idr_EBL, prompts.idi_EBL, prompts.beta_E.view(-1, 1, 1), prompts.noise_EBL, prompts.label_EBL


def _dot(
    t_EBV: Tensor, idr_EBL: Tensor, idi_EBL: Tensor, beta_E11: Tensor, noise_EBL: Tensor, label_EBL: Tensor
) -> Tensor:
    """Inner product of every column with a vector a prompt: two look-ups and a product."""
    relevant_EBL = t_EBV.gather(2, idr_EBL).mul_(beta_E11)
    return relevant_EBL.addcmul_(t_EBV.gather(2, idi_EBL), noise_EBL).addcmul_(t_EBV[..., -1:], label_EBL)


def _mix(
    weight_EBL: Tensor, V: int, idr_EBL: Tensor, idi_EBL: Tensor, beta_E11: Tensor, noise_EBL: Tensor, label_EBL: Tensor
) -> Tensor:
    """Sum of the columns with a weight each, mixed_EBV with the label last: the adjoint of `_dot`."""
    mixed_EBV = weight_EBL.new_zeros(*weight_EBL.shape[:2], V)
    mixed_EBV.scatter_add_(2, idr_EBL, weight_EBL * beta_E11).scatter_add_(2, idi_EBL, weight_EBL * noise_EBL)
    mixed_EBV[..., -1] = (weight_EBL * label_EBL).sum(-1)
    return mixed_EBV


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
    version: ClassVar[int] = 2
    together: ClassVar[int] = 16
    most: ClassVar[int] = 32

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

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        rng = stream("icl.weights", self.axes("network"), seed)
        return initial(rng, V=self.M1 + self.M2, d_Y=self.d_Y, m=self.m, delta=self.delta, xi=self.xi)
