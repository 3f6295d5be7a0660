"""editing.unlearning: which coefficients take a task away (Theorem 2)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from lemmata.editing.experiments import BETA, FAILED, NOISE, PAIRS, UNLEARNED, of_trained, started
from lemmata.editing.theory import NEGATION
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Curve, Figure, Mark, Panel, curves, drawable, power_law, threshold
from lemmata.lab.frames import by_seed, extreme_by_seed, pick
from lemmata.lab.rule import above, at_least, at_most, between, within
from lemmata.lab.stats import Estimate, censored_exponent, clopper_pearson, hull, mean_t

# The coefficient at which unlearning is asked about, as in the paper's experiments.
FULL = -1.0


def negated(
    frame: pd.DataFrame, metric: str, task: int, *, w0: float = 0.0, tau: float = 0.0, part: str = "both"
) -> pd.DataFrame:
    """The rows of one task under coefficients from 0 down."""
    rows = pick(frame, metric, {"tasks": 2, "task": task, "part": part, "w0": w0, "tau": tau})
    return rows[rows["x"] <= 0]


def at_full(frame: pd.DataFrame, task: int, sign: str, worst: Literal["max", "min"]) -> Estimate:
    """The loss on a task at lambda = -1, at the alpha of this sign where it is the largest or the least."""
    rows = negated(frame, "hinge", task)
    inside = rows["alpha"] <= 0 if sign == "not above 0" else rows["alpha"] > 0
    rows = rows[inside & np.isclose(rows["x"], FULL)]
    if rows.empty:
        raise DataError(f"pairs of tasks with alpha {sign}", "none", "leave alpha to the claim's own sweep")
    return mean_t(extreme_by_seed(rows, worst))


def lower_end(frame: pd.DataFrame, *, w0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|alpha| of contradictory pairs (P,), and the ends of the interval of |lambda| in which the window closes (S, P).

    The window is left where task 1 has lost more than FAILED or task 2 is known again, whichever is first on the way
    down from 0.
    """
    kept = _table(negated(frame, "hinge", 1, w0=w0)) <= FAILED
    gone = _table(negated(frame, "hinge", 2, w0=w0)) >= UNLEARNED
    inside = kept & gone
    depth = -inside.columns.to_numpy(float)
    # Columns rise in lambda; from 0 down is the other way round.
    left = ~inside.to_numpy()[:, ::-1]
    depth = depth[::-1]
    first = np.where(left.any(1), left.argmax(1), len(depth))
    lo = np.where(first > 0, depth[np.maximum(first - 1, 0)], 0.0)
    hi = np.where(first < len(depth), depth[np.minimum(first, len(depth) - 1)], np.inf)
    ends = pd.DataFrame({"lo": lo, "hi": np.maximum(hi, depth[1])}, index=inside.index)
    ends = ends[ends.index.get_level_values("alpha") < 0]
    if ends.empty:
        raise DataError("contradictory pairs of tasks", "none", "leave alpha to the claim's own sweep")
    lo_SP, hi_SP = (ends[end].unstack("alpha") for end in ("lo", "hi"))
    return np.abs(lo_SP.columns.to_numpy(float)), lo_SP.to_numpy(), hi_SP.to_numpy()


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a seed and alpha, a column a lambda."""
    return rows.groupby(["seed", "alpha", "x"])["value"].mean().unstack("x")


def lower_end_exponent(frame: pd.DataFrame, *, w0: float) -> Estimate:
    """The exponent of the window's lower end in |alpha|."""
    return censored_exponent(*lower_end(frame, w0=w0), margin=0.15)


def growth(frame: pd.DataFrame) -> Estimate:
    """How many times farther the window reaches at the alpha next to 0 than at the one farthest from it.

    The interval is from the least that the steps of lambda leave possible to the most.
    """
    alpha_P, lo_SP, hi_SP = lower_end(frame, w0=0.0)
    if len(alpha_P) < 2:
        raise DataError("several contradictory pairs of tasks", "one", "leave alpha to the claim's own sweep")
    near, far = alpha_P.argmin(), alpha_P.argmax()
    with np.errstate(divide="ignore", invalid="ignore"):  # a window that never opened, or never closed
        least, most = (mean_t(a / b) for a, b in ((lo_SP[:, near], hi_SP[:, far]), (hi_SP[:, near], lo_SP[:, far])))
    return hull(least, most)


def still_open(frame: pd.DataFrame) -> Estimate:
    """The share of seeds whose window from W^(0) = 4 I is open at the last lambda, at alpha = -1."""
    _, lo_SP, hi_SP = lower_end(pick(frame, "hinge", {"alpha": -1.0}), w0=4.0)
    open_S = np.isinf(hi_SP[:, 0]) & (lo_SP[:, 0] > 0)
    return clopper_pearson(int(open_S.sum()), len(open_S))


