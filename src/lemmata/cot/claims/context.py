"""cot.context: CoT error against the number of examples, by alpha', tau and rho (published figures)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.cot.answers import ErrorCurve
from lemmata.cot.curves import least_difference, level, oracle_curves
from lemmata.cot.experiments import BASE, SEEDS, SETTING_SEEDS, SETTINGS
from lemmata.cot.published import COT, TENS, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Mark, Panel, curves, drawable
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.rule import above, at_most, between
from lemmata.lab.stats import Estimate, error_rate_t, paired_t

PROMPTS = 1024
CENTRE = {"alpha_test": 0.8, "tau": 0.5, "rho": 0.8}
ALPHAS, TAUS, RHOS = (0.4, 0.6, 0.8, 1.0), (0.4, 0.5, 0.6, 0.7), (0.5, 0.6, 0.7, 0.8)
# What the sweeps have besides: as nearest to the published figures, and what else moves the curves.
AS_PUBLISHED = {"split": "one", "noise_law": "coordinate"}
CONDITIONS = {
    "one": (AS_PUBLISHED, "wrong steps in one of three, noise of 0.2 in every coordinate"),
    "even": ({"split": "even", "noise_law": "coordinate"}, "wrong steps evenly in all three"),
    "norm": ({"split": "one", "noise_law": "norm"}, "noise of norm 0.2"),
}

CURVES = Experiment(
    name="context",
    base=BASE,
    measures=(
        ErrorCurve(alpha_test=ALPHAS, prompts=PROMPTS),
        ErrorCurve(tau=TAUS, prompts=PROMPTS),
        ErrorCurve(rho=RHOS, prompts=PROMPTS),
        ErrorCurve(alpha_test=ALPHAS, split=("even",), prompts=PROMPTS),
        ErrorCurve(alpha_test=ALPHAS, noise_law=("norm",), prompts=PROMPTS),
    ),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)
# Whether sharper attention is worse under noise is asked where examples are few.
TRAINED = tuple({"steps": steps} for steps in (300, 1000, 4000))
TRAINING = Experiment(
    name="context-training",
    base=BASE,
    measures=(
        ErrorCurve(alpha_test=(0.4,), noise=(0.0, 0.1, 0.2), lengths=(20, 60, 100), prompts=PROMPTS),
        ErrorCurve(alpha_test=(0.4,), noise_law=("norm",), lengths=(20, 60, 100), prompts=PROMPTS),
    ),
    points=ByProfile(TRAINED, TRAINED, TRAINED),
    seeds=SEEDS,
)


def ordering(frame: pd.DataFrame, *, axis: str, condition: str) -> Estimate:
    """The least difference between neighbouring curves of a sweep, the one that ought to be higher first."""
    rows = pick(frame, "cot_error", CONDITIONS[condition][0])
    return least_difference(rows, axis, CENTRE)


def published_level(frame: pd.DataFrame, *, condition: str) -> Estimate:
    """The error over the published one, geometric mean over alpha' and l = 10 .. 60."""
    return level(pick(frame, "cot_error", {**CONDITIONS[condition][0], "tau": 0.5, "rho": 0.8}), COT, PROMPTS)


def low_at_high_tau(frame: pd.DataFrame) -> Estimate:
    """The error at tau = 0.7, l = 70."""
    at = {**AS_PUBLISHED, "alpha_test": 0.8, "tau": 0.7, "rho": 0.8, "x": 70}
    return error_rate_t(by_seed(frame, "cot_error", at), PROMPTS)


def longer_is_worse(frame: pd.DataFrame, *, noise: float) -> Estimate:
    """Error after 4000 steps less that after 1000, at alpha' = 0.4 and l = 100."""
    at = {"noise_law": "coordinate", "noise": noise, "x": 100}
    long, short = (by_seed(frame, "cot_error", {**at, "steps": steps}) for steps in (4000, 1000))
    return paired_t(long, short)


