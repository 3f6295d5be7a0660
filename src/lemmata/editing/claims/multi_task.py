"""editing.multi-task: which coefficient adds a second task (Theorem 1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.experiments import (
    BASE,
    BETA,
    EPS,
    FAILED,
    NOISE,
    PAIRS,
    SEEDS,
    SETTING_SEEDS,
    SETTINGS,
    of_trained,
    started,
)
from lemmata.editing.probes import AddCurve, FineTuned
from lemmata.editing.theory import multi_task
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, Reference, curves, drawable, threshold
from lemmata.lab.frames import extreme_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.needed import needed
from lemmata.lab.rule import above, at_least, at_most, within
from lemmata.lab.stats import Estimate, mean_t

# From a loss of half a unit in all samples down: a logarithm needs a least value.
LEAST = 1e-4

TASKS = 20
# The sum of all task vectors of several orthogonal tasks.
SEVERAL = Experiment(
    name="several",
    base=BASE.replace({"d": 50}),
    measures=(FineTuned(), AddCurve(lambdas=(1 + BETA,))),
    points=ByProfile(*[product(tasks=(TASKS,))] * 3),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)


def added(frame: pd.DataFrame, *, w0: float = 0.0, tau: float = 0.0) -> pd.DataFrame:
    """The rows of sums of two task vectors with coefficients from 0 on."""
    asked = np.isclose(frame["w0"], w0) & np.isclose(frame["tau"], tau) & (frame["tasks"] == 2)
    return frame[asked & (frame["part"] == "both") & (frame["x"] >= 0)]


def smallest(frame: pd.DataFrame, *, w0: float = 0.0) -> pd.DataFrame:
    """The smallest lambda with a loss of at most EPS on task 2, a row a seed and a column an alpha >= 0."""
    rows = pick(added(frame, w0=w0), "hinge", {"task": 2})
    rows = rows[rows["alpha"] >= 0]
    if rows["alpha"].nunique() < 2:
        raise DataError("several alpha from 0 on", "fewer", "leave alpha to the claim's own sweep")
    return needed(rows, "alpha", EPS, least=LEAST)


def slope(frame: pd.DataFrame, *, w0: float) -> Estimate:
    """The slope of the smallest lambda against alpha, by least squares in each seed."""
    table = smallest(frame, w0=w0)
    alpha_P = table.columns.to_numpy(float)
    centred_P = alpha_P - alpha_P.mean()
    with np.errstate(invalid="ignore"):  # a lambda that was never found
        return mean_t(table.to_numpy(float) @ centred_P / (centred_P @ centred_P))


def irrelevant(frame: pd.DataFrame) -> Estimate:
    """The smallest lambda at alpha = 0."""
    rows = pick(added(frame), "hinge", {"task": 2, "alpha": 0.0})
    return mean_t(needed(rows, "alpha", EPS, least=LEAST).to_numpy(float)[:, 0])


def loss_at(frame: pd.DataFrame, *, task: int) -> Estimate:
    """The loss at lambda = 1 - alpha + BETA, the largest over alpha >= 0."""
    rows = pick(added(frame), "hinge", {"task": task})
    rows = rows[rows["alpha"] >= 0]
    at = np.array([multi_task(alpha, BETA).lo for alpha in rows["alpha"]])
    rows = rows[np.isclose(rows["x"], at)]
    if rows.empty:
        raise DataError(f"edits at lambda = 1 - alpha + {BETA}", "none", "choose alpha >= 0 in steps of 0.05")
    return mean_t(extreme_by_seed(rows, "max"))


def joint(frame: pd.DataFrame, metric: str, *, w0: float = 0.0, tau: float = 0.0) -> pd.DataFrame:
    """The best of one lambda for both tasks: least larger loss or largest lesser accuracy, by seed and alpha."""
    rows = pick(added(frame, w0=w0, tau=tau), metric)
    worse, best = ("max", "min") if metric == "hinge" else ("min", "max")
    table = rows.groupby(["seed", "alpha", "x"])["value"].agg(lambda v: getattr(v, worse)(skipna=False))
    return table.groupby(["seed", "alpha"]).agg(lambda v: getattr(v, best)(skipna=False)).unstack("alpha")


def contradictory(frame: pd.DataFrame, *, w0: float) -> Estimate:
    """The loss that remains for one of two contradictory tasks at the best lambda, at the alpha where it is least."""
    table = joint(frame, "hinge", w0=w0)
    return mean_t(_where(table, _alphas(table) < 0, "alpha < 0").min(axis=1, skipna=False).to_numpy())


def hidden(frame: pd.DataFrame) -> Estimate:
    """The accuracy on both contradictory tasks at the best lambda, at the alpha in [-0.6, 0) where it is least."""
    table = joint(frame, "accuracy")
    inside = (_alphas(table) < 0) & (_alphas(table) >= -0.6)
    return mean_t(_where(table, inside, "alpha in [-0.6, 0)").min(axis=1, skipna=False).to_numpy())


def noisy(frame: pd.DataFrame) -> Estimate:
    """What the best joint accuracy loses from alpha = 0 to alpha = -0.6 where tokens have noise."""
    table = joint(frame, "accuracy", tau=NOISE)
    if not {0.0, -0.6} <= set(table.columns):
        raise DataError("alpha = 0 and alpha = -0.6 with noise", "one of them", "leave alpha to the claim's own sweep")
    return mean_t((table[0.0] - table[-0.6]).to_numpy())


def _alphas(table: pd.DataFrame) -> np.ndarray:
    return table.columns.to_numpy(float)


def _where(table: pd.DataFrame, inside: np.ndarray, words: str) -> pd.DataFrame:
    if not inside.any():
        raise DataError(f"tasks with {words}", "none", "leave alpha to the claim's own sweep")
    return table.loc[:, inside]


def several(frame: pd.DataFrame) -> Estimate:
    """The largest loss of all orthogonal tasks after their sum with coefficients 1 + BETA, the first with 1."""
    return mean_t(extreme_by_seed(pick(frame, "hinge", {"tasks": TASKS, "alpha": 0.0}), "max"))


def figure(frames: Frames) -> Figure:
    """Losses against lambda, the smallest lambda against alpha, what remains for contradictory tasks."""
    frame = frames[PAIRS.name]

    def losses(task: int) -> Panel:
        rows = added(frame)
        shown = rows[rows["alpha"].isin([-0.6, 0.0, 0.3, 0.6, 0.9])]
        level = threshold(f"eps = {EPS}", y=EPS)
        marks = (*curves(shown, "hinge", by="alpha", label="alpha = {}", where={"task": task}), level)
        return Panel(title=f"task {task}", x="lambda", y="hinge loss", marks=marks)

    def needed_lambda() -> Panel:
        marks = []
        for group, w0 in enumerate((0.0, 4.0)):
            table = smallest(frame, w0=w0)
            long = table.melt(ignore_index=False, var_name="alpha").reset_index().assign(metric="lambda")
            marks += curves(long, "lambda", x="alpha", label=started(w0), first_group=group)
        line = tuple(sorted({x for mark in marks for x in mark.x}))
        marks.append(Reference("1 - alpha", line, tuple(multi_task(x).lo for x in line), "prediction"))
        return Panel(title="smallest lambda for task 2", x="alpha", y="lambda", marks=tuple(marks))

    def remaining() -> Panel:
        marks = []
        for group, w0 in enumerate((0.0, 4.0)):
            table = joint(frame, "hinge", w0=w0)
            long = table.melt(ignore_index=False, var_name="alpha").reset_index().assign(metric="joint")
            marks += curves(long, "joint", x="alpha", label=started(w0), first_group=group)
        marks.append(threshold(f"failed: {FAILED}", y=FAILED))
        return Panel(title="larger loss at the best lambda", x="alpha", y="hinge loss", marks=tuple(marks))

    return Figure(
        panels=drawable(partial(losses, 1), partial(losses, 2), needed_lambda, remaining),
        caption="Psi^(0) + Delta_1 + lambda Delta_2 on both tasks, whose directions have correlation alpha. Upper "
        "panels: the loss against lambda from W^(0) = 0. Lower left: the smallest lambda with a loss of at most 0.01 "
        "on task 2. Lower right: what the better compromise leaves for the worse task.",
    )


# A prediction of Theorem 1.
prediction = partial(Prediction, kind="holds", source="Theorem 1", of=PAIRS)

CLAIM = Claim(
    id="editing.multi-task",
    title="Adding a task takes lambda of 1 - alpha",
    statement="Psi^(0) + Delta_1 + lambda Delta_2 does both tasks if alpha >= 0 and lambda >= 1 - alpha + beta; "
    "contradictory tasks cannot be joined. Asked from W^(0) = 0 without token noise, where nothing else is said.",
    source="Theorem 1",
    cites=("li2025editing",),
    predictions=(
        *of_trained(
            *(
                prediction(
                    id=f"slope{name}",
                    statement=f"From {started(w0)} the smallest lambda falls with alpha at slope -1, "
                    "for alpha from 0 to 0.9.",
                    kind="tight",
                    statistic=f"slope of the smallest lambda with a loss of at most {EPS} on task 2, against alpha",
                    predicted="-1",
                    estimate=partial(slope, w0=w0),
                    rule=within(-1.0, 0.15),
                )
                for name, w0 in (("", 0.0), ("-own-kind", 4.0))
            ),
            prediction(
                id="irrelevant",
                statement="An irrelevant task takes lambda = 1, to 0.1.",
                kind="tight",
                statistic=f"smallest lambda with a loss of at most {EPS} on task 2, at alpha = 0",
                predicted="1",
                estimate=irrelevant,
                rule=within(1.0, 0.1),
            ),
            prediction(
                id="enough",
                statement=f"With lambda = 1 - alpha + {BETA} task 2 is solved at every alpha >= 0.",
                source="Theorem 1, with beta chosen here",
                statistic="loss on task 2, at the alpha where it is largest",
                predicted=f"at most {EPS}",
                estimate=partial(loss_at, task=2),
                rule=at_most(EPS),
            ),
            prediction(
                id="kept",
                statement=f"With lambda = 1 - alpha + {BETA} task 1 is still solved at every alpha >= 0.",
                source="Theorem 1, with beta chosen here",
                statistic="loss on task 1, at the alpha where it is largest",
                predicted=f"at most {EPS}",
                estimate=partial(loss_at, task=1),
                rule=at_most(EPS),
            ),
            *(
                prediction(
                    id=f"contradictory{name}",
                    statement=f"From {started(w0)} no lambda in [0, 2] joins contradictory tasks, alpha <= -0.2.",
                    source="remark on Theorem 1",
                    statistic="larger of the two losses at the best lambda, at the alpha where it is least",
                    predicted=f"above {FAILED}",
                    estimate=partial(contradictory, w0=w0),
                    rule=above(FAILED),
                )
                for name, w0 in (("", 0.0), ("-own-kind", 4.0))
            ),
            prediction(
                id="accuracy-hides",
                statement="Accuracy does not see it where tokens have no noise: at alpha from -0.6 to -0.2 some lambda "
                "has both tasks right.",
                kind="comparison",
                source="made here",
                statistic="lesser of the two accuracies at the best lambda, at the alpha where it is least",
                predicted="at least 0.99",
                estimate=hidden,
                rule=at_least(0.99),
            ),
            prediction(
                id=f"sum-of-{TASKS}",
                statement=f"The sum of {TASKS} orthogonal tasks' vectors does all of them, with coefficients "
                f"{1 + BETA} (the first with 1).",
                source="Theorem 1, extended here to several tasks",
                of=SEVERAL,
                statistic="largest loss of all tasks",
                predicted=f"at most {EPS}",
                estimate=several,
                rule=at_most(EPS),
            ),
        ),
        *of_trained(
            prediction(
                id="accuracy-with-noise",
                statement=f"With token noise {NOISE} accuracy sees it: tasks with alpha = -0.6 have less of it than "
                "irrelevant ones, by more than 0.02.",
                kind="comparison",
                source="made here, after the paper's coloured digits",
                statistic="lesser of the two accuracies at the best lambda: alpha = 0 minus alpha = -0.6",
                predicted="above 0.02",
                estimate=noisy,
                rule=above(0.02),
            ),
            tau=NOISE,
        ),
    ),
    figure=figure,
)
