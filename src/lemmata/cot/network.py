"""The one-layer, one-head attention network of Li et al. (ICLR 2025, arXiv 2410.02167), for an ensemble of members.

    F(P) = sum_i W_V p_i attn_i,   attn_i = softmax_i( (W_K p_i)^T W_Q p_query ),   i over all columns but the query's

    symbol   meaning                                                              shape
    p_i      column (y_{i,k-1}; y_{i,k}; c_k), the query's is (z_{k-1}; 0; c_k)   D = 2 M + K where it is not zero
    W_Q      query matrix, delta I at the start                                   (D, M + K)
    W_K      key matrix, delta I at the start                                     (D, D)
    W_V      value matrix, the selector (0 I 0) at the start                      (M, D)
    u        W_K^T W_Q p_query: a column's score is its inner product with u      (D,)

Savings, exact over whole trajectories (tests/test_cot_network.py, against the textbook form in tests/textbook_cot.py):
only the query attends, and it is two-hot, so that u is the sum of two rows of W_Q^T W_K; a column is a pattern, the
pattern that step k maps it to and k, so that a score is a look-up; columns that occur n times add log n to their score,
so that a prompt is K M columns at any length. Coordinates outside the span of the TRR patterns, and the lower half of
W_Q's columns, which meets zeros only, stay as they are in training, and are left out.

Shapes: E members, B prompts, K steps, M patterns, D column coordinates, Q = M + K query coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lemmata.cot.data import Prompts
from lemmata.cot.reasoning import Reasoning
from lemmata.lab.attend import attend, average
from lemmata.lab.ensemble import Params, Phase
from lemmata.lab.trainee import constant

__all__ = ["OneLayer", "attention", "forward", "initial", "query_key"]


def forward(params: Params, prompts: Prompts) -> Tensor:
    """The network's output F in the coordinates of the patterns' span, output_EBM."""
    pooled_EBD = average(_dot, _mix, _score_vectors(params, prompts), prompts.log_count_EBKM, prompts.step_EBKM)
    return _to_span(pooled_EBD, prompts.row_EMM) @ params["W_V"].transpose(1, 2)


def attention(params: Params, prompts: Prompts) -> Tensor:
    """The query's attention on all columns of step k that start from pattern i together, attn_EBKM."""
    return attend(_dot(_score_vectors(params, prompts), prompts.step_EBKM) + prompts.log_count_EBKM)


def query_key(params: Params) -> Tensor:
    """W_Q^T W_K, whose row for a query coordinate is what it adds to u: key_EQD."""
    return params["W_Q"].transpose(1, 2) @ params["W_K"]


def _score_vectors(params: Params, prompts: Prompts) -> Tensor:
    """The vector u of each prompt, in pattern coordinates: u_EBD."""
    key_EQD, M = query_key(params), prompts.step_EBKM.shape[-1]
    E, Q, D = key_EQD.shape
    if prompts.row_EMM is not None:
        x_EMD, code_EKD = key_EQD.split([M, Q - M], 1)
        key_EQD = _to_patterns(torch.cat([prompts.row_EMM @ x_EMD, code_EKD], 1), prompts.row_EMM)
    # Rows are looked up in all members' tables at once.
    first_E1 = Q * torch.arange(E, device=key_EQD.device).unsqueeze(-1)
    table, pattern_EB, code_EB = key_EQD.reshape(E * Q, D), prompts.query_EB + first_E1, prompts.asked_EB + M + first_E1
    u = table.index_select(0, pattern_EB.reshape(-1)) + table.index_select(0, code_EB.reshape(-1))
    return u.view(*pattern_EB.shape, D)


def _to_patterns(t_EXD: Tensor, row_EMM: Tensor) -> Tensor:
    """From the coordinates of the span to inner products with the patterns, in both halves of a column."""
    M = row_EMM.shape[-1]
    x_EXM, y_EXM, code_EXK = t_EXD.split([M, M, t_EXD.shape[-1] - 2 * M], -1)
    back_EMM = row_EMM.transpose(1, 2)
    return torch.cat([x_EXM @ back_EMM, y_EXM @ back_EMM, code_EXK], -1)


