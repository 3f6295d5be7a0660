"""graph.confusion: what nodes with the other class's pattern cost."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.graph.experiments import CLOSE, CLOSE_TOO, CONFUSED, CONFUSED_LABELS, of_learned
from lemmata.graph.theory import CONFUSION
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves, drawable
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.needed import needed_between
from lemmata.lab.rule import above, at_least, within
from lemmata.lab.stats import Estimate, censored_exponent, hull, mean_t, paired_t

# Labelled nodes at which accuracies are compared, and the confusion ratios that are.
AT, MUCH, SOME = 150, 0.3, 0.2
# Errors that count as small where the labels that are needed are counted; with confusion votes err more often.
ERRORS = (CLOSE[2], CLOSE_TOO[2])
WORDS = {"encoded": "transformer", "uniform": "uniform attention"}


def accuracy(frame: pd.DataFrame, network: str, eps_S: float) -> np.ndarray:
    """Accuracy with AT labelled nodes, (S,)."""
    return by_seed(frame, "accuracy", {"network": network, "eps_S": eps_S, "labelled": AT})


def costs(frame: pd.DataFrame, *, network: str) -> Estimate:
    """Accuracy without confusion less that with much."""
    return paired_t(accuracy(frame, network, 0.0), accuracy(frame, network, MUCH))


def spared(frame: pd.DataFrame) -> Estimate:
    """What confusion costs with uniform attention less what it costs the graph transformer."""
    lost = {n: accuracy(frame, n, 0.0) - accuracy(frame, n, MUCH) for n in WORDS}
    return paired_t(lost["uniform"], lost["encoded"])


def level(frame: pd.DataFrame, *, eps_S: float) -> Estimate:
    """Accuracy of the graph transformer with confusion."""
    return mean_t(accuracy(frame, "encoded", eps_S))


def exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent of the needed |L| in 1 - 2 eps_S, from the least to the most that it is of the two errors."""

    def at(error: float) -> Estimate:
        eps_P, lo_SP, hi_SP = needed_between(pick(frame, "error"), "labelled", "eps_S", error)
        return censored_exponent(1 - 2 * eps_P, lo_SP, hi_SP, margin=0.15)

    return hull(*map(at, ERRORS))


def figure(frames: Frames) -> Figure:
    """Accuracy against the confusion ratio and against the number of labelled nodes."""
    frame = frames[CONFUSED.name]

    def by_ratio() -> Panel:
        marks = []
        for group, (network, words) in enumerate(WORDS.items()):
            where = {"network": network, "labelled": AT}
            marks += curves(frame, "accuracy", x="eps_S", where=where, label=words, first_group=group)
        return Panel(title=f"{AT} labelled nodes", x="eps_S", y="accuracy", marks=tuple(marks))

    def by_labels() -> Panel:
        rows = pick(frame, "accuracy", {"network": "encoded", "eps_S": [0.0, 0.1, 0.2, 0.3]})
        marks = curves(rows, "accuracy", x="labelled", by="eps_S", label="eps_S = {}")
        return Panel(title="transformer", x="|L|", y="accuracy", marks=tuple(marks), x_log=True)

    return Figure(
        panels=drawable(by_ratio, by_labels),
        caption="Accuracy on other nodes by the share eps_S of discriminative nodes that have the other class's "
        "pattern, and by the number of labelled nodes. gamma_d = 0.8, homophilous graph.",
    )


# A prediction about confused patterns.
prediction = partial(Prediction, of=CONFUSED)

CLAIM = Claim(
    id="graph.confusion",
    title="What confusion costs",
    statement="More labelled nodes are needed with a larger confusion ratio eps_S, as (1 - 2 eps_S)^-2; with enough of "
    f"them the error is small, which is asked with eps_S up to {MUCH}. Asked on the homophilous graph, z_m = 1, with "
    "gamma_d = 0.8 where nothing else is said, 1000 nodes of mean degree 5, 400 steps of 20 nodes with eta = 0.2.",
    source="Theorem 4.1",
    cites=("li2024graph",),
    predictions=(
        *of_learned(
            prediction(
                id="costs",
                statement=f"With eps_S = {MUCH} and {AT} labelled nodes accuracy is lower than without confusion.",
                kind="comparison",
                source="Theorem 4.1",
                statistic=f"accuracy without confusion less that with eps_S = {MUCH}",
                predicted="above 0",
                estimate=partial(costs, network="encoded"),
                rule=above(0.0),
            ),
            *(
                prediction(
                    id=name,
                    statement=f"With eps_S = {eps_S} and {AT} labelled nodes the error is small.",
                    kind="holds",
                    source="Theorem 4.1, with a bound chosen here",
                    statistic="accuracy on other nodes",
                    predicted=f"at least {1 - CLOSE[2]}",
                    estimate=partial(level, eps_S=eps_S),
                    rule=at_least(1 - CLOSE[2]),
                )
                for name, eps_S in (("holds", SOME), ("holds-much", MUCH))
            ),
            where={"network": "encoded", "labelled": AT},
        ),
        *of_learned(
            prediction(
                id="spared",
                statement="Confusion costs the graph transformer less than uniform attention.",
                kind="comparison",
                source="Theorem 4.1: attention goes to the right class",
                statistic=f"accuracy lost to eps_S = {MUCH} with uniform attention less that lost by the transformer",
                predicted="above 0",
                estimate=spared,
                rule=above(0.0),
            ),
            where={"labelled": AT},
        ),
        prediction(
            id="exponent",
            statement="With gamma_d = 0.4 the labelled nodes that are needed grow as (1 - 2 eps_S)^-2.",
            kind="tight",
            source="Theorem 4.1, read as an equality; exponent assumed",
            of=CONFUSED_LABELS,
            statistic=f"exponent in 1 - 2 eps_S of the |L| from which on the error is at most {ERRORS[0]}, and "
            f"{ERRORS[1]}: from the least to the most of both",
            predicted=f"{CONFUSION:g}",
            estimate=exponent,
            rule=within(CONFUSION, 0.15),
        ),
    ),
    figure=figure,
)
