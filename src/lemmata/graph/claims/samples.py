"""graph.samples: the labelled nodes and the steps that generalisation takes, by the share of discriminative nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from lemmata.graph.claims.core import NAMES
from lemmata.graph.experiments import CLOSE, CLOSE_TOO, GAMMAS, LABELS, PASSAGE, RATES, SIZES
from lemmata.graph.theory import LABELS as TRAINED
from lemmata.graph.theory import LABELS_UNIFORM as UNIFORM
from lemmata.graph.theory import STEPS
from lemmata.lab.claim import Claim, Frames, Prediction, provided
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Grid, Panel, curves, drawable, power_law
from lemmata.lab.frames import by_seed, failing, pick
from lemmata.lab.needed import needed_between, passed_between
from lemmata.lab.rule import above, below, between, within
from lemmata.lab.stats import Estimate, censored_exponent, hull, mean_t

POWERS = {"encoded": TRAINED, "uniform": UNIFORM}
WORDS = {"encoded": "attention and a bias for each distance", "uniform": "uniform attention"}


def needed(
    frame: pd.DataFrame, network: str, core: int, close: Mapping[int, float] = CLOSE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gamma_d (P,), and the ends of the interval in which each seed's needed |L| lies, (S, P) each."""
    rows = pick(frame, "error", {"network": network, "core": core})
    return needed_between(rows, "labelled", "gamma_d", close[core])


def exponent(frame: pd.DataFrame, *, network: str, core: int) -> Estimate:
    """The exponent of the needed |L| in gamma_d, from the least to the most that it is of the two errors."""
    return hull(*(censored_exponent(*needed(frame, network, core, close), margin=0.15) for close in (CLOSE, CLOSE_TOO)))


def least_error(frame: pd.DataFrame, *, network: str, core: int) -> Estimate:
    """The error with the most discriminative nodes, at the number of labelled ones where its mean is least."""
    rows = pick(frame, "error", {"network": network, "core": core, "gamma_d": max(GAMMAS)})
    if not set(SIZES) <= set(rows["labelled"]):
        raise DataError("every number of labelled nodes", "some", "leave labelled to the claim's own sweep")
    means = rows.groupby("labelled")["value"].mean()
    return mean_t(by_seed(rows, "error", {"labelled": means.idxmin()}))


def none_learned(frame: pd.DataFrame, *, core: int) -> tuple[str, ...]:
    """Why nothing can be said of a network that never learns: the graph transformer does not either."""
    where = {"network": "encoded", "core": core, "gamma_d": max(GAMMAS), "labelled": SIZES[-1]}
    words = f"graph transformers have an error above {CLOSE_TOO[core]} with {SIZES[-1]} labelled nodes"
    return failing(pick(frame, "error", where), words, at_most=CLOSE_TOO[core])


