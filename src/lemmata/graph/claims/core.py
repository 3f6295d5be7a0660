"""graph.core: the bias finds the core distance, and attention goes to class-relevant nodes there."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.graph.data import winning_margin
from lemmata.graph.experiments import CORE, GRAPHS, PHASES, of_learned
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable
from lemmata.lab.frames import by_seed, grid_by_seed, pick
from lemmata.lab.rule import above, at_least, within
from lemmata.lab.stats import Estimate, clopper_pearson, mean_t, paired_t

# "Nearly all" of the attention, and of the seeds.
NEARLY, SEEDS = 0.95, 0.8
# Steps of W_O alone, in two phases and in one.
TWO_PHASES = (50, 0)
NAMES = {1: "homophilous", 2: "heterophilous"}


def biases(frame: pd.DataFrame, core: int) -> tuple[np.ndarray, np.ndarray]:
    """The distances (Z,), and each seed's bias at them, (S, Z)."""
    z_Z, b_SZ = grid_by_seed(frame, "bias", "x", {"core": core})
    if len(z_Z) < 2:
        raise DataError("biases of two distances or more", "one", "raise Z, or leave it to the claim")
    if not np.ptp(b_SZ, axis=1).any():
        fix = "leave network, mult_b and steps to the claim"
        raise DataError("biases that training has moved", "none that differ", fix)
    return z_Z, b_SZ


def ahead(frame: pd.DataFrame, core: int) -> np.ndarray:
    """The bias of the core distance less the largest of the others, (S,)."""
    z_Z, b_SZ = biases(frame, core)
    return b_SZ[:, z_Z == core][:, 0] - b_SZ[:, z_Z != core].max(1)


def peaks(frame: pd.DataFrame, *, core: int) -> Estimate:
    """The share of seeds in which the bias of the core distance is larger than every other."""
    found_S = ahead(frame, core) > 0
    return clopper_pearson(int(found_S.sum()), len(found_S))


def lead(frame: pd.DataFrame, *, core: int) -> Estimate:
    """The bias of the core distance less the largest of the others."""
    return mean_t(ahead(frame, core))


def mass(frame: pd.DataFrame, metric: str, core: int) -> np.ndarray:
    """A share of trained attention after the last step, (S,)."""
    rows = pick(frame, metric, {"core": core, "network": ["encoded", "plain"]})
    return by_seed(rows, metric, {"x": rows["x"].max()})


def right(frame: pd.DataFrame, *, core: int) -> Estimate:
    """Attention on discriminative nodes of the right class at the core distance, after the last step."""
    return mean_t(mass(frame, "mass_right", core))


def gained(frame: pd.DataFrame, *, core: int) -> Estimate:
    """The same less what it was at the start."""
    return paired_t(mass(frame, "mass_right", core), by_seed(frame, "mass_right", {"core": core, "x": 0}))


def purity(frame: pd.DataFrame, *, core: int) -> Estimate:
    """Of attention on discriminative nodes at z_m the share that the right class has, after training less before."""
    right_S, wrong_S = (mass(frame, f"mass_{name}", core) for name in ("right", "wrong"))
    starts = [by_seed(frame, f"mass_{name}", {"core": core, "x": 0}) for name in ("right", "wrong")]
    return mean_t(right_S / (right_S + wrong_S) - starts[0] / sum(starts))


def margin_off(frame: pd.DataFrame, *, core: int) -> Estimate:
    """The measured mean of Delta_n(z_m) less what the constants promise."""
    rows = pick(frame, "margin", {"core": core, "x": core})
    names = ("margin", "gamma_d", "eps_S", "violated")
    promised = [winning_margin(*map(float, constants)) for constants in rows[list(names)].itertuples(index=False)]
    return mean_t(by_seed(rows.assign(value=rows["value"] - promised), "margin"))


def phases(frame: pd.DataFrame, *, core: int) -> Estimate:
    """Accuracy after two phases less that after one."""
    where = {"core": core, "network": "encoded"}
    return paired_t(*(by_seed(frame, "accuracy", {**where, "first": first}) for first in TWO_PHASES))


