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

# Numbers of labelled nodes that are averaged over in every profile, and the fewest.
SIZES = (25, 100, 600)
FEWEST = SIZES[0]
WORDS = {"encoded": "bias", "plain": "no bias", "uniform": "uniform attention"}


def accuracies(frame: pd.DataFrame, network: str, core: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of labelled nodes (P,), and accuracy (S, P)."""
    return grid_by_seed(frame, "accuracy", "labelled", {"network": network, "core": core})


def ahead(frame: pd.DataFrame, *, better: str, worse: str, core: int, which: str) -> Estimate:
    """The accuracy of one network less another's, the mean over SIZES of labelled nodes, or at the fewest."""
    (labelled_P, better_SP), (other_P, worse_SP) = (accuracies(frame, n, core) for n in (better, worse))
    if not np.array_equal(labelled_P, other_P) or not set(SIZES) <= set(labelled_P):
        expected = f"both networks at {', '.join(map(str, SIZES))} labelled nodes"
        raise DataError(expected, "others", "leave network and labelled to the claim's sweep")
    if np.array_equal(better_SP, worse_SP):
        raise DataError(
            "networks that training has made different", "the same", "leave first, steps and lr to the claim"
        )
    at_P = labelled_P == FEWEST if which == "fewest" else np.isin(labelled_P, SIZES)
    return mean_t((better_SP - worse_SP)[:, at_P].mean(1))


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
        "each distance, without it, and with uniform attention (the paper's graph convolutional network). gamma_d = "
        "0.4.",
    )


def compared(better: str, worse: str, core: int, which: str, source: str) -> tuple[Prediction, ...]:
    """That one network is ahead of another on one of the graphs."""
    few, some = which == "fewest", f"{', '.join(map(str, SIZES[:-1]))} and {SIZES[-1]}"
    at = f"with {FEWEST} labelled nodes" if few else f"on average over {some} labelled nodes"
    return of_learned(
        Prediction(
            id=f"{better}-over-{worse}-{NAMES[core]}{'-few' if few else ''}",
            statement=f"On the {NAMES[core]} graph, z_m = {core}, {WORDS[better]} is better than {WORDS[worse]} {at}.",
            kind="comparison",
            source=source,
            of=ENCODING,
            statistic=f"accuracy with {WORDS[better]} less that with {WORDS[worse]}, {at}",
            predicted="above 0",
            estimate=partial(ahead, better=better, worse=worse, core=core, which=which),
            rule=above(0.0),
        ),
        # Uniform attention may fail at the labelled nodes themselves: that is what is asked.
        where={
            "network": [better, worse] if worse != "uniform" else better,
            "core": core,
            "labelled": [FEWEST] if few else list(SIZES),
        },
    )


CLAIM = Claim(
    id="graph.encoding",
    title="With a bias, without, and without attention",
    statement="A bias for each distance takes fewer labelled nodes than none, and attention fewer than uniform "
    "attention. Asked with gamma_d = 0.4, no confusion, 1000 nodes of mean degree 5, up to 16 sampled nodes at each of "
    "the distances 1 to 4, 400 steps of 20 nodes with eta = 0.2, b learning 15 times and W_Q and W_K 5 times as fast "
    "as the rest.",
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
