"""vision.samples: how many training samples generalisation takes (Theorem 1 and Proposition 1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Grid, Panel, curves, drawable, power_law
from lemmata.lab.frames import pick
from lemmata.lab.needed import needed_between
from lemmata.lab.rule import at_most, below, within
from lemmata.lab.stats import Estimate, censored_exponent, hull, mean_t
from lemmata.vision.experiments import SAMPLES, SUCCESS, of_learned
from lemmata.vision.published import BOUNDARY, line
from lemmata.vision.theory import SAMPLES as TRAINED
from lemmata.vision.theory import SAMPLES_UNIFORM as UNIFORM

# A looser loss, at which noise of the last digits plays no part.
LOOSE = 0.02
KINDS = {"trained": TRAINED, "uniform": UNIFORM}


def between(frame: pd.DataFrame, attention: str, loss: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """alpha_* (P,), and the ends of the interval in which each seed's needed N lies, (S, P) each."""
    rows = pick(frame, "hinge", {"attention": attention})
    return needed_between(rows, "N", "alpha_s", loss)


def exponent(frame: pd.DataFrame, *, attention: str, loss: float) -> Estimate:
    """The exponent of the needed N in alpha_*."""
    return censored_exponent(*between(frame, attention, loss), margin=0.15)


def ratio_exponent(frame: pd.DataFrame, *, loss: float) -> Estimate:
    """The exponent in alpha_* of what uniform attention needs over what trained attention needs."""
    alpha_P, lo_SP, hi_SP = between(frame, "trained", loss)
    _, uniform_lo_SP, uniform_hi_SP = between(frame, "uniform", loss)
    with np.errstate(divide="ignore", invalid="ignore"):  # open ends stay open
        lo, hi = uniform_lo_SP / hi_SP, uniform_hi_SP / lo_SP
    return censored_exponent(alpha_P, np.nan_to_num(lo), np.nan_to_num(hi, nan=np.inf), margin=0.15)


def beyond(frame: pd.DataFrame, *, attention: str, loss: float) -> Estimate:
    """The needed N over C alpha_*^e with the theorem's e and C from the largest alpha_*, where it is largest.

    Over the other alpha_*, from the least that the sizes leave possible to the most; open where the sizes do not tell
    what is needed at the largest alpha_*, or how much at most elsewhere.
    """
    alpha_P, lo_SP, hi_SP = between(frame, attention, loss)
    if len(alpha_P) < 2:
        raise DataError("several alpha_*", "one", "leave alpha_s to the claim's own sweep")
    scale_P = (alpha_P[:-1] / alpha_P[-1]) ** KINDS[attention]
    lo_S1, hi_S1 = (np.where((lo_SP > 0) & np.isfinite(hi_SP), end, np.nan)[:, -1:] for end in (lo_SP, hi_SP))
    least_SP, most_SP = lo_SP[:, :-1] / (hi_S1 * scale_P), hi_SP[:, :-1] / (lo_S1 * scale_P)
    return hull(mean_t(least_SP.max(1)), mean_t(most_SP.max(1)))


def success(frame: pd.DataFrame, attention: str) -> pd.DataFrame:
    """The share of seeds with a loss of at most SUCCESS: a row an N, a column an alpha_*."""
    rows = pick(frame, "hinge", {"attention": attention})
    return rows.assign(value=rows["value"] <= SUCCESS).pivot_table(index="N", columns="alpha_s", values="value")


