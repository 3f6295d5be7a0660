"""A small vision transformer on coloured digits.

    token_l = W_in^T patch_l + pos_l,  l = 1 .. L,  then one token pos_{L+1} to read the answer off
    F       = W_out^T answer + b_out                answer: the last token after all layers (`lemmata.lab.transformer`)

    symbol   meaning                                         shape
    patch    a square of the image, its red channel, then    (2 p^2,), p = side / 4
             its green one
    W_in     read-in, N(0, 1 / p^2): half its inputs are 0   (2 p^2, D)
    pos      positions, N(0, .02^2)                          (L + 1, D), L = 16
    W_out    read-out, N(0, .02^2)                           (D, O)

Every token sees every other one. The last layer is worked out for the last token only.

Shapes: G networks, B samples, I pixels, L patches, D width, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.editing.coloured import OUTPUTS, Coloured
from lemmata.editing.digits import images
from lemmata.lab.ensemble import Adam, Params
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant
from lemmata.lab.transformer import answer, check_heads, initial_layers

__all__ = ["Vit", "patches"]

# Patches on each side of an image.
SIDE = 4


def patches(pixel_GBI: Tensor) -> Tensor:
    """An image's pixels as SIDE^2 squares, row by row, patch_GBLP.

    >>> patches(torch.arange(64.0).view(1, 1, 64))[0, 0, 1]
    tensor([ 2.,  3., 10., 11.])
    """
    p = round(pixel_GBI.shape[-1] ** 0.5) // SIDE
    return pixel_GBI.unflatten(-1, (SIDE, p, SIDE, p)).transpose(-3, -2).flatten(-2).flatten(-3, -2)


@final
@dataclass(frozen=True, kw_only=True)
class Vit(Coloured):
    """The vision transformer, trained by Adam.

    >>> net = Vit(steps=1, B=4, width=8).train(seeds=[0])
    >>> net.params["delta.W_in"].shape
    torch.Size([1, 5, 8, 8])
    """

    kind: ClassVar[str] = "editing.coloured-vit"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 2

    lr: float = constant(1e-3, "learning rate of Adam", origin="chosen", room="training", low=0)
    steps: int = constant(100, "gradient steps of fine-tuning", origin="chosen", room="training", low=0, shape=True)
    pre_ratio: float = constant(
        18.0, "steps of pre-training for one of fine-tuning", origin="chosen", room="training", low=0, shape=True
    )
    n_layer: int = constant(2, "layers", origin="chosen", room="network", low=1, shape=True)
    n_head: int = constant(2, "attention heads in a layer", origin="chosen", room="network", low=1, shape=True)
    width: int = constant(32, "width of the residual stream", origin="chosen", room="network", low=2, shape=True)

    def validate(self) -> None:
        """Heads share the width evenly."""
        check_heads(self.width, self.n_head)

    def optimizer(self) -> Adam:
        """Adam, with its usual constants."""
        return Adam()

    def initial(self, seed: int) -> Params:
        """The network's first weights, without the member axis."""
        rng = stream("editing.vit.weights", self.axes("network"), seed)
        P, D = images(self.dataset).pixel_NI.shape[1] // SIDE**2, self.width

        def gaussian(*shape: int, std: float = 0.02) -> Tensor:
            return torch.from_numpy(np.float32(std) * rng.standard_normal(shape, dtype=np.float32))

        return {
            "W_in": gaussian(2 * P, D, std=P**-0.5),
            "pos": gaussian(SIDE**2 + 1, D),
            **initial_layers(rng, N=self.n_layer, H=self.n_head, D=D),
            "W_out": gaussian(D, OUTPUTS),
            "b_out": torch.zeros(OUTPUTS),
        }

    def operations(self) -> float:
        """Products of all layers: the last one's for one token, but for what its attention reads."""
        D, L, P = self.width, SIDE**2 + 1, images(self.dataset).pixel_NI.shape[1] // SIDE**2
        token, last = 12 * D * D + 2 * L * D, 12 * D * D + 2 * L * self.n_head * D
        return 2.0 * ((self.n_layer - 1) * L * token + last + 2 * L * P * D + D * OUTPUTS)

    @staticmethod
    def outputs(weights: Params, pixel_GBI: Tensor, red_GB: Tensor) -> Tensor:
        """The outputs F, output_GBO."""
        patch_GBLP, red_GB11 = patches(pixel_GBI), red_GB[..., None, None]
        G, B, L, _ = patch_GBLP.shape
        coloured_GTP = torch.cat([patch_GBLP * red_GB11, patch_GBLP * (1 - red_GB11)], -1).flatten(1, 2)
        pos_G1LD = weights["pos"].unsqueeze(1)
        token_GBLD = (coloured_GTP @ weights["W_in"]).view(G, B, L, -1) + pos_G1LD[:, :, :-1]
        answer_GBD = answer(weights, torch.cat([token_GBLD, pos_G1LD[:, :, -1:].expand(-1, B, -1, -1)], 2))
        return torch.baddbmm(weights["b_out"].unsqueeze(1), answer_GBD, weights["W_out"])
