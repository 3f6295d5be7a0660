"""icl.baselines: the trained network against classical learners fitted on the same prompt."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.icl.baselines import Baselines
from lemmata.icl.experiments import SEEDS
from lemmata.icl.network import OneLayer
from lemmata.icl.published import BASELINES, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.rule import at_least, below, within
from lemmata.lab.stats import Estimate, mean_t, paired_t

CLASSICAL = ("logistic", "svm-linear", "svm-gauss", "1-nn", "3-nn")
LENGTHS = (6, 10, 14, 20)

LEARNERS = Experiment(
    name="learners",
    base=OneLayer(),
    measures=(Baselines(learners=("icl", *CLASSICAL), lengths=LENGTHS, alpha_test=(0.6, 0.8), prompts=400),),
    seeds=SEEDS,
    settings={"beta 1, lr 1": {"beta": 1.0, "lr": 1.0}, "beta 3, delta 0.13": {"beta": 3.0, "delta": 0.13}},
    setting_seeds=ByProfile(0, 3, 5),
)


def errors(frame: pd.DataFrame, alpha: float, learner: str) -> np.ndarray:
    """0-1 error of a learner, a number a seed, averaged over the lengths."""
    return by_seed(frame, "error", {"alpha_test": alpha, "learner": learner})


def over_best(frame: pd.DataFrame, *, alpha: float) -> Estimate:
    """The network's error less that of the best classical learner, which is chosen on the mean over all seeds.

    Choosing the best of five on the same seeds favours the classical side, so a network that wins has won.
    """
    best = min(CLASSICAL, key=lambda learner: errors(frame, alpha, learner).mean())
    return paired_t(errors(frame, alpha, "icl"), errors(frame, alpha, best))


def over_logistic(frame: pd.DataFrame) -> Estimate:
    """The network's error less that of logistic regression at alpha' = 0.8."""
    return paired_t(errors(frame, 0.8, "icl"), errors(frame, 0.8, "logistic"))


def harder(frame: pd.DataFrame) -> Estimate:
    """The least increase over the classical learners from alpha' = 0.8 to 0.6, a number a seed."""
    return mean_t(np.min([errors(frame, 0.6, name) - errors(frame, 0.8, name) for name in CLASSICAL], axis=0))


def figure(frames: Frames) -> Figure:
    """Error against length for every learner, at two alpha'."""
    frame = frames[LEARNERS.name]
    names = sorted(pick(frame, "error")["learner"].unique())
    panels = []
    for alpha in (0.8, 0.6):
        read_off = (
            [line(f"published, {n}", BASELINES[n], names.index(n)) for n in ("icl", "logistic")] if alpha == 0.8 else []
        )
        marks = (*curves(frame, "error", by="learner", where={"alpha_test": alpha}), *read_off)
        panels.append(Panel(title=f"alpha' = {alpha}", x="examples l", y="error", marks=marks, y_log=True))
    return Figure(
        panels=tuple(panels),
        caption="0-1 error of the trained one-layer network (icl) and of classical learners with scikit-learn's "
        "defaults, fitted on the examples of each prompt; all answer the same prompts.",
    )


CLAIM = Claim(
    id="icl.baselines",
    title="Against classical learners",
    statement="The trained network matches logistic regression at alpha' = 0.8 and beats every classical learner "
    "at 0.6.",
    source="published figure on classical learners",
    cites=("li2024icl", "pedregosa2011"),
    predictions=(
        Prediction(
            id="logistic",
            statement="At alpha' = 0.8 the network and logistic regression differ by less than 0.01.",
            kind="comparison",
            source="published figure",
            of=LEARNERS,
            statistic="error of the network less logistic regression's, mean over l of 6 to 20",
            predicted="0",
            estimate=over_logistic,
            rule=within(0.0, 0.01),
        ),
        Prediction(
            id="lowest",
            statement="At alpha' = 0.6 the network is better than the best classical learner.",
            kind="comparison",
            source="published figure",
            of=LEARNERS,
            statistic="error of the network less that of the best classical learner, mean over l of 6 to 20",
            predicted="below 0",
            estimate=partial(over_best, alpha=0.6),
            rule=below(0.0),
        ),
        Prediction(
            id="harder",
            statement="Every classical learner is clearly worse at alpha' = 0.6 than at 0.8: by more than 0.005.",
            kind="comparison",
            source="published figure",
            of=LEARNERS,
            statistic="least increase in error over the classical learners, from alpha' = 0.8 to 0.6",
            predicted="at least 0.005",
            estimate=harder,
            rule=at_least(0.005),
        ),
    ),
    figure=figure,
)
