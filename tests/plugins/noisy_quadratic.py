"""A paper of one's own: how far from the minimum does gradient descent with a constant step stay?

On f(w) = w^2 / 2 with gradient noise of variance sigma^2, each step is
w <- w - eta (w + sigma xi), so E w^2 settles at eta sigma^2 / (2 - eta).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lemmata import ByProfile, Claim, Experiment, Paper, Prediction
from lemmata.lab.claim import Frames
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.figure import Figure, Panel, Reference, curves
from lemmata.lab.grid import product
from lemmata.lab.rule import within
from lemmata.lab.stats import Estimate, exponent, geometric_t
from lemmata.lab.streams import BLOCK, Blocks, stream
from lemmata.lab.trainee import Measure, Row, Trainee, constant


def noise_floor(lr: ArrayLike, noise: ArrayLike) -> NDArray[np.float64]:
    """E w^2 where it settles: eta sigma^2 / (2 - eta)."""
    eta, sigma = np.asarray(lr), np.asarray(noise)
    return eta * sigma**2 / (2 - eta)


# What is trained: all constants of data, network and training, each with its meaning.
@final
@dataclass(frozen=True, kw_only=True)
class NoisyQuadratic(Trainee):
    kind: ClassVar[str] = "quadratic.noisy"
    version: ClassVar[int] = 1

    noise: float = constant(1.0, "noise sigma of a gradient", origin="given", room="data", low=0)
    size: int = constant(1600, "coordinates D", origin="chosen", room="network", low=1, shape=True)

    def work(self) -> float:
        return 4.0 * self.steps * self.size

    @classmethod
    def job(cls, configs: Sequence["NoisyQuadratic"], seeds: Sequence[int], device: str) -> "Descent":
        return Descent(configs, seeds, device)


# How an ensemble of it is trained: E members at once, the member axis first.
@final
class Descent:
    def __init__(self, configs: Sequence[NoisyQuadratic], seeds: Sequence[int], device: str) -> None:
        self.lr_E = torch.tensor([c.lr for c in configs], device=device)
        self._members = list(zip(configs, seeds, strict=True))
        self._device = device
        self.draws = Blocks(self._block)

    def params(self) -> Params:
        return {"w": torch.zeros(len(self._members), self._members[0][0].size, device=self._device)}

    def loss(self, params: Params, draws: Tensor) -> Tensor:
        w_ED, xi_ED = params["w"], draws
        return (w_ED.square() / 2 + xi_ED * w_ED).sum(-1)

    def _block(self, block: int) -> Sequence[Tensor]:
        # A function of the member's own constants, its seed and the steps, and of nothing else.
        drawn = [
            stream("noise", c.axes("data"), seed, block).normal(0, c.noise, (BLOCK, c.size))
            for c, seed in self._members
        ]
        return list(torch.tensor(np.stack(drawn, 1), dtype=torch.float32, device=self._device))


# What is measured of it.
@final
@dataclass(frozen=True, kw_only=True)
class Distance(Measure):
    name: ClassVar[str] = "distance"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        return [[Row("distance", float(snapshot.step), w_D.square().mean().item())] for w_D in snapshot.params["w"]]


STEPS = Experiment(
    name="steps",
    base=NoisyQuadratic(steps=200),
    measures=(Distance(),),
    seeds=ByProfile(5, 10, 20),
    points=ByProfile(
        product(lr=[0.02, 0.05, 0.15]),
        product(lr=[0.02, 0.04, 0.08, 0.16]),
        product(lr=[0.02, 0.03, 0.05, 0.08, 0.11, 0.16]),
    ),
)


# What is predicted: a statistic of the measured rows, and the rule that it is judged by.
def exponent_of_step(frame: pd.DataFrame) -> Estimate:
    by_seed = frame.pivot_table(index="seed", columns="lr", values="value")
    return exponent(by_seed.columns, by_seed.to_numpy())


def ratio_to_formula(frame: pd.DataFrame) -> Estimate:
    ratio = frame["value"] / noise_floor(frame["lr"], frame["noise"])
    return geometric_t(ratio.groupby(frame["seed"]).mean())


def draw(frames: Frames) -> Figure:
    measured = curves(frames["steps"], "distance", label="measured", x="lr")
    formula = noise_floor(measured[0].x, frames["steps"]["noise"].iloc[0])
    predicted = Reference("formula", measured[0].x, tuple(formula), "prediction")
    panel = Panel(
        title="",
        x="step size eta",
        y="mean square distance",
        marks=(*measured, predicted),
        x_log=True,
        y_log=True,
    )
    return Figure(panels=(panel,), caption="Distance from the minimum after 200 steps.")


FLOOR = Claim(
    id="quadratic.floor",
    title="The noise floor",
    statement="With a constant step, E w^2 settles at eta sigma^2 / (2 - eta).",
    source="this file's first lines",
    predictions=(
        Prediction(
            id="value",
            statement="E w^2 is what the formula says",
            kind="holds",
            source="this file's first lines",
            of=STEPS,
            statistic="mean square distance after T steps over the formula",
            predicted="1 +- 0.1",
            estimate=ratio_to_formula,
            rule=within(1.0, 0.1),
        ),
        Prediction(
            id="step",
            statement="it is proportional to a small step",
            kind="tight",
            source="the formula, for eta << 2",
            of=STEPS,
            statistic="exponent of the mean square distance in eta",
            predicted="1 +- 0.15",
            estimate=exponent_of_step,
            rule=within(1.0, 0.15),
        ),
    ),
    figure=draw,
    cites=("example",),
)

ANY_STEP = Claim(
    id="quadratic.any-step",
    title="Any step will do",
    statement="How far the iterates stay does not depend on the step.",
    source="a guess, made to be refuted",
    predictions=(
        Prediction(
            id="step",
            statement="E w^2 is the same for every step",
            kind="comparison",
            source="a guess, made to be refuted",
            of=STEPS,
            statistic="exponent of the mean square distance in eta",
            predicted="0 +- 0.15",
            estimate=exponent_of_step,
            rule=within(0.0, 0.15),
        ),
    ),
    figure=draw,
    cites=("example",),
)

PAPER = Paper(
    id="quadratic",
    title="Gradient descent on a noisy quadratic",
    authors="You",
    venue="an example",
    arxiv="",
    bibliography={"example": "@misc{example, title = {Gradient descent on a noisy quadratic}}"},
    claims=(FLOOR, ANY_STEP),
)
