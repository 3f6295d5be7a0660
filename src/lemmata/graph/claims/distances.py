"""graph.distances: the bias of each distance on real graphs, and what a distance alone is worth (figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lemmata.graph.published import ACCURACY, BIAS
from lemmata.graph.real import DISTANCES, NEEDS, SINGLE, of_fitted
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, Reference, curves, drawable
from lemmata.lab.frames import by_seed, grid_by_seed, pick
from lemmata.lab.rule import above, at_least, at_most
from lemmata.lab.stats import Estimate, mean_t, paired_t

# As little as makes no difference of accuracy.
FLAT = 0.03
# Distances that fewer of the nodes reach are left out: a network there is one without neighbours.
REACHED = 0.5
# Distances alone that half of Actor's nodes reach.
NEAR = [z for z in SINGLE if z <= 8]
# A rank correlation that counts as much the same order.
ALIKE = 0.5
OWN = {True: "where the output sees a node's own features", False: "where only its queries do"}


def correlation(a_P: np.ndarray, b_P: np.ndarray) -> float:
    """The rank correlation of two rows; nan where one does not vary or is not known."""
    if not (np.isfinite(a_P).all() and np.isfinite(b_P).all()) or np.ptp(a_P) == 0 or np.ptp(b_P) == 0:
        return np.nan
    return float(np.corrcoef(rankdata(a_P), rankdata(b_P))[0, 1])


def biases(frame: pd.DataFrame, graph: str, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """The distances (Z,) that nodes reach, and each seed's bias at them, (S, Z), of networks that have all of them."""
    z_Z, b_SZ = grid_by_seed(frame, "bias", "x", {"graph": graph, "own": own, "first": 1, "last": 12})
    there_Z = np.isin(z_Z, reached(frame, graph, own))
    return z_Z[there_Z], b_SZ[:, there_Z]


def reached(frame: pd.DataFrame, graph: str, own: bool) -> np.ndarray:
    """The distances at which enough of the nodes have somebody."""
    z_Z, share_SZ = grid_by_seed(frame, "reached", "x", {"graph": graph, "own": own, "first": 1, "last": 12})
    return z_Z[share_SZ.mean(0) >= REACHED]