def least_below(
    frame: pd.DataFrame, sign: str, *, w0: float = 0.0, part: str = "both", down_to: float = -8.0
) -> Estimate:
    """The least loss on task 2 for lambda from -1 down, at the alpha of this sign where it is least."""
    rows = negated(frame, "hinge", 2, w0=w0, part=part)
    inside = np.isclose(rows["alpha"], 0) if sign == "0" else rows["alpha"] < 0
    rows = rows[inside & (rows["x"] <= FULL) & (rows["x"] >= down_to)]
    if rows.empty:
        raise DataError(f"pairs of tasks with alpha {sign}", "none", "leave alpha to the claim's own sweep")
    return mean_t(extreme_by_seed(rows, "min"))


def leak(frame: pd.DataFrame, *, w0: float) -> Estimate:
    """The loss on task 1 over |lambda| at alpha = 0, for the lambda in [-8, 0) where it is largest."""
    rows = negated(frame, "hinge", 1, w0=w0)
    rows = rows[np.isclose(rows["alpha"], 0) & (rows["x"] < 0)]
    if rows.empty:
        raise DataError("irrelevant tasks", "none", "leave alpha to the claim's own sweep")
    return mean_t(extreme_by_seed(rows.assign(value=rows["value"] / rows["x"].abs()), "max"))


def chance(frame: pd.DataFrame, *, tau: float) -> Estimate:
    """The accuracy on task 2 at lambda = -1 and alpha = 0."""
    rows = negated(frame, "accuracy", 2, tau=tau)
    return mean_t(by_seed(rows, "accuracy", {"alpha": 0.0, "x": FULL}))


def figure(frames: Frames) -> Figure:
    """Losses of both tasks against lambda from two starts of W, and the window's lower end."""
    frame = frames[PAIRS.name]

    def losses(task: int, w0: float, part: str = "both") -> Panel:
        rows = negated(frame, "hinge", task, w0=w0, part=part)
        shown = rows[rows["alpha"].isin([-1.0, -0.6, -0.2, 0.0, 0.3])]
        words, at = ("failed", FAILED) if task == 1 else ("unlearned", UNLEARNED)
        level = threshold(f"{words}: {at}", y=at)
        marks = (*curves(shown, "hinge", by="alpha", label="alpha = {}"), level)
        title = f"task {task}, {started(w0)}" + (", V alone" if part == "V" else "")
        return Panel(title=title, x="lambda", y="hinge loss", marks=marks)

    def ends() -> Panel:
        marks: list[Mark] = []
        for group, w0 in enumerate((0.0, 4.0)):
            alpha_P, lo_SP, _ = lower_end(frame, w0=w0)
            long = pd.DataFrame(lo_SP, columns=alpha_P).melt(ignore_index=False, var_name="at")
            long = long.assign(metric="end").reset_index(names="seed")
            marks += curves(long, "end", x="at", label=started(w0), first_group=group)
        first = marks[0]
        if isinstance(first, Curve):
            marks.append(power_law("stated: -2", first, NEGATION, "prediction"))
        return Panel(
            title="down to where the window is open",
            x="|alpha|",
            y="|lambda|",
            marks=tuple(marks),
            x_log=True,
            y_log=True,
        )

    return Figure(
        panels=drawable(
            partial(losses, 1, 0.0),
            partial(losses, 2, 0.0),
            partial(losses, 2, 0.0, "V"),
            partial(losses, 1, 4.0),
            partial(losses, 2, 4.0),
            ends,
        ),
        caption="Psi^(0) + Delta_1 + lambda Delta_2 for lambda from 0 down. A task counts as kept up to a loss of 0.05 "
        "and as unlearned from 0.5 on. Upper right: lambda in V alone. Lower right: the last |lambda| at which task 2 "
        "is unlearned and task 1 kept, on the way down from 0; 8 is the last one tried.",
    )


# A prediction of Theorem 2.
prediction = partial(Prediction, kind="holds", source="Theorem 2", of=PAIRS)


def chance_left(noise: str, tau: float = 0.0) -> Prediction:
    """The published end of an irrelevant task, with or without noise."""
    words = f"token noise {tau}" if tau else "token noise"
    return prediction(
        id=f"chance-{noise}-noise",
        statement=f"{noise.capitalize()} {words} an irrelevant task is left at chance by lambda = -1.",
        kind="comparison",
        source="the paper's table of coloured digits, of this model",
        statistic="accuracy on task 2 at alpha = 0",
        predicted="0.4 to 0.6",
        estimate=partial(chance, tau=tau),
        rule=between(0.4, 0.6),
    )