def figure(frames: Frames) -> Figure:
    """The three sweeps as published, and what moves them."""
    frame, trained = frames[CURVES.name], frames[TRAINING.name]

    def sweep(axis: str, label: str) -> list[Mark]:
        where = {**AS_PUBLISHED, **{a: v for a, v in CENTRE.items() if a != axis}}
        marks: list[Mark] = [*curves(frame, "cot_error", by=axis, label=label + " = {}", where=where)]
        values = sorted(pick(frame, "cot_error", where)[axis].unique())
        return marks + oracle_curves(True, axis, values, CENTRE)

    def panel(title: str, marks: list[Mark]) -> Panel:
        return Panel(title=title, x="examples l", y="CoT error", marks=tuple(marks), y_log=True, y_range=(5e-4, 1.0))

    def by_alpha() -> Panel:
        read_off = [line(f"published, {alpha}", TENS, y, group) for group, (alpha, y) in enumerate(COT.items())]
        return panel("by alpha'", sweep("alpha_test", "alpha'") + read_off)

    def others() -> Panel:
        marks: list[Mark] = []
        for group, (where, words) in enumerate(CONDITIONS.values()):
            at = {**where, "alpha_test": 0.4, "tau": 0.5, "rho": 0.8}
            marks += curves(frame, "cot_error", label=words, where=at, first_group=group)
        for group, steps in enumerate((300, 4000), 3):
            at = {"noise": 0.2, "noise_law": "coordinate", "steps": steps}
            label = f"the first after {steps} training steps"
            marks += curves(trained, "cot_error", label=label, where=at, first_group=group)
        return panel("what else moves it, at alpha' = 0.4", marks)

    return Figure(
        panels=drawable(
            by_alpha,
            lambda: panel("by tau", sweep("tau", "tau")),
            lambda: panel("by rho", sweep("rho", "rho")),
            others,
        ),
        caption="CoT error against the number of examples, around alpha' = 0.8, tau = 0.5, rho = 0.8: all wrong steps "
        "in one of three, noise of 0.2 in every coordinate. The oracle knows no noise. Right: the same at alpha' = 0.4 "
        "with the wrong steps spread, with smaller noise, and after other numbers of training steps.",
    )


def ordered(id: str, axis: str, name: str, condition: str, source: str) -> Prediction:
    """Curves of a sweep in the published order."""
    return Prediction(
        id=id,
        statement=f"A higher {name} has a lower error; {CONDITIONS[condition][1]}.",
        kind="comparison",
        source=source,
        of=CURVES,
        statistic=f"least difference between the curves of neighbouring {name}, mean over l = 10 .. 100",
        predicted="above 0",
        estimate=partial(ordering, axis=axis, condition=condition),
        rule=above(0.0),
    )


CLAIM = Claim(
    id="cot.context",
    title="CoT error against the number of examples",
    statement="The CoT error falls with the number of examples, and is lower at higher alpha', tau and rho.",
    source="published figures on alpha', tau and rho",
    cites=("li2025cot",),
    predictions=(
        ordered("alpha", "alpha_test", "alpha'", "one", "published figure on alpha'"),
        ordered("tau", "tau", "tau", "one", "published figure on tau"),
        ordered("rho", "rho", "rho", "one", "published figure on rho"),
        ordered("alpha-even", "alpha_test", "alpha'", "even", "published figure on alpha', under another condition"),
        ordered("alpha-norm", "alpha_test", "alpha'", "norm", "published figure on alpha', under another condition"),
        *(
            Prediction(
                id="level" if condition == "one" else f"level-{condition}",
                statement=f"The error is within a factor of 2 of the published one; {words}.",
                kind="comparison",
                source="published figure on alpha'; its noise and its step matrices are not given"
                + (", and these were chosen as nearest to it" if condition == "one" else ""),
                of=CURVES,
                statistic="error over the published one, geometric mean over four alpha' and l = 10 .. 60",
                predicted="1, from 0.5 to 2",
                estimate=partial(published_level, condition=condition),
                rule=between(0.5, 2.0),
            )
            for condition, (_, words) in CONDITIONS.items()
        ),
        Prediction(
            id="tau-low",
            statement="At tau = 0.7 the error is below 0.001 at 70 examples.",
            kind="comparison",
            source="published figure on tau",
            of=CURVES,
            statistic="CoT error at tau = 0.7, alpha' = 0.8, rho = 0.8, l = 70",
            predicted="at most 0.001",
            estimate=low_at_high_tau,
            rule=at_most(0.001),
        ),
        *(
            Prediction(
                id=f"longer-training-{word}-noise",
                statement=f"With noise of {noise} in every coordinate longer training, so sharper attention, is worse.",
                kind="comparison",
                source="seen in prototypes: noise makes the weights of sharp attention unequal, and fewer votes count",
                of=TRAINING,
                statistic="CoT error after 4000 steps less that after 1000, at alpha' = 0.4, l = 100",
                predicted="above 0",
                estimate=partial(longer_is_worse, noise=noise),
                rule=above(0.0),
            )
            for word, noise in (("small", 0.1), ("large", 0.2))
        ),
    ),
    figure=figure,
)
