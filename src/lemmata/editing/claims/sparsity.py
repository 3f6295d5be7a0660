"""editing.sparsity: which neurons of a task vector count (Corollary 2)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.editing.experiments import BASE, EPS, FAILED, MARGIN, SEEDS, SETTING_SEEDS, of_trained
from lemmata.editing.probes import FineTuned
from lemmata.editing.theory import ROW_NORM, row_bounds
from lemmata.editing.weights import PrunedRows
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves, drawable, threshold
from lemmata.lab.frames import by_seed, grid_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import above, at_least, at_most, within
from lemmata.lab.stats import Estimate, exponent, mean_t

# Rows below this share of the largest are small.
SMALL = 0.1
# Share of the rows that is pruned.
PRUNED = 0.2

# Samples in which one irrelevant pattern dominates, so that neurons which it turns off stay off.
ONE_PATTERN = {"J": 1, "d": 10, "delta_s": 0.2, "delta_h": 0.0, "xi": 0.1, "lr": 0.5, "steps": 100}
WIDTHS = (64, 128, 256, 512, 1024)

MEASURES = (
    FineTuned(),
    PrunedRows(margin=MARGIN, small=SMALL),
)
SEVERAL = Experiment(
    name="rows-several-patterns",
    base=BASE,
    measures=MEASURES,
    points=ByProfile(*[product(m=(100, 1024))] * 3),
    seeds=SEEDS,
    settings={"lr 0.3": {"lr": 0.3}, "xi 0.2": {"xi": 0.2}, "W^(0) = 4 I": {"w0": 4.0}},
    setting_seeds=SETTING_SEEDS,
)
ONE = Experiment(
    name="rows-one-pattern",
    base=BASE.replace(ONE_PATTERN),
    measures=MEASURES,
    points=ByProfile(*[product(m=WIDTHS)] * 3),
    seeds=SEEDS,
    settings={"lr 0.25": {"lr": 0.25, "steps": 200}, "xi 0.3": {"xi": 0.3}},
    setting_seeds=SETTING_SEEDS,
)


def share(frame: pd.DataFrame, metric: str, *, m: int = 1024) -> Estimate:
    """A share of the rows."""
    return mean_t(by_seed(frame, metric, {"m": m}))


def pruned(frame: pd.DataFrame, order: str, *, m: int = 1024) -> Estimate:
    """The larger loss of both tasks after the multi-task edit with pruned task vectors."""
    return mean_t(by_seed(frame, "edit_hinge", {"order": order, "x": PRUNED, "m": m}))


def large_rows(frame: pd.DataFrame) -> Estimate:
    """The large rows' median norm over the one that the corollary promises, at the width where this is least."""
    rows = pick(frame, "large_norm")
    over = rows["value"] / [row_bounds(m, EPS)[0] for m in rows["m"]]
    return mean_t(over.groupby(rows["seed"]).agg(lambda v: v.min(skipna=False)).to_numpy())


def norm_exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent of the large rows' median norm in the width."""
    return exponent(*grid_by_seed(frame, "large_norm", "m"), margin=0.15)


def figure(frames: Frames) -> Figure:
    """Histograms of the rows' norms, and the edit's loss against the pruned share."""
    words = {SEVERAL.name: "20 irrelevant patterns", ONE.name: "one irrelevant pattern"}

    def histogram() -> Panel:
        marks = [
            curve
            for group, (name, label) in enumerate(words.items())
            for curve in curves(_widest(frames[name]), "rows", label=label, first_group=group)
        ]
        return Panel(title="rows of Delta V", x="norm over the largest", y="share of the rows", marks=tuple(marks))

    def pruning(name: str) -> Panel:
        rows = _widest(frames[name])
        marks = (*curves(rows, "edit_hinge", by="order", label="{} first"), threshold("", y=FAILED))
        return Panel(title=words[name], x="pruned share", y="hinge loss", marks=marks)

    return Figure(
        panels=drawable(histogram, partial(pruning, ONE.name), partial(pruning, SEVERAL.name)),
        caption="Left: norms of the rows of Delta V, 1024 neurons. Others: the larger loss of both tasks after "
        "Psi^(0) + Delta_1 + 1.1 Delta_2 with rows set to zero, the smallest first or in random order.",
    )


