"""editing.low-rank: task vectors of rank one (Corollary 1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.experiments import BASE, BETA, EPS, SEEDS, SETTING_SEEDS, UNLEARNED, of_trained
from lemmata.editing.probes import FineTuned
from lemmata.editing.theory import rank_1_bound
from lemmata.editing.weights import Ranks
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable, threshold
from lemmata.lab.frames import by_seed, extreme_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import at_least, at_most
from lemmata.lab.stats import Estimate, mean_t, paired_t

# Irrelevant patterns, the paper's M; registered is the middle one. Their mean is what one direction cannot hold.
FEW, MANY, MOST = 5, 20, 80

RANKS = Experiment(
    name="ranks",
    base=BASE.replace({"d": 90}),
    measures=(FineTuned(), Ranks(beta=BETA)),
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
    bound = [rank_1_bound(J, EPS) for J in rows["J"]]
    return mean_t(extreme_by_seed(rows.assign(value=rows["value"] / bound), "max"))


def edited(frame: pd.DataFrame, edit: str, *, rank: int, J: int = MANY) -> np.ndarray:
    """The loss of an edit of irrelevant tasks with task vectors of a rank, (S,)."""
    return by_seed(frame, "edit_hinge", {"edit": edit, "x": rank, "J": J, "alpha": 0.0})


def cost(frame: pd.DataFrame, edit: str, *, rank: int, J: int = MANY) -> Estimate:
    """The loss of an edit with task vectors of a rank less that with the whole ones."""
    whole = pick(frame, "edit_hinge", {"edit": edit, "J": J})["x"].max()
    return paired_t(edited(frame, edit, rank=rank, J=J), edited(frame, edit, rank=whole, J=J))


def forgotten(frame: pd.DataFrame, *, rank: int) -> Estimate:
    """The loss on task 2 after its task vector of a rank was subtracted."""
    return mean_t(edited(frame, "forgetting", rank=rank))


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
        cut = frame[frame["x"].isin(Ranks.ranks)]
        marks = curves(cut, "edit_hinge", by="J", label="{} irrelevant patterns", where={"edit": "adding"})
        return Panel(
            title="both tasks after adding", x="rank", y="hinge loss", marks=(*marks, threshold(f"eps = {EPS}", y=EPS))
        )

    return Figure(
        panels=drawable(partial(singular, "W"), partial(singular, "V"), edit),
        caption="Singular values of task vectors, mean over the two tasks, and the larger loss of both tasks after "
        f"Psi^(0) + Delta_1 + {1 + BETA} Delta_2 with task vectors cut down to a rank; alpha = 0.",
    )


# A prediction of Corollary 1.
prediction = partial(Prediction, kind="holds", source="Corollary 1", of=RANKS)

CLAIM = Claim(
    id="editing.low-rank",
    title="Task vectors of rank one",
    statement="Some Delta W and Delta V of rank 1 are within M eps + 1/log M and Theta(eps) of the task vectors in "
    "Frobenius norm, and do as well in Theorems 1 to 3. Asked of irrelevant tasks, from W^(0) = 0 without token noise.",
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
                statement=f"With {J} irrelevant patterns task vectors of rank 1 add as well as whole ones, at "
                f"lambda = {1 + BETA}.",
                statistic="larger loss of both tasks after the edit with task vectors of rank 1, less that with whole "
                "ones",
                predicted=f"at most {EPS}",
                estimate=partial(cost, edit="adding", rank=1, J=J),
                rule=at_most(EPS),
            )
            for words, J in (("few", FEW), ("many", MANY), ("most", MOST))
        ),
        prediction(
            id="edits-rank-2",
            statement=f"With {FEW} irrelevant patterns task vectors of rank 2 are enough.",
            kind="mechanism",
            source="made here",
            statistic="larger loss of both tasks after the edit with task vectors of rank 2, less that with whole ones",
            predicted=f"at most {EPS}",
            estimate=partial(cost, edit="adding", rank=2, J=FEW),
            rule=at_most(EPS),
        ),
        prediction(
            id="forgets",
            statement=f"With {MANY} irrelevant patterns subtracting a task vector of rank 1 unlearns its task.",
            statistic="loss on task 2 after Psi^(0) + Delta_1 - Delta_2 with task vectors of rank 1",
            predicted=f"at least {UNLEARNED}",
            estimate=partial(forgotten, rank=1),
            rule=at_least(UNLEARNED),
        ),
        prediction(
            id="keeps",
            statement="It keeps the other task as well as the whole task vector does.",
            statistic="loss on task 1 after the same edit, less that with whole task vectors",
            predicted=f"at most {EPS}",
            estimate=partial(cost, edit="keeping", rank=1),
            rule=at_most(EPS),
        ),
        prediction(
            id="reaches",
            statement=f"With {MANY} irrelevant patterns task vectors of rank 1 reach an unseen task as well as whole "
            "ones.",
            statistic="loss on 0.7 mu_1 - 0.5 mu_2 + kappa mu_perp at lambda = (3, -1) with task vectors of rank 1, "
            "less that with whole ones",
            predicted=f"at most {EPS}",
            estimate=partial(cost, edit="reaching", rank=1),
            rule=at_most(EPS),
        ),
    ),
    figure=figure,
)
