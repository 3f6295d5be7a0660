"""editing.unlearning: which coefficients take a task away (Theorem 2)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.experiments import FAILED, NOISE, PAIRS, of_trained, started
from lemmata.editing.theory import NEGATION
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Curve, Figure, Mark, Panel, curves, drawable, power_law, threshold
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.rule import above, at_least, at_most, between, within
from lemmata.lab.stats import Estimate, censored_exponent, mean_t

# Loss of a task that counts as unlearned, Theta(1): a network that answers 0 has 1.
UNLEARNED = 0.5
# beta of the loss that subtracting leaves on task 1, |lambda| beta.
LEAK = 0.05
# The coefficient at which unlearning is asked about, as in the paper's experiments.
FULL = -1.0


def negated(
    frame: pd.DataFrame, metric: str, task: int, *, w0: float = 0.0, tau: float = 0.0, part: str = "both"
) -> pd.DataFrame:
    """The rows of one task under coefficients from 0 down."""
    rows = pick(frame, metric, {"task": task, "part": part, "w0": w0, "tau": tau})
    return rows[rows["x"] <= 0]


def at_full(frame: pd.DataFrame, task: int, sign: str, worst: str) -> Estimate:
    """The loss on a task at lambda = -1, at the alpha of this sign where it is the largest or the least."""
    rows = negated(frame, "hinge", task)
    inside = rows["alpha"] <= 0 if sign == "not above 0" else rows["alpha"] > 0
    rows = rows[inside & np.isclose(rows["x"], FULL)]
    if rows.empty:
        raise DataError(f"pairs of tasks with alpha {sign}", "none", "leave alpha to the claim's own sweep")
    return mean_t(rows.groupby("seed")["value"].agg(lambda v: getattr(v, worst)(skipna=False)).to_numpy())


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
    return replace(most, value=(least.value + most.value) / 2, lo=least.lo)


def still_open(frame: pd.DataFrame) -> Estimate:
    """How far down the window is known to reach from W^(0) = 4 I, at the alpha farthest from 0."""
    alpha_P, lo_SP, _ = lower_end(frame, w0=4.0)
    return mean_t(lo_SP[:, alpha_P.argmax()])


def least_below(
    frame: pd.DataFrame, sign: str, *, w0: float = 0.0, part: str = "both", down_to: float = -8.0
) -> Estimate:
    """The least loss on task 2 for lambda from -1 down, at the alpha of this sign where it is least."""
    rows = negated(frame, "hinge", 2, w0=w0, part=part)
    inside = np.isclose(rows["alpha"], 0) if sign == "0" else rows["alpha"] < 0
    rows = rows[inside & (rows["x"] <= FULL) & (rows["x"] >= down_to)]
    if rows.empty:
        raise DataError(f"pairs of tasks with alpha {sign}", "none", "leave alpha to the claim's own sweep")
    return mean_t(rows.groupby("seed")["value"].agg(lambda v: v.min(skipna=False)).to_numpy())


def leak(frame: pd.DataFrame, *, w0: float) -> Estimate:
    """The loss on task 1 over |lambda| at alpha = 0, for the lambda in [-8, 0) where it is largest."""
    rows = negated(frame, "hinge", 1, w0=w0)
    rows = rows[np.isclose(rows["alpha"], 0) & (rows["x"] < 0)]
    if rows.empty:
        raise DataError("irrelevant tasks", "none", "leave alpha to the claim's own sweep")
    relative = rows["value"] / rows["x"].abs()
    return mean_t(relative.groupby(rows["seed"]).agg(lambda v: v.max(skipna=False)).to_numpy())


def chance(frame: pd.DataFrame, *, tau: float) -> Estimate:
    """The accuracy on task 2 at lambda = -1 and alpha = 0."""
    where = {"task": 2, "part": "both", "w0": 0.0, "tau": tau, "alpha": 0.0, "x": FULL}
    return mean_t(by_seed(frame, "accuracy", where))


def figure(frames: Frames) -> Figure:
    """Losses of both tasks against lambda from two starts of W, and the window's lower end."""
    frame = frames[PAIRS.name]

    def losses(task: int, w0: float, part: str = "both") -> Panel:
        rows = negated(frame, "hinge", task, w0=w0, part=part)
        shown = rows[rows["alpha"].isin([-1.0, -0.6, -0.2, 0.0, 0.3])]
        level = threshold("", y=FAILED if task == 1 else UNLEARNED)
        marks = (*curves(shown, "hinge", by="alpha", label="alpha = {}"), level)
        title = f"task {task}, {started(w0)}" + (", V alone" if part == "V" else "")
        return Panel(title=title, x="lambda", y="hinge loss", marks=marks)

    def ends() -> Panel:
        marks: list[Mark] = []
        for group, w0 in enumerate((0.0, 4.0)):
            alpha_P, lo_SP, hi_SP = lower_end(frame, w0=w0)
            seen_SP = np.where(np.isfinite(hi_SP), hi_SP, lo_SP)
            long = pd.DataFrame(seen_SP, columns=alpha_P).melt(ignore_index=False, var_name="at")
            long = long.assign(metric="end").reset_index(names="seed")
            marks += curves(long, "end", x="at", label=started(w0), first_group=group)
        first = marks[0]
        if isinstance(first, Curve):
            marks.append(power_law("stated: -2", first, NEGATION, "prediction"))
        return Panel(title="lower end", x="|alpha|", y="|lambda|", marks=tuple(marks), x_log=True, y_log=True)

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
        "and as unlearned from 0.5 on (grey). Upper right: lambda in V alone. Lower right: where the window "
        "of lambda that unlearns task 2 and keeps task 1 "
        "closes; at |lambda| = 8, the last one tried, it was still open.",
    )


