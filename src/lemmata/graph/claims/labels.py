"""graph.labels: the three networks on real graphs, by the share of labelled nodes (figure 9)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.graph.claims.distances import OWN
from lemmata.graph.real import AVERAGED, GRAPHS, NEEDS, SHARES, of_fitted
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable
from lemmata.lab.frames import grid_by_seed
from lemmata.lab.rule import above
from lemmata.lab.stats import Estimate, mean_t

WORDS = {"encoded": "a bias for each distance", "plain": "no bias", "uniform": "uniform attention"}


def ahead(frame: pd.DataFrame, *, graph: str, own: bool, better: str, worse: str) -> Estimate:
    """The accuracy of one network less another's, the mean over the shares AVERAGED of labelled nodes."""
    (share_P, better_SP), (other_P, worse_SP) = (
        grid_by_seed(frame, "accuracy", "labelled", {"graph": graph, "own": own, "attention": attention})
        for attention in (better, worse)
    )
    if not np.array_equal(share_P, other_P) or not set(AVERAGED) <= set(share_P):
        raise DataError("both networks at every share", "some", "leave attention and labelled to the claim's own sweep")
    return mean_t((better_SP - worse_SP)[:, np.isin(share_P, AVERAGED)].mean(1))


def figure(frames: Frames) -> Figure:
    """Accuracy against the share of labelled nodes."""
    frame = frames[SHARES.name]

    def panel(graph: str, own: bool) -> Panel:
        marks = []
        for group, (attention, words) in enumerate(WORDS.items()):
            where = {"graph": graph, "own": own, "attention": attention}
            marks += curves(frame, "accuracy", x="labelled", where=where, label=words, first_group=group)
        title = f"{graph}, {'own features' if own else 'neighbours only'}"
        return Panel(title=title, x="share labelled", y="accuracy", marks=tuple(marks), x_log=True)

    return Figure(
        panels=drawable(*(partial(panel, graph, own) for graph in GRAPHS for own in (True, False))),
        caption="Accuracy on test nodes against the share of the nodes that are labelled for training, of a graph "
        "transformer with a bias for each of 12 distances, without it, and with uniform attention. Half of the other "
        "nodes choose the step.",
    )


def compared(graph: str, own: bool, better: str, worse: str) -> tuple[Prediction, ...]:
    """That one network is ahead of another on one graph."""
    shares = f"{', '.join(f'{share:g}' for share in AVERAGED[:-1])} and {AVERAGED[-1]:g}"
    return of_fitted(
        Prediction(
            id=f"{better}-over-{worse}-{graph.lower()}-{'own' if own else 'neighbours'}",
            statement=f"On {graph}, {OWN[own]}, {WORDS[better]} is better than {WORDS[worse]}, on average over shares "
            f"of {shares} to train on.",
            kind="comparison",
            source="figure 9",
            of=SHARES,
            statistic=f"accuracy with {WORDS[better]} less that with {WORDS[worse]}, the mean over these shares",
            predicted="above 0",
            estimate=partial(ahead, graph=graph, own=own, better=better, worse=worse),
            rule=above(0.0),
        ),
        where={"graph": graph, "own": own, "attention": [better, worse], "labelled": list(AVERAGED)},
    )


CLAIM = Claim(
    id="graph.labels",
    title="The three networks on real graphs",
    statement="A graph transformer with a bias for each distance is better than without, and that is better than graph "
    "convolution, whatever the share of labelled nodes. Asked with 4 sampled nodes at each of 12 distances; of the "
    "nodes that are not trained on half choose the step and half test, many more than a user with few labels has. "
    "Takes about half an hour with --quick on two cores, and an hour without.",
    source="figure 9",
    cites=("li2024graph",),
    needs=NEEDS,
    predictions=tuple(
        p
        for graph in GRAPHS
        for own in (True, False)
        for better, worse in (("encoded", "plain"), ("plain", "uniform"))
        for p in compared(graph, own, better, worse)
    ),
    figure=figure,
)
