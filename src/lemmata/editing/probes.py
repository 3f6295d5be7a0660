"""What edited networks answer: losses and accuracies over coefficients, and how alike two fine-tunings are.

    symbol        meaning
    lambda_lt     coefficient of task vector t in edit l
    part          what of the task vectors after the first is added: "both" W and V, or V alone
    hinge         mean hinge loss; accuracy hides what it shows, where tokens have no noise: the sign of an output is
                  right long before its margin is 1

Every member is tested on fresh samples of its own, the same ones for all edits.

Shapes: E members, T tasks fine-tuned on, U tasks tested on, L edits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from lemmata.editing.data import Samples, directions, outside, stacked
from lemmata.editing.network import OneLayer, forward
from lemmata.editing.theory import changes_correlation, function_similarity
from lemmata.editing.vectors import deltas, edited
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.errors import ConstantError
from lemmata.lab.losses import error, hinge
from lemmata.lab.measures import joined, rows
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row, coordinate

__all__ = [
    "AddCurve",
    "FineTuned",
    "OutsideGrid",
    "OutsideRay",
    "Scores",
    "Similarity",
    "fresh_samples",
    "outputs",
    "scores",
]

# Samples that are answered at once: what a neuron makes of them stays in cache.
SLICE = 64


@final
class Scores(NamedTuple):
    """Of each member, edit and tested task: hinge_ELU and accuracy_ELU."""

    hinge_ELU: Tensor
    accuracy_ELU: Tensor


def fresh_samples(
    snapshot: Snapshot, count: int, name: str, direction_UES: Sequence[np.ndarray] | None = None
) -> Samples:
    """Samples of each member's own tasks, or of tasks with other directions, one set for each member."""
    own: Sequence[np.ndarray] = direction_UES or [directions(c.tasks, c.alpha) for c in snapshot.configs]
    return stacked(
        [
            config.samples(stream(name, config.axes("data"), seed), count, direction_US)
            for config, seed, direction_US in zip(snapshot.configs, snapshot.seeds, own, strict=True)
        ]
    ).to(snapshot.device)


def outputs(weights: Params, readout: Tensor, samples: Samples) -> Tensor:
    """The outputs of L networks a member on every tested task, output_ELUB, slice by slice of the samples."""
    U = samples.label_ETB.shape[1]
    slices = samples.split(SLICE)
    with torch.no_grad():
        found: list[Tensor] = []
        for l in range(weights["V"].shape[1]):
            one = {name: p[:, l : l + 1].expand(-1, U, -1, -1) for name, p in weights.items()}
            found.append(torch.cat([forward(one, readout, part) for part in slices], -1))
        return torch.stack(found, 1)


def scores(snapshot: Snapshot, coefficient_LT: Tensor, samples: Samples, *, part: str = "both") -> Scores:
    """Hinge loss and accuracy of the edits on the samples.

    >>> net = OneLayer(steps=100).train(seeds=[0])
    >>> samples = fresh_samples(net, 200, "doctest")
    >>> hinge_LU = scores(net, torch.tensor([[1.0, 0.0], [1.0, 1.1]]), samples).hinge_ELU[0]
    >>> (hinge_LU < 0.05).tolist()
    [[True, False], [True, True]]
    """
    weights = edited(snapshot.params, coefficient_LT)
    if part == "V":
        first = torch.zeros_like(coefficient_LT)
        first[:, 0] = coefficient_LT[:, 0]
        weights["W"] = edited(snapshot.params, first)["W"]
    output_ELUB = outputs(weights, snapshot.params["a"], samples)
    label = samples.label_ETB.unsqueeze(1)
    return Scores(hinge(output_ELUB, label), 1 - error(output_ELUB, label))


def _score_rows(found: Scores, xs: Sequence[float], at: dict[str, Any], task_names: Sequence[Any]) -> list[list[Row]]:
    """Rows "hinge" and "accuracy" at each x, with the coordinate task."""
    return joined(
        [
            rows(metric, x, value_ELU[:, l, u], {**at, "task": task})
            for metric, value_ELU in zip(("hinge", "accuracy"), found, strict=True)
            for l, x in enumerate(xs)
            for u, task in enumerate(task_names)
        ]
    )


