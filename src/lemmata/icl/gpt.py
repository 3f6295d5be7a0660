"""A small GPT-2 on the same prompts: the second architecture of Li et al. (ICML 2024, arXiv 2402.15607).

    x   = W_in^T p_s + W_pos[s]                                  a column is a token, s = 0 .. l, the query at s = l
    x  += W_O^T concat_h sum_r attn_r v_r + b_O                   q, k, v = W_QKV^T norm_A(x) + b_QKV, H heads
    x  += W_proj^T gelu(W_fc^T norm_M(x) + b_fc) + b_proj         after n_layer such pairs:
    F   = w_out . norm_F(x_query)

    symbol             meaning                                                    shape
    W_in               read-in: what a pattern axis and the label become          (V + 1, D)
    W_pos              learned positions, absent without                          (S, D), S = l_tr + 1
    W_QKV b_QKV        queries, keys and values of all layers                     (N, D, 3, H, K), D = H K
    W_O b_O            what attention adds to the residual stream                 (N, D, D)
    W_fc b_fc          hidden layer of the MLP                                    (N, D, M), M = 4 D
    W_proj b_proj      what the MLP adds to the residual stream                   (N, M, D)
    gain_X shift_X     of the LayerNorm before attention (A), MLP (M), answer (F) (N, D), (N, D), (D)
    w_out              read-out of the query token                                (D)
    causal             1 where columns see the earlier ones only; never trained   (1)

First weights are GPT-2's: N(0, .02^2), those that write to the residual stream scaled by 1/sqrt(2 n_layer), no bias.
GELU is the exact one, since GPT-2's approximation by a tanh costs three times as much. Neither read-in nor read-out has
a bias: positions and LayerNorm shifts hold what it would add.

The columns come in coordinates on the pattern axes. Under any rotation of the inputs the rows of the read-in that they
meet are the same Gaussian, so the first weights, the untrained network and its first gradient have the same
distribution whichever orthonormal patterns there are. Plain gradient descent would keep this for good; Adam, which
scales every entry of W_in by its own gradients, does not: these members are those whose patterns are the axes.

Savings, exact (tests/test_icl_gpt.py, against the textbook form in tests/textbook_gpt.py): the last layer serves the
query token only, whose attention is formed as in the one-layer network, from W_K^T q and before W_V, so that no other
token is multiplied there; the gain and shift of a LayerNorm move into the matrix that reads it; the layers are one
tensor a kind, so that Adam takes 17 steps instead of 41.

Shapes: E members, B prompts, L = l + 1 columns, T = B L tokens, V patterns, N layers, H heads of K, D width, M neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.icl.data import TASK_SETS, Prompts
from lemmata.icl.prompting import Prompting
from lemmata.lab.ensemble import Adam, Params, Phase
from lemmata.lab.errors import ConstantError
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant

__all__ = ["SmallGPT", "forward", "initial", "layer_inputs", "query_attention", "read_in"]

# What a layer consists of; each is one tensor for all layers, the layer axis after the member axis.
LAYER: tuple[str, ...] = (
    "gain_A", "shift_A", "W_QKV", "b_QKV", "W_O", "b_O",
    "gain_M", "shift_M", "W_fc", "b_fc", "W_proj", "b_proj",
)  # fmt: skip
# The score of a later column where attention is causal: finite, so that 0 times it is 0 where it is not.
LATER = -1e9


def forward(params: Params, prompts: Prompts) -> Tensor:
    """The network's output F, output_EB; its sign is the answer.

    Raises:
        ConstantError: a network with learned positions is asked for a length that it was not trained up to.

    >>> net = SmallGPT(steps=1, width=16, B=4).train()
    >>> from lemmata.icl.testing import TestSet
    >>> forward(net.params, TestSet(l=8, alpha=0.8, prompts=5).ensemble(net)).shape
    torch.Size([1, 5])
    """
    layer, x_EBLD = layer_inputs(params, prompts)[-1]
    x_EBD = _mlp(layer, _query_attend(layer, x_EBLD))
    # Sums rather than a product with a vector, whose last bits depend on how many members there are.
    normed_EBD = _norm(x_EBD) * params["gain_F"].unsqueeze(1) + params["shift_F"].unsqueeze(1)
    return (normed_EBD * params["w_out"].unsqueeze(1)).sum(-1)


def read_in(params: Params, prompts: Prompts) -> Tensor:
    """The columns as tokens, x_EBLD."""
    W_in_EVD = params["W_in"]
    E, B, L = prompts.idr_EBL.shape
    V = W_in_EVD.shape[1] - 1 if prompts.axis_EVD is None else prompts.axis_EVD.shape[1]
    x_EBLD = (prompts.columns(V).view(E, B * L, -1) @ W_in_EVD).view(E, B, L, -1)
    if "W_pos" not in params:
        return x_EBLD
    S = params["W_pos"].shape[1]
    if S < L:
        expected = f"prompts of at most l_tr = {S - 1} examples, for which positions were learned"
        fix = "ask for shorter prompts, train with a larger l_tr, or with positions=False"
        raise ConstantError(expected, f"l = {L - 1}", fix)
    return x_EBLD + params["W_pos"][:, None, :L]


def layer_inputs(params: Params, prompts: Prompts) -> list[tuple[Params, Tensor]]:
    """Each layer's own weights, and the residual stream as it enters the layer, x_EBLD."""
    layers = _layers(params)
    x_EBLD = read_in(params, prompts)
    E, B, L, _ = x_EBLD.shape
    later_LL = x_EBLD.new_full((L, L), LATER).triu(1)
    mask_NLL = (params["causal"].view(E, 1, 1, 1) * later_LL).expand(E, B, L, L).reshape(E * B, L, L)
    inputs = [(layers[0], x_EBLD)]
    for here, following in pairwise(layers):
        x_EBLD = _mlp(here, _attend(here, x_EBLD, mask_NLL)).view(E, B, L, -1)
        inputs.append((following, x_EBLD))
    return inputs


