"""cot.train-length: how long training prompts must be, against alpha (Theorem 1)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.cot.experiments import BASE, LOSS, SEEDS, SETTING_SEEDS
from lemmata.cot.probes import FinalLoss
from lemmata.cot.theory import TRAIN_LENGTH
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, threshold
from lemmata.lab.frames import pick
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.needed import needed_between
from lemmata.lab.rule import at_most, within
from lemmata.lab.stats import Estimate, censored_exponent, mean_t
from lemmata.lab.trainee import Value

LENGTHS = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64)
# "Enough" in the holding prediction: this many times 1/alpha.
ENOUGH = 5
ON = {"own": "of the training length", "long": f"of {FinalLoss().long:g}/alpha examples"}


def sweep(alphas: tuple[float, ...]) -> tuple[dict[str, Value], ...]:
    """Every alpha at every length."""
    return tuple({"alpha": alpha, "l_tr": l_tr} for alpha in alphas for l_tr in LENGTHS)


LENGTH = Experiment(
    name="train-length",
    base=BASE,
    measures=(FinalLoss(),),
    points=ByProfile(
        sweep((0.1, 0.2, 0.4, 0.8)),
        sweep((0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8)),
        sweep((0.1, 0.12, 0.14, 0.17, 0.2, 0.24, 0.28, 0.34, 0.4, 0.48, 0.56, 0.68, 0.8)),
    ),
    seeds=SEEDS,
    settings={"2000 steps": {"steps": 2000}, "W_V trained": {"train_value": True}},
    setting_seeds=SETTING_SEEDS,
)


def needed_exponent(frame: pd.DataFrame, *, on: str) -> Estimate:
    """The exponent of the needed training length in alpha, by the loss on prompts of one kind."""
    return censored_exponent(*needed_between(pick(frame, "loss", {"on": on}), "l_tr", "alpha", LOSS))


def loss_when_enough(frame: pd.DataFrame) -> Estimate:
    """The largest loss, over alpha, of networks trained on prompts of ENOUGH / alpha examples or more."""
    rows = pick(frame, "loss", {"on": "long"})
    rows = rows[rows["l_tr"] * rows["alpha"] >= ENOUGH - 1e-9]
    if rows.empty:
        raise DataError(f"networks trained on prompts of {ENOUGH}/alpha examples", "none", "leave l_tr and alpha alone")
    return mean_t(rows.groupby(["seed", "alpha"])["value"].mean().groupby("seed").max().to_numpy())


def figure(frames: Frames) -> Figure:
    """Loss against the training length, on prompts of that length and on long ones, in units of 1/alpha beside it."""
    frame = frames[LENGTH.name]
    scaled = frame.assign(in_units=frame["l_tr"] * frame["alpha"])
    bound = threshold("eps = 0.02", y=LOSS)

    def panel(title: str, x_label: str, x: str, on: str) -> Panel:
        marks = (*curves(scaled, "loss", by="alpha", label="alpha = {}", x=x, where={"on": on}), bound)
        return Panel(title=title, x=x_label, y="loss", marks=marks, x_log=True, y_log=True)

    return Figure(
        panels=(
            panel("prompts of the training length", "alpha l_tr", "in_units", "own"),
            panel("long prompts", "alpha l_tr", "in_units", "long"),
        ),
        caption="Squared loss after training against the length of the training prompts in units of 1/alpha, on fresh "
        "prompts of the same length (left) and of 12/alpha examples (right). If the needed length is proportional to "
        "1/alpha, the curves cross the line together.",
    )


CLAIM = Claim(
    id="cot.train-length",
    title="Training prompts need about 1/alpha examples",
    statement="Training prompts of l_tr >= Omega(1/alpha) examples are enough.",
    source="Theorem 1",
    cites=("li2025cot",),
    predictions=(
        *(
            Prediction(
                id=f"exponent-{on}",
                statement=f"The training length needed for loss 0.02 on prompts {words} grows as 1/alpha.",
                kind="tight",
                source="Theorem 1, read as an equality"
                + ("; perfect attention needs it too, for a share (1 - alpha)^l has no example" if on == "own" else ""),
                of=LENGTH,
                statistic="exponent of the needed l_tr in alpha",
                predicted="-1",
                estimate=partial(needed_exponent, on=on),
                rule=within(TRAIN_LENGTH, 0.15),
            )
            for on, words in ON.items()
        ),
        Prediction(
            id="enough",
            statement=f"With l_tr >= {ENOUGH}/alpha the loss on long prompts is at most 0.02 at every alpha.",
            kind="holds",
            source="Theorem 1, with a constant chosen here",
            of=LENGTH,
            statistic=f"loss of the networks with l_tr >= {ENOUGH}/alpha, at the alpha where it is largest",
            predicted="at most 0.02",
            estimate=loss_when_enough,
            rule=at_most(LOSS),
        ),
    ),
    figure=figure,
)
