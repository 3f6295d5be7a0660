"""icl.lengths: in- and out-of-domain error against the number of examples, by alpha'."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.icl.experiments import GPT, ONE_LAYER
from lemmata.icl.published import LENGTHS, line
from lemmata.icl.theory import oracle_curve
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import above, at_most
from lemmata.lab.stats import Estimate, paired_t

SHORT = (4, 6, 8, 10)
S_1 = 1.1
ALPHAS = (0.8, 0.9, 1.0)
NETWORKS = {"one-layer": ONE_LAYER, "gpt": GPT}
DOMAINS = {"in": "in-domain", "out": "out of domain"}


def domain(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Errors of in-domain prompts, or of out-of-domain ones at S_1 = 1.1."""
    rows = pick(frame, "error", {"alpha_test": ALPHAS})
    return rows[rows["S_1"].isna() if where == "in" else rows["S_1"] == S_1]


def short_error(frame: pd.DataFrame, where: str, alphas: tuple[float, ...]) -> pd.Series:
    """Error averaged over l = 4 .. 10, by seed."""
    rows = pick(domain(frame, where), "error", {"alpha_test": alphas, "x": SHORT})
    return rows.groupby("seed")["value"].mean()


def lower_alpha(frame: pd.DataFrame, *, where: str) -> Estimate:
    """Error at alpha' = 0.8 less that at 1, over l = 4 .. 10."""
    return paired_t(short_error(frame, where, (0.8,)).to_numpy(), short_error(frame, where, (1.0,)).to_numpy())


def out_over_in(frame: pd.DataFrame) -> Estimate:
    """Error out of domain less that in-domain, over l = 4 .. 10 and the three alpha'."""
    return paired_t(short_error(frame, "out", ALPHAS).to_numpy(), short_error(frame, "in", ALPHAS).to_numpy())


def predictions(network: str, experiment: Experiment) -> tuple[Prediction, ...]:
    """The published orderings, asked of one network."""
    orderings = tuple(
        Prediction(
            id=f"alpha-{where}-{network}",
            statement=f"A lower alpha' has a higher error, {name} ({network}).",
            kind="comparison",
            source="published figure on alpha'",
            of=experiment,
            statistic="0-1 error at alpha' = 0.8 less that at 1, mean over l = 4 .. 10",
            predicted="above 0",
            estimate=partial(lower_alpha, where=where),
            rule=above(0.0),
        )
        for where, name in DOMAINS.items()
    )
    below = Prediction(
        id=f"out-below-in-{network}",
        statement=f"The error out of domain is not above that in-domain ({network}).",
        kind="comparison",
        source="published figure on alpha'",
        of=experiment,
        statistic="0-1 error out of domain (S_1 = 1.1) less in-domain, mean over l = 4 .. 10 and three alpha'",
        predicted="at most 0",
        estimate=out_over_in,
        rule=at_most(0.0),
    )
    return (*orderings, below)


def figure(frames: Frames) -> Figure:
    """Error against length by alpha', both networks, both domains."""

    def panel(network: str, where: str) -> Panel:
        rows = domain(frames[NETWORKS[network].name], where)
        present = sorted(rows["alpha_test"].unique())
        marks = [*curves(rows, "error", by="alpha_test", label="alpha' = {}")]
        marks += [oracle_curve(alpha, 20, group=group) for group, alpha in enumerate(present)]
        if network == "gpt":
            known = [(group, alpha) for group, alpha in enumerate(present) if (where, alpha) in LENGTHS]
            marks += [line(f"published, alpha' = {a}", LENGTHS[where, a], group) for group, a in known]
        title = f"{network}, {DOMAINS[where]}"
        return Panel(title=title, x="examples l", y="error", marks=tuple(marks), y_log=True, y_range=(3e-4, 0.7))

    return Figure(
        panels=tuple(panel(network, where) for network in NETWORKS for where in DOMAINS),
        caption="0-1 error against the number of examples by alpha', in-domain and out of domain (S_1 = 1.1), "
        "with the oracle.",
    )


CLAIM = Claim(
    id="icl.lengths",
    title="Error against the number of examples, by alpha'",
    statement="The error falls with the number of examples, is higher at lower alpha', and is no higher out of domain.",
    source="published figure on alpha'",
    cites=("li2024icl", "garg2022"),
    predictions=tuple(p for network, experiment in NETWORKS.items() for p in predictions(network, experiment)),
    figure=figure,
)