@final
@dataclass(frozen=True, kw_only=True)
class FineTuned(Measure):
    """The loss of each fine-tuning on its own task, and its accuracy."""

    name: ClassVar[str] = "editing.fine-tuned"
    version: ClassVar[int] = 2

    samples: int = 500

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "fine_tuned_hinge" and "fine_tuned_accuracy" at x = steps, with the coordinate task, from 1 on."""
        samples = fresh_samples(snapshot, self.samples, "editing.test")
        found = scores(snapshot, torch.eye(snapshot.configs[0].tasks), samples)
        return joined(
            [
                rows(f"fine_tuned_{metric}", snapshot.step, own_E, {"task": task})
                for metric, value_ELU in zip(("hinge", "accuracy"), found, strict=True)
                for task, own_E in enumerate(value_ELU.diagonal(dim1=1, dim2=2).T, 1)
            ]
        )


@final
@dataclass(frozen=True, kw_only=True)
class AddCurve(Measure):
    """Psi^(0) + Delta_1 + lambda (Delta_2 + ... + Delta_T) on the tasks of its member, for lambda on a grid."""

    name: ClassVar[str] = "editing.add-curve"

    lambdas: tuple[float, ...] = (0.0, 1.0)
    part: str = "both"
    samples: int = 500

    def work(self, config: OneLayer) -> float:
        """Forward passes on all tasks, a third of a training step on as many samples."""
        return config.work() * len(self.lambdas) * self.samples / (3.0 * max(1, config.steps) * config.B)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "hinge" and "accuracy" at x = lambda, with the coordinates task, from 1 on, and part."""
        tasks = snapshot.configs[0].tasks
        coefficient_LT = torch.tensor([[1.0] + [x] * (tasks - 1) for x in self.lambdas])
        samples = fresh_samples(snapshot, self.samples, "editing.test")
        found = scores(snapshot, coefficient_LT, samples, part=self.part)
        return _score_rows(found, self.lambdas, {"part": self.part}, range(1, tasks + 1))


@dataclass(frozen=True, kw_only=True)
class _Outside(Measure):
    """A task with direction mu' = gamma_1 mu_1 + gamma_2 mu_2 + kappa mu_perp, which nothing was fine-tuned on."""

    gamma_1: float = coordinate(0.7, "coefficient of mu_1 in the unseen task's direction", origin="chosen")
    gamma_2: float = coordinate(-0.5, "coefficient of mu_2 in the unseen task's direction", origin="chosen")
    samples: int = 300

    def validate(self, config: OneLayer) -> None:
        """There are two orthogonal tasks, and mu' is a unit vector."""
        if config.tasks != 2 or config.alpha != 0:
            got = f"tasks = {config.tasks}, alpha = {config.alpha:g}"
            raise ConstantError("two orthogonal tasks to leave", got, "leave tasks at 2 and alpha at 0")
        outside([self.gamma_1, self.gamma_2])

    def scores(self, snapshot: Snapshot, coefficient_LT: Tensor) -> Scores:
        """Hinge loss and accuracy on the unseen task."""
        direction_US = outside([self.gamma_1, self.gamma_2])[None]
        samples = fresh_samples(snapshot, self.samples, "editing.outside", [direction_US] * len(snapshot.seeds))
        return scores(snapshot, coefficient_LT, samples)

    @property
    def at(self) -> dict[str, float]:
        """The coordinates of its rows."""
        return {"gamma_1": self.gamma_1, "gamma_2": self.gamma_2}


