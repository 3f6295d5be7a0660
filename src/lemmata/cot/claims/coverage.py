"""cot.coverage: training tasks and samples that cover every pattern equally in every step, and some that do not."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.cot.answers import ErrorCurve
from lemmata.cot.data import TASK_SETS
from lemmata.cot.experiments import BASE, EPS, SEEDS, SETTING_SEEDS
from lemmata.lab.claim import Claim, Frames, Kind, Prediction
from lemmata.lab.figure import Figure, Panel, curves, threshold
from lemmata.lab.frames import by_seed
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.rule import Rule, above, at_most
from lemmata.lab.stats import Estimate, error_rate_t

PROMPTS = 1024
# At alpha' = 0.1 the query's start is about as rare as any other, so that the position alone does not give the answer.
ALPHA, LENGTH = 0.1, 60
POINTS = tuple({"tasks": name} for name in TASK_SETS)

TASKS = Experiment(
    name="task-sets",
    base=BASE,
    measures=(
        ErrorCurve(alpha_test=(ALPHA,), tau=(1.0,), noise=(0.0,), states=0, lengths=(20, 40, LENGTH), prompts=PROMPTS),
    ),
    points=ByProfile(POINTS, POINTS, POINTS),
    seeds=SEEDS,
    settings={"2000 steps": {"steps": 2000}, "W_V trained": {"train_value": True}, "lr 3": {"lr": 3.0}},
    setting_seeds=SETTING_SEEDS,
)


def error(frame: pd.DataFrame, *, tasks: str) -> Estimate:
    """CoT error on all TRR patterns and on tasks of any shifts, l = 60."""
    return error_rate_t(by_seed(frame, "cot_error", {"tasks": tasks, "x": LENGTH}), PROMPTS)


def figure(frames: Frames) -> Figure:
    """Error against the number of examples, by the set of training tasks."""
    marks = curves(frames[TASKS.name], "cot_error", by="tasks")
    return Figure(
        panels=(
            Panel(
                title="error on all patterns, by training tasks",
                x="examples l",
                y="CoT error",
                marks=(*marks, threshold("eps = 0.01", y=EPS)),
                y_log=True,
                y_range=(1e-3, 1.0),
            ),
        ),
        caption="CoT error on all training patterns against the number of examples, without wrong steps and noise, at "
        "alpha' = 0.1. Shifts, permutations and one task cover every pattern equally in every step; the others do not.",
    )


def prediction(id: str, tasks: str, statement: str, kind: Kind, shown: str, rule: Rule) -> Prediction:
    """One set of training tasks."""
    return Prediction(
        id=id,
        statement=statement,
        kind=kind,
        source="Theorem 1: every TRR pattern is equally likely in every step"
        + ("" if kind == "holds" else ", read as necessary"),
        of=TASKS,
        statistic=f"CoT error at l = {LENGTH}, alpha' = {ALPHA}, on all TRR patterns",
        predicted=shown,
        estimate=partial(error, tasks=tasks),
        rule=rule,
    )


def covers(id: str, tasks: str, what: str) -> Prediction:
    """A set that covers."""
    statement = f"Trained for 1000 steps on {what}, the network solves tasks of all patterns to eps = 0.01."
    return prediction(id, tasks, statement, "holds", "at most 0.01", at_most(EPS))


def lacks(id: str, tasks: str, what: str) -> Prediction:
    """A set that does not cover."""
    statement = f"Trained for 1000 steps on {what}, it does not."
    return prediction(id, tasks, statement, "tight", "above 0.01", above(EPS))


CLAIM = Claim(
    id="cot.coverage",
    title="Training must show every pattern equally in every step",
    statement="Trained on tasks and samples in which every pattern is equally likely in every step, the network solves "
    "tasks never trained.",
    source="Theorem 1",
    cites=("li2025cot",),
    predictions=(
        covers("shifts", "shifts", "independent index shifts"),
        covers("permutations", "permutations", "random permutations, 1024 in each step"),
        covers("one-task", "one-task", "a single task, whose steps are permutations and so show every pattern equally"),
        lacks("half", "half", "tasks in which half of the patterns never occur"),
        lacks("unequal", "unequal", "samples whose queries are on half of the patterns a tenth as often, in each step"),
        lacks("funnel", "funnel", "tasks whose first step leads to half of the patterns, so that later ones miss some"),
    ),
    figure=figure,
)