def _layers(params: Params) -> list[Params]:
    """The weights of each layer on their own, without the layer axis."""
    parts = {name: params[name].unbind(1) for name in LAYER}
    return [{name: part[n] for name, part in parts.items()} for n in range(params["W_O"].shape[1])]


def _attend(layer: Params, x_EBLD: Tensor, mask_NLL: Tensor) -> Tensor:
    """The residual stream after every column has attended, x_ETD; N = E B prompts."""
    E, B, L, D = x_EBLD.shape
    _, _, H, K = layer["b_QKV"].shape
    x_ETD = x_EBLD.view(E, B * L, D)
    W_EDC, b_E1C = _after_norm(layer["gain_A"], layer["shift_A"], layer["W_QKV"], layer["b_QKV"])
    head_NLK = torch.baddbmm(b_E1C, _norm(x_ETD), W_EDC).view(E * B, L, 3 * H, K).unbind(2)
    W_O_EKD = layer["W_O"].view(E, H, K, D).unbind(1)
    # Head by head, since a head's columns can be multiplied where they lie; all heads at once would be copied first.
    for q_NLK, k_NLK, v_NLK, W_EKD in zip(head_NLK[:H], head_NLK[H : 2 * H], head_NLK[2 * H :], W_O_EKD, strict=True):
        attn_NLL = torch.baddbmm(mask_NLL, q_NLK, k_NLK.transpose(1, 2), alpha=K**-0.5).softmax(-1)
        x_ETD = torch.baddbmm(x_ETD, (attn_NLL @ v_NLK).view(E, B * L, K), W_EKD)
    return x_ETD + layer["b_O"].unsqueeze(1)


def query_attention(layer: Params, x_EBLD: Tensor) -> Tensor:
    """The query token's attention on every column in one layer, attn_EBHL."""
    return _query_attention(_norm(x_EBLD), *_heads(layer))


def _query_attention(normed_EBLD: Tensor, W_ED3HK: Tensor, b_E3HK: Tensor) -> Tensor:
    W_Q_EDHK, W_K_EDHK, _ = W_ED3HK.unbind(2)
    q_EBHK = torch.einsum("ebd,edhk->ebhk", normed_EBLD[:, :, -1], W_Q_EDHK) + b_E3HK[:, None, 0]
    # The bias of the keys adds the same to the scores of all columns, which softmax does not feel.
    u_EBHD = torch.einsum("ebhk,edhk->ebhd", q_EBHK, W_K_EDHK)
    return (torch.einsum("ebhd,ebld->ebhl", u_EBHD, normed_EBLD) * W_ED3HK.shape[-1] ** -0.5).softmax(-1)


def _query_attend(layer: Params, x_EBLD: Tensor) -> Tensor:
    """The residual stream of the query token after it has attended, x_EBD."""
    normed_EBLD, (W_ED3HK, b_E3HK) = _norm(x_EBLD), _heads(layer)
    attn_EBHL = _query_attention(normed_EBLD, W_ED3HK, b_E3HK)
    pooled_EBHD = torch.einsum("ebhl,ebld->ebhd", attn_EBHL, normed_EBLD)
    v_EBHK = torch.einsum("ebhd,edhk->ebhk", pooled_EBHD, W_ED3HK[:, :, 2]) + b_E3HK[:, None, 2]
    return torch.baddbmm(x_EBLD[:, :, -1], v_EBHK.flatten(2), layer["W_O"]) + layer["b_O"].unsqueeze(1)


def _heads(layer: Params) -> tuple[Tensor, Tensor]:
    """The matrix and bias of queries, keys and values that read the bare LayerNorm, a head apart."""
    W_EDC, b_E1C = _after_norm(layer["gain_A"], layer["shift_A"], layer["W_QKV"], layer["b_QKV"])
    return W_EDC.view(layer["W_QKV"].shape), b_E1C.view(layer["b_QKV"].shape)


def _mlp(layer: Params, x_ETD: Tensor) -> Tensor:
    """The residual stream after the MLP, token by token."""
    W_EDM, b_E1M = _after_norm(layer["gain_M"], layer["shift_M"], layer["W_fc"], layer["b_fc"])
    hidden_ETM = F.gelu(torch.baddbmm(b_E1M, _norm(x_ETD), W_EDM))
    return torch.baddbmm(x_ETD, hidden_ETM, layer["W_proj"]) + layer["b_proj"].unsqueeze(1)


