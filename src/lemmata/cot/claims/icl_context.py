"""cot.icl-context: ICL error against the number of examples, by alpha', tau_o and rho_o (published figures)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.cot.answers import ErrorCurve
from lemmata.cot.curves import least_difference, level, oracle_curves
from lemmata.cot.experiments import BASE, SEEDS, SETTING_SEEDS, SETTINGS
from lemmata.cot.published import ICL, TENS, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Mark, Panel, curves, drawable
from lemmata.lab.frames import pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import above, between
from lemmata.lab.stats import Estimate

PROMPTS = 1024
CENTRE = {"alpha_test": 0.8, "tau": 0.5, "rho": 0.6}
ALPHAS, TAUS, RHOS = (0.4, 0.6, 0.8, 1.0), (0.3, 0.4, 0.5, 0.6), (0.3, 0.4, 0.5, 0.6)
NOISES = {"coordinate": "noise of 0.2 in every coordinate", "norm": "noise of norm 0.2"}

# Only the outcome of an example is seen, so all that is wrong is put into its last step: tau and rho are then those of
# the outcome.
CURVES = Experiment(
    name="icl-context",
    base=BASE,
    measures=tuple(
        ErrorCurve(
            steps_shown=False,
            split=("last",),
            noise_law=(law,),
            prompts=PROMPTS,
            **{name: (value,) for name, value in CENTRE.items()} | {axis: values},  # pyright: ignore[reportArgumentType]
        )
        for law in NOISES
        for axis, values in (("alpha_test", ALPHAS), ("tau", TAUS), ("rho", RHOS))
    ),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)


def ordering(frame: pd.DataFrame, *, axis: str, law: str) -> Estimate:
    """The least difference between neighbouring curves of a sweep."""
    return least_difference(pick(frame, "icl_error", {"noise_law": law}), axis, CENTRE)


def published_level(frame: pd.DataFrame, *, law: str) -> Estimate:
    """The error over the published one, geometric mean over alpha' and l = 10 .. 60."""
    at = {"noise_law": law, "tau": CENTRE["tau"], "rho": CENTRE["rho"]}
    return level(pick(frame, "icl_error", at), ICL, PROMPTS)


def figure(frames: Frames) -> Figure:
    """The three sweeps as published."""
    frame = frames[CURVES.name]

    def panel(axis: str, name: str) -> Panel:
        where = {"noise_law": "coordinate", **{a: v for a, v in CENTRE.items() if a != axis}}
        marks: list[Mark] = [*curves(frame, "icl_error", by=axis, label=name + " = {}", where=where)]
        values = sorted(pick(frame, "icl_error", where)[axis].unique())
        marks += oracle_curves(False, axis, values, CENTRE)
        if axis == "alpha_test":
            marks += [line(f"published, {alpha}", TENS, y, group) for group, (alpha, y) in enumerate(ICL.items())]
        title = f"by {name}"
        return Panel(title=title, x="examples l", y="ICL error", marks=tuple(marks), y_log=True, y_range=(5e-4, 1.0))

    return Figure(
        panels=drawable(
            lambda: panel("alpha_test", "alpha'"), lambda: panel("tau", "tau_o"), lambda: panel("rho", "rho_o")
        ),
        caption="Error of plain input-output examples against their number, around alpha' = 0.8, tau_o = 0.5, rho_o = "
        "0.6, with noise of 0.2 in every coordinate. The oracle knows no noise.",
    )


CLAIM = Claim(
    id="cot.icl-context",
    title="ICL error against the number of examples",
    statement="Where Condition 1 holds the ICL error falls with the number of examples, and is lower at higher alpha', "
    "tau_o and rho_o.",
    source="Theorem 3 and published figures on alpha', tau_o and rho_o",
    cites=("li2025cot",),
    predictions=(
        *(
            Prediction(
                id=id if law == "coordinate" else f"{id}-norm",
                statement=f"A higher {name} has a lower error; {words}.",
                kind="comparison",
                source=f"published figure on {name}" + ("" if law == "coordinate" else ", under another condition"),
                of=CURVES,
                statistic=f"least difference between the curves of neighbouring {name}, mean over l = 10 .. 100",
                predicted="above 0",
                estimate=partial(ordering, axis=axis, law=law),
                rule=above(0.0),
            )
            for law, words in NOISES.items()
            for id, axis, name in (("alpha", "alpha_test", "alpha'"), ("tau", "tau", "tau_o"), ("rho", "rho", "rho_o"))
        ),
        *(
            Prediction(
                id=f"level-{law}",
                statement=f"The error is within a factor of 2 of the published one, with {words}.",
                kind="comparison",
                source="published figure on alpha'; its noise and its step matrices are not given",
                of=CURVES,
                statistic="error over the published one, geometric mean over four alpha' and l = 10 .. 60",
                predicted="1, from 0.5 to 2",
                estimate=partial(published_level, law=law),
                rule=between(0.5, 2.0),
            )
            for law, words in NOISES.items()
        ),
    ),
    figure=figure,
)
