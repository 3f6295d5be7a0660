"""A deep Transformer on the same prompts: three layers of two heads (Li et al., ICLR 2025, arXiv 2410.02167).

    token = W_in^T (y_{i,k-1}; y_{i,k}; c_k), the query's is W_in^T (z_{k-1}; 0; c_k), the last one
    F     = W_out^T answer                        answer: the query token after all layers (`lemmata.lab.transformer`)

    symbol   meaning                                             shape
    W_in     read-in: what patterns and codes become             (2 M + K, D)
    W_out    read-out, in the coordinates of the patterns' span  (D, M)

Every token attends to all columns and none to the query, as the one-layer network does. So equal columns stay equal in
every layer and one token stands for all of them, with the logarithm of their number added to its scores: K M + 1 tokens
at any prompt length.
The paper does not say what its deep network has besides attention; an MLP is a constant here.

Shapes: E members, B prompts, K steps, M patterns, L = K M + 1 tokens, D width, N layers, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.cot.data import Prompts
from lemmata.cot.reasoning import Reasoning
from lemmata.lab.ensemble import Adam, Params
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant
from lemmata.lab.transformer import answer, check_heads, initial_layers, layer_inputs, query_attention

__all__ = ["Deep", "forward", "initial", "tokens"]


def forward(params: Params, prompts: Prompts) -> Tensor:
    """The network's output F in the coordinates of the patterns' span, output_EBM."""
    x_EBLD, log_count_EBL = tokens(params, prompts)
    return answer(params, x_EBLD, log_count_EBL=log_count_EBL) @ params["W_out"]


def tokens(params: Params, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """The columns as tokens, x_EBLD, and how often each is seen, log_count_EBL; the query is the last, and is not."""
    E, B, K, M = prompts.step_EBKM.shape
    x_EMD, y_EMD, code_EKD = params["W_in"].split([M, M, K], 1)
    if prompts.row_EMM is not None:
        x_EMD, y_EMD = prompts.row_EMM @ x_EMD, prompts.row_EMM @ y_EMD
    mapped_EBKMD = _rows(y_EMD, prompts.step_EBKM)
    column_EBKMD = mapped_EBKMD + x_EMD[:, None, None] + code_EKD[:, None, :, None]
    query_EBD = _rows(x_EMD, prompts.query_EB) + _rows(code_EKD, prompts.asked_EB)
    x_EBLD = torch.cat([column_EBKMD.view(E, B, K * M, -1), query_EBD.unsqueeze(2)], 2)
    return x_EBLD, torch.nn.functional.pad(prompts.log_count_EBKM.reshape(E, B, K * M), (0, 1), value=-torch.inf)


def _rows(table_EXD: Tensor, index: Tensor) -> Tensor:
    """Rows of every member's table by indices (E, ...): (E, ..., D)."""
    E, X, D = table_EXD.shape
    flat = index.reshape(E, -1) + X * torch.arange(E, device=index.device).unsqueeze(-1)
    return table_EXD.reshape(E * X, D).index_select(0, flat.view(-1)).view(*index.shape, D)


def initial(rng: np.random.Generator, *, M: int, K: int, N: int, H: int, D: int, mlp: bool) -> Params:
    """First weights of one member, without the member axis: N(0, .02^2) like GPT-2's."""

    def gaussian(*shape: int) -> Tensor:
        return torch.from_numpy(np.float32(0.02) * rng.standard_normal(shape, dtype=np.float32))

    return {
        "W_in": gaussian(2 * M + K, D),
        **initial_layers(rng, N=N, H=H, D=D, mlp=mlp),
        "W_out": gaussian(D, M),
    }


@final
@dataclass(frozen=True, kw_only=True)
class Deep(Reasoning):
    """The deep network, trained by Adam on the squared loss.

    >>> net = Deep(steps=1, M=6, d_X=8, B=4, width=8).train(seeds=[0])
    >>> net.params["W_in"].shape
    torch.Size([1, 14, 8])
    """

    kind: ClassVar[str] = "cot.deep"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 2

    lr: float = constant(1e-3, "learning rate of Adam", origin="chosen", room="training", low=0)
    steps: int = constant(1000, "gradient steps T", origin="chosen", room="training", low=0, shape=True)
    K: int = constant(2, "reasoning steps of a task", origin="given", room="data", low=1, high=20, shape=True)
    alpha: float = constant(
        0.7, "share of examples that start where the query does", origin="given", room="data", low=0, high=1
    )
    n_layer: int = constant(3, "layers", origin="given", room="network", low=1, shape=True)
    n_head: int = constant(2, "attention heads in a layer", origin="given", room="network", low=1, shape=True)
    width: int = constant(64, "width of the residual stream", origin="chosen", room="network", low=2, shape=True)
    mlp: bool = constant(False, "an MLP after the attention of each layer", origin="chosen", room="network", shape=True)

    def validate(self) -> None:
        """Heads share the width evenly."""
        super().validate()
        check_heads(self.width, self.n_head)

    @staticmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs F on an ensemble's prompts, output_EBM."""
        return forward(params, prompts)

    @staticmethod
    def attentions(params: Params, prompts: Prompts) -> Tensor:
        """The query's attention on the columns in every layer and head, attn_ENHBKM."""
        x_EBLD, log_count_EBL = tokens(params, prompts)
        layers = layer_inputs(params, x_EBLD, log_count_EBL=log_count_EBL)
        attn = torch.stack([query_attention(*layer, log_count_EBL=log_count_EBL) for layer in layers], 1)
        return attn[..., :-1].transpose(2, 3).unflatten(-1, prompts.step_EBKM.shape[2:])

    def optimizer(self) -> Adam:
        """Adam, with its usual constants."""
        return Adam()

    def work(self) -> float:
        """The fewest operations of all steps: forward, and twice that backward."""
        D, L = self.width, self.K * self.M + 1
        own = (4 + 8 * self.mlp) * D * D
        column = own + 2 * L * D
        query = own + 2 * L * self.n_head * D
        return 6.0 * self.steps * self.B * ((self.n_layer - 1) * L * column + query + D * self.M)

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        rng = stream("cot.deep.weights", self.axes("network"), seed)
        return initial(rng, M=self.M, K=self.K, N=self.n_layer, H=self.n_head, D=self.width, mlp=self.mlp)
