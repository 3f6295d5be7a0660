"""icl.pruning: small rows of W_O can go, large ones cannot (Theorem 3)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.icl.experiments import NEURONS
from lemmata.icl.published import PRUNING, ROW_NORMS, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import by_seed, grid_by_seed, pick
from lemmata.lab.rule import above, at_least, at_most
from lemmata.lab.stats import Estimate, mean_t, paired_t

# The published curves: alpha' = 0.6 at l = 20, and shares of neurons up to 40 %.
MAIN = {"alpha_test": 0.6, "l": 20}
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)


def over_seeds(frame: pd.DataFrame, *, metric: str) -> Estimate:
    """The mean over seeds of one number a member."""
    return mean_t(by_seed(frame, metric))


def small_pruned(frame: pd.DataFrame) -> Estimate:
    """Hinge loss once all small rows, those below the gap, are pruned."""
    return mean_t(by_seed(frame, "hinge", {**MAIN, "policy": "small"}))


def random_over_magnitude(frame: pd.DataFrame, *, metric: str) -> Estimate:
    """Loss after pruning at random less that after pruning the smallest, averaged over shares of 10 to 40 %."""
    random_S = by_seed(frame, metric, {**MAIN, "policy": "random", "x": SHARES})
    return paired_t(random_S, by_seed(frame, metric, {**MAIN, "policy": "magnitude", "x": SHARES}))


def relative_growth(frame: pd.DataFrame, *, metric: str, share: float) -> Estimate:
    """Loss added a share of large rows pruned, over the same at half of all rows: 1 where the loss is linear.

    Rows are pruned from the largest down, so all of them are large; a loss that is flat at first gives less than 1.
    """
    shares, loss_SP = grid_by_seed(frame, metric, "x", {**MAIN, "policy": "largest"})
    added_S = {at: loss_SP[:, np.isclose(shares, at)][:, 0] - loss_SP[:, 0] for at in (share, 0.5)}
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean_t((added_S[share] / share) / (added_S[0.5] / 0.5))


def per_share(frame: pd.DataFrame, *, metric: str, share: float) -> Estimate:
    """Loss added by pruning this share of the rows, the largest first, divided by the share."""
    shares, loss_SP = grid_by_seed(frame, metric, "x", {**MAIN, "policy": "largest"})
    return mean_t((loss_SP[:, np.isclose(shares, share)][:, 0] - loss_SP[:, 0]) / share)


def ordering(frame: pd.DataFrame, *, metric: str) -> Estimate:
    """Loss at alpha' = 0.6 less that at 1, averaged over shares up to 40 %, smallest pruned first (l = 10)."""
    low, high = (
        by_seed(frame, metric, {"policy": "magnitude", "alpha_test": alpha, "l": 10, "x": (0.0, *SHARES)})
        for alpha in (0.6, 1.0)
    )
    return paired_t(low, high)


def sorted_norms(frame: pd.DataFrame) -> pd.DataFrame:
    """Row norms of W_O after training in ascending order, against the share of neurons, as rows of a metric."""
    rows = pick(frame, "row_norm")
    rows = rows[rows["x"] == rows["x"].max()].sort_values(["seed", "value"])
    rank = rows.groupby("seed").cumcount() / rows.groupby("seed")["value"].transform("size")
    return rows.assign(x=rank, metric="sorted_norm")


def figure(frames: Frames) -> Figure:
    """Hinge loss and error by policy, by alpha', and the sorted row norms."""
    frame = frames[NEURONS.name]
    policies = ("magnitude", "random", "largest")
    shown = pick(frame, "hinge", {**MAIN, "policy": policies}), pick(frame, "error", {**MAIN, "policy": policies})
    read_off = [
        line(f"published, {policy}", PRUNING[policy], group) for policy, group in (("magnitude", 1), ("random", 2))
    ]
    by_alpha = pick(frame, "hinge", {"policy": "magnitude", "l": 20})
    share = "share of rows pruned"
    return Figure(
        panels=(
            Panel(
                title="hinge loss, alpha' = 0.6",
                x=share,
                y="hinge loss",
                marks=tuple(curves(shown[0], "hinge", by="policy")),
                y_log=True,
            ),
            Panel(
                title="0-1 error, alpha' = 0.6",
                x=share,
                y="0-1 error",
                marks=(*curves(shown[1], "error", by="policy"), *read_off),
                y_log=True,
            ),
            Panel(
                title="smallest rows first, by alpha'",
                x=share,
                y="hinge loss",
                marks=tuple(curves(by_alpha, "hinge", by="alpha_test", label="alpha' = {}")),
                y_log=True,
            ),
            Panel(
                title="row norms of W_O, sorted",
                x="share of neurons",
                y="norm",
                marks=(*curves(sorted_norms(frame), "sorted_norm", label="measured"), line("published", ROW_NORMS)),
            ),
        ),
        caption="Loss after rows of W_O are pruned (out of domain, S_1 = 1.2, l = 20), smallest first, at random "
        "and largest first; and the sorted row norms. The published curves are 0-1 error.",
    )


