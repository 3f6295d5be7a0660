"""The deep pre-LayerNorm Transformer of GPT-2, from tokens to the query token, for an ensemble of members at once.

    x  += W_O^T concat_h sum_r attn_r v_r + b_O                   q, k, v = W_QKV^T norm_A(x) + b_QKV, H heads
    x  += W_proj^T gelu(W_fc^T norm_M(x) + b_fc) + b_proj         after N such pairs, or N of the first without MLP:
    answer = norm_F(x_query)                                      the query is the last token

    symbol             meaning                                                    shape
    W_QKV b_QKV        queries, keys and values of all layers                     (N, D, 3, H, K), D = H K
    W_O b_O            what attention adds to the residual stream                 (N, D, D)
    W_fc b_fc          hidden layer of the MLP, absent without                    (N, D, M), M = 4 D
    W_proj b_proj      what the MLP adds to the residual stream, absent without   (N, M, D)
    gain_X shift_X     of the LayerNorm before attention (A), MLP (M), answer (F) (N, D), (N, D), (D)
    causal             1 where tokens see the earlier ones only; absent where no
                       member's do; never trained                                 (1)
    log_count_EBL      how often a token occurs in its prompt, as a logarithm that is added to its scores; None: once.
                       Nobody attends to one of -inf: a token that is absent, which may then hold any finite numbers, or
                       a query that nobody is to see. Where no member is causal, equal tokens see and are seen alike,
                       so that one of them stands for all.

What becomes a token and what is read off the answer are a paper's own. GELU is the exact one, since GPT-2's
approximation by a tanh costs three times as much.

Savings, exact (tests/test_transformer.py, against the textbook form in tests/textbook_gpt.py): the last layer serves
the query token only, whose attention is formed from W_K^T q and before W_V, so that no other token is multiplied there;
the gain and shift of a LayerNorm move into the matrix that reads it; the layers are one tensor a kind, so that an
optimiser takes one step a kind.

On some CPUs a product rounds by how its matrices lie in memory, and an axis of one member merges with those after it
without the copy that several members need. So that a member's numbers are the same in any company, no merging here
depends on it: members and prompts always lie side by side, and heads come between them by a copy that is always made.

Shapes: E members, B prompts, P = E B, L tokens in a prompt, T = B L, N layers, H heads of K, D width, M neurons,
C = 3 D.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lemmata.lab.ensemble import Params
from lemmata.lab.errors import ConstantError

__all__ = ["answer", "check_heads", "initial_layers", "layer_inputs", "query_attention"]

# What a layer consists of; each is one tensor for all layers, the layer axis after the member axis.
ATTENTION = ("gain_A", "shift_A", "W_QKV", "b_QKV", "W_O", "b_O")
MLP = ("gain_M", "shift_M", "W_fc", "b_fc", "W_proj", "b_proj")
# The score of a token that is not seen: finite, so that 0 times it is 0 where it is.
UNSEEN = -1e9


def check_heads(width: int, n_head: int) -> None:
    """Refuse heads that cannot share the width evenly.

    Raises:
        ConstantError: n_head does not divide the width.

    >>> check_heads(64, 2)
    """
    if width % n_head:
        fix = "choose a width that the number of heads divides"
        raise ConstantError(f"a width that n_head = {n_head} divides", f"width = {width}", fix)


def answer(params: Params, x_EBLD: Tensor, *, log_count_EBL: Tensor | None = None) -> Tensor:
    """The query token after all layers and the last LayerNorm, x_EBD.

    >>> params = {name: p[None] for name, p in initial_layers(np.random.default_rng(0), N=3, H=2, D=8).items()}
    >>> answer(params, torch.ones(1, 4, 5, 8)).shape
    torch.Size([1, 4, 8])
    """
    layer, x_EBLD = layer_inputs(params, x_EBLD, log_count_EBL=log_count_EBL)[-1]
    x_EBD = _mlp(layer, _query_attend(layer, x_EBLD, log_count_EBL))
    return _norm(x_EBD) * params["gain_F"].unsqueeze(1) + params["shift_F"].unsqueeze(1)


def layer_inputs(params: Params, x_EBLD: Tensor, *, log_count_EBL: Tensor | None = None) -> list[tuple[Params, Tensor]]:
    """Each layer's own weights, and the residual stream as it enters the layer, x_EBLD.

    >>> params = {name: p[None] for name, p in initial_layers(np.random.default_rng(0), N=3, H=2, D=8).items()}
    >>> [x_EBLD.shape for _, x_EBLD in layer_inputs(params, torch.ones(1, 4, 5, 8))]
    [torch.Size([1, 4, 5, 8]), torch.Size([1, 4, 5, 8]), torch.Size([1, 4, 5, 8])]
    """
    layers = _layers(params)
    mask_PLL = _mask(params, x_EBLD, log_count_EBL)
    inputs = [(layers[0], x_EBLD)]
    for here, following in pairwise(layers):
        x_EBLD = _mlp(here, _attend(here, x_EBLD, mask_PLL)).view(x_EBLD.shape)
        inputs.append((following, x_EBLD))
    return inputs


def query_attention(layer: Params, x_EBLD: Tensor, *, log_count_EBL: Tensor | None = None) -> Tensor:
    """The query token's attention on every token in one layer, itself last, heads apart, attn_EBHL.

    Layer and residual stream are those of `layer_inputs`.

    >>> params = {name: p[None] for name, p in initial_layers(np.random.default_rng(0), N=3, H=2, D=8).items()}
    >>> first, *_ = layer_inputs(params, torch.ones(1, 1, 4, 8))
    >>> query_attention(*first, log_count_EBL=torch.tensor([[[0.0, -torch.inf, 0.0, 0.0]]]))[0, 0]
    tensor([[0.3333, 0.0000, 0.3333, 0.3333],
            [0.3333, 0.0000, 0.3333, 0.3333]])
    """
    return _query_attention(_norm(x_EBLD), *_heads(layer), log_count_EBL)


def _layers(params: Params) -> list[Params]:
    """The weights of each layer on their own, without the layer axis."""
    parts = {name: params[name].unbind(1) for name in ATTENTION + MLP if name in params}
    return [{name: part[n] for name, part in parts.items()} for n in range(params["W_O"].shape[1])]


def _mask(params: Params, x_EBLD: Tensor, log_count_EBL: Tensor | None) -> Tensor:
    """What is added to the scores, as mask_PLL, or as 1 in place of an axis along which it is the same."""
    E, B, L, _ = x_EBLD.shape
    mask_PLL = x_EBLD.new_zeros(1, 1, 1)
    if "causal" in params:
        later_LL = x_EBLD.new_full((L, L), UNSEEN).triu(1)
        mask_PLL = (params["causal"].view(E, 1, 1, 1) * later_LL).expand(E, B, L, L).reshape(E * B, L, L)
    return mask_PLL if log_count_EBL is None else mask_PLL + log_count_EBL.reshape(E * B, 1, L)


def _attend(layer: Params, x_EBLD: Tensor, mask_PLL: Tensor) -> Tensor:
    """The residual stream after every token has attended, x_ETD."""
    E, B, L, D = x_EBLD.shape
    _, _, H, K = layer["b_QKV"].shape
    x_ETD = x_EBLD.reshape(E, B * L, D)
    W_EDC, b_E1C = _after_norm(layer["gain_A"], layer["shift_A"], layer["W_QKV"], layer["b_QKV"])
    head_PLK = torch.baddbmm(b_E1C, _norm(x_ETD), W_EDC).view(E * B, L, 3 * H, K).unbind(2)
    W_O_EKD = layer["W_O"].view(E, H, K, D).unbind(1)
    # Head by head, since a head's columns can be multiplied where they lie; all heads at once would be copied first.
    for q_PLK, k_PLK, v_PLK, W_EKD in zip(head_PLK[:H], head_PLK[H : 2 * H], head_PLK[2 * H :], W_O_EKD, strict=True):
        attn_PLL = torch.baddbmm(mask_PLL, q_PLK, k_PLK.transpose(1, 2), alpha=K**-0.5).softmax(-1)
        x_ETD = torch.baddbmm(x_ETD, (attn_PLL @ v_PLK).view(E, B * L, K), W_EKD)
    return x_ETD + layer["b_O"].unsqueeze(1)


def _query_attention(normed_EBLD: Tensor, W_ED3HK: Tensor, b_E3HK: Tensor, log_count_EBL: Tensor | None) -> Tensor:
    W_Q_EDHK, W_K_EDHK, _ = W_ED3HK.unbind(2)
    q_EBHK = torch.einsum("ebd,edhk->ebhk", normed_EBLD[:, :, -1], W_Q_EDHK)
    # The bias of the keys adds the same to the scores of all tokens, which softmax does not feel.
    u_EBHD = _by_head(_heads_first(q_EBHK) + b_E3HK[:, 0].unsqueeze(2), _heads_first(W_K_EDHK.transpose(1, 3)))
    score_EBHL = torch.einsum("ebhd,ebld->ebhl", u_EBHD, normed_EBLD) * W_ED3HK.shape[-1] ** -0.5
    if log_count_EBL is not None:
        score_EBHL = score_EBHL + log_count_EBL.unsqueeze(2)
    return score_EBHL.softmax(-1)


def _query_attend(layer: Params, x_EBLD: Tensor, log_count_EBL: Tensor | None) -> Tensor:
    """The residual stream of the query token after it has attended, x_EBD."""
    normed_EBLD, (W_ED3HK, b_E3HK) = _norm(x_EBLD), _heads(layer)
    attn_EBHL = _query_attention(normed_EBLD, W_ED3HK, b_E3HK, log_count_EBL)
    pooled_EBHD = torch.einsum("ebhl,ebld->ebhd", attn_EBHL, normed_EBLD)
    v_EBHK = _by_head(_heads_first(pooled_EBHD), _heads_first(W_ED3HK[:, :, 2])) + b_E3HK[:, None, 2]
    return torch.baddbmm(x_EBLD[:, :, -1], v_EBHK.flatten(2), layer["W_O"]) + layer["b_O"].unsqueeze(1)


def _heads_first(t_EXHY: Tensor) -> Tensor:
    """t_EHXY, copied forward and backward; transposing would leave the copy to whether there are several members."""
    return torch.stack(t_EXHY.unbind(2), 1)


def _by_head(t_EHBX: Tensor, W_EHXY: Tensor) -> Tensor:
    """Every head's product with its own matrix, t_EBHY."""
    t_EHBY = torch.bmm(t_EHBX.flatten(0, 1), W_EHXY.flatten(0, 1)).unflatten(0, t_EHBX.shape[:2])
    return torch.stack(t_EHBY.unbind(1), 2)


