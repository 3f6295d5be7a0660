"""cot.mechanism: attention finds the position first, then the pattern (Theorem 4)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.cot.experiments import BASE, SEEDS, SETTING_SEEDS
from lemmata.cot.probes import AttentionGroups
from lemmata.cot.published import DYNAMICS, POSITION_END, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves, threshold
from lemmata.lab.frames import pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import at_least, at_most
from lemmata.lab.stats import Estimate, geometric_t, mean_t

# The position stage is over when the query has less than this on columns of other steps, the pattern stage when it has
# more than that on columns of its step and pattern.
OFF_STEP, FOUND = 0.1, 0.8

DYNAMICS_OF = Experiment(
    name="dynamics",
    base=BASE,
    measures=(AttentionGroups(),),
    seeds=SEEDS,
    settings={
        "W_V trained": {"train_value": True},
        "lr 3": {"lr": 3.0},
        "delta 0.3": {"delta": 0.3},
        "delta 0.1": {"delta": 0.1},
        "K 2, alpha 0.7": {"K": 2, "alpha": 0.7},
        "random permutations as tasks": {"tasks": "permutations"},
    },
    setting_seeds=SETTING_SEEDS,
)


def course(frame: pd.DataFrame, pattern: str, step: str) -> pd.DataFrame:
    """The attention on one group of columns: a row a seed, a column a training step."""
    rows = pick(frame, "attention", {"pattern": pattern, "step": step})
    return rows.groupby(["seed", "x"])["value"].mean().unstack("x")


def found_at_end(frame: pd.DataFrame) -> Estimate:
    """Attention on the same step and pattern after training."""
    return mean_t(course(frame, "same", "same").iloc[:, -1].to_numpy())


def off_step_at_end(frame: pd.DataFrame) -> Estimate:
    """Attention on columns of other steps after training."""
    return mean_t(sum(course(frame, pattern, "different").iloc[:, -1].to_numpy() for pattern in ("same", "different")))


def peak(frame: pd.DataFrame) -> Estimate:
    """The most attention that columns of the same step and another pattern ever had."""
    return mean_t(course(frame, "different", "same").max(axis=1).to_numpy())


def position_over_pattern(frame: pd.DataFrame) -> Estimate:
    """The step at which the position is found over that at which the pattern is."""
    off_step = course(frame, "same", "different") + course(frame, "different", "different")
    steps = off_step.columns.to_numpy(float)

    def first(reached_SX: np.ndarray) -> np.ndarray:
        return np.where(reached_SX.any(1), steps[reached_SX.argmax(1)], np.inf)

    position_S, pattern_S = (
        first(off_step.to_numpy() < OFF_STEP),
        first(course(frame, "same", "same").to_numpy() > FOUND),
    )
    with np.errstate(invalid="ignore"):  # neither was found
        return geometric_t(position_S / pattern_S)


def figure(frames: Frames) -> Figure:
    """Attention on the four groups of columns during training."""
    frame = frames[DYNAMICS_OF.name]
    groups = (("same", "same"), ("different", "same"), ("same", "different"), ("different", "different"))

    def panel(title: str, x: float | None, published: bool) -> Panel:
        shown = frame if x is None else frame[frame["x"] <= x]
        marks = [
            mark
            for group, (pattern, step) in enumerate(groups)
            for mark in curves(
                shown,
                "attention",
                label=f"{pattern} pattern, {step} step",
                where={"pattern": pattern, "step": step},
                first_group=group,
            )
        ]
        lines = [line("published", *DYNAMICS[key], group) for group, key in enumerate(groups)] if published else []
        lines += [] if published else [threshold("published end of the position stage", x=POSITION_END)]
        return Panel(title=title, x="training step", y="attention", marks=(*marks, *lines), y_range=(0.0, 1.0))

    return Figure(
        panels=(panel("all of training", None, True), panel("its beginning", 300, False)),
        caption="Attention of the query on columns of examples that start where it does (same pattern) or elsewhere, "
        "at the step that it asks for or at another one; prompts like those of training, counted by the example.",
    )


# A prediction of Theorem 4.
prediction = partial(
    Prediction,
    kind="mechanism",
    source="Theorem 4 and the published figure on the dynamics of one layer",
    of=DYNAMICS_OF,
)


CLAIM = Claim(
    id="cot.mechanism",
    title="First the position, then the pattern",
    statement="Attention comes to lie on the columns of the query's step and pattern, here of prompts like those of "
    "training; it finds the step first and the pattern then.",
    source="Theorem 4",
    cites=("li2025cot",),
    predictions=(
        prediction(
            id="found",
            statement="After training the attention is on columns of the same step and pattern: at least 0.9, "
            "published 0.94.",
            statistic="attention on the same step and the same pattern after training",
            predicted="1, at least 0.9",
            estimate=found_at_end,
            rule=at_least(0.9),
        ),
        prediction(
            id="off-step",
            statement="After training the attention on other steps is at most 0.05, published 0.02.",
            statistic="attention on other steps after training",
            predicted="0, at most 0.05",
            estimate=off_step_at_end,
            rule=at_most(0.05),
        ),
        prediction(
            id="position-first",
            statement="The position is found in less than half of the steps that the pattern takes; published: in a "
            "third.",
            statistic="first step with less than 0.1 off the query's step, over the first with more than 0.8 on step "
            "and pattern",
            predicted="at most 0.5",
            estimate=position_over_pattern,
            rule=at_most(0.5),
        ),
        prediction(
            id="rise",
            statement="On the way that on the same step and other patterns rises from 0.2 to 0.3 or more, published "
            "0.41.",
            statistic="largest attention on the same step and another pattern",
            predicted="at least 0.3",
            estimate=peak,
            rule=at_least(0.3),
        ),
    ),
    figure=figure,
)
