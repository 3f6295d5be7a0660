"""icl.neurons: three kinds of neurons, and what becomes of the lucky ones (Proposition 2)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.icl.experiments import NEURONS
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, Scatter, threshold
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.rule import Rule, at_least, at_most
from lemmata.lab.stats import Estimate, mean_t


def over_seeds(frame: pd.DataFrame, *, metric: str) -> Estimate:
    """The mean over seeds of one number a member."""
    return mean_t(by_seed(frame, metric))


def figure(frames: Frames) -> Figure:
    """The polar scatter of one member's rows over time: feature part and label part."""
    frame = frames[NEURONS.name]
    frame = frame[frame["seed"] == frame["seed"].min()]
    last = float(pick(frame, "feature_norm")["x"].max())

    def marks(part: str) -> tuple[Scatter, ...]:
        drawn = []
        for group, sign in enumerate(("+", "-")):
            norm = pick(frame, f"{part}_norm", {"sign": sign}).set_index(["x", "neuron"])["value"].sort_index()
            angle = pick(frame, f"{part}_angle", {"sign": sign}).set_index(["x", "neuron"])["value"].sort_index()
            steps = [float(step) / last for step, _ in norm.index]
            label = f"a_i {'>' if sign == '+' else '<'} 0"
            drawn.append(Scatter(label, tuple(angle), tuple(norm), tuple(steps), group, f"step, 0 to {last:.0f}"))
        return tuple(drawn)

    toward = threshold("toward the mean pattern: 0", x=0.0)
    return Figure(
        panels=(
            Panel(title="feature part", x="angle to the mean pattern", y="norm", marks=(*marks("feature"), toward)),
            Panel(title="label part", x="angle to q", y="norm", marks=marks("label")),
        ),
        caption="The rows of W_O W_V of one network (seed 0) from the start of training to its end, a point a "
        "neuron and time. Left: angle to the mean pattern and norm of the feature part. Right: the same of the "
        "label part, whose angle to q is taken in the plane of q and the mean pattern.",
    )


def mechanism(id: str, statement: str, metric: str, statistic: str, shown: str, rule: Rule) -> Prediction:
    """A prediction of Proposition 2 on one number a member."""
    return Prediction(
        id=id,
        statement=statement,
        kind="mechanism",
        source="Proposition 2 and the polar figure of the slides",
        of=NEURONS,
        statistic=statistic,
        predicted=shown,
        estimate=partial(over_seeds, metric=metric),
        rule=rule,
    )


CLAIM = Claim(
    id="icl.neurons",
    title="Three kinds of neurons",
    statement="After training a neuron's row is close to (mu_bar, q), close to (mu_bar, -q), or as it was; the "
    "lucky neurons of the start are the large ones of the end.",
    source="Proposition 2",
    cites=("li2024icl",),
    predictions=(
        mechanism(
            "feature",
            "The feature part of large rows points to the mean pattern: within 0.5 rad, published about pi/8.",
            "large_angle",
            "mean angle of large rows' feature part to mu_bar",
            "at most 0.5",
            at_most(0.5),
        ),
        mechanism(
            "label",
            "The label part of large rows points to q or -q as the sign of a_i says.",
            "large_label_right",
            "share of large rows whose label part has the sign of a_i",
            "1, at least 0.95",
            at_least(0.95),
        ),
        mechanism(
            "unlucky",
            "Small rows stay near their initialisation: they move less than a third as far as large ones.",
            "small_moved",
            "distance moved by small rows over that of large ones",
            "at most 1/3",
            at_most(1 / 3),
        ),
        mechanism(
            "lucky-grow",
            "Neurons that are lucky at the start are large at the end.",
            "lucky_large",
            "share of the lucky neurons that end large",
            "1, at least 0.9",
            at_least(0.9),
        ),
        mechanism(
            "large-were-lucky",
            "Neurons that are large at the end were lucky at the start.",
            "large_lucky",
            "share of the large neurons that were lucky",
            "1, at least 0.9",
            at_least(0.9),
        ),
    ),
    figure=figure,
)