# A prediction of Theorem 2.
prediction = partial(Prediction, kind="holds", source="Theorem 2", of=PAIRS)

CLAIM = Claim(
    id="editing.unlearning",
    title="Subtracting a task works in a window",
    statement="Psi^(0) + Delta_1 + lambda Delta_2 forgets task 2 and keeps task 1 if alpha <= 0 and "
    "-Theta(alpha^-2) <= lambda <= 0; forgetting an aligned task damages task 1.",
    source="Theorem 2",
    cites=("li2025editing",),
    predictions=of_trained(
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
            predicted=f"at most {LEAK}",
            estimate=partial(at_full, task=1, sign="not above 0", worst="max"),
            rule=at_most(LEAK),
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
            statement="From W^(0) = 0 the window reaches much farther at alpha = -0.2 than at alpha = -1: "
            "alpha^-2 is 25 times larger.",
            kind="tight",
            source="Theorem 2, read as a proportion",
            statistic="lower end at alpha = -0.2 over that at alpha = -1",
            predicted="25, and at least 5",
            estimate=growth,
            rule=at_least(5.0),
        ),
        prediction(
            id="wider-own-kind",
            statement="From W^(0) = 4 I the window is wider than was proved: at alpha = -1 it is still open "
            "at lambda = -8.",
            kind="comparison",
            source="made here",
            statistic="|lambda| down to which the window is known to be open, at alpha = -1",
            predicted="8, the largest that is tried",
            estimate=still_open,
            rule=at_least(8.0),
        ),
        *(
            prediction(
                id=f"open{name}",
                statement=f"From {started(w0)} irrelevant tasks stay unlearned all the way down to lambda = -8: the "
                "window has no end at alpha = 0.",
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
            statistic="least loss on task 2 for lambda from -1 to -8 in V alone, at the alpha < 0 where it is least",
            predicted=f"at least {UNLEARNED}",
            estimate=partial(least_below, sign="below 0", part="V"),
            rule=at_least(UNLEARNED),
        ),
        prediction(
            id="leak",
            statement="From W^(0) = 4 I subtracting an irrelevant task costs task 1 at most |lambda| beta.",
            source="Theorem 2, with beta chosen here",
            statistic="loss on task 1 over |lambda|, for the lambda in [-8, 0) where it is largest, at alpha = 0",
            predicted=f"at most {LEAK}",
            estimate=partial(leak, w0=4.0),
            rule=at_most(LEAK),
        ),
        *(
            prediction(
                id=f"chance{name}",
                statement=f"{words} an irrelevant task is left at chance by lambda = -1.",
                kind="comparison",
                source="the paper's table of coloured digits, of this model",
                statistic="accuracy on task 2 at alpha = 0",
                predicted="0.4 to 0.6",
                estimate=partial(chance, tau=tau),
                rule=between(0.4, 0.6),
            )
            for name, words, tau in (
                ("-without-noise", "Without token noise", 0.0),
                ("-with-noise", f"With token noise {NOISE}", NOISE),
            )
        ),
    ),
    figure=figure,
)