def _norm(x: Tensor) -> Tensor:
    """LayerNorm without gain and shift."""
    return F.layer_norm(x, x.shape[-1:])


def _after_norm(gain_ED: Tensor, shift_ED: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix W_EDC and bias b_E1C that read a LayerNorm, with its gain and shift folded in."""
    W_EDC, b_E1C = W.flatten(2), b.flatten(1).unsqueeze(1)
    return gain_ED.unsqueeze(-1) * W_EDC, torch.baddbmm(b_E1C, shift_ED.unsqueeze(1), W_EDC)


def initial(rng: np.random.Generator, *, V: int, S: int, N: int, H: int, D: int, causal: bool) -> Params:
    """First weights of one member, without the member axis; S = 0: no positions."""
    M = 4 * D

    def gaussian(*shape: int, std: float = 0.02) -> Tensor:
        return torch.from_numpy(np.float32(std) * rng.standard_normal(shape, dtype=np.float32))

    residual = 0.02 * (2 * N) ** -0.5
    return {
        "W_in": gaussian(V + 1, D),
        **({"W_pos": gaussian(S, D)} if S else {}),
        "gain_A": torch.ones(N, D),
        "shift_A": torch.zeros(N, D),
        "W_QKV": gaussian(N, D, 3, H, D // H),
        "b_QKV": torch.zeros(N, 3, H, D // H),
        "W_O": gaussian(N, D, D, std=residual),
        "b_O": torch.zeros(N, D),
        "gain_M": torch.ones(N, D),
        "shift_M": torch.zeros(N, D),
        "W_fc": gaussian(N, D, M),
        "b_fc": torch.zeros(N, M),
        "W_proj": gaussian(N, M, D, std=residual),
        "b_proj": torch.zeros(N, D),
        "gain_F": torch.ones(D),
        "shift_F": torch.zeros(D),
        "w_out": gaussian(D),
        "causal": torch.tensor([float(causal)]),
    }


@final
@dataclass(frozen=True, kw_only=True)
class SmallGPT(Prompting):
    """The small GPT-2 trained by Adam on the hinge loss; members with and without causal attention train together.

    It trains on all tasks unless told otherwise: where (a, b) is trained and (b, a) is not, a deep network can learn to
    answer from which two patterns fill the prompt, without its labels, and then errs on (b, a).
    """

    kind: ClassVar[str] = "icl.gpt"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 3

    lr: float = constant(3e-4, "learning rate of Adam", origin="chosen", room="training", low=0)
    steps: int = constant(800, "gradient steps T", origin="chosen", room="training", low=0, shape=True)
    l_min: int = constant(
        2, "shortest training prompt, 0: all of l_tr", origin="chosen", room="data", low=0, shape=True
    )
    tasks: str = constant("all", "training tasks T_tr", origin="chosen", room="data", choices=TASK_SETS)
    B: int = constant(64, "prompts in a batch", origin="chosen", room="data", low=1, shape=True)
    n_layer: int = constant(3, "layers", origin="given", room="network", low=1, shape=True)
    n_head: int = constant(2, "attention heads in a layer", origin="given", room="network", low=1, shape=True)
    width: int = constant(64, "width of the residual stream", origin="chosen", room="network", low=2, shape=True)
    causal: bool = constant(True, "columns see the earlier ones only", origin="chosen", room="network")
    positions: bool = constant(True, "learned positions", origin="chosen", room="network", shape=True)

    def validate(self) -> None:
        """Heads share the width evenly."""
        super().validate()
        if self.width % self.n_head:
            fix = "choose a width that the number of heads divides"
            raise ConstantError(f"a width that n_head = {self.n_head} divides", f"width = {self.width}", fix)

    @staticmethod
    def forward(params: Params, prompts: Prompts) -> Tensor:
        """The network's outputs F on an ensemble's prompts, output_EB."""
        return forward(params, prompts)

    def optimizer(self) -> Adam:
        """Adam, with its usual constants."""
        return Adam()

    def phases(self) -> tuple[Phase, ...]:
        """Everything moves but the mark of causal attention."""
        return (Phase(self.steps, {"causal": 0.0}),)

    def work(self) -> float:
        """The fewest operations of all steps: forward, and twice that backward."""
        D, L = self.width, 1 + (self.l_tr + (self.l_min or self.l_tr)) / 2
        column = 12 * D * D + 2 * L * D
        query = 12 * D * D + 2 * L * self.n_head * D
        return 6.0 * self.steps * self.B * (3 * L * D + (self.n_layer - 1) * L * column + query)

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        return initial(
            stream("icl.gpt.weights", self.axes("network"), seed),
            V=self.M1 + self.M2,
            S=self.l_tr + 1 if self.positions else 0,
            N=self.n_layer,
            H=self.n_head,
            D=self.width,
            causal=self.causal,
        )