def figure(frames: Frames) -> Figure:
    """The biases, attention over training, and the margins of the graphs themselves."""
    frame = frames[CORE.name]

    def bias() -> Panel:
        marks = [
            mark
            for group, core in enumerate(GRAPHS)
            for mark in curves(frame, "bias", where={"core": core}, label=NAMES[core], first_group=group)
        ]
        return Panel(title="bias b_z", x="distance z", y="b_z", marks=tuple(marks))

    def attention() -> Panel:
        marks = []
        for group, (metric, words) in enumerate(
            (("mass_right", "right class"), ("mass_wrong", "other class"), ("mass_core", "all at z_m"))
        ):
            marks += curves(frame, metric, where={"core": 2}, label=words, first_group=group)
        return Panel(title="heterophilous: attention at z_m", x="steps", y="share", marks=tuple(marks))

    def margin() -> Panel:
        marks = [
            mark
            for group, core in enumerate(GRAPHS)
            for mark in curves(frame, "margin", where={"core": core}, label=NAMES[core], first_group=group)
        ]
        return Panel(title="winning margin", x="distance z", y="Delta_n(z)", marks=tuple(marks))

    return Figure(
        panels=drawable(bias, attention, margin),
        caption="Biases of the distances after training, less their mean; attention on discriminative nodes at the "
        "core distance over training, the mean over nodes to test on that have one of the right class there; and the "
        "winning margin of the graphs. Nine of ten edges join equal labels (homophilous, z_m = 1) or different ones "
        "(heterophilous, z_m = 2); gamma_d = 0.4, 500 labelled nodes.",
    )


# A prediction about one of the graphs.
prediction = partial(Prediction, of=CORE)


def on_graph(core: int) -> tuple[Prediction, ...]:
    """What is predicted with one core distance."""
    name, where = NAMES[core], f"the {NAMES[core]} graph, z_m = {core}"
    learned = of_learned(
        prediction(
            id=f"peak-{name}",
            statement=f"On {where}, the bias is largest at the core distance, in nearly every run.",
            kind="mechanism",
            source="Theorem 4.1: b at z_m grows fastest",
            statistic="share of the seeds in which b_z is largest at z_m",
            predicted=f"at least {SEEDS}",
            estimate=partial(peaks, core=core),
            rule=at_least(SEEDS),
        ),
        prediction(
            id=f"lead-{name}",
            statement=f"On {where}, the bias of the core distance is ahead of all others.",
            kind="mechanism",
            source="Theorem 4.1: b at z_m grows fastest",
            statistic="b at z_m less the largest of the others",
            predicted="above 0",
            estimate=partial(lead, core=core),
            rule=above(0.0),
        ),
        prediction(
            id=f"attention-{name}",
            statement=f"On {where}, nearly all attention of nodes that have one ends on discriminative nodes of the "
            "right class at z_m.",
            kind="mechanism",
            source="attention of 1 - o(1), with a bound chosen here",
            statistic="attention on discriminative nodes of a node's own class at z_m, of nodes that have one",
            predicted=f"at least {NEARLY}",
            estimate=partial(right, core=core),
            rule=at_least(NEARLY),
        ),
        prediction(
            id=f"concentrates-{name}",
            statement=f"On {where}, training moves attention to discriminative nodes of the right class at z_m.",
            kind="mechanism",
            source="attention of 1 - o(1), read as a direction",
            statistic="attention on them after training less that before",
            predicted="above 0",
            estimate=partial(gained, core=core),
            rule=above(0.0),
        ),
        prediction(
            id=f"purity-{name}",
            statement=f"On {where}, attention prefers the right class to the other one by hardly more than their "
            "numbers do.",
            kind="mechanism",
            source="made here: the map does not know the label",
            statistic="share of the right class in the attention on discriminative nodes at z_m, after training less "
            "before",
            predicted="0, to 0.05",
            estimate=partial(purity, core=core),
            rule=within(0.0, 0.05),
        ),
        where={"core": core},
    )
    return (
        *learned,
        prediction(
            id=f"margin-{name}",
            statement=f"{where[0].upper()}{where[1:]} has the winning margin that its constants promise.",
            kind="holds",
            source="the generator",
            statistic="mean of Delta_n(z_m) over nodes less gamma_d (1 - 2 eps_S) times the margin of labels",
            predicted="0, to 0.02",
            estimate=partial(margin_off, core=core),
            rule=within(0.0, 0.02),
        ),
        *of_learned(
            Prediction(
                id=f"phases-{name}",
                statement=f"On {where}, one phase of training is as good as two.",
                kind="comparison",
                source="the paper trains in two, W_O first",
                of=PHASES,
                statistic="accuracy with 50 of the steps of W_O alone, 400 in all, less that with none of them",
                predicted="0, to 0.02",
                estimate=partial(phases, core=core),
                rule=within(0.0, 0.02),
            ),
            where={"core": core, "first": list(TWO_PHASES)},
        ),
    )


CLAIM = Claim(
    id="graph.core",
    title="The bias finds the core distance",
    statement="The bias b of the core distance grows fastest, and attention goes to discriminative nodes of a node's "
    "own class there. Asked with gamma_d = 0.4, no confusion, 500 labelled nodes of 1000 (200 where phases are "
    "compared), mean degree 5, up to 16 nodes at each of the distances 1 to 4, 400 steps of 20 nodes with eta = 0.2, b "
    "learning 15 times and W_Q and W_K 5 times as fast as the rest.",
    source="Theorem 4.1 and its remarks",
    cites=("li2024graph",),
    predictions=tuple(p for core in GRAPHS for p in on_graph(core)),
    figure=figure,
)
