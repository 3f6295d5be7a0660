"""What networks trained on a fixed set of samples make of new ones, and what they attend to.

Every member is tested on fresh samples of its own, a function of the data's constants and the seed: two networks under
one seed answer the same ones.

Shapes: E members, B samples, T patterns of a sample, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lemmata.lab.ensemble import Snapshot
from lemmata.lab.losses import error, hinge
from lemmata.lab.measures import FirstPassage, Repeated, Watched, joined, rows
from lemmata.lab.trainee import Measure, Row
from lemmata.vision.data import Samples, Tokens, moved, split, stacked
from lemmata.vision.network import attention, forward

__all__ = ["Generalized", "Loss", "Mass", "Passage", "mass", "new_samples", "outputs"]

# Samples that are answered at once: what a neuron makes of their tokens stays in cache.
SLICE = 64


def new_samples(snapshot: Snapshot, count: int) -> Samples:
    """Fresh samples of each member."""
    pairs = zip(snapshot.configs, snapshot.seeds, strict=True)
    return moved(stacked([config.samples("vision.test", seed, count) for config, seed in pairs]), snapshot.device)


def outputs(snapshot: Snapshot, samples: Samples) -> Tensor:
    """The answers of the members, output_EB, slice by slice."""
    with torch.no_grad():
        return torch.cat([forward(snapshot.params, part) for part in split(samples, SLICE)], -1)


def mass(snapshot: Snapshot, samples: Samples) -> Tensor:
    """The share of attention that label-relevant tokens have, the mean over queries and samples, (E,).

    >>> from lemmata.vision.network import OneLayer
    >>> net = OneLayer(steps=0, alpha_s=0.5, w0=0.0, delta=0.0).train(seeds=[0])
    >>> mass(net, new_samples(net, 50)).tolist()
    [0.5]
    """
    found: list[Tensor] = []
    with torch.no_grad():
        for part in split(samples, SLICE):
            attn = attention(snapshot.params, part)
            if isinstance(part, Tokens):
                own_EB11 = (part.label_EB < 0).long()[..., None, None]
                found.append((attn * (part.pattern_EBL.unsqueeze(2) == own_EB11)).sum(-1).mean(-1))
            else:
                # A sample's first pattern is its label's.
                found.append((attn[..., 0] * part.share_EBT).sum(-1))
    return torch.cat(found, -1).mean(-1)


def _train_loss(snapshot: Snapshot) -> list[float]:
    """The hinge loss of each member on its whole training set; sets are of different sizes."""
    found: list[float] = []
    for e, (config, seed) in enumerate(zip(snapshot.configs, snapshot.seeds, strict=True)):
        own = moved(config.samples("vision.train", seed, config.N), snapshot.device)
        found.append(float(hinge(outputs(snapshot.take([e]), own), own.label_EB)))
    return found


def _losses(snapshot: Snapshot, count: int, train_E: Sequence[float]) -> list[list[Row]]:
    samples = new_samples(snapshot, count)
    output_EB = outputs(snapshot, samples)
    return joined(
        [
            rows("hinge", 0, hinge(output_EB, samples.label_EB)),
            rows("error", 0, error(output_EB, samples.label_EB)),
            rows("train_hinge", 0, train_E),
        ]
    )


@final
@dataclass(frozen=True, kw_only=True)
class Generalized(Repeated):
    """The loss on new samples once training is over: after the last step, or when no training sample has a loss.

    From then on no gradient moves anything, so that the member may leave.
    """

    name: ClassVar[str] = "vision.generalized"

    every: int = 20
    samples: int = 500

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "hinge", "error" and "train_hinge" at x = 0, and "steps", of those whose training is over now."""
        train_E = _train_loss(snapshot)
        over_E = [snapshot.step >= c.steps or loss == 0 for c, loss in zip(snapshot.configs, train_E, strict=True)]
        memory["over"] = over_E
        places = [e for e, over in enumerate(over_E) if over]
        if not places:
            return [[] for _ in train_E]
        ended = snapshot.take(places)
        steps = rows("steps", 0, [float(snapshot.step)] * len(places))
        found = joined([_losses(ended, self.samples, [train_E[e] for e in places]), steps])
        by_place = dict(zip(places, found, strict=True))
        return [by_place.get(e, []) for e in range(len(train_E))]

    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        """Those whose training is over."""
        return memory["over"]


@final
@dataclass(frozen=True, kw_only=True)
class Passage(FirstPassage):
    """The step at which the loss on new samples is first below a bound."""

    name: ClassVar[str] = "vision.passage"

    below: float = 1e-3
    samples: int = 500

    def watched(self, snapshot: Snapshot, memory: dict[str, Any]) -> Sequence[Watched]:
        """The hinge loss."""
        samples = new_samples(snapshot, self.samples)
        return [Watched(hinge(outputs(snapshot, samples), samples.label_EB), self.below, {})]


@final
@dataclass(frozen=True, kw_only=True)
class Mass(Repeated):
    """Attention on label-relevant tokens over training, with the loss beside it."""

    name: ClassVar[str] = "vision.mass"

    samples: int = 200

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "mass" and "hinge_then" at x = steps."""
        samples = new_samples(snapshot, self.samples)
        loss_E = hinge(outputs(snapshot, samples), samples.label_EB)
        return joined([rows("mass", snapshot.step, mass(snapshot, samples)), rows("hinge_then", snapshot.step, loss_E)])


@final
@dataclass(frozen=True, kw_only=True)
class Loss(Measure):
    """The loss after the last step."""

    name: ClassVar[str] = "vision.loss"

    samples: int = 500

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "hinge" and "error" on new samples, and "train_hinge", at x = 0."""
        return _losses(snapshot, self.samples, _train_loss(snapshot))