def figure(frames: Frames) -> Figure:
    """Success maps of both kinds of attention, and the needed sizes."""
    frame = frames[SAMPLES.name]

    def panel(attention: str) -> Panel:
        table = success(frame, attention)
        power = -KINDS[attention]
        x = tuple(float(alpha) ** -power for alpha in table.columns[::-1])
        z = tuple(tuple(row[::-1]) for row in table.to_numpy().tolist())
        return Panel(
            title=f"{attention} attention",
            x=f"alpha_*^-{power:g}",
            y="N",
            marks=(
                Grid("success", x, tuple(map(float, table.index)), z, (0.0, 1.0)),
                line("published, of another mixture", *BOUNDARY[attention]),
            ),
            x_log=True,
            y_log=True,
        )

    def needed() -> Panel:
        marks = []
        for group, attention in enumerate(KINDS):
            alpha_P, lo_SP, hi_SP = between(frame, attention, SUCCESS)
            middle_SP = np.where((lo_SP > 0) & np.isfinite(hi_SP), np.sqrt(lo_SP * hi_SP), np.nan)
            long = pd.DataFrame(middle_SP, columns=alpha_P).melt(ignore_index=False, var_name="at").dropna()
            long = long.assign(metric="N").reset_index(names="seed")
            drawn = curves(long, "N", x="at", label=f"{attention} attention", first_group=group)
            marks += [*drawn, power_law(f"alpha_*^{KINDS[attention]:g}", drawn[0], KINDS[attention], "prediction")]
        return Panel(title="N for success", x="alpha_*", y="N", marks=tuple(marks), x_log=True, y_log=True)

    return Figure(
        panels=drawable(partial(panel, "trained"), partial(panel, "uniform"), needed),
        caption=f"Share of trainings with a hinge loss of at most {SUCCESS:g} on 500 new samples (none of them "
        "wrong), by the share alpha_* of relevant tokens and the size N of the training set, and the N that is needed. "
        "Uniform attention is the paper's convolutional network.",
    )


# A prediction of a tight exponent.
prediction = partial(Prediction, kind="tight", of=SAMPLES)
WORDS = {"trained": ("", "With attention that is trained"), "uniform": ("-uniform", "With uniform attention")}

LOSSES = (("", "", SUCCESS), ("-loose", f", for a loss of {LOOSE}", LOOSE))


def of_kind(attention: str) -> tuple[Prediction, ...]:
    """What is predicted of one kind of attention by itself."""
    (ending, words), power = WORDS[attention], KINDS[attention]
    return of_learned(
        *(
            prediction(
                id=f"exponent{ending}{name}",
                statement=f"{words} the needed N grows as alpha_*^{power:g}{at}.",
                source="Theorem 1, read as an equality" if attention == "trained" else "Proposition 1",
                statistic=f"exponent in alpha_* of the N from which on the loss on new samples is at most {loss:g}",
                predicted=f"{power:g}",
                estimate=partial(exponent, attention=attention, loss=loss),
                rule=within(power, 0.15),
            )
            for name, at, loss in LOSSES
        ),
        prediction(
            id=f"enough{ending}",
            statement=f"{words} C alpha_*^{power:g} samples are enough at every alpha_*, with C from the largest.",
            kind="holds",
            source="Theorem 1" if attention == "trained" else "Proposition 1, read as what is enough",
            statistic=f"needed N over C alpha_*^{power:g}, at the alpha_* below the largest where it is largest",
            predicted="at most 1",
            estimate=partial(beyond, attention=attention, loss=SUCCESS),
            rule=at_most(1.0),
        ),
        where={"attention": attention},
    )


CLAIM = Claim(
    id="vision.samples",
    title="Training samples that generalisation takes",
    statement="A vision transformer generalises from N of order alpha_*^-2 training samples, the same network with "
    "uniform attention needs alpha_*^-4. Asked with 20 patterns, 4 irrelevant ones in a sample, alpha_# = 0.1 alpha_* "
    "to whole tokens of 200, W_Q and W_K learning 15 times as fast as the rest, 400 steps at eta = 0.2 from "
    "W_Q = W_K = I with errors of 0.1, and no token noise.",
    source="Theorem 1 and Proposition 1",
    cites=("li2023vision",),
    predictions=(
        *(p for attention in KINDS for p in of_kind(attention)),
        *of_learned(
            *(
                prediction(
                    id=f"steeper{name}",
                    statement=f"Uniform attention's need grows faster as alpha_* falls{words}.",
                    kind="comparison",
                    source="Proposition 1",
                    statistic="exponent in alpha_* of the N for uniform attention over that for trained attention",
                    predicted="below 0",
                    estimate=partial(ratio_exponent, loss=loss),
                    rule=below(0.0),
                )
                for name, words, loss in LOSSES
            ),
            prediction(
                id="factor",
                statement=f"Uniform attention needs alpha_*^-2 times as many samples, for a loss of {LOOSE}.",
                source="Proposition 1",
                statistic=f"exponent in alpha_* of the N for uniform attention over that for trained, loss {LOOSE}",
                predicted="-2",
                estimate=partial(ratio_exponent, loss=LOOSE),
                rule=within(UNIFORM - TRAINED, 0.15),
            ),
        ),
    ),
    figure=figure,
)