CLAIM = Claim(
    id="editing.unlearning",
    title="Subtracting a task works in a window",
    statement="Psi^(0) + Delta_1 + lambda Delta_2 forgets task 2 and keeps task 1 if alpha <= 0 and "
    "-Theta(alpha^-2) <= lambda <= 0; forgetting an aligned task damages task 1. Asked from W^(0) = 0 without token "
    "noise, where nothing else is said.",
    source="Theorem 2",
    cites=("li2025editing",),
    predictions=(
        *of_trained(
            prediction(
                id="forgotten",
                statement="At lambda = -1 task 2 is unlearned at every alpha <= 0.",
                statistic="loss on task 2, at the alpha where it is least",
                predicted=f"at least {UNLEARNED}",
                estimate=partial(at_full, task=2, sign="not above 0", worst="min"),
                rule=at_least(UNLEARNED),
            ),
            prediction(
                id="kept",
                statement="At lambda = -1 task 1 is kept at every alpha <= 0.",
                source="Theorem 2, with beta chosen here",
                statistic="loss on task 1, at the alpha where it is largest",
                predicted=f"at most {BETA}",
                estimate=partial(at_full, task=1, sign="not above 0", worst="max"),
                rule=at_most(BETA),
            ),
            prediction(
                id="aligned",
                statement="At lambda = -1 task 1 is damaged at every alpha > 0 that is tried.",
                source="remark on Theorem 2",
                statistic="loss on task 1, at the alpha > 0 where it is least",
                predicted=f"above {FAILED}",
                estimate=partial(at_full, task=1, sign="above 0", worst="min"),
                rule=above(FAILED),
            ),
            *(
                prediction(
                    id=f"lower-end{name}",
                    statement=f"From {started(w0)} the window's lower end grows as alpha^-2.",
                    kind="tight",
                    source="Theorem 2, read as an equality",
                    statistic="exponent of the window's lower end in |alpha|, alpha from -1 to -0.2, lambda down to -8",
                    predicted="-2",
                    estimate=partial(lower_end_exponent, w0=w0),
                    rule=within(NEGATION, 0.15),
                )
                for name, w0 in (("", 0.0), ("-own-kind", 4.0))
            ),
            prediction(
                id="lower-end-ratio",
                statement="From W^(0) = 0 the window reaches 25 times farther at alpha = -0.2 than at alpha = -1, as "
                "alpha^-2 does.",
                kind="tight",
                source="Theorem 2, read as a proportion",
                statistic="lower end at alpha = -0.2 over that at alpha = -1",
                predicted="25, to a factor of 2",
                estimate=growth,
                rule=between(12.5, 50.0),
            ),
            prediction(
                id="open-contradictory-own-kind",
                statement="From W^(0) = 4 I the window is still open at lambda = -8, the last one tried, where tasks "
                "contradict each other most, at alpha = -1.",
                kind="comparison",
                source="made here",
                statistic="share of seeds whose window is open all the way down to lambda = -8, at alpha = -1",
                predicted="at least a half",
                estimate=still_open,
                rule=at_least(0.5),
            ),
            *(
                prediction(
                    id=f"open{name}",
                    statement=f"From {started(w0)} an irrelevant task stays unlearned all the way down to lambda = -8.",
                    statistic="least loss on task 2 for lambda from -1 to -8, at alpha = 0",
                    predicted=f"at least {UNLEARNED}",
                    estimate=partial(least_below, sign="0", w0=w0),
                    rule=at_least(UNLEARNED),
                )
                for name, w0 in (("", 0.0), ("-own-kind", 4.0))
            ),
            prediction(
                id="values-alone",
                statement="From W^(0) = 0 the window ends because W and V change sign together: with V alone negated, "
                "contradictory tasks stay unlearned all the way down to lambda = -8.",
                kind="mechanism",
                source="made here",
                statistic="least loss on task 2 for lambda from -1 to -8 in V alone, at the alpha < 0 where it is "
                "least",
                predicted=f"at least {UNLEARNED}",
                estimate=partial(least_below, sign="below 0", part="V"),
                rule=at_least(UNLEARNED),
            ),
            prediction(
                id="leak",
                statement="From W^(0) = 4 I subtracting an irrelevant task costs task 1 at most |lambda| beta.",
                source="Theorem 2, with beta chosen here",
                statistic="loss on task 1 over |lambda|, for the lambda in [-8, 0) where it is largest, at alpha = 0",
                predicted=f"at most {BETA}",
                estimate=partial(leak, w0=4.0),
                rule=at_most(BETA),
            ),
            chance_left("without"),
        ),
        *of_trained(chance_left("with", NOISE), tau=NOISE),
    ),
    figure=figure,
)