def ratio_exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent in gamma_d of what uniform attention needs over what the graph transformer needs, with z_m = 1."""

    def at(close: Mapping[int, float]) -> Estimate:
        gamma_P, lo_SP, hi_SP = needed(frame, "encoded", 1, close)
        other_P, uniform_lo_SP, uniform_hi_SP = needed(frame, "uniform", 1, close)
        if not np.array_equal(gamma_P, other_P):
            raise DataError("both networks at every gamma_d", "one", "leave network to the claim's own sweep")
        with np.errstate(divide="ignore", invalid="ignore"):  # open ends stay open
            lo, hi = uniform_lo_SP / hi_SP, uniform_hi_SP / lo_SP
        return censored_exponent(gamma_P, np.nan_to_num(lo), np.nan_to_num(hi, nan=np.inf), margin=0.15)

    return hull(at(CLOSE), at(CLOSE_TOO))


def steps_exponent(frame: pd.DataFrame, *, network: str, core: int) -> Estimate:
    """The exponent of the steps in gamma_d."""
    return censored_exponent(
        *passed_between(frame, "gamma_d", {"network": network, "core": core, "lr": RATES[core]}), margin=0.15
    )


def middle(gamma_P: np.ndarray, lo_SP: np.ndarray, hi_SP: np.ndarray, *, log: bool) -> pd.DataFrame:
    """The middles of closed intervals as rows to draw."""
    closed_SP = (lo_SP > 0) & np.isfinite(hi_SP)
    with np.errstate(invalid="ignore"):  # open ends are not drawn
        middle_SP = np.where(closed_SP, np.sqrt(lo_SP * hi_SP) if log else (lo_SP + hi_SP) / 2, np.nan)
    long = pd.DataFrame(middle_SP, columns=gamma_P).melt(ignore_index=False, var_name="at").dropna()
    return long.assign(metric="needed").reset_index(names="seed")


def figure(frames: Frames) -> Figure:
    """A success map of each network, the needed numbers, and the steps."""
    labels = frames[LABELS.name]

    def success(network: str, core: int) -> Panel:
        rows = pick(labels, "error", {"network": network, "core": core})
        table = rows.assign(value=rows["value"] <= CLOSE[core]).pivot_table(
            index="labelled", columns="gamma_d", values="value"
        )
        power = -POWERS[network]
        x = tuple(float(gamma) ** -power for gamma in table.columns[::-1])
        z = tuple(tuple(row[::-1]) for row in table.to_numpy().tolist())
        grid = Grid("success", x, tuple(map(float, table.index)), z, (0.0, 1.0))
        title = f"{'transformer' if network == 'encoded' else 'uniform'}, z_m = {core}"
        return Panel(title=title, x=f"gamma_d^-{power:g}", y="|L|", marks=(grid,), x_log=True, y_log=True)

    def sizes() -> Panel:
        marks = []
        for group, (network, core) in enumerate((("encoded", 2), ("encoded", 1), ("uniform", 1))):
            name = f"{'transformer' if network == 'encoded' else 'uniform'}, {NAMES[core]}"
            drawn = curves(
                middle(*needed(labels, network, core), log=True), "needed", x="at", label=name, first_group=group
            )
            marks += drawn
            if core == 2 or network == "uniform":
                marks.append(power_law(f"gamma_d^{POWERS[network]:g}", drawn[0], POWERS[network], "prediction"))
        return Panel(title="labels needed", x="gamma_d", y="|L|", marks=tuple(marks), x_log=True, y_log=True)

    def steps() -> Panel:
        frame, marks = frames[PASSAGE.name], []
        for group, (network, core) in enumerate((("encoded", 2), ("encoded", 1), ("uniform", 1))):
            at = {"network": network, "core": core}
            rows = middle(*passed_between(frame, "gamma_d", at), log=False)
            name = f"{'transformer' if network == 'encoded' else 'uniform'}, {NAMES[core]}"
            marks += curves(rows, "needed", x="at", label=name, first_group=group)
        return Panel(title="steps needed", x="gamma_d", y="steps", marks=tuple(marks), x_log=True, y_log=True)

    return Figure(
        panels=drawable(partial(success, "encoded", 2), partial(success, "uniform", 1), sizes, steps),
        caption=f"Share of trainings with an error of at most {CLOSE[2]} (z_m = 2) or {CLOSE[1]} (z_m = 1) on other "
        "nodes, by the share gamma_d of discriminative nodes and the number |L| of labelled ones; the numbers that are "
        f"needed for it; and the steps until the error is below {CLOSE[2]}, with 600 labelled nodes and eta = "
        f"{RATES[1]} (z_m = 1) or {RATES[2]}.",
    )


def exponents(network: str, core: int, source: str) -> Prediction:
    """The exponent of the labels that one network needs on one graph."""
    return Prediction(
        id=f"exponent-{network}-{NAMES[core]}",
        statement=f"On the {NAMES[core]} graph, z_m = {core}, the labelled nodes that {WORDS[network]} needs grow as "
        f"gamma_d^{POWERS[network]:g}.",
        kind="tight",
        source=source,
        of=LABELS,
        statistic=f"exponent in gamma_d of the |L| from which on the error on other nodes is at most {CLOSE[core]}, "
        f"and {CLOSE_TOO[core]}: from the least to the most of both",
        predicted=f"{POWERS[network]:g}",
        estimate=partial(exponent, network=network, core=core),
        rule=within(POWERS[network], 0.15),
    )


def times(network: str, core: int) -> Prediction:
    """The exponent of the steps that one network takes on one graph."""
    return Prediction(
        id=f"steps-{network}-{NAMES[core]}",
        statement=f"On the {NAMES[core]} graph, z_m = {core}, the steps that {WORDS[network]} takes grow as a power of "
        "gamma_d between -2 and -1.",
        kind="tight",
        source="Theorem 4.1, exponents assumed" if network == "encoded" else "made here",
        of=PASSAGE,
        statistic=f"exponent in gamma_d of the steps until the error on other nodes is below {CLOSE[2]}, eta = "
        f"{RATES[core]}",
        predicted="between -2 and -1",
        estimate=partial(steps_exponent, network=network, core=core),
        rule=between(*STEPS),
    )


CLAIM = Claim(
    id="graph.samples",
    title="Labelled nodes that generalisation takes",
    statement="A graph transformer generalises from |L| of order gamma_d^-2 labelled nodes, graph convolution takes "
    "gamma_d^-4; steps grow as gamma_d^-1 to gamma_d^-2. Asked without confusion, with nine of ten edges as the core "
    "distance says, 1000 nodes of mean degree 5, up to 16 sampled nodes at each of the distances 1 to 4, 400 steps of "
    "20 nodes with eta = 0.2 where nothing else is said, b learning 15 times and W_Q and W_K 5 times as fast as the "
    "rest.",
    source="Theorem 4.1 and the theorem on graph convolution; exponents as in the analysis of vision transformers",
    cites=("li2024graph",),
    predictions=(
        *(exponents("encoded", core, "Theorem 4.1, read as an equality") for core in NAMES),
        exponents("uniform", 1, "theorem on graph convolution, read as an equality"),
        *provided(
            partial(none_learned, core=2),
            Prediction(
                id="never-uniform-heterophilous",
                statement="On the heterophilous graph, z_m = 2, uniform attention's error stays large with any number "
                f"of labelled nodes up to {SIZES[-1]}, where the graph transformer's does not.",
                kind="comparison",
                source="made here, after prototypes",
                of=LABELS,
                statistic=f"error on other nodes with gamma_d = {max(GAMMAS)}, at the |L| where its mean is least",
                predicted=f"above {CLOSE_TOO[2]}",
                estimate=partial(least_error, network="uniform", core=2),
                rule=above(CLOSE_TOO[2]),
            ),
        ),
        Prediction(
            id="steeper",
            statement="On the homophilous graph uniform attention's need grows faster as gamma_d falls.",
            kind="comparison",
            source="theorem on graph convolution",
            of=LABELS,
            statistic="exponent in gamma_d of the |L| for uniform attention over that for the graph transformer",
            predicted="below 0",
            estimate=ratio_exponent,
            rule=below(0.0),
        ),
        *(times("encoded", core) for core in NAMES),
        times("uniform", 1),
    ),
    figure=figure,
)
