"""icl.iterations: how many steps training takes, against alpha and beta (Theorem 1, two versions)."""

from __future__ import annotations

import pandas as pd

from lemmata.icl.experiments import EPS, SEEDS, SETTING_SEEDS
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import ErrorPassage
from lemmata.icl.theory import ITERATIONS_POSTER, ITERATIONS_SLIDES
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Mark, Panel, curves, power_law
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.needed import passed_between
from lemmata.lab.rule import within
from lemmata.lab.stats import Estimate, censored_exponent
from lemmata.lab.trainee import Value

# Two predictions compete, so each has the narrower margin.
MARGIN = 0.12


def sweep(alphas: tuple[float, ...]) -> tuple[dict[str, Value], ...]:
    """Training prompts long enough at every alpha, 16 / alpha examples, so that length does not bend the exponent."""
    return tuple({"alpha": alpha, "l_tr": round(16 / alpha)} for alpha in alphas)


SIX = sweep((0.2, 0.3, 0.4, 0.55, 0.7, 0.9))
ALPHA = Experiment(
    name="iterations-alpha",
    base=OneLayer(lr=0.25, steps=1500),
    measures=(ErrorPassage(every=4, below=EPS),),
    points=ByProfile(SIX, SIX, sweep((0.15, 0.2, 0.25, 0.3, 0.4, 0.55, 0.7, 0.8, 0.9))),
    seeds=SEEDS,
    settings={
        "lr 0.5": {"lr": 0.5},
        "l_tr 20 at every alpha": {"l_tr": 20},
        "delta 0.1, lr 1": {"delta": 0.1, "lr": 1.0},
        "delta 0.4, lr 0.15": {"delta": 0.4, "lr": 0.15},
        "beta 1, lr 2": {"beta": 1.0, "lr": 2.0},
        "m 256": {"m": 256},
        "20 % of the tasks": {"tasks": "cyclic"},
    },
    setting_seeds=SETTING_SEEDS,
)
BETA = Experiment(
    name="iterations-beta",
    base=OneLayer(steps=3000),
    measures=(ErrorPassage(every=4, below=EPS),),
    points=ByProfile(*[tuple({"beta": beta} for beta in (1.0, 1.4, 2.0, 2.8))] * 3),
    seeds=SEEDS,
    settings={"delta 0.4, lr 0.15": {"delta": 0.4, "lr": 0.15}, "delta 0.1, lr 1": {"delta": 0.1, "lr": 1.0}},
    setting_seeds=SETTING_SEEDS,
)


def against_alpha(frame: pd.DataFrame) -> Estimate:
    """The exponent of the steps to eps in alpha."""
    return censored_exponent(*passed_between(frame, "alpha"), margin=MARGIN)


def against_beta(frame: pd.DataFrame) -> Estimate:
    """The exponent of the steps to eps in beta."""
    return censored_exponent(*passed_between(frame, "beta"))


def figure(frames: Frames) -> Figure:
    """Steps to eps against alpha and beta, with the fitted and the predicted exponents."""

    def panel(frame: pd.DataFrame, axis: str, fit: Estimate, predicted: dict[str, float]) -> Panel:
        measured = curves(frame, "steps_hi", x=axis, label="measured")
        marks: list[Mark] = [*measured, power_law(f"fitted: {fit.value:.2f}", measured[0], fit.value, "oracle")]
        marks += [power_law(label, measured[0], e, "prediction") for label, e in predicted.items()]
        return Panel(
            title=f"against {axis}", x=axis, y="steps to error 0.01", marks=tuple(marks), x_log=True, y_log=True
        )

    alpha, beta = frames[ALPHA.name], frames[BETA.name]
    stated = {"slides: -2/3": ITERATIONS_SLIDES, "poster: -1": ITERATIONS_POSTER}
    return Figure(
        panels=(
            panel(alpha, "alpha", against_alpha(alpha), stated),
            panel(beta, "beta", against_beta(beta), {"stated: -2/3": ITERATIONS_SLIDES}),
        ),
        caption="Steps until the test error (l = 20, alpha' = 0.8) first falls below 0.01, with the fitted "
        "exponent and the stated ones, drawn through the geometric middle of the measurements.",
    )


def exponent_prediction(id: str, source: str, exponent: float, shown: str) -> Prediction:
    """One of the two stated exponents in alpha."""
    return Prediction(
        id=id,
        statement=f"Steps to error 0.01 grow as alpha^({shown}).",
        kind="tight",
        source=source,
        of=ALPHA,
        statistic="exponent of the steps to error 0.01 in alpha",
        predicted=shown,
        estimate=against_alpha,
        rule=within(exponent, MARGIN),
    )


CLAIM = Claim(
    id="icl.iterations",
    title="Steps needed against alpha and beta",
    statement="Training takes T = Theta(eta^-1 M1 alpha^(-2/3) beta^(-2/3) sqrt(log M1)) steps; the poster "
    "states alpha^-1.",
    source="Theorem 1 (iii): slides (Oct 2024) and poster disagree",
    cites=("li2024icl",),
    predictions=(
        exponent_prediction("slides", "Theorem 1 (iii), slides (Oct 2024)", ITERATIONS_SLIDES, "-2/3"),
        exponent_prediction("poster", "Theorem 1 (iii), poster", ITERATIONS_POSTER, "-1"),
        Prediction(
            id="beta",
            statement="Steps to error 0.01 grow as beta^(-2/3) in the norm of the patterns.",
            kind="tight",
            source="full rate as given by a third party",
            of=BETA,
            statistic="exponent of the steps to error 0.01 in beta",
            predicted="-2/3",
            estimate=against_beta,
            rule=within(ITERATIONS_SLIDES, 0.15),
        ),
    ),
    figure=figure,
)
