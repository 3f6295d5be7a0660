"""What is measured inside a small GPT-2, layer by layer: what Propositions 1 and 2 of the ICL paper say of one layer.

    symbol       meaning
    attn_EBHL    the query token's attention in one layer, heads apart, itself last
    q_ED         the label's direction in the residual stream: its row of the read-in W_in
    row_EMD      what a neuron of a layer's MLP sees of a token that is attended to, in that token's residual stream:
                 centre, gain_A, W_V and W_O of all heads, centre, gain_M, and the neuron's column of W_fc
    effect_EM    what a neuron adds to F when its output reaches the read-out unchanged: W_proj, centre, gain_F, w_out

Two LayerNorms divide by positive numbers that depend on the token, and are not in row_EMD; gelu and the layers above
are not in effect_EM. So the angle of a row is exact, its norm is up to a factor, and the sign of an effect is that of
the direct path. The rows stand where those of W_O W_V do in the one-layer network; there the label has coordinates of
its own, here it shares the residual stream with all else, and a row that knows nothing of it is at about pi/2 to it.

Figures on three layers in the slides of Li et al. (ICML 2024, arXiv 2402.15607).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lemmata.icl.data import Prompts
from lemmata.icl.gpt import read_in
from lemmata.icl.probes import same_pattern_mass
from lemmata.icl.testing import TestSet
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.measures import Repeated, joined, rows
from lemmata.lab.trainee import Row
from lemmata.lab.transformer import layer_inputs, query_attention

__all__ = ["LabelEmbeddings", "LayerAttention", "attended_rows", "layer_mass", "output_effects"]


def layer_mass(params: Params, prompts: Prompts) -> Tensor:
    """Each layer's attention of the query on its own pattern, itself among it, averaged over heads and prompts: (E, N).

    >>> from lemmata import icl
    >>> net = icl.SmallGPT(steps=0, width=16).train()
    >>> layer_mass(net.params, icl.TestSet(l=20, alpha=0.8, prompts=4).ensemble(net)).shape
    torch.Size([1, 3])
    """
    with torch.no_grad():
        inputs = layer_inputs(params, read_in(params, prompts))
        attns = [query_attention(layer, x_EBLD).mean(2) for layer, x_EBLD in inputs]
    return torch.stack([same_pattern_mass(attn_EBL, prompts) for attn_EBL in attns], -1)


def attended_rows(params: Params) -> Tensor:
    """The rows row_ENMD of every layer N: what its neurons see of an attended token's residual stream.

    >>> from lemmata import icl
    >>> attended_rows(icl.SmallGPT(steps=0, width=16).train().params).shape
    torch.Size([1, 3, 64, 16])
    """
    W_V_ENDC = params["W_QKV"][:, :, :, 2].flatten(3)
    hidden_ENDM = _centred(params["gain_M"].unsqueeze(-1) * params["W_fc"])
    seen_ENDM = W_V_ENDC @ (params["W_O"] @ hidden_ENDM)
    return _centred(params["gain_A"].unsqueeze(-1) * seen_ENDM).transpose(2, 3)


def output_effects(params: Params) -> Tensor:
    """The effect effect_ENM of every layer's neurons on the output through the residual stream alone.

    >>> from lemmata import icl
    >>> output_effects(icl.SmallGPT(steps=0, width=16).train().params).shape
    torch.Size([1, 3, 64])
    """
    read_ED1 = _centred((params["gain_F"] * params["w_out"]).unsqueeze(-1))
    return (params["W_proj"] @ read_ED1.unsqueeze(1)).squeeze(-1)


def _centred(t: Tensor) -> Tensor:
    """What a LayerNorm's subtraction of the mean does to the matrix after it, whose rows are the residual stream's."""
    return t - t.mean(-2, keepdim=True)


@final
@dataclass(frozen=True, kw_only=True)
class LayerAttention(Repeated):
    """Attention mass on the query's pattern in every layer, every few steps (published figure A9)."""

    name: ClassVar[str] = "layer-attention"

    every: int = 20
    l: int = 20
    alpha: float = 0.8
    prompts: int = 512

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "attention_same" at x = step, with the coordinate layer, counted from 1."""
        prompts = TestSet(l=self.l, alpha=self.alpha, prompts=self.prompts).ensemble(snapshot)
        mass_EN = layer_mass(snapshot.params, prompts)
        parts = [rows("attention_same", snapshot.step, mass_E, {"layer": n}) for n, mass_E in enumerate(mass_EN.T, 1)]
        return joined(parts)


@final
@dataclass(frozen=True, kw_only=True)
class LabelEmbeddings(Repeated):
    """Norm of the neurons' rows and their angle to the label's direction, by layer and effect (published figure A10).

    `quantiles` of the neurons that share layer and effect are taken beside their mean.
    """

    name: ClassVar[str] = "label-embeddings"

    every: int = 100
    quantiles: tuple[float, ...] = (0.1, 0.9)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "label_norm" and "label_angle" at x = step: a row's norm, and its angle to the label in radians.

        Coordinates: layer, counted from 1, effect ("+" or "-"), and over: "mean", or the quantile as "q90".
        """
        params = snapshot.params
        row_ENMD, effect_ENM = attended_rows(params), output_effects(params)
        q_E11D = params["W_in"][:, None, None, -1]
        angle_ENM = torch.cosine_similarity(row_ENMD, q_E11D, dim=-1).clamp(-1, 1).acos()
        found = {"label_norm": row_ENMD.norm(dim=-1), "label_angle": angle_ENM}
        return [
            [
                Row(metric, snapshot.step, value, {"layer": n + 1, "effect": effect, "over": over})
                for n in range(effect_ENM.shape[1])
                for effect, group_M in (("+", effect_ENM[e, n] > 0), ("-", effect_ENM[e, n] <= 0))
                for metric, value_ENM in found.items()
                for over, value in self._over(value_ENM[e, n, group_M])
            ]
            for e in range(len(snapshot.members))
        ]

    def _over(self, value_M: Tensor) -> list[tuple[str, float]]:
        """A group of neurons in a few numbers; none where no neuron is in it."""
        if not len(value_M):
            return []
        quantiles = [(f"q{100 * p:g}", float(value_M.quantile(p))) for p in self.quantiles]
        return [("mean", float(value_M.mean())), *quantiles]
