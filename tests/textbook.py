"""The one-layer Transformer as the paper writes it: one network, every column multiplied out, every matrix in full.

    F(P) = a^T relu( W_O sum_s W_V p_s attn_s ),   attn_s = softmax_s( (W_K p_s)^T W_Q p_query ),   s = 1 .. l+1

    symbol        meaning                                                     shape
    p_s           column (x_s; y_s q), the last one (x_query; 0)              H = d_X + d_Y
    W_Q W_K W_V   query, key and value matrices                               (H, H)
    W_O           hidden layer                                                (M, H)
    a             output signs, never trained                                 (M,)
    z             labels of the queries                                       (B,)

Nothing is saved or folded here, so this is what the fast form in lemmata.icl.network is held against. The gradients are
the four formulas of the paper (icl.md, section 2), restricted to the prompts whose hinge is active.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lemmata.icl.data import Prompts
from lemmata.lab.ensemble import Params


@dataclass(frozen=True)
class Network:
    """The weights of one network; also their gradients, where `a` has none and stays 0."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    W_O: Tensor
    a: Tensor


def member(params: Params, e: int, *, d_Y: int, outside: float) -> Network:
    """Member `e` of an ensemble in float64, on all H = V + d_Y dimensions.

    The fast form has no columns beyond the label's, which see zeros only, and no rows of W_Q and W_K there: these
    are `outside` times the identity, delta where training has started from delta I.
    """
    p = {name: t[e].detach().double() for name, t in params.items()}
    H = p["W_V"].shape[0]
    D = H - d_Y + 1

    def whole(W: Tensor) -> Tensor:
        full_HH = outside * torch.eye(H, dtype=torch.float64)
        full_HH[: W.shape[0], :D] = W
        return full_HH

    return Network(whole(p["W_Q"]), whole(p["W_K"]), whole(p["W_V"]), p["W_O"], p["a"])


def axes(prompts: Prompts, e: int, *, V: int, d_Y: int) -> Tensor:
    """What the axes of member e's prompts are in R^H, axis_PH: its patterns, then q = the first of the label's axes."""
    basis_HH = torch.eye(V + d_Y, dtype=torch.float64)
    pattern_PV = torch.eye(V) if prompts.axis_EVD is None else prompts.axis_EVD[e]
    return torch.cat([pattern_PV.double() @ basis_HH[:V], basis_HH[V : V + 1]])


def multiplied_out(prompts: Prompts, e: int, axis_PH: Tensor) -> Tensor:
    """The columns of member e's prompts, prompt_BLH: beta mu_j + beta kappa nu_k + y q."""
    idr_BLH, idi_BLH, q_H = axis_PH[prompts.idr_EBL[e]], axis_PH[prompts.idi_EBL[e]], axis_PH[-1]
    noise_BL1, label_BL1 = (t[e].double().unsqueeze(-1) for t in (prompts.noise_EBL, prompts.label_EBL))
    return prompts.beta_E[e].double() * idr_BLH + noise_BL1 * idi_BLH + label_BL1 * q_H


def attention(net: Network, prompt_BLH: Tensor) -> Tensor:
    """attn_BL: softmax over all columns, the query's own among them."""
    key_BLH, query_BH = prompt_BLH @ net.W_K.T, prompt_BLH[:, -1] @ net.W_Q.T
    return torch.einsum("blh,bh->bl", key_BLH, query_BH).softmax(-1)


def hidden(net: Network, prompt_BLH: Tensor) -> Tensor:
    """What the ReLU sees, W_O sum_s W_V p_s attn_s, (B, M)."""
    value_BLH = prompt_BLH @ net.W_V.T
    return torch.einsum("bl,blh->bh", attention(net, prompt_BLH), value_BLH) @ net.W_O.T


def output(net: Network, prompt_BLH: Tensor) -> Tensor:
    """F, (B,)."""
    return hidden(net, prompt_BLH).relu() @ net.a


def loss(net: Network, prompt_BLH: Tensor, z_B: Tensor) -> Tensor:
    """The mean hinge loss of a batch."""
    return (1 - z_B * output(net, prompt_BLH)).clamp_min(0).mean()


def gradients(net: Network, prompt_BLH: Tensor, z_B: Tensor) -> Network:
    """The four formulas of the paper, in its letters: n over prompts, i over neurons, s and r over columns.

    attn_s (W_K p_s - sum_r attn_r W_K p_r) is what softmax makes of a score; the slides print W_Q^T p_query in the
    second formula, where the dimensions and autograd want W_Q p_query.
    """
    attn_BL, query_BH = attention(net, prompt_BLH), prompt_BLH[:, -1]
    active_B = 1 - z_B * output(net, prompt_BLH) > 0
    fires_BM = (hidden(net, prompt_BLH) >= 0).double()
    # (-z) / B on the prompts that count, times a_i 1[w_i o >= 0].
    weight_BM = (-z_B * active_B / len(z_B)).unsqueeze(-1) * net.a * fires_BM
    value_BLH, key_BLH = prompt_BLH @ net.W_V.T, prompt_BLH @ net.W_K.T
    # sum_i (...) (w_i W_V p_s) attn_s
    score_BL = torch.einsum("bm,mh,blh->bl", weight_BM, net.W_O, value_BLH) * attn_BL
    key_spread_BLH = key_BLH - torch.einsum("bl,blh->bh", attn_BL, key_BLH).unsqueeze(1)
    column_spread_BLH = prompt_BLH - torch.einsum("bl,blh->bh", attn_BL, prompt_BLH).unsqueeze(1)
    return Network(
        W_Q=torch.einsum("bl,blh,bk->hk", score_BL, key_spread_BLH, query_BH),
        W_K=torch.einsum("bl,bh,blk->hk", score_BL, query_BH @ net.W_Q.T, column_spread_BLH),
        W_V=torch.einsum("bm,mh,bl,blk->hk", weight_BM, net.W_O, attn_BL, prompt_BLH),
        W_O=torch.einsum("bm,bl,blh->mh", weight_BM, attn_BL, value_BLH),
        a=torch.zeros_like(net.a),
    )


def autograd(net: Network, prompt_BLH: Tensor, z_B: Tensor) -> Network:
    """The same gradients by automatic differentiation of the forward formula."""
    trained = {name: getattr(net, name).clone().requires_grad_() for name in ("W_Q", "W_K", "W_V", "W_O")}
    found = torch.autograd.grad(loss(replace(net, **trained), prompt_BLH, z_B), list(trained.values()))
    return replace(net, **dict(zip(trained, found, strict=True)), a=torch.zeros_like(net.a))


def descend(net: Network, prompt_BLH: Tensor, z_B: Tensor, lr: float) -> Network:
    """One step of plain gradient descent along the paper's formulas."""
    step = gradients(net, prompt_BLH, z_B)
    return Network(*(getattr(net, f.name) - lr * getattr(step, f.name) for f in fields(net)))