def _heads(layer: Params) -> tuple[Tensor, Tensor]:
    """The matrix and bias of queries, keys and values that read the bare LayerNorm, a head apart."""
    W_EDC, b_E1C = _after_norm(layer["gain_A"], layer["shift_A"], layer["W_QKV"], layer["b_QKV"])
    return W_EDC.view(layer["W_QKV"].shape), b_E1C.view(layer["b_QKV"].shape)


def _mlp(layer: Params, x_ETD: Tensor) -> Tensor:
    """The residual stream after the MLP, token by token; as it came where there is none."""
    if "W_fc" not in layer:
        return x_ETD
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


def initial_layers(rng: np.random.Generator, *, N: int, H: int, D: int, mlp: bool = True) -> Params:
    """First weights of one member's layers and last LayerNorm, without the member axis.

    They are GPT-2's: N(0, .02^2), those that write to the residual stream scaled by one over the root of how many they
    are, 2 N or without MLP N; no bias. The members of an ensemble all have an MLP or none has; H divides D.

    >>> list(initial_layers(np.random.default_rng(0), N=3, H=2, D=8, mlp=False))
    ['gain_A', 'shift_A', 'W_QKV', 'b_QKV', 'W_O', 'b_O', 'gain_F', 'shift_F']
    """
    M, residual = 4 * D, 0.02 * (2 * N if mlp else N) ** -0.5

    def gaussian(*shape: int, std: float = 0.02) -> Tensor:
        return torch.from_numpy(np.float32(std) * rng.standard_normal(shape, dtype=np.float32))

    attention = {
        "gain_A": torch.ones(N, D),
        "shift_A": torch.zeros(N, D),
        "W_QKV": gaussian(N, D, 3, H, D // H),
        "b_QKV": torch.zeros(N, 3, H, D // H),
        "W_O": gaussian(N, D, D, std=residual),
        "b_O": torch.zeros(N, D),
    }
    last = {"gain_F": torch.ones(D), "shift_F": torch.zeros(D)}
    if not mlp:
        return attention | last
    neurons = {
        "gain_M": torch.ones(N, D),
        "shift_M": torch.zeros(N, D),
        "W_fc": gaussian(N, D, M),
        "b_fc": torch.zeros(N, M),
        "W_proj": gaussian(N, M, D, std=residual),
        "b_proj": torch.zeros(N, D),
    }
    return attention | neurons | last
