"""A perceptron with two hidden layers on coloured digits.

    F = W_out^T relu( W_2^T relu( W_1^T x + b_1 ) + b_2 ) + b_out,   x = (red channel; green channel)

    symbol   meaning                            shape
    x        the image in one channel, 0 in     (2 I,)
             the other
    W_1      first layer, N(0, 1 / I): half     (2 I, M)
             of its inputs are 0
    W_2      second layer, N(0, 2 / M)          (M, M)
    W_out    read-out, N(0, 1 / M)              (M, O)

Shapes: G networks, B samples, I pixels, M neurons, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.editing.coloured import OUTPUTS, Coloured
from lemmata.editing.digits import images
from lemmata.lab.ensemble import Params
from lemmata.lab.streams import stream
from lemmata.lab.trainee import constant

__all__ = ["Mlp"]


@final
@dataclass(frozen=True, kw_only=True)
class Mlp(Coloured):
    """The perceptron, trained by plain gradient descent.

    >>> net = Mlp(steps=1, B=4, width=8).train(seeds=[0])
    >>> net.params["delta.W_1"].shape
    torch.Size([1, 5, 128, 8])
    """

    kind: ClassVar[str] = "editing.coloured-mlp"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 4
    most: ClassVar[int] = 16

    steps: int = constant(200, "gradient steps of fine-tuning", origin="chosen", room="training", low=0, shape=True)
    pre_ratio: float = constant(
        3.0, "steps of pre-training for one of fine-tuning", origin="chosen", room="training", low=0, shape=True
    )
    width: int = constant(64, "neurons in a hidden layer", origin="chosen", room="network", low=1, shape=True)

    def initial(self, seed: int) -> Params:
        """The network's first weights, without the member axis."""
        rng = stream("editing.mlp.weights", self.axes("network"), seed)
        I, M = images(self.dataset).pixel_NI.shape[1], self.width

        def gaussian(rows: int, columns: int, variance: float) -> Tensor:
            return torch.from_numpy(np.float32(variance**0.5) * rng.standard_normal((rows, columns), dtype=np.float32))

        return {
            "W_1": gaussian(2 * I, M, 1 / I),
            "b_1": torch.zeros(M),
            "W_2": gaussian(M, M, 2 / M),
            "b_2": torch.zeros(M),
            "W_out": gaussian(M, OUTPUTS, 1 / M),
            "b_out": torch.zeros(OUTPUTS),
        }

    def operations(self) -> float:
        """Products of three layers."""
        I, M = images(self.dataset).pixel_NI.shape[1], self.width
        return 2.0 * M * (2 * I + M + OUTPUTS)

    @staticmethod
    def outputs(weights: Params, pixel_GBI: Tensor, red_GB: Tensor) -> Tensor:
        """The outputs F, output_GBO."""
        red_GB1 = red_GB.unsqueeze(-1)
        hidden = torch.cat([pixel_GBI * red_GB1, pixel_GBI * (1 - red_GB1)], -1)
        for layer in ("1", "2"):
            hidden = torch.baddbmm(weights[f"b_{layer}"].unsqueeze(1), hidden, weights[f"W_{layer}"]).relu()
        return torch.baddbmm(weights["b_out"].unsqueeze(1), hidden, weights["W_out"])
