"""cot.versus-icl: CoT against ICL, with and without Condition 1 (Theorem 3)."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pandas as pd

from lemmata.cot.answers import ErrorCurve
from lemmata.cot.experiments import BASE, SEEDS, SETTING_SEEDS, SETTINGS, STATES
from lemmata.cot.published import CONDITION_1, TENS, line
from lemmata.cot.theory import condition_matrices, cot_error, icl_error, transitions
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Mark, Panel, Reference, curves, drawable
from lemmata.lab.frames import by_seed
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import above, at_least, at_most
from lemmata.lab.stats import Estimate, error_rate_t, mean_t, paired_t

PROMPTS = 1024
WITH, WITHOUT = "condition-1", "no-condition-1"
SPLITS = {WITH: "with Condition 1", WITHOUT: "without Condition 1"}

CURVES = Experiment(
    name="versus-icl",
    base=BASE,
    measures=tuple(
        ErrorCurve(steps_shown=shown, split=(WITH, WITHOUT), tau=(), rho=(), prompts=PROMPTS, noise_law=(law,))
        for shown in (True, False)
        for law in ("coordinate", "norm")
    ),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)


def errors(frame: pd.DataFrame, metric: str, split: str, x: int | tuple[float, ...]) -> np.ndarray:
    """One error a seed, with noise in every coordinate."""
    return by_seed(frame, metric, {"split": split, "x": x, "noise_law": "coordinate"})


def left(frame: pd.DataFrame, *, metric: str, split: str) -> Estimate:
    """What 100 examples leave of the error with 10."""
    return mean_t(errors(frame, metric, split, 100) / errors(frame, metric, split, 10))


def icl_without(frame: pd.DataFrame) -> Estimate:
    """The ICL error with 100 examples where Condition 1 fails."""
    return error_rate_t(errors(frame, "icl_error", WITHOUT, 100), PROMPTS)


def icl_change(frame: pd.DataFrame) -> Estimate:
    """The ICL error with 100 examples less that with 20, where Condition 1 fails."""
    return paired_t(errors(frame, "icl_error", WITHOUT, 100), errors(frame, "icl_error", WITHOUT, 20))


def icl_over_cot(frame: pd.DataFrame, *, split: str) -> Estimate:
    """The ICL error less the CoT error, mean over l = 10 .. 100."""
    return paired_t(errors(frame, "icl_error", split, TENS), errors(frame, "cot_error", split, TENS))


@cache
def oracle(steps: bool, split: str, alpha: float) -> Reference:
    """The oracle's error against the number of examples."""
    matrices = condition_matrices(split == WITH, STATES)
    if steps:
        y = tuple(cot_error(int(l), alpha, matrices).value for l in TENS)
    else:
        task = transitions(matrices)
        y = tuple(icl_error(int(l), alpha, task.product, task.path[:, -1]) for l in TENS)
    return Reference("oracle", TENS, y, "oracle", 2 * (not steps) + (split == WITHOUT))


def figure(frames: Frames) -> Figure:
    """The four curves as published, and with smaller noise."""
    frame = frames[CURVES.name]
    alpha = float(frame["alpha_test"].dropna().iloc[0])

    def panel(law: str, title: str) -> Panel:
        marks: list[Mark] = []
        for i, (metric, name) in enumerate((("cot_error", "CoT"), ("icl_error", "ICL"))):
            for j, (split, words) in enumerate(SPLITS.items()):
                where = {"split": split, "noise_law": law}
                marks += curves(frame, metric, label=f"{name} {words}", where=where, first_group=2 * i + j)
                marks.append(oracle(i == 0, split, alpha))
        if law == "coordinate":
            groups = {"CoT": 1, "ICL with": 2, "ICL without": 3}
            marks += [line(f"published {name}", TENS, y, groups[name]) for name, y in CONDITION_1.items()]
        return Panel(title=title, x="examples l", y="error", marks=tuple(marks), y_log=True, y_range=(5e-4, 1.0))

    return Figure(
        panels=drawable(
            lambda: panel("coordinate", "noise in every coordinate"), lambda: panel("norm", "noise of a given norm")
        ),
        caption=f"Error against the number of examples at alpha' = {alpha:g}, K = 3: step 1 is right in .45 of the "
        f"examples, "
        "step 3 in .55. Without Condition 1 step 3 has one favourite wrong state, so that most outcomes are wrong.",
    )


# A prediction of Theorem 3 and its figure.
prediction = partial(Prediction, source="Theorem 3 and the published figure on Condition 1", of=CURVES)


LEFT = "error with 100 examples over that with 10"

CLAIM = Claim(
    id="cot.versus-icl",
    title="Intermediate steps, and what happens without them",
    statement="Without Condition 1 the ICL error stays of order 1 at any number of examples; with it it falls, as the "
    "CoT error does in both cases.",
    source="Theorems 2 and 3",
    cites=("li2025cot",),
    predictions=(
        prediction(
            id="icl-without-wrong",
            kind="holds",
            statement="Without Condition 1 plain examples are wrong more often than right, even with 100 of them.",
            statistic="ICL error with 100 examples, without Condition 1",
            predicted="of order 1, at least 0.5",
            estimate=partial(icl_without),
            rule=at_least(0.5),
        ),
        prediction(
            id="icl-without-flat",
            kind="comparison",
            statement="Without Condition 1 the ICL error does not improve from 20 examples to 100; published: it "
            "rises by 0.14.",
            statistic="ICL error with 100 examples less that with 20",
            predicted="at least 0",
            estimate=partial(icl_change),
            rule=at_least(0.0),
        ),
        prediction(
            id="icl-with-falls",
            kind="holds",
            statement="With Condition 1 the ICL error falls by half or more from 10 examples to 100; published: to a "
            "seventh.",
            statistic=LEFT,
            predicted="at most 0.5",
            estimate=partial(left, metric="icl_error", split=WITH),
            rule=at_most(0.5),
        ),
        *(
            prediction(
                id=f"cot-{id}-falls",
                kind="holds",
                statement=f"The CoT error falls by half or more {SPLITS[split]}; published: to a tenth.",
                statistic=LEFT,
                predicted="at most 0.5",
                estimate=partial(left, metric="cot_error", split=split),
                rule=at_most(0.5),
            )
            for id, split in (("with", WITH), ("without", WITHOUT))
        ),
        *(
            prediction(
                id=f"cot-below-icl-{id}",
                kind="comparison",
                statement=f"The CoT error is below the ICL error {SPLITS[split]}.",
                statistic="ICL error less CoT error, mean over l = 10 .. 100",
                predicted="above 0",
                estimate=partial(icl_over_cot, split=split),
                rule=above(0.0),
            )
            for id, split in (("with", WITH), ("without", WITHOUT))
        ),
    ),
    figure=figure,
)
