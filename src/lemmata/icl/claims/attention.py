"""icl.attention: attention concentrates on the query's pattern, W_Q and W_K grow along it (Proposition 1)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.icl.experiments import ONE_LAYER
from lemmata.icl.published import ATTENTION, W_ALIGNED, W_NORM, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.rule import at_least
from lemmata.lab.stats import Estimate, geometric_t, mean_t


def at_end(frame: pd.DataFrame, metric: str, matrix: str | None = None) -> pd.Series:
    """The last measurement of each seed."""
    rows = pick(frame, metric, {"matrix": matrix} if matrix else None)
    return rows[rows["x"] == rows["steps"]].set_index("seed")["value"].sort_index()


def final_mass(frame: pd.DataFrame) -> Estimate:
    """Attention mass on the query's pattern after training."""
    return mean_t(at_end(frame, "attention_same").to_numpy())


def final_alignment(frame: pd.DataFrame, *, matrix: str) -> Estimate:
    """The share of |W p_query| that lies along the query's pattern, after training."""
    return mean_t((at_end(frame, "aligned", matrix) / at_end(frame, "norm", matrix)).to_numpy())


def growth(frame: pd.DataFrame, *, matrix: str) -> Estimate:
    """|W p_query| after training over its value before."""
    return geometric_t(at_end(frame, "norm", matrix).to_numpy() / by_seed(frame, "norm", {"matrix": matrix, "x": 0}))


def figure(frames: Frames) -> Figure:
    """Attention mass and the magnitudes of W_Q and W_K during training."""
    frame = frames[ONE_LAYER.name]
    norms = curves(frame, "norm", by="matrix", label="|{} p|")
    aligned = curves(frame, "aligned", by="matrix", label="{} p along the pattern", first_group=2)
    return Figure(
        panels=(
            Panel(
                title="attention on the query's pattern",
                x="step (epoch where published)",
                y="attention mass",
                marks=(*curves(frame, "attention_same", label="measured"), line("published", ATTENTION)),
                y_range=(0.0, 1.05),
            ),
            Panel(
                title="growth of W_Q and W_K",
                x="step (epoch where published)",
                y="magnitude",
                marks=(*norms, *aligned, line("published |W_Q p|", W_NORM), line("published along", W_ALIGNED)),
            ),
        ),
        caption="Left: attention of the query on the columns that carry its pattern, itself among them (l = 20, "
        "alpha' = 0.8). Right: |W_Q p_query| and |W_K p_query|, and their parts along the query's pattern. The "
        "published curves count epochs, whose length is not given.",
    )


# A prediction of Proposition 1.
mechanism = partial(Prediction, kind="mechanism", source="Proposition 1", of=ONE_LAYER)


CLAIM = Claim(
    id="icl.attention",
    title="Attention goes to the query's pattern",
    statement="During training the attention on contexts that share the query's pattern goes to 1, as W_Q and W_K grow "
    "along the relevant patterns.",
    source="Proposition 1 and the figures of its section",
    cites=("li2024icl",),
    predictions=(
        mechanism(
            id="mass",
            statement="Attention on the query's pattern goes to 1: it ends above 0.95.",
            statistic="attention mass on the query's pattern after training",
            predicted="1, at least 0.95",
            estimate=final_mass,
            rule=at_least(0.95),
        ),
        *(
            mechanism(
                id=f"alignment-{name}",
                statement=f"{matrix} p_query comes to lie along the query's pattern: at least 0.8 of its norm, as "
                f"published.",
                statistic=f"part of |{matrix} p_query| along the pattern after training",
                predicted="at least 0.8",
                estimate=partial(final_alignment, matrix=matrix),
                rule=at_least(0.8),
            )
            for name, matrix in (("query", "W_Q"), ("key", "W_K"))
        ),
        *(
            mechanism(
                id=f"growth-{name}",
                statement=f"|{matrix} p_query| grows to more than twice its size; published: fourfold.",
                statistic=f"|{matrix} p_query| after training over before",
                predicted="at least 2",
                estimate=partial(growth, matrix=matrix),
                rule=at_least(2.0),
            )
            for name, matrix in (("query", "W_Q"), ("key", "W_K"))
        ),
    ),
    figure=figure,
)
