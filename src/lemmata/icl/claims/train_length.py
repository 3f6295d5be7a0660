"""icl.train-length: how long training prompts must be, against alpha (Theorem 1)."""

from __future__ import annotations

import pandas as pd

from lemmata.icl.experiments import EPS, SEEDS
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import ErrorCurve
from lemmata.icl.theory import ITERATIONS_SLIDES, TRAIN_LENGTH
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, threshold
from lemmata.lab.frames import pick
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.needed import needed_between
from lemmata.lab.rule import at_most, within
from lemmata.lab.stats import Estimate, censored_exponent, error_rate_t
from lemmata.lab.trainee import Value

LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
# Twice the steps that long prompts need at alpha = 1, by alpha^(-2/3) at the others: with ever more steps, ever shorter
# prompts do (see the setting with twice the learning rate).
STEPS = 150
# "Enough" in the holding prediction: this many times 1/alpha.
ENOUGH = 4
PROMPTS = 4096


def sweep(alphas: tuple[float, ...]) -> tuple[dict[str, Value], ...]:
    """Every alpha at every length, each trained for as long as Theorem 1 asks, in proportion to alpha^(-2/3)."""
    return tuple(
        {"alpha": alpha, "l_tr": l_tr, "steps": round(STEPS * alpha**ITERATIONS_SLIDES)}
        for alpha in alphas
        for l_tr in LENGTHS
    )


LENGTH = Experiment(
    name="train-length",
    base=OneLayer(),
    measures=(ErrorCurve(lengths=(20,), prompts=PROMPTS),),
    points=ByProfile(
        sweep((0.1, 0.2, 0.4, 0.8)),
        sweep((0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)),
        sweep((0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)),
    ),
    seeds=SEEDS,
    settings={
        "lr 1": {"lr": 1.0},
        "400 steps at every alpha": {"steps": 400},
        "20 % of the tasks": {"tasks": "cyclic"},
    },
    setting_seeds=ByProfile(0, 3, 5),
)


def needed_exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent of the needed training length in alpha."""
    return censored_exponent(*needed_between(pick(frame, "error"), "l_tr", "alpha", EPS))


def error_when_enough(frame: pd.DataFrame) -> Estimate:
    """0-1 error of the networks trained on prompts of ENOUGH / alpha examples or more."""
    rows = pick(frame, "error")
    rows = rows[rows["l_tr"] * rows["alpha"] >= ENOUGH - 1e-9]
    if rows.empty:
        raise DataError(f"networks trained on prompts of {ENOUGH}/alpha examples", "none", "leave l_tr and alpha alone")
    # All of them are tested on the same prompts, so that the count of prompts is that of one.
    return error_rate_t(rows.groupby("seed")["value"].mean().to_numpy(), PROMPTS)


def figure(frames: Frames) -> Figure:
    """Error against training length by alpha; the lengths in units of 1/alpha beside it."""
    frame = frames[LENGTH.name]
    scaled = frame.assign(in_units=frame["l_tr"] * frame["alpha"])
    eps = threshold("eps = 0.01", y=EPS)

    def panel(title: str, x_label: str, x: str) -> Panel:
        marks = (*curves(scaled, "error", by="alpha", label="alpha = {}", x=x), eps)
        return Panel(title=title, x=x_label, y="error", marks=marks, x_log=True, y_log=True)

    return Figure(
        panels=(
            panel("training length", "training examples l_tr", "l_tr"),
            panel("in units of 1/alpha", "alpha l_tr", "in_units"),
        ),
        caption="0-1 error (l = 20, alpha' = 0.8) against the length of the training prompts. If the needed length is "
        "proportional to 1/alpha, the curves on the right cross the line together.",
    )


CLAIM = Claim(
    id="icl.train-length",
    title="Training prompts need about 1/alpha examples",
    statement="Training prompts of l_tr >= Omega(1/alpha) examples are enough.",
    source="Theorem 1 (ii)",
    cites=("li2024icl",),
    predictions=(
        Prediction(
            id="exponent",
            statement="The training length needed for error 0.01 grows as 1/alpha.",
            kind="tight",
            source="Theorem 1 (ii), read as an equality",
            of=LENGTH,
            statistic="exponent of the needed l_tr in alpha",
            predicted="-1",
            estimate=needed_exponent,
            rule=within(TRAIN_LENGTH, 0.15),
        ),
        Prediction(
            id="enough",
            statement=f"With l_tr >= {ENOUGH}/alpha the error is at most 0.01 at every alpha.",
            kind="holds",
            source="Theorem 1 (ii), with a constant chosen here",
            of=LENGTH,
            statistic=f"0-1 error at l = 20 of the networks with l_tr >= {ENOUGH}/alpha",
            predicted="at most 0.01",
            estimate=error_when_enough,
            rule=at_most(EPS),
        ),
    ),
    figure=figure,
)