@final
@dataclass(frozen=True, kw_only=True)
class OutsideGrid(_Outside):
    """The unseen task over a grid of (lambda_1, lambda_2), as in the paper's heat map."""

    name: ClassVar[str] = "editing.outside-grid"

    step: float = 0.25

    def work(self, config: OneLayer) -> float:
        """Forward passes on one task."""
        edits = (5 / self.step + 1) * (4 / self.step + 1)
        return config.work() * edits * self.samples / (6.0 * max(1, config.steps) * config.B)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "hinge" and "accuracy" at x = lambda_1 in [-2, 3], with the coordinate lambda_2 in [-2, 2]."""
        first, second = (
            [round(lo + i * self.step, 6) for i in range(round((hi - lo) / self.step) + 1)]
            for lo, hi in ((-2.0, 3.0), (-2.0, 2.0))
        )
        pairs = [(x, y) for y in second for x in first]
        found = self.scores(snapshot, torch.tensor(pairs))
        return joined(
            [
                rows(metric, x, value_ELU[:, l, 0], {**self.at, "lambda_2": y})
                for metric, value_ELU in zip(("hinge", "accuracy"), found, strict=True)
                for l, (x, y) in enumerate(pairs)
            ]
        )


@final
@dataclass(frozen=True, kw_only=True)
class OutsideRay(_Outside):
    """The unseen task along lambda = s gamma / |gamma|^2, on which sum_t lambda_t gamma_t = s."""

    name: ClassVar[str] = "editing.outside-ray"

    reached: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(-4, 33))

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "ray_hinge" and "ray_accuracy" at x = s."""
        gamma_T = torch.tensor([self.gamma_1, self.gamma_2])
        found = self.scores(snapshot, torch.tensor(self.reached)[:, None] * gamma_T / gamma_T.square().sum())
        return joined(
            [
                rows(metric, s, value_ELU[:, l, 0], self.at)
                for metric, value_ELU in zip(("ray_hinge", "ray_accuracy"), found, strict=True)
                for l, s in enumerate(self.reached)
            ]
        )


@final
@dataclass(frozen=True, kw_only=True)
class Similarity(Measure):
    """Estimates of alpha for the first two tasks, from the outputs on a pooled sample that nobody has labelled.

    `share` of the inputs are of task 1, the rest of task 2.
    """

    name: ClassVar[str] = "editing.similarity"
    version: ClassVar[int] = 2

    share: float = coordinate(0.5, "share of the pooled sample that is of task 1", origin="chosen")
    samples: int = 600

    def validate(self, config: OneLayer) -> None:
        """A share is between none and all."""
        if not 0 <= self.share <= 1:
            raise ConstantError("share (of the pooled sample) in [0, 1]", f"{self.share:g}", "choose share in [0, 1]")

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "similarity", "correlation" and "agreement" at x = alpha, with the coordinate share.

        "agreement" is the mean product of the signs of both models' outputs. "cosine_W" and "cosine_V" are those of the
        two task vectors themselves, which need no inputs.
        """
        samples = fresh_samples(snapshot, self.samples, "editing.pooled")
        tasks = snapshot.configs[0].tasks
        alone_LT = torch.cat([torch.zeros(1, tasks), torch.eye(tasks)[:2]])
        output_ELUB = outputs(edited(snapshot.params, alone_LT), snapshot.params["a"], samples).cpu()
        first = round(self.share * self.samples)
        pooled_ELB = torch.cat([output_ELUB[:, :, 0, :first], output_ELUB[:, :, 1, : self.samples - first]], -1)
        return [
            [Row(metric, config.alpha, value, {"share": self.share}) for metric, value in estimates.items()]
            for config, estimates in zip(
                snapshot.configs, map(_estimates, pooled_ELB.numpy(), *_cosines(snapshot.params)), strict=True
            )
        ]


def _estimates(output_LB: np.ndarray, cosine_W: float, cosine_V: float) -> dict[str, float]:
    """The estimates from the outputs of the start and of both fine-tunings."""
    there, change_LB = bool(np.isfinite(output_LB).all()), output_LB[1:] - output_LB[0]
    return {
        "agreement": float(np.sign(output_LB[1:]).prod(0).mean()) if there else math.nan,
        "similarity": function_similarity(*change_LB) if there else math.nan,
        "correlation": changes_correlation(*change_LB) if there else math.nan,
        "cosine_W": cosine_W,
        "cosine_V": cosine_V,
    }


def _cosines(params: Params) -> list[list[float]]:
    """The cosine of the first two task vectors of each member, of W and of V."""
    vectors = [deltas(params)[name].flatten(2) for name in ("W", "V")]
    return [torch.cosine_similarity(v_ETX[:, 0], v_ETX[:, 1], -1).tolist() for v_ETX in vectors]