def alone(frame: pd.DataFrame, graph: str, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """The distances (P,) that nodes reach, and each seed's accuracy with one of them alone, (S, P)."""
    rows = pick(frame, "accuracy", {"graph": graph, "own": own})
    rows = rows[(rows["first"] == rows["last"]) & rows["first"].isin(reached(frame, graph, own))]
    if rows["first"].nunique() < 3:
        raise DataError("three distances alone", f"{rows['first'].nunique()}", "leave first and last to the claim")
    return grid_by_seed(rows, "accuracy", "first")


def ranks(frame: pd.DataFrame, *, graph: str, own: bool) -> Estimate:
    """The rank correlation of the bias of a distance with the accuracy of that distance alone, one a seed."""
    z_Z, b_SZ = biases(frame, graph, own)
    at_P, accuracy_SP = alone(frame, graph, own)
    places = [int(np.flatnonzero(z_Z == z)[0]) for z in at_P if z in z_Z]
    known = [z in z_Z for z in at_P]
    return mean_t([correlation(b[places], a[known]) for b, a in zip(b_SZ, accuracy_SP, strict=True)])


def like_published(frame: pd.DataFrame, *, own: bool) -> Estimate:
    """The rank correlation of the bias on PubMed with the published one, one a seed."""
    z_Z, b_SZ = biases(frame, "PubMed", own)
    return mean_t([correlation(b_Z, np.array(BIAS)[z_Z.astype(int) - 1]) for b_Z in b_SZ])


def like_labels(frame: pd.DataFrame, *, graph: str, own: bool) -> Estimate:
    """The rank correlation of the bias with the share of nodes of one's own label, one a seed."""
    z_Z, b_SZ = biases(frame, graph, own)
    same_Z, share_SZ = grid_by_seed(frame, "same_label", "x", {"graph": graph, "own": own, "first": 1, "last": 12})
    known_Z = np.isin(same_Z, z_Z)
    if not np.array_equal(z_Z, same_Z[known_Z]):
        raise DataError("biases and labels at the same distances", "others", "leave last to the claim's own sweep")
    return mean_t([correlation(*pair) for pair in zip(b_SZ, share_SZ[:, known_Z], strict=True)])


def spread(frame: pd.DataFrame, *, graph: str, own: bool) -> Estimate:
    """The largest less the least of the mean accuracies over distances alone: of every seed against the others' order.

    The best and the worst distance are those of the other seeds, so that noise alone gives 0.
    """
    _, accuracy_SP = alone(frame, graph, own)
    gaps = []
    for s, own_P in enumerate(accuracy_SP):
        others_P = np.delete(accuracy_SP, s, 0).mean(0)
        gaps.append(own_P[others_P.argmax()] - own_P[others_P.argmin()])
    return mean_t(gaps)


def flatter(frame: pd.DataFrame, *, own: bool) -> Estimate:
    """The range of biases on Actor less a quarter of that on PubMed, over the distances that nodes of both reach."""
    (z_Z, b_SZ), (other_Z, other_SZ) = (biases(frame, graph, own) for graph in ("Actor", "PubMed"))
    range_S, other_S = np.ptp(b_SZ, axis=1), np.ptp(other_SZ[:, np.isin(other_Z, z_Z)], axis=1)
    return paired_t(range_S, other_S / 4)


def nearest(frame: pd.DataFrame) -> Estimate:
    """Accuracy on PubMed with distance 1 alone less that without neighbours."""
    where = {"graph": "PubMed", "own": True}
    return paired_t(
        by_seed(frame, "accuracy", {**where, "first": 1, "last": 1}),
        by_seed(frame, "accuracy", {**where, "first": 1, "last": 0}),
    )


def figure(frames: Frames) -> Figure:
    """Biases, accuracies of one distance alone, and the share of nodes of one's own label."""
    frame = frames[DISTANCES.name]
    kinds: Sequence[tuple[str, bool]] = (("PubMed", True), ("PubMed", False), ("Actor", True), ("Actor", False))

    def panel(metric: str, title: str, y: str) -> Panel:
        marks = []
        for group, (graph, own) in enumerate(kinds):
            rows = frame[(frame["first"] == frame["last"]) if metric == "accuracy" else (frame["last"] == 12)]
            x = "first" if metric == "accuracy" else "x"
            label = f"{graph}, {'own features' if own else 'neighbours only'}"
            if metric == "same_label" and not own:
                continue
            where = {"graph": graph, "own": own}
            label = graph if metric == "same_label" else label
            marks += curves(rows, metric, x=x, where=where, label=label, first_group=group)
        if metric == "bias":
            marks.append(Reference("published, PubMed", tuple(range(1, 13)), BIAS, "published", 0))
        if metric == "accuracy":
            shares = tuple(value / 100 for value in ACCURACY.values())
            marks.append(Reference("published, PubMed", tuple(ACCURACY), shares, "published", 0))
        return Panel(title=title, x="distance z", y=y, marks=tuple(marks))

    return Figure(
        panels=drawable(
            partial(panel, "bias", "bias of a distance", "b_z"),
            partial(panel, "accuracy", "a distance alone", "accuracy"),
            partial(panel, "same_label", "nodes of the same label", "share"),
        ),
        caption="The bias of each distance after training, less its mean; accuracy of networks that see neighbours at "
        "one distance only; and the share of nodes at a distance that have a node's own label. Sixty per cent of the "
        "nodes are to train on, twenty to choose the step with.",
    )


def on(graph: str, own: bool) -> tuple[Prediction, ...]:
    """What is predicted of a graph on which distances differ."""
    name = f"{graph.lower()}-{'own' if own else 'neighbours'}"
    return of_fitted(
        Prediction(
            id=f"ranks-{name}",
            statement=f"On {graph}, {OWN[own]}, the bias ranks distances much as the accuracy of each alone does.",
            kind="comparison",
            source="figure 8, with a bound chosen here",
            of=DISTANCES,
            statistic="rank correlation of b_z with the accuracy of distance z alone, one a seed",
            predicted=f"at least {ALIKE}",
            estimate=partial(ranks, graph=graph, own=own),
            rule=at_least(ALIKE),
        ),
        where={"graph": graph, "own": own},
    )


def by_label(graph: str, own: bool) -> tuple[Prediction, ...]:
    """That the bias follows the labels."""
    return of_fitted(
        Prediction(
            id=f"labels-{graph.lower()}-{'own' if own else 'neighbours'}",
            statement=f"On {graph}, {OWN[own]}, the bias ranks distances much as the share of nodes of one's own label "
            "does.",
            kind="mechanism",
            source="made here: the majority vote is what a distance has to give",
            of=DISTANCES,
            statistic="rank correlation of b_z with the share of same-label nodes at z, one a seed",
            predicted=f"at least {ALIKE}",
            estimate=partial(like_labels, graph=graph, own=own),
            rule=at_least(ALIKE),
        ),
        where={"graph": graph, "own": own, "first": 1, "last": 12},
    )


def flat(own: bool) -> tuple[Prediction, ...]:
    """That on Actor no distance is better than another."""
    name, where = f"actor-{'own' if own else 'neighbours'}", f"On Actor, {OWN[own]}, "
    return of_fitted(
        Prediction(
            id=f"flat-{name}",
            statement=f"{where}all distances alone are worth about the same.",
            kind="comparison",
            source="figure 8",
            of=DISTANCES,
            statistic="accuracy of the best distance alone less that of the worst, which are those of the other seeds",
            predicted=f"at most {FLAT}",
            estimate=partial(spread, graph="Actor", own=own),
            rule=at_most(FLAT),
        ),
        where={"graph": "Actor", "own": own, "first": NEAR},
    ) + of_fitted(
        Prediction(
            id=f"flat-bias-{name}",
            statement=f"{where}biases differ at most a quarter as much as on PubMed.",
            kind="comparison",
            source="figure 8, with a bound chosen here",
            of=DISTANCES,
            statistic="largest less least bias on Actor, less a quarter of the same on PubMed",
            predicted="at most 0",
            estimate=partial(flatter, own=own),
            rule=at_most(0.0),
        ),
        where={"graph": ["Actor", "PubMed"], "own": own, "first": 1, "last": 12},
    )


CLAIM = Claim(
    id="graph.distances",
    title="What distances are worth on real graphs",
    statement="On PubMed the bias is high at small distances, low at 6 and 7 and in between beyond, and so is the "
    "accuracy of neighbours at that distance alone; on Actor both are flat. Asked with 4 sampled nodes at each of 12 "
    "distances, sixty per cent of the nodes to train on and twenty to choose the step with, of distances that half of "
    "the nodes reach (Actor: up to 8). Takes about twenty minutes with --quick on two cores, and an hour without.",
    source="figure 8",
    cites=("li2024graph",),
    needs=NEEDS,
    predictions=(
        *(p for own in (True, False) for p in on("PubMed", own)),
        *(p for graph in ("PubMed", "Actor") for own in (True, False) for p in by_label(graph, own)),
        *(
            p
            for own in (True, False)
            for p in of_fitted(
                Prediction(
                    id=f"published-{'own' if own else 'neighbours'}",
                    statement=f"On PubMed, {OWN[own]}, the bias ranks distances much as the published one does.",
                    kind="comparison",
                    source="figure 8, with a bound chosen here",
                    of=DISTANCES,
                    statistic="rank correlation of b_z with the published b_z, one a seed",
                    predicted=f"at least {ALIKE}",
                    estimate=partial(like_published, own=own),
                    rule=at_least(ALIKE),
                ),
                where={"graph": "PubMed", "own": own, "first": 1, "last": 12},
            )
        ),
        *(p for own in (True, False) for p in flat(own)),
        *of_fitted(
            Prediction(
                id="nearest",
                statement="On PubMed neighbours at distance 1 add to a node's own features.",
                kind="comparison",
                source="figure 8",
                of=DISTANCES,
                statistic="accuracy with distance 1 alone less that without neighbours",
                predicted="above 0",
                estimate=nearest,
                rule=above(0.0),
            ),
            where={"graph": "PubMed", "own": True, "first": 1, "last": [0, 1]},
        ),
    ),
    figure=figure,
)
