"""editing.low-rank: task vectors of rank one (Corollary 1)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.editing.experiments import BASE, EPS, FAILED, MARGIN, SEEDS, SETTING_SEEDS, of_trained
from lemmata.editing.probes import FineTuned
from lemmata.editing.theory import low_rank_bounds
from lemmata.editing.weights import Ranks
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable, threshold
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import at_least, at_most
from lemmata.lab.stats import Estimate, mean_t

# Irrelevant patterns, the paper's M; registered is the middle one. Their mean is what one direction cannot hold.
FEW, MANY, MOST = 5, 20, 80

RANKS = Experiment(
    name="ranks",
    base=BASE.replace({"d": 90}),
    measures=(FineTuned(), Ranks(margin=MARGIN)),
    points=ByProfile(*[product(J=(FEW, MANY, MOST))] * 3),
    seeds=SEEDS,
    settings={"lr 0.3": {"lr": 0.3}, "xi 0.2": {"xi": 0.2}, "400 neurons": {"m": 400}, "W^(0) = 4 I": {"w0": 4.0}},
    setting_seeds=SETTING_SEEDS,
)


def of_rank(frame: pd.DataFrame, metric: str, *, matrix: str, rank: int, J: int = MANY) -> Estimate:
    """A metric of one matrix at a rank."""
    return mean_t(by_seed(frame, metric, {"matrix": matrix, "x": rank, "J": J}))


def over_bound(frame: pd.DataFrame) -> Estimate:
    """What rank 1 leaves of Delta W over M eps + 1/log M, at the M where this is largest."""
    rows = pick(frame, "residual", {"matrix": "W", "x": 1})
    rows = rows[rows["J"] > 1]
    if rows.empty:
        raise DataError("two irrelevant patterns or more: 1/log M is no bound for one", "one", "choose a larger J")
    over = rows["value"] / [low_rank_bounds(J, EPS)[0] for J in rows["J"]]
    return mean_t(over.groupby(rows["seed"]).agg(lambda v: v.max(skipna=False)).to_numpy())


def edited(frame: pd.DataFrame, *, rank: int, J: int) -> Estimate:
    """The larger loss of both tasks after the multi-task edit with task vectors of a rank."""
    return mean_t(by_seed(frame, "edit_hinge", {"x": rank, "J": J}))


def second(frame: pd.DataFrame) -> Estimate:
    """The cosine of the second direction of Delta V with the mean of the irrelevant patterns."""
    return mean_t(by_seed(frame, "second_on_irrelevant", {"J": MANY}))


def figure(frames: Frames) -> Figure:
    """Singular values of both parts, and the edit's loss against the rank."""
    frame = frames[RANKS.name]

    def singular(matrix: str) -> Panel:
        marks = curves(frame, "singular", by="J", label="{} irrelevant patterns", where={"matrix": matrix})
        return Panel(title=f"Delta {matrix}", x="index", y="singular value", marks=tuple(marks), y_log=True)

    def edit() -> Panel:
        marks = (*curves(frame, "edit_hinge", by="J", label="{} irrelevant patterns"), threshold("", y=FAILED))
        return Panel(title="edit with both tasks", x="rank", y="hinge loss", marks=marks)

    return Figure(
        panels=drawable(partial(singular, "W"), partial(singular, "V"), edit),
        caption="Singular values of task vectors, mean over the two tasks, and the larger loss of both tasks after "
        "Psi^(0) + Delta_1 + 1.1 Delta_2 with task vectors cut down to a rank; alpha = 0. Delta W is of rank 1; Delta "
        "V has a second direction, the mean of the irrelevant patterns, which matters where there are few of them.",
    )


# A prediction of Corollary 1.
prediction = partial(Prediction, kind="holds", source="Corollary 1", of=RANKS)

CLAIM = Claim(
    id="editing.low-rank",
    title="Task vectors of rank one",
    statement="Some Delta W and Delta V of rank 1 are within M eps + 1/log M and Theta(eps) of the task vectors in "
    "Frobenius norm, and do as well in Theorems 1 to 3.",
    source="Corollary 1",
    cites=("li2025editing",),
    predictions=of_trained(
        prediction(
            id="attention",
            statement="Delta W is within M eps + 1/log M of rank 1, with the constant taken as 1.",
            source="Corollary 1, with a constant chosen here",
            statistic=f"Frobenius norm of what rank 1 leaves of Delta W over the bound at eps = {EPS}, at the M of "
            f"{FEW}, {MANY} and {MOST} where it is largest",
            predicted="at most 1",
            estimate=over_bound,
            rule=at_most(1.0),
        ),
        prediction(
            id="values",
            statement=f"With {MANY} irrelevant patterns Delta V is of rank 1 but for a tenth of its norm.",
            source="Corollary 1, with a constant chosen here",
            statistic="Frobenius norm of what rank 1 leaves of Delta V over that of Delta V",
            predicted="at most 0.1",
            estimate=partial(of_rank, metric="relative", matrix="V", rank=1),
            rule=at_most(0.1),
        ),
        prediction(
            id="values-rank-2",
            statement=f"With {MANY} irrelevant patterns Delta V is of rank 2.",
            kind="mechanism",
            source="made here",
            statistic="Frobenius norm of what rank 2 leaves of Delta V over that of Delta V",
            predicted="at most 0.02",
            estimate=partial(of_rank, metric="relative", matrix="V", rank=2),
            rule=at_most(0.02),
        ),
        prediction(
            id="second-direction",
            statement="The second direction of Delta V is the mean of the irrelevant patterns.",
            kind="mechanism",
            source="made here",
            statistic="cosine of the second right singular vector of Delta V with that mean",
            predicted="at least 0.95",
            estimate=second,
            rule=at_least(0.95),
        ),
        *(
            prediction(
                id=f"edits-{words}",
                statement=f"With {J} irrelevant patterns task vectors of rank 1 add as well: lambda = "
                f"1 - alpha + {MARGIN} does both tasks.",
                statistic="larger loss of both tasks after the edit with task vectors of rank 1",
                predicted=f"at most {FAILED}",
                estimate=partial(edited, rank=1, J=J),
                rule=at_most(FAILED),
            )
            for words, J in (("few", FEW), ("many", MANY), ("most", MOST))
        ),
        prediction(
            id="edits-rank-2",
            statement=f"With {FEW} irrelevant patterns task vectors of rank 2 are enough.",
            kind="mechanism",
            source="made here",
            statistic="larger loss of both tasks after the edit with task vectors of rank 2",
            predicted=f"at most {EPS}",
            estimate=partial(edited, rank=2, J=FEW),
            rule=at_most(EPS),
        ),
    ),
    figure=figure,
)
