"""graph.encoding: with a bias for each distance, without it, and with uniform attention."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.graph.claims.core import NAMES
from lemmata.graph.experiments import ENCODING, GRAPHS, of_learned
from lemmata.graph.network import NETWORKS
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable
from lemmata.lab.frames import grid_by_seed
from lemmata.lab.rule import above
from lemmata.lab.stats import Estimate, mean_t

WORDS = {"encoded": "bias", "plain": "no bias", "uniform": "uniform attention"}


def accuracies(frame: pd.DataFrame, network: str, core: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of labelled nodes (P,), and accuracy (S, P)."""
    return grid_by_seed(frame, "accuracy", "labelled", {"network": network, "core": core})


def ahead(frame: pd.DataFrame, *, better: str, worse: str, core: int, which: str) -> Estimate:
    """The accuracy of one network less another's, the mean over numbers of labelled nodes, or at the fewest."""
    (labelled_P, better_SP), (other_P, worse_SP) = (accuracies(frame, n, core) for n in (better, worse))
    if not np.array_equal(labelled_P, other_P):
        raise DataError("both networks at every number of labelled nodes", "one", "leave network to the claim's sweep")
    gap_SP = better_SP - worse_SP
    return mean_t(gap_SP[:, 0] if which == "fewest" else gap_SP.mean(1))


def figure(frames: Frames) -> Figure:
    """Accuracy against the number of labelled nodes."""
    frame = frames[ENCODING.name]

    def panel(core: int) -> Panel:
        marks = []
        for group, network in enumerate(NETWORKS):
            where = {"network": network, "core": core}
            marks += curves(frame, "accuracy", x="labelled", where=where, label=WORDS[network], first_group=group)
        title = f"{NAMES[core]}, z_m = {core}"
        return Panel(title=title, x="|L|", y="accuracy", marks=tuple(marks), x_log=True)

    return Figure(
        panels=drawable(*(partial(panel, core) for core in GRAPHS)),
        caption="Accuracy on other nodes against the number of labelled ones, of a graph transformer with a bias for "
        "each distance, without it, and with uniform attention (the paper's graph convolutional network).",
    )


def compared(better: str, worse: str, core: int, which: str, source: str) -> tuple[Prediction, ...]:
    """That one network is ahead of another on one of the graphs."""
    at = {"fewest": "with 25 labelled nodes", "mean": "on average over numbers of labelled nodes"}[which]
    return of_learned(
        Prediction(
            id=f"{better}-over-{worse}-{NAMES[core]}{'-few' if which == 'fewest' else ''}",
            statement=f"On the {NAMES[core]} graph, z_m = {core}, {WORDS[better]} is better than {WORDS[worse]} {at}.",
            kind="comparison",
            source=source,
            of=ENCODING,
            statistic=f"accuracy with {WORDS[better]} less that with {WORDS[worse]}, {at}",
            predicted="above 0",
            estimate=partial(ahead, better=better, worse=worse, core=core, which=which),
            rule=above(0.0),
        ),
        where={"network": better, "core": core},
    )


CLAIM = Claim(
    id="graph.encoding",
    title="With a bias, without, and without attention",
    statement="A bias for each distance takes fewer labelled nodes than none, and attention fewer than uniform "
    "attention. Asked with gamma_d = 0.4, no confusion, distances 1 to 4 with up to 16 sampled nodes each, b learning "
    "15 times and W_Q and W_K 5 times as fast as the rest.",
    source="Theorem 4.1 and the theorem on graph convolution",
    cites=("li2024graph",),
    predictions=tuple(
        p
        for core in GRAPHS
        for better, worse, source in (
            ("encoded", "plain", "remarks on Theorem 4.1"),
            ("plain", "uniform", "theorem on graph convolution"),
            ("encoded", "uniform", "theorem on graph convolution"),
        )
        for which in ("mean", "fewest")
        for p in compared(better, worse, core, which, source)
    ),
    figure=figure,
)
