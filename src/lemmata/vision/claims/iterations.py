"""vision.iterations: how many steps generalisation takes (Theorem 1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable, power_law
from lemmata.lab.needed import passed_between
from lemmata.lab.rule import above, within
from lemmata.lab.stats import Estimate, censored_exponent, hull, mean_t
from lemmata.vision.experiments import PASSAGE, SUCCESS
from lemmata.vision.theory import STEPS

RATE = PASSAGE.base.lr
# The alpha_* at which learning rates are compared.
MIDDLE = 0.275


def passages(frame: pd.DataFrame, by: str, where: dict[str, object]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of `by` (P,), and the ends of the interval in which each seed's passage lies, (S, P) each."""
    # A learning rate of 0 has no logarithm to fit.
    return passed_between(frame[frame["lr"] > 0], by, where)


def shares(frame: pd.DataFrame, *, attention: str) -> Estimate:
    """The exponent of the steps in alpha_*."""
    return censored_exponent(*passages(frame, "alpha_s", {"attention": attention, "lr": RATE}), margin=0.15)


def rates(frame: pd.DataFrame) -> Estimate:
    """The exponent of the steps in the learning rate."""
    return censored_exponent(*passages(frame, "lr", {"attention": "trained", "alpha_s": MIDDLE}), margin=0.15)


def faster(frame: pd.DataFrame) -> Estimate:
    """The steps of uniform attention over those of trained attention, at the alpha_* where it is least.

    From the least that looking now and then leaves possible to the most; open where neither arrives.
    """
    of = {
        attention: passages(frame, "alpha_s", {"attention": attention, "lr": RATE})
        for attention in ("trained", "uniform")
    }
    if len(of["trained"][0]) != len(of["uniform"][0]):
        raise DataError("both kinds of attention at every alpha_*", "one", "leave attention to the claim's own sweep")
    (_, uniform_lo_SP, uniform_hi_SP), (_, lo_SP, hi_SP) = of["uniform"], of["trained"]
    arrived_SP = np.isfinite(hi_SP) | np.isfinite(uniform_hi_SP)
    least_SP, most_SP = uniform_lo_SP / hi_SP, uniform_hi_SP / np.maximum(lo_SP, 1)
    return hull(*(mean_t(np.where(arrived_SP, ratio_SP, np.nan).min(1)) for ratio_SP in (least_SP, most_SP)))


def figure(frames: Frames) -> Figure:
    """Steps against the share of relevant tokens and against the learning rate."""
    frame = frames[PASSAGE.name]

    def panel(by: str, label: str, kinds: dict[str, dict[str, object]]) -> Panel:
        marks = []
        for group, (name, where) in enumerate(kinds.items()):
            x_P, lo_SP, hi_SP = passages(frame, by, where)
            middle_SP = np.where(np.isfinite(hi_SP), (lo_SP + hi_SP) / 2, np.nan)
            long = pd.DataFrame(middle_SP, columns=x_P).melt(ignore_index=False, var_name="at").dropna()
            long = long.assign(metric="steps").reset_index(names="seed")
            marks += curves(long, "steps", x="at", label=name, first_group=group)
        marks.append(power_law(f"{label}^{STEPS:g}", marks[0], STEPS, "prediction"))
        return Panel(title=f"steps by {label}", x=label, y="steps", marks=tuple(marks), x_log=True, y_log=True)

    kinds = {f"{kind} attention": {"attention": kind, "lr": RATE} for kind in ("trained", "uniform")}
    trained = {f"alpha_* = {MIDDLE}": {"attention": "trained", "alpha_s": MIDDLE}}
    return Figure(
        panels=drawable(partial(panel, "alpha_s", "alpha_*", kinds), partial(panel, "lr", "eta", trained)),
        caption=f"Steps until the hinge loss on new samples is below {SUCCESS:g}, with 1000 training samples.",
    )


# A prediction of Theorem 1 about an exponent.
prediction = partial(Prediction, kind="tight", source="Theorem 1, read as an equality", of=PASSAGE)

CLAIM = Claim(
    id="vision.iterations",
    title="Steps that generalisation takes",
    statement="The generalisation error is zero after T of order 1/(eta alpha_*) steps. Asked with 20 patterns, 4 "
    "irrelevant ones in a sample, alpha_# = 0.1 alpha_* and W_Q and W_K learning 30 times as fast, 1000 training "
    "samples, up to 800 steps at eta = 0.1, and no token noise.",
    source="Theorem 1",
    cites=("li2023vision",),
    predictions=(
        prediction(
            id="share",
            statement="With attention that is trained the steps grow as 1/alpha_*.",
            statistic="exponent of the steps in alpha_*, alpha_* from 0.13 to 0.5",
            predicted="-1",
            estimate=partial(shares, attention="trained"),
            rule=within(STEPS, 0.15),
        ),
        prediction(
            id="share-uniform",
            statement="With uniform attention too.",
            source="made here",
            statistic="exponent of the steps in alpha_*, alpha_* from 0.13 to 0.5",
            predicted="-1",
            estimate=partial(shares, attention="uniform"),
            rule=within(STEPS, 0.15),
        ),
        prediction(
            id="rate",
            statement=f"The steps grow as 1/eta, at alpha_* = {MIDDLE}.",
            statistic="exponent of the steps in eta, eta from 0.025 to 0.2",
            predicted="-1",
            estimate=rates,
            rule=within(-1.0, 0.15),
        ),
        prediction(
            id="faster",
            statement="Attention that is trained is faster at every alpha_*.",
            kind="comparison",
            source="made here",
            statistic="steps with uniform attention over those with trained attention, at the alpha_* where it is "
            "least",
            predicted="above 1",
            estimate=faster,
            rule=above(1.0),
        ),
    ),
    figure=figure,
)