def _to_span(t_EBD: Tensor, row_EMM: Tensor | None) -> Tensor:
    """From weights of the patterns to the coordinates of their span, in both halves of a column."""
    if row_EMM is None:
        return t_EBD
    M = row_EMM.shape[-1]
    x_EBM, y_EBM, code_EBK = t_EBD.split([M, M, t_EBD.shape[-1] - 2 * M], -1)
    return torch.cat([x_EBM @ row_EMM, y_EBM @ row_EMM, code_EBK], -1)


def _dot(t_EBD: Tensor, step_EBKM: Tensor) -> Tensor:
    """Inner product of every column with a vector a prompt: of its three parts, one is looked up."""
    E, B, K, M = step_EBKM.shape
    x_EBM, y_EBM, code_EBK = t_EBD.split([M, M, K], -1)
    score_EBKM = y_EBM.gather(2, step_EBKM.view(E, B, K * M)).view(E, B, K, M)
    return score_EBKM.add_(x_EBM.unsqueeze(2)).add_(code_EBK.unsqueeze(3))


def _mix(weight_EBKM: Tensor, D: int, step_EBKM: Tensor) -> Tensor:
    """Sum of the columns with a weight each, mixed_EBD: the adjoint of `_dot`."""
    E, B, K, M = weight_EBKM.shape
    y_EBM = weight_EBKM.new_zeros(E, B, M)
    y_EBM.scatter_add_(2, step_EBKM.view(E, B, K * M), weight_EBKM.view(E, B, K * M))
    return torch.cat([weight_EBKM.sum(2), y_EBM, weight_EBKM.sum(3)], -1)


def initial(*, M: int, K: int, delta: float) -> Params:
    """First weights of one member, without the member axis."""
    D = 2 * M + K
    select_x = torch.cat([torch.arange(M), torch.arange(2 * M, D)])
    return {
        "W_Q": delta * torch.eye(D)[:, select_x],
        "W_K": delta * torch.eye(D),
        "W_V": torch.eye(D)[M : 2 * M],
    }


@final
@dataclass(frozen=True, kw_only=True)
class OneLayer(Reasoning):
    """The one-layer network, trained by plain gradient descent on the squared loss; its first weights are not random.

    >>> net = OneLayer(steps=2, M=6, d_X=8).train(seeds=[0])
    >>> net.params["W_Q"].shape
    torch.Size([1, 15, 9])
    """

    kind: ClassVar[str] = "cot.one-layer"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 16
    most: ClassVar[int] = 32

    delta: float = constant(0.2, "W_Q = W_K = delta I at the start", origin="chosen", room="network", low=0)
    train_value: bool = constant(
        False, "whether W_V moves; else it stays the selector", origin="chosen", room="network", shape=True
    )

    @staticmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs F on an ensemble's prompts, output_EBM."""
        return forward(params, prompts)

    @staticmethod
    def attentions(params: Params, prompts: Prompts) -> Tensor:
        """The attention of the one head of the one layer, attn_ENHBKM."""
        return attention(params, prompts)[:, None, None]

    def phases(self) -> tuple[Phase, ...]:
        """W_Q and W_K move, and W_V if it is asked to."""
        return (Phase(self.steps, {} if self.train_value else {"W_V": 0.0}),)

    def work(self) -> float:
        """Operations of all steps: the products, and what each column takes from its drawing to its gradient."""
        D, Q = 2 * self.M + self.K, self.M + self.K
        value = D * self.M if self.train_value else 0
        return 6.0 * self.steps * (D * D * Q + self.B * (10 * self.K * self.M + value))

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis; the same for every seed."""
        return initial(M=self.M, K=self.K, delta=self.delta)