# A prediction of Theorem 3 or of its figures.
prediction = partial(Prediction, of=NEURONS, source="Theorem 3")


def residual(name: str, source: str, patterns: int) -> Prediction:
    """One of the two stated bounds of the loss once the small rows are gone."""
    bound = patterns**-0.5
    return prediction(
        id=f"small-free-{name}",
        statement=f"Without its small rows the loss is O(eps + {name}^-1/2) = {bound:.2f}.",
        kind="holds",
        statistic="hinge loss after all rows below the gap are pruned",
        predicted=f"at most {bound:.2f}",
        estimate=partial(small_pruned),
        rule=at_most(bound),
        source=source,
    )


CLAIM = Claim(
    id="icl.pruning",
    title="Small rows can be pruned, large ones cannot",
    statement="A constant fraction of the rows of W_O is large, the rest small; pruning all small ones costs at most "
    "O(M^-1/2), pruning a share R of the large ones at least Omega(R).",
    source="Theorem 3",
    cites=("li2024icl",),
    predictions=(
        prediction(
            id="gap",
            statement="There is a gap between small and large rows: at most a tenth of the norms lie in its middle "
            "third.",
            kind="mechanism",
            statistic="share of row norms in the middle third between small and large",
            predicted="at most 0.1",
            estimate=partial(over_seeds, metric="between"),
            rule=at_most(0.1),
            source="Theorem 3; the published bars leave one of them there",
        ),
        residual("M1", "Theorem 3, slides of Apr 2024 and a third party", 6),
        residual("M2", "Theorem 3, slides of Oct 2024", 24),
        prediction(
            id="magnitude-hinge",
            statement="Pruning the smallest rows costs less hinge loss than pruning at random.",
            kind="comparison",
            statistic="hinge loss at random less smallest first, mean over 10 to 40 % pruned",
            predicted="above 0",
            estimate=partial(random_over_magnitude, metric="hinge"),
            rule=above(0.0),
        ),
        prediction(
            id="magnitude-error",
            statement="Pruning the smallest rows costs less 0-1 error than pruning at random: 0.01 on average, as "
            "published.",
            kind="comparison",
            statistic="0-1 error at random less smallest first, mean over 10 to 40 % pruned",
            predicted="at least 0.005",
            estimate=partial(random_over_magnitude, metric="error"),
            rule=at_least(0.005),
            source="published figure, which plots 0-1 error",
        ),
        prediction(
            id="linear-hinge",
            statement="Pruning 40 % of the rows, all of them large, costs hinge loss in proportion: at least a tenth "
            "of "
            "the share.",
            kind="holds",
            statistic="hinge loss added by pruning the largest 40 %, per share pruned",
            predicted="at least 0.1",
            estimate=partial(per_share, metric="hinge", share=0.4),
            rule=at_least(0.1),
        ),
        prediction(
            id="linear-error",
            statement="Pruning 40 % of the rows, all of them large, costs 0-1 error in proportion: at least a tenth "
            "of the "
            "share.",
            kind="holds",
            statistic="0-1 error added by pruning the largest 40 %, per share pruned",
            predicted="at least 0.1",
            estimate=partial(per_share, metric="error", share=0.4),
            rule=at_least(0.1),
        ),
        prediction(
            id="linear-from-start",
            statement="The cost is linear from the first large row on: at 10 % pruned the slope is at least half of "
            "that "
            "at 50 %.",
            kind="tight",
            statistic="hinge loss added per share at 10 % pruned, over that at 50 %, largest first",
            predicted="at least 0.5",
            estimate=partial(relative_growth, metric="hinge", share=0.1),
            rule=at_least(0.5),
        ),
        *(
            prediction(
                id=f"alpha-{metric}",
                statement=f"A lower alpha' has a higher {name} at every share pruned.",
                kind="comparison",
                statistic=f"{name} at alpha' = 0.6 less that at 1, mean over shares up to 40 % (l = 10)",
                predicted="above 0",
                estimate=partial(ordering, metric=metric),
                rule=above(0.0),
                source="published figure",
            )
            for metric, name in (("hinge", "hinge loss"), ("error", "0-1 error"))
        ),
    ),
    figure=figure,
)
