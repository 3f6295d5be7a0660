"""cot.induction: the trained attention read as an induction head (the comparison that a reviewer asked for)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.cot.experiments import BASE, SEEDS, SETTING_SEEDS
from lemmata.cot.probes import InductionScores
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves, threshold
from lemmata.lab.frames import pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import at_least, between
from lemmata.lab.stats import Estimate, geometric_t, mean_t

# W_V is trained too, since with the selector copying would be so by definition.
SCORES = Experiment(
    name="induction",
    base=BASE.replace({"train_value": True}),
    measures=(InductionScores(),),
    seeds=SEEDS,
    settings={
        "lr 3": {"lr": 3.0},
        "delta 0.3": {"delta": 0.3},
        "4000 steps": {"steps": 4000},
        "random permutations as tasks": {"tasks": "permutations"},
    },
    setting_seeds=SETTING_SEEDS,
)


def at_end(frame: pd.DataFrame, metric: str) -> pd.Series:
    """The last measurement of each seed."""
    rows = pick(frame, metric)
    return rows[rows["x"] == rows["steps"]].set_index("seed")["value"].sort_index()


def score(frame: pd.DataFrame, *, metric: str) -> Estimate:
    """A score after training."""
    return mean_t(at_end(frame, metric).to_numpy())


def gate(frame: pd.DataFrame) -> Estimate:
    """How much more a matching column gets where its step is the query's."""
    return geometric_t(at_end(frame, "step_gate").to_numpy())


def figure(frames: Frames) -> Figure:
    """The three scores during training."""
    frame = frames[SCORES.name]
    scores = [
        mark
        for group, (metric, label) in enumerate((("prefix_matching", "prefix matching"), ("copying", "copying")))
        for mark in curves(frame, metric, label=label, first_group=group)
    ]
    blind = threshold("an induction head: 1", y=1.0)
    return Figure(
        panels=(
            Panel(title="induction scores", x="training step", y="score", marks=tuple(scores), y_range=(0.0, 1.05)),
            Panel(
                title="matching columns: the query's step over others",
                x="training step",
                y="ratio of attention",
                marks=(*curves(frame, "step_gate", label="measured"), blind),
                y_log=True,
            ),
        ),
        caption="Left: attention on columns whose own pattern is the query's (prefix matching), and how far W_V copies "
        "(copying). Right: attention of an average such column at the query's step over that of one at another step. "
        "l = 60, alpha = 0.1, so that the query's start is rare.",
    )


# A prediction about one score.
prediction = partial(Prediction, of=SCORES)


HEAD = "Olsson et al. 2022, as a reviewer asked"

CLAIM = Claim(
    id="cot.induction",
    title="An induction head, but for the position",
    statement="The trained attention matches the query's pattern and copies what follows it, as an induction head "
    "does; unlike one it attends to the query's step only.",
    source="open reviews (comparison with induction heads) and Theorem 4",
    cites=("li2025cot", "olsson2022"),
    predictions=(
        prediction(
            id="prefix-matching",
            kind="comparison",
            statement="After 1000 steps at least half of its attention is on columns whose own pattern is the query's.",
            source=HEAD,
            statistic="attention on columns whose own pattern is the query's, after training",
            predicted="at least 0.5",
            estimate=partial(score, metric="prefix_matching"),
            rule=at_least(0.5),
        ),
        prediction(
            id="copying",
            kind="comparison",
            statement="W_V, trained from the selector, goes on copying: its eigenvalues on y stay positive.",
            source=HEAD,
            statistic="sum of the eigenvalues over the sum of their absolute values, after training",
            predicted="1, at least 0.9",
            estimate=partial(score, metric="copying"),
            rule=at_least(0.9),
        ),
        prediction(
            id="step-blind",
            kind="comparison",
            statement="As an induction head it attends to matching columns whatever their step, within a factor of 2.",
            source=HEAD,
            statistic="attention of a matching column of the query's step over that of one of another step",
            predicted="1, from 0.5 to 2",
            estimate=gate,
            rule=between(0.5, 2.0),
        ),
        prediction(
            id="step-gated",
            kind="mechanism",
            statement="It attends to matching columns of the query's step at least 10 times as much as to those of "
            "others.",
            source="Theorem 4",
            statistic="attention of a matching column of the query's step over that of one of another step",
            predicted="at least 10",
            estimate=gate,
            rule=at_least(10.0),
        ),
    ),
    figure=figure,
)
