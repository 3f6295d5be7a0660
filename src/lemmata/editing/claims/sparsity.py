"""editing.sparsity: which neurons of a task vector count (Corollary 2)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.experiments import BASE, BETA, EPS, FAILED, SEEDS, SETTING_SEEDS, UNLEARNED, of_trained
from lemmata.editing.probes import FineTuned
from lemmata.editing.theory import ROW_NORM, row_bounds
from lemmata.editing.weights import PrunedRows
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves, drawable, threshold
from lemmata.lab.frames import by_seed, extreme_by_seed, grid_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import above, at_least, at_most, within
from lemmata.lab.stats import Estimate, exponent, mean_t, paired_t

# Rows below this share of the largest are small.
SMALL = 0.1
# Share of the rows that is pruned.
PRUNED = 0.2

# Samples in which one irrelevant pattern dominates, so that neurons which it turns off stay off.
ONE_PATTERN = {"J": 1, "d": 10, "delta_s": 0.2, "delta_h": 0.0, "xi": 0.1, "lr": 0.5, "steps": 100}
WIDTHS = (64, 128, 256, 512, 1024)
WIDEST = max(WIDTHS)

MEASURES = (FineTuned(), PrunedRows(beta=BETA, small=SMALL, eps=EPS))
SEVERAL = Experiment(
    name="rows-several-patterns",
    base=BASE,
    measures=MEASURES,
    points=ByProfile(*[product(m=(100, WIDEST))] * 3),
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


def share(frame: pd.DataFrame, metric: str, *, J: int = 1) -> Estimate:
    """A share of the rows of the widest network."""
    return mean_t(by_seed(frame, metric, {"m": WIDEST, "J": J}))


def pruned(frame: pd.DataFrame, edit: str, *, x: float, order: str = "smallest", J: int = 1) -> np.ndarray:
    """The loss of an edit of irrelevant tasks with pruned task vectors of the widest network, (S,)."""
    where = {"edit": edit, "x": x, "order": order, "m": WIDEST, "J": J, "alpha": 0.0}
    return by_seed(frame, "edit_hinge", where)


def cost(frame: pd.DataFrame, edit: str, *, order: str = "smallest", J: int = 1) -> Estimate:
    """The loss of an edit with pruned task vectors less that with whole ones."""
    return paired_t(*(pruned(frame, edit, x=x, order=order, J=J) for x in (PRUNED, 0.0)))


def forgotten(frame: pd.DataFrame) -> Estimate:
    """The loss on task 2 after its pruned task vector was subtracted."""
    return mean_t(pruned(frame, "forgetting", x=PRUNED))


def large_rows(frame: pd.DataFrame) -> Estimate:
    """The large rows' median norm over the one that the corollary promises, at the width where this is least."""
    rows = pick(frame, "large_norm", {"J": 1})
    bound = [row_bounds(m, EPS)[0] for m in rows["m"]]
    return mean_t(extreme_by_seed(rows.assign(value=rows["value"] / bound), "min"))


def norm_exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent of the large rows' median norm in the width."""
    return exponent(*grid_by_seed(frame, "large_norm", "m", {"J": 1}), margin=0.15)


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
        measured = curves(rows, "edit_hinge", by="order", label="{} first", where={"edit": "adding"})
        marks = (*measured, threshold(f"eps = {EPS}", y=EPS))
        return Panel(title=words[name], x="pruned share", y="hinge loss", marks=marks)

    return Figure(
        panels=drawable(histogram, partial(pruning, ONE.name), partial(pruning, SEVERAL.name)),
        caption=f"Left: norms of the rows of Delta V, {WIDEST} neurons. Others: the larger loss of both tasks after "
        f"Psi^(0) + Delta_1 + {1 + BETA} Delta_2 with rows set to zero, the smallest first or in random order.",
    )


def _widest(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["m"] == frame["m"].max()]


# A prediction of Corollary 2.
prediction = partial(Prediction, source="Corollary 2")

CLAIM = Claim(
    id="editing.sparsity",
    title="A constant share of the neurons",
    statement="A constant share of the rows of Delta V have a norm of at least Omega(m^-1/2), all others of at most "
    "O(m^-1/2 eps), and pruning these keeps Theorems 1 to 3. Asked of irrelevant tasks, from W^(0) = 0 without token "
    "noise.",
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
            estimate=partial(share, metric="small_share", J=BASE.J),
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
            id="small-enough",
            statement="Where one irrelevant pattern dominates, all rows of 1024 that are not large have at most the "
            "norm m^-1/2 eps, with the constant taken as 1.",
            kind="holds",
            source="Corollary 2, with a constant chosen here",
            of=ONE,
            statistic=f"share of rows with less than half of the largest norm and more than m^-1/2 eps, eps = {EPS}",
            predicted="at most 0.01",
            estimate=partial(share, metric="unpromised_share"),
            rule=at_most(0.01),
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
        *(
            prediction(
                id=f"pruned{name}",
                statement=f"{words} {PRUNED:.0%} of {WIDEST} neurons go without a loss: the smallest.",
                kind="holds",
                of=of,
                statistic="larger loss of both tasks after adding pruned task vectors, less that with whole ones",
                predicted=f"at most {EPS}",
                estimate=partial(cost, edit="adding", J=J),
                rule=at_most(EPS),
            )
            for name, words, of, J in (
                ("", "Where one irrelevant pattern dominates,", ONE, 1),
                ("-several", f"With {BASE.J} irrelevant patterns", SEVERAL, BASE.J),
            )
        ),
        prediction(
            id="pruned-at-random",
            statement="As many random ones do not, where one irrelevant pattern dominates.",
            kind="comparison",
            of=ONE,
            statistic="larger loss of both tasks after adding pruned task vectors, less that with whole ones",
            predicted=f"above {FAILED}",
            estimate=partial(cost, edit="adding", order="random"),
            rule=above(FAILED),
        ),
        prediction(
            id="pruned-forgets",
            statement="Where one irrelevant pattern dominates, subtracting a pruned task vector unlearns its task.",
            kind="holds",
            of=ONE,
            statistic="loss on task 2 after Psi^(0) + Delta_1 - Delta_2 with pruned task vectors",
            predicted=f"at least {UNLEARNED}",
            estimate=forgotten,
            rule=at_least(UNLEARNED),
        ),
        prediction(
            id="pruned-keeps",
            statement="It keeps the other task as well as the whole task vector does.",
            kind="holds",
            of=ONE,
            statistic="loss on task 1 after the same edit, less that with whole task vectors",
            predicted=f"at most {EPS}",
            estimate=partial(cost, edit="keeping"),
            rule=at_most(EPS),
        ),
        prediction(
            id="pruned-reaches",
            statement="Where one irrelevant pattern dominates, pruned task vectors reach an unseen task as well as "
            "whole ones.",
            kind="holds",
            of=ONE,
            statistic="loss on 0.7 mu_1 - 0.5 mu_2 + kappa mu_perp at lambda = (3, -1) with pruned task vectors, less "
            "that with whole ones",
            predicted=f"at most {EPS}",
            estimate=partial(cost, edit="reaching"),
            rule=at_most(EPS),
        ),
    ),
    figure=figure,
)
