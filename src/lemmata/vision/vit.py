"""A small vision transformer on images with spurious borders.

    token_l = W_in^T patch_l + pos_l, of the image, then of the border; then one token to read the answer off
    F       = W_out^T answer + b_out          answer: the last token after all layers (`lemmata.lab.transformer`)

    symbol   meaning                                                              shape
    W_in     read-in, N(0, 1/C)                                                   (C, D)
    pos      positions, N(0, .02^2): image, border, answer                        (P + BORDER + 1, D)
    W_out    read-out, N(0, .02^2)                                                (D, 1)

Two phases. Pre-training sees images without a border, in no colour ("clean") or in one that gives the label away
("coloured"). Training then sees them with their border, in no colour. Both use the logistic loss and Adam.

Shapes: E members, B samples, P patches of an image, L tokens, C numbers of a patch, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self, final

import numpy as np
import torch
from torch import Tensor

from lemmata.lab.ensemble import Adam, Job, Params
from lemmata.lab.job import StackedJob
from lemmata.lab.losses import logistic
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Trainee, constant
from lemmata.lab.transformer import answer, check_heads, initial_layers
from lemmata.vision.pictures import DATASETS, PATCH, SIDE, pictures, split, tinted

__all__ = ["BORDER", "Batch", "Vit", "drawn_border", "embedded", "outputs"]

# Places that a border has.
BORDER = 28
# Odds that the colour of a coloured pre-training is the label's.
COLOURED = 0.95


@final
class Batch(NamedTuple):
    """Tokens of images and their borders, patch_EBLC, and labels, label_EB."""

    patch_EBLC: Tensor
    label_EB: Tensor


def embedded(params: Params, patch_EBLC: Tensor) -> Tensor:
    """The tokens that enter the first layer, the one to read the answer off last, token_EBLD."""
    E, B, L, _ = patch_EBLC.shape
    pos_E1LD = params["pos"].unsqueeze(1)
    token_EBLD = torch.bmm(patch_EBLC.flatten(1, 2), params["W_in"]).view(E, B, L, -1) + pos_E1LD[:, :, :L]
    return torch.cat([token_EBLD, pos_E1LD[:, :, -1:].expand(-1, B, -1, -1)], 2)


def outputs(params: Params, patch_EBLC: Tensor) -> Tensor:
    """The outputs F, output_EB; the sign is the answer."""
    answer_EBD = answer(params, embedded(params, patch_EBLC))
    # A product with one column would round by how many members there are.
    return (answer_EBD * params["W_out"].transpose(1, 2)).sum(-1) + params["b_out"]


def drawn_border(rng: np.random.Generator, pool_2NC: Tensor, kind_X: np.ndarray, border: int) -> Tensor:
    """Crops of the given kinds, 0 or 1, for each of so many images, (X, border, C)."""
    at_Xb = rng.integers(pool_2NC.shape[1], size=(len(kind_X), border))
    return pool_2NC[torch.from_numpy(kind_X)[:, None], torch.from_numpy(at_Xb)]


@final
@dataclass(frozen=True, kw_only=True)
class Vit(Trainee):
    """The vision transformer.

    >>> net = Vit(steps=2, B=4, width=8).train(seeds=[0])
    >>> net.params["pos"].shape
    torch.Size([1, 45, 8])
    """

    kind: ClassVar[str] = "vision.vit"
    version: ClassVar[int] = 1
    together: ClassVar[int] = 4

    lr: float = constant(1e-3, "learning rate of Adam", origin="chosen", room="training", low=0)
    steps: int = constant(600, "gradient steps of both phases", origin="chosen", room="training", low=0, shape=True)
    pre_share: float = constant(
        0.5, "share of the steps that are pre-training", origin="chosen", room="training", low=0, high=1, shape=True
    )
    pretraining: str = constant(
        "clean",
        "images of the pre-training",
        origin="given",
        room="training",
        choices=("clean", "coloured"),
        shape=True,
    )
    B: int = constant(64, "samples in a batch", origin="chosen", room="data", low=1, shape=True)
    dataset: str = constant(
        "digits", "scikit-learn's digits or CIFAR-10", origin="chosen", room="data", choices=DATASETS, shape=True
    )
    border: int = constant(12, "border patches b", origin="given", room="data", low=0, high=BORDER, shape=True)
    rho: float = constant(
        0.9, "odds that a border is of its label's kind, in training", origin="chosen", room="data", low=0, high=1
    )
    n_layer: int = constant(2, "layers", origin="chosen", room="network", low=1, shape=True)
    n_head: int = constant(2, "attention heads in a layer", origin="chosen", room="network", low=1, shape=True)
    width: int = constant(32, "width of the residual stream", origin="chosen", room="network", low=2, shape=True)

    def validate(self) -> None:
        """Heads share the width evenly."""
        check_heads(self.width, self.n_head)

    @property
    def pre_steps(self) -> int:
        """Gradient steps of the pre-training."""
        return round(self.pre_share * self.steps)

    @property
    def P(self) -> int:
        """Patches of an image."""
        return SIDE[self.dataset] ** 2

    @property
    def alpha_s(self) -> float:
        """The share of label-relevant tokens."""
        return self.P / (self.P + self.border)

    def optimizer(self) -> Adam:
        """Adam, with its usual constants."""
        return Adam()

    def work(self) -> float:
        """Three forward passes of every sample; the last layer serves one token."""
        D, C = self.width, 3 * PATCH[self.dataset] ** 2

        def passes(L: int) -> float:
            token = 12 * D * D + 2 * L * D
            return 2.0 * ((self.n_layer - 1) * L * token + 2 * L * C * D + token + 2 * L * self.n_head * D)

        return (
            3.0
            * self.B
            * (self.pre_steps * passes(self.P + 1) + (self.steps - self.pre_steps) * passes(self.P + self.border + 1))
        )

    def weights(self, seed: int) -> Params:
        """The first weights of one member, without the member axis."""
        rng = stream("vision.vit.weights", self.axes("network"), self.dataset, seed)
        C, D = 3 * PATCH[self.dataset] ** 2, self.width

        def gaussian(*shape: int, std: float = 0.02) -> Tensor:
            return torch.from_numpy(np.float32(std) * rng.standard_normal(shape, dtype=np.float32))

        return {
            "W_in": gaussian(C, D, std=C**-0.5),
            "pos": gaussian(self.P + BORDER + 1, D),
            **initial_layers(rng, N=self.n_layer, H=self.n_head, D=D),
            "W_out": gaussian(D, 1),
            "b_out": torch.zeros(1),
        }

    def batch(self, rng: np.random.Generator, seed: int, count: int, *, first: bool) -> Batch:
        """Training samples of one member (E = 1): of the pre-training, or with borders.

        The images, and the kinds of borders, are the same however many patches a border has.
        """
        found, (train_N, _) = pictures(self.dataset), split(self.dataset, seed)
        at_B = torch.from_numpy(train_N[rng.integers(len(train_N), size=count)])
        label_B, agrees_B = found.label_N[at_B], rng.random(count)
        patch_BPC = found.patch_NPC[at_B]
        if first:
            if self.pretraining == "coloured":
                patch_BPC = tinted(patch_BPC, torch.from_numpy(np.where(agrees_B < COLOURED, 1, -1)) * label_B)
        else:
            kind_B = (np.where(agrees_B < self.rho, 1, -1) * label_B.numpy() > 0).astype(np.int64)
            border_BbC = drawn_border(rng, found.pools.training_2NC, kind_B, self.border)
            patch_BPC = torch.cat([patch_BPC, border_BbC], 1)
        return Batch(patch_BPC[None], label_B[None])

    @classmethod
    def loss(cls, params: Params, batch: Batch) -> Tensor:
        """The mean logistic loss, (E,)."""
        return logistic(outputs(params, batch.patch_EBLC), batch.label_EB)

    @classmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members, each on images of its own split."""
        pre_steps, B = configs[0].pre_steps, configs[0].B

        def step(config: Vit, seed: int, phase: str, n: int) -> Batch:
            # Borders are left out of the axes: images and kinds do not depend on how long they are.
            rng = stream("vision.pictures", config.dataset, phase, seed, n)
            return config.batch(rng, seed, B, first=phase == "first")

        def block(b: int) -> list[Batch]:
            found: list[Batch] = []
            for n in range(b * BLOCK, (b + 1) * BLOCK):
                at = ("first", n) if n < pre_steps else ("then", n - pre_steps)
                members = [step(config, seed, *at) for config, seed in zip(configs, seeds, strict=True)]
                found.append(Batch(*(torch.cat(parts).to(device) for parts in zip(*members, strict=True))))
            return found

        return StackedJob(configs, seeds, device, loss=cls.loss, draws=Blocks(block))