def _widest(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["m"] == frame["m"].max()]


# A prediction of Corollary 2.
prediction = partial(Prediction, source="Corollary 2")

CLAIM = Claim(
    id="editing.sparsity",
    title="A constant share of the neurons",
    statement="A constant share of the rows of Delta V have a norm of at least Omega(m^-1/2), all others of at most "
    "O(m^-1/2 eps), and pruning these keeps Theorems 1 to 3.",
    source="Corollary 2",
    cites=("li2025editing",),
    predictions=of_trained(
        prediction(
            id="small-rows",
            statement="Where one irrelevant pattern dominates, at least a tenth of 1024 rows is small.",
            kind="holds",
            of=ONE,
            statistic=f"share of the rows with less than {SMALL} of the largest norm",
            predicted="at least 0.1",
            estimate=partial(share, metric="small_share"),
            rule=at_least(0.1),
        ),
        prediction(
            id="small-rows-several",
            statement="The same with 20 irrelevant patterns.",
            kind="holds",
            of=SEVERAL,
            statistic=f"share of the rows with less than {SMALL} of the largest norm",
            predicted="at least 0.1",
            estimate=partial(share, metric="small_share"),
            rule=at_least(0.1),
        ),
        prediction(
            id="gap",
            statement="Where one irrelevant pattern dominates, a tenth of 1024 rows at most is in between.",
            kind="holds",
            source="Corollary 2, with a constant chosen here",
            of=ONE,
            statistic=f"share of the rows with a norm from {SMALL} to 0.5 of the largest",
            predicted="at most 0.1",
            estimate=partial(share, metric="middle_share"),
            rule=at_most(0.1),
        ),
        prediction(
            id="large-rows",
            statement="Large rows have at least the norm m^-1/2, with the constant taken as 1.",
            kind="holds",
            source="Corollary 2, with a constant chosen here",
            of=ONE,
            statistic="median norm of rows above half of the largest over m^-1/2, at the m where it is least",
            predicted="at least 1",
            estimate=large_rows,
            rule=at_least(1.0),
        ),
        prediction(
            id="norm-width",
            statement="The norm of large rows falls as m^-1/2.",
            kind="tight",
            of=ONE,
            statistic="exponent of the median norm of rows above half of the largest in m, from 64 to 1024",
            predicted="-1/2",
            estimate=norm_exponent,
            rule=within(ROW_NORM, 0.15),
        ),
        prediction(
            id="pruned",
            statement=f"Where one irrelevant pattern dominates, {PRUNED:.0%} of 1024 neurons go without a loss: the "
            "smallest.",
            kind="holds",
            of=ONE,
            statistic="larger loss of both tasks after the edit with pruned task vectors",
            predicted=f"at most {EPS}",
            estimate=partial(pruned, order="smallest"),
            rule=at_most(EPS),
        ),
        prediction(
            id="pruned-at-random",
            statement="As many random ones do not.",
            kind="comparison",
            of=ONE,
            statistic="larger loss of both tasks after the edit with pruned task vectors",
            predicted=f"above {FAILED}",
            estimate=partial(pruned, order="random"),
            rule=above(FAILED),
        ),
        prediction(
            id="pruned-several",
            statement=f"With 20 irrelevant patterns {PRUNED:.0%} of 1024 neurons go without a loss: the smallest.",
            kind="holds",
            of=SEVERAL,
            statistic="larger loss of both tasks after the edit with pruned task vectors",
            predicted=f"at most {EPS}",
            estimate=partial(pruned, order="smallest"),
            rule=at_most(EPS),
        ),
    ),
    figure=figure,
)
