"""icl.out-of-domain: which coefficient sum S_1 an unseen pattern may have (Theorem 2, two versions)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.icl.experiments import EPS, GPT, GPT_PROMPTS, ONE_LAYER, ONE_LAYER_PROMPTS, SUMS
from lemmata.icl.published import SUMS as PUBLISHED
from lemmata.icl.published import line
from lemmata.icl.theory import oracle_curve
from lemmata.lab.claim import Claim, Frames, Kind, Prediction
from lemmata.lab.figure import Figure, Panel, curves, threshold
from lemmata.lab.frames import by_seed, grid_by_seed, pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import Rule, above, at_least, at_most, below
from lemmata.lab.stats import Estimate, error_rate_t, mean_t, paired_t

NAMES = {"one-layer": "One layer", "gpt": "Three layers"}
NETWORKS = {"one-layer": (ONE_LAYER, ONE_LAYER_PROMPTS), "gpt": (GPT, GPT_PROMPTS)}
ABOVE = tuple(s for s in SUMS if s >= 1)
UP_TO_ONE = tuple(s for s in SUMS if 0 < s <= 1)
BELOW = tuple(s for s in SUMS if 0 < s < 1)
PLATEAU = (12, 14, 16, 18, 20)


def longest(frame: pd.DataFrame, *, sums: tuple[float, ...], prompts: int) -> Estimate:
    """0-1 error at l = 20, over the given S_1, which share their prompts: the count of prompts is that of one."""
    return error_rate_t(by_seed(frame, "error", {"S_1": sums, "alpha_test": 0.8, "x": 20}), prompts)


def split(frame: pd.DataFrame) -> Estimate:
    """Error at S_1 < 1 less that at S_1 > 1, averaged over l = 12 .. 20, where the published curves have parted."""
    low, high = (
        by_seed(frame, "error", {"S_1": sums, "alpha_test": 0.8, "x": PLATEAU})
        for sums in ((0.5, 0.7, 0.9), (1.1, 1.3))
    )
    return paired_t(low, high)


def slope(frame: pd.DataFrame, *, metric: str) -> Estimate:
    """Change per unit of S_1 at l = 20, one least-squares slope a seed, over S_1 > 0."""
    sums, value_SP = grid_by_seed(frame, metric, "S_1", {"S_1": (*BELOW, *ABOVE), "alpha_test": 0.8, "x": 20})
    return mean_t([np.polyfit(sums, value_P, 1)[0] for value_P in value_SP])


def predictions(network: str, experiment: Experiment, prompts: int) -> tuple[Prediction, ...]:
    """What Theorem 2 and its figure say, asked of one network."""

    def prediction(
        id: str,
        statement: str,
        kind: Kind,
        source: str,
        statistic: str,
        shown: str,
        estimate: partial[Estimate],
        rule: Rule,
    ) -> Prediction:
        return Prediction(
            id=f"{id}-{network}",
            statement=f"{NAMES[network]}: {statement}",
            kind=kind,
            source=source,
            of=experiment,
            statistic=statistic,
            predicted=shown,
            estimate=estimate,
            rule=rule,
        )

    def error_at(id: str, statement: str, kind: Kind, source: str, sums: tuple[float, ...], rule: Rule) -> Prediction:
        shown = f"at most {EPS}" if rule.lo == -np.inf else f"above {EPS}"
        span = f"S_1 from {min(sums)} to {max(sums)}" if len(sums) > 1 else f"S_1 = {min(sums)}"
        statistic = f"0-1 error at l = 20, {span}"
        estimate = partial(longest, sums=sums, prompts=prompts)
        return prediction(id, statement, kind, source, statistic, shown, estimate, rule)

    slides, poster, figure = "Theorem 2, slides (Oct 2024)", "Theorem 2, poster", "published figure on S_1"
    return (
        error_at("slides", "S_1 >= 1 is enough for error 0.01.", "holds", slides, ABOVE, at_most(EPS)),
        error_at(
            "poster", "S_1 <= 1, and above 0, is enough for error 0.01.", "holds", poster, UP_TO_ONE, at_most(EPS)
        ),
        error_at("needed", "S_1 >= 1 is needed: at S_1 = 0.5 it fails.", "tight", "slide 23", (0.5,), at_least(EPS)),
        prediction(
            "split",
            "The 0-1 error splits at S_1 = 1: below, it is higher by 0.01 or more from l = 12 on.",
            "comparison",
            figure,
            "0-1 error at S_1 of 0.5, 0.7, 0.9 less that at 1.1, 1.3, mean over l = 12 .. 20",
            "at least 0.01",
            partial(split),
            at_least(0.01),
        ),
        prediction(
            "margin",
            "The margin grows with S_1.",
            "mechanism",
            "large-margin explanation of the slides",
            "slope in S_1 of the 5 % quantile of z F at l = 20",
            "above 0",
            partial(slope, metric="margin"),
            above(0.0),
        ),
        prediction(
            "hinge",
            "The hinge loss falls with S_1.",
            "mechanism",
            "large-margin explanation of the slides",
            "slope in S_1 of the hinge loss at l = 20",
            "below 0",
            partial(slope, metric="hinge"),
            below(0.0),
        ),
    )


def figure(frames: Frames) -> Figure:
    """Error against length by S_1 for both networks, and the margin's low quantile against S_1."""
    shown = (0.5, 0.9, 1.3)

    def errors(network: str) -> Panel:
        rows = pick(frames[NETWORKS[network][0].name], "error", {"S_1": shown, "alpha_test": 0.8})
        marks = curves(rows, "error", by="S_1", label="S_1 = {}")
        read_off = (
            [line(f"published, S_1 = {s}", PUBLISHED[s], i) for i, s in enumerate(shown)] if network == "gpt" else []
        )
        extra = (oracle_curve(0.8, 20), threshold("eps = 0.01", y=EPS))
        return Panel(
            title=network, x="examples l", y="error", marks=(*marks, *read_off, *extra), y_log=True, y_range=(3e-4, 0.7)
        )

    margins = [
        curve
        for group, (network, (experiment, _)) in enumerate(NETWORKS.items())
        for curve in curves(
            frames[experiment.name],
            "margin",
            x="S_1",
            where={"alpha_test": 0.8, "x": 20},
            label=network,
            first_group=group,
        )
    ]
    margin = Panel(
        title="margin at l = 20",
        x="S_1",
        y="5 % quantile of z F",
        marks=(*margins, threshold("S_1 = 1", x=1.0)),
    )
    return Figure(
        panels=(errors("one-layer"), errors("gpt"), margin),
        caption="0-1 error out of domain against the number of examples, by coefficient sum S_1 (M1' = 3 "
        "patterns drawn anew for each seed, alpha' = 0.8), for the one-layer and the three-layer network; right: "
        "the margin's low quantile.",
    )


CLAIM = Claim(
    id="icl.out-of-domain",
    title="Unseen patterns and their coefficient sum",
    statement="Patterns never seen are handled if they are mixtures of the seen ones with coefficient sum S_1 >= "
    "1 (slides); the poster says S_1 of at most 1, a later slide that S_1 >= 1 is needed.",
    source="Theorem 2: slides (Oct 2024), poster and slide 23 disagree",
    cites=("li2024icl", "garg2022"),
    predictions=tuple(
        prediction
        for network, (experiment, prompts) in NETWORKS.items()
        for prediction in predictions(network, experiment, prompts)
    ),
    figure=figure,
)
