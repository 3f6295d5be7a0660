"""icl.in-domain: a network trained on some tasks solves all tasks of the domain (Theorem 1)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.icl.experiments import EPS, SEEDS, SETTING_SEEDS
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import ErrorCurve
from lemmata.icl.theory import oracle, oracle_curve
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import by_seed
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import above, at_least, at_most, within
from lemmata.lab.stats import Estimate, error_rate_t, mean_t

# Uniform covers by the share of the 30 tasks, and sets that leave out a pattern, a label, or their balance.
COVERS = {"cyclic": "20 %", "cyclic-2": "40 %", "cyclic-3": "60 %", "cyclic-4": "80 %"}
CONTROLS = {"half-the-patterns": "3 patterns", "one-label": "one label each", "star": "unequal labels"}
PROMPTS = 4096

TASKS = Experiment(
    name="tasks",
    base=OneLayer(steps=800),
    measures=(ErrorCurve(tasks="unseen", prompts=PROMPTS),),
    points=ByProfile(*[product(tasks=[*COVERS, *CONTROLS])] * 3),
    seeds=SEEDS,
    settings={"beta 1, lr 1": {"beta": 1.0, "lr": 1.0}, "400 steps": {"steps": 400}, "d_Y 30": {"d_Y": 30}},
    setting_seeds=SETTING_SEEDS,
)


def unseen_error(frame: pd.DataFrame, *, tasks: tuple[str, ...]) -> Estimate:
    """0-1 error at l = 20 on tasks that were not trained, over training sets that share their test prompts."""
    errors_S = by_seed(frame, "error", {"tasks": tasks, "x": 20})
    return error_rate_t(errors_S, PROMPTS)


def against_oracle(frame: pd.DataFrame) -> Estimate:
    """Errors on unseen tasks summed over l = 8 .. 20, over the oracle's sum."""
    lengths = range(8, 21, 2)
    errors_S = by_seed(frame, "error", {"tasks": ("cyclic-3", "cyclic-4"), "x": tuple(lengths)})
    return mean_t(errors_S * len(lengths) / sum(oracle(l, 0.8) for l in lengths))


def control(id: str, tasks: str, statement: str) -> Prediction:
    """A training set that breaks the condition, which is predicted to fail."""
    return Prediction(
        id=id,
        statement=statement,
        kind="tight",
        source="Theorem 1, condition (i): T_tr covers every IDR pattern equally, with both labels",
        of=TASKS,
        statistic="0-1 error at l = 20 on unseen tasks",
        predicted="at least 0.1",
        estimate=partial(unseen_error, tasks=(tasks,)),
        rule=at_least(0.1),
    )


def figure(frames: Frames) -> Figure:
    """Error against length, a curve a training set."""
    frame = frames[TASKS.name]

    def panel(title: str, sets: dict[str, str]) -> Panel:
        rows = frame[frame["tasks"].isin(list(sets))].assign(set=lambda f: f["tasks"].map(sets))
        marks = (*curves(rows, "error", by="set"), oracle_curve(0.8, 20))
        return Panel(title=title, x="examples l", y="error on unseen tasks", marks=marks, y_log=True)

    return Figure(
        panels=(panel("uniform covers, by share of the tasks", COVERS), panel("controls", CONTROLS)),
        caption="0-1 error on tasks that were not trained, against the number of examples (alpha' = 0.8).",
    )


CLAIM = Claim(
    id="icl.in-domain",
    title="Tasks never trained on are solved",
    statement="Trained on tasks that cover every pattern equally with both labels, and on at least a share (M1 - "
    "1)^(-1/2) of all tasks, the network reaches error eps on every task of the domain.",
    source="Theorem 1 (slides, Oct 2024)",
    cites=("li2024icl",),
    predictions=(
        Prediction(
            id="covers",
            statement="With the promised cover (60 % and 80 % of the tasks) unseen tasks are solved to eps = 0.01.",
            kind="holds",
            source="Theorem 1",
            of=TASKS,
            statistic="0-1 error at l = 20 on unseen tasks",
            predicted="at most 0.01",
            estimate=partial(unseen_error, tasks=("cyclic-3", "cyclic-4")),
            rule=at_most(EPS),
        ),
        Prediction(
            id="share-needed",
            statement="Below the share (M1 - 1)^(-1/2) = 45 % it is not: the cyclic cover has 20 % of the tasks.",
            kind="tight",
            source="Theorem 1, read as necessary",
            of=TASKS,
            statistic="0-1 error at l = 20 on unseen tasks",
            predicted="above 0.01",
            estimate=partial(unseen_error, tasks=("cyclic",)),
            rule=above(EPS),
        ),
        control("pattern-missing", "half-the-patterns", "A cover that misses three of the patterns fails."),
        control("label-missing", "one-label", "A cover in which each pattern has one label only fails."),
        control("labels-unequal", "star", "A cover with unequal labels fails."),
        Prediction(
            id="oracle",
            statement="On unseen tasks the error is the oracle's: all attention on the query's pattern.",
            kind="mechanism",
            source="Proposition 1; the oracle is derived from it",
            of=TASKS,
            statistic="error over l = 8 .. 20 divided by the oracle's, 60 % and 80 % of the tasks",
            predicted="1",
            estimate=against_oracle,
            rule=within(1.0, 0.1),
        ),
    ),
    figure=figure,
)
