"""icl.resources: the batch size and the width that Theorem 1 asks for."""

from __future__ import annotations

import math

import pandas as pd

from lemmata.icl.experiments import SEEDS, SETTING_SEEDS
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import ErrorCurve
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves, power_law, threshold
from lemmata.lab.frames import by_seed, grid_by_seed
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.rule import above, at_most, within
from lemmata.lab.stats import Estimate, exponent, mean_t

# The theorem's eps is a hinge loss; B >= max(eps^-2, M1) and m >= M1^2 log M1 = 65 at M1 = 6.
EPS = 0.1
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WIDTH = math.ceil(6**2 * math.log(6))
SETTINGS = {
    "beta 1, lr 1": {"beta": 1.0, "lr": 1.0, "steps": 400},
    "lr 0.25, 400 steps": {"lr": 0.25, "steps": 400},
    "d_Y 30": {"d_Y": 30},
}

BATCH = Experiment(
    name="batch",
    base=OneLayer(steps=200),
    measures=(ErrorCurve(lengths=(20,)),),
    points=ByProfile(*[tuple({"B": B} for B in SIZES)] * 3),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)
NEURONS = Experiment(
    name="width",
    base=OneLayer(steps=200),
    measures=(ErrorCurve(lengths=(20,)),),
    points=ByProfile(*[tuple({"m": m} for m in SIZES[1:])] * 3),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)


def enough(frame: pd.DataFrame) -> Estimate:
    """Hinge loss with the promised batch at the smallest width that is promised to do."""
    return mean_t(by_seed(frame, "hinge", {"B": 128}))


def batch_exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent of the hinge loss in the batch size."""
    return exponent(*grid_by_seed(frame, "hinge", "B"))


def small_batch(frame: pd.DataFrame) -> Estimate:
    """Hinge loss with fewer prompts in a batch than patterns."""
    return mean_t(by_seed(frame, "hinge", {"B": 4}))


def small_width(frame: pd.DataFrame) -> Estimate:
    """Hinge loss with an eighth of the promised width."""
    return mean_t(by_seed(frame, "hinge", {"m": 8}))


def figure(frames: Frames) -> Figure:
    """Hinge loss and error against B and m after the same number of steps."""
    panels = []
    for name, axis, mark in ((BATCH.name, "B", EPS**-2), (NEURONS.name, "m", WIDTH)):
        hinge = curves(frames[name], "hinge", x=axis, label="hinge loss")
        error = curves(frames[name], "error", x=axis, label="0-1 error", first_group=1)
        marks = [*hinge, *error, threshold(f"promised {axis} = {mark:.0f}", x=mark)]
        if axis == "B":
            marks.append(power_law("stated: -1/2", hinge[0], -0.5, "prediction"))
        panels.append(
            Panel(title=f"against {axis}", x=axis, y="after 200 steps", marks=tuple(marks), x_log=True, y_log=True)
        )
    return Figure(
        panels=tuple(panels),
        caption="Hinge loss and 0-1 error (l = 20, alpha' = 0.8) after 200 steps, against the batch size B (m = "
        "64) and the width m (B = 128). Vertical lines: what Theorem 1 asks for at eps = 0.1.",
    )


CLAIM = Claim(
    id="icl.resources",
    title="Batch size and width",
    statement="A batch of B >= max(eps^-2, M1) prompts and m >= M1^2 log M1 neurons are enough for hinge loss eps.",
    source="Theorem 1 (iii), with the width and the log factor as assumed from a third party",
    cites=("li2024icl",),
    predictions=(
        Prediction(
            id="enough",
            statement="With B = 128 >= eps^-2 and m = 64, about M1^2 log M1, the hinge loss is at most eps = 0.1.",
            kind="holds",
            source="Theorem 1 (iii)",
            of=BATCH,
            statistic="hinge loss after 200 steps at B = 128",
            predicted="at most 0.1",
            estimate=enough,
            rule=at_most(EPS),
        ),
        Prediction(
            id="batch-exponent",
            statement="The loss that a batch allows falls as B^(-1/2).",
            kind="tight",
            source="Theorem 1 (iii), B >= eps^-2 read as an equality",
            of=BATCH,
            statistic="exponent of the hinge loss in B after 200 steps",
            predicted="-1/2",
            estimate=batch_exponent,
            rule=within(-0.5, 0.15),
        ),
        Prediction(
            id="batch-needed",
            statement="A batch of 4, fewer than there are patterns, leaves more than eps = 0.1.",
            kind="tight",
            source="Theorem 1 (iii), read as necessary",
            of=BATCH,
            statistic="hinge loss after 200 steps at B = 4",
            predicted="above 0.1",
            estimate=small_batch,
            rule=above(EPS),
        ),
        Prediction(
            id="width-needed",
            statement="Eight neurons, an eighth of M1^2 log M1, leave more than eps = 0.1.",
            kind="tight",
            source="width as assumed from a third party, read as necessary",
            of=NEURONS,
            statistic="hinge loss after 200 steps at m = 8",
            predicted="above 0.1",
            estimate=small_width,
            rule=above(EPS),
        ),
    ),
    figure=figure,
)
