"""editing.correlation: alpha from what two fine-tuned models answer, without knowing the patterns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.experiments import NOISE, PAIRS, of_trained
from lemmata.editing.theory import expected_correlation
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, Reference, curves, drawable
from lemmata.lab.frames import extreme_by_seed, pick
from lemmata.lab.rule import above, at_most
from lemmata.lab.stats import Estimate, mean_t, paired_t

# As far off as an estimate may be, chosen here.
CLOSE = 0.1


def estimates(frame: pd.DataFrame, metric: str, *, w0: float, tau: float, share: float) -> pd.DataFrame:
    """The estimates of one kind, with alpha as x."""
    return pick(frame, metric, {"tasks": 2, "w0": w0, "tau": tau, "share": share})


def largest_error(
    frame: pd.DataFrame,
    metric: str,
    *,
    w0: float = 0.0,
    tau: float = 0.0,
    share: float = 0.5,
    truth: Callable[[float], float] = float,
) -> Estimate:
    """How far an estimate is from alpha, or a function of it, at the alpha where it is farthest."""
    return mean_t(_largest(frame, metric, w0=w0, tau=tau, share=share, truth=truth))


def _largest(
    frame: pd.DataFrame, metric: str, *, w0: float, tau: float, share: float, truth: Callable[[float], float] = float
) -> np.ndarray:
    rows = estimates(frame, metric, w0=w0, tau=tau, share=share)
    return extreme_by_seed(rows.assign(value=(rows["value"] - rows["x"].map(truth)).abs()), "max")


def gain(frame: pd.DataFrame) -> Estimate:
    """The largest error of the plain correlation minus that of the similarity, with noise."""
    plain, better = (_largest(frame, metric, w0=0.0, tau=NOISE, share=0.5) for metric in ("correlation", "similarity"))
    if len(plain) != len(better):
        raise DataError("both estimates of every seed", "some missing", "run the claim again")
    return paired_t(plain, better)


def figure(frames: Frames) -> Figure:
    """The estimates against alpha: without noise, with noise, and on a sample of mostly one task."""
    frame = frames[PAIRS.name]
    kinds = {
        "similarity": "similarity",
        "correlation": "correlation",
        "agreement": "agreement",
        "cosine_V": "cosine of Delta V",
        "cosine_W": "cosine of Delta W",
    }

    def panel(title: str, tau: float, share: float) -> Panel:
        marks = [
            curve
            for group, (metric, label) in enumerate(kinds.items())
            for curve in curves(
                estimates(frame, metric, w0=0.0, tau=tau, share=share), metric, label=label, first_group=group
            )
        ]
        fine = tuple(np.linspace(-1, 1, 41).tolist())
        marks_and_lines = (
            *marks,
            Reference("alpha", fine, fine, "prediction"),
            Reference("2 alpha / (1 + alpha^2)", fine, tuple(map(expected_correlation, fine)), "oracle"),
        )
        return Panel(title=title, x="alpha", y="estimate", marks=marks_and_lines)

    return Figure(
        panels=drawable(
            partial(panel, "half of each task", 0.0, 0.5),
            partial(panel, f"token noise {NOISE}", NOISE, 0.5),
            partial(panel, "four fifths of task 1", 0.0, 0.8),
        ),
        caption="Estimates of the correlation alpha of two tasks from the changes that their fine-tunings make to the "
        "outputs on a pooled, unlabelled sample, from the signs of both models' outputs, and from the task vectors "
        "themselves.",
    )


# A prediction about estimates on as much of each task.
prediction = partial(Prediction, kind="holds", source="made here, from Theorem 1's model", of=PAIRS)
farthest = "distance of the estimate from alpha, at the alpha in [-1, 0.9] where it is largest"


def similarity(name: str, words: str, *, w0: float = 0.0, tau: float = 0.0, share: float = 0.5) -> Prediction:
    """The estimate made here, under one condition."""
    return prediction(
        id=f"similarity{name}",
        statement=f"The similarity of the two changes is alpha{words}.",
        statistic=farthest,
        predicted=f"at most {CLOSE}",
        estimate=partial(largest_error, metric="similarity", w0=w0, tau=tau, share=share),
        rule=at_most(CLOSE),
    )


CLAIM = Claim(
    id="editing.correlation",
    title="Estimating the correlation of two tasks",
    statement="The correlation alpha of two tasks can be read from how alike two fine-tuned models answer, "
    "E_X Sim(f(X; Psi_1), f(X; Psi_2)), without labels and without knowing the patterns. The paper leaves Sim open: "
    "readings of it are asked here, from W^(0) = 0 without token noise, where nothing else is said.",
    source="the paper's estimate of the task correlation",
    cites=("li2025editing",),
    predictions=(
        *of_trained(
            prediction(
                id="correlation",
                statement="The correlation of the two changes of the outputs is alpha.",
                kind="tight",
                source="one reading of the paper's estimate of the task correlation",
                statistic=farthest,
                predicted=f"at most {CLOSE}",
                estimate=partial(largest_error, metric="correlation"),
                rule=at_most(CLOSE),
            ),
            prediction(
                id="agreement",
                statement="The agreement of the two models' answers, 1 where all are the same and -1 where none is, is "
                "alpha.",
                kind="tight",
                source="another reading of the paper's estimate of the task correlation",
                statistic=farthest,
                predicted=f"at most {CLOSE}",
                estimate=partial(largest_error, metric="agreement"),
                rule=at_most(CLOSE),
            ),
            prediction(
                id="correlation-bends",
                statement="The correlation of the two changes is 2 alpha / (1 + alpha^2).",
                kind="mechanism",
                statistic="distance of the correlation from 2 alpha / (1 + alpha^2), at the alpha where it is largest",
                predicted=f"at most {CLOSE}",
                estimate=partial(largest_error, metric="correlation", truth=expected_correlation),
                rule=at_most(CLOSE),
            ),
            *(
                similarity(name, words, w0=w0, share=share)
                for name, words, w0, share in (
                    ("", ", from W^(0) = 0", 0.0, 0.5),
                    ("-own-kind", ", from W^(0) = 4 I", 4.0, 0.5),
                    ("-unbalanced", " on a sample with four fifths of task 1", 0.0, 0.8),
                )
            ),
            prediction(
                id="cosine-values",
                statement="The cosine of Delta V_1 and Delta V_2, which needs no inputs, is alpha.",
                kind="mechanism",
                statistic=farthest,
                predicted=f"at most {CLOSE}",
                estimate=partial(largest_error, metric="cosine_V"),
                rule=at_most(CLOSE),
            ),
            prediction(
                id="cosine-attention",
                statement="That of Delta W_1 and Delta W_2, each mu mu^T up to a factor, is alpha^2, and does not know "
                "the sign.",
                kind="mechanism",
                statistic="distance of the cosine from alpha^2, at the alpha in [-1, 0.9] where it is largest",
                predicted=f"at most {CLOSE}",
                estimate=partial(largest_error, metric="cosine_W", truth=np.square),
                rule=at_most(CLOSE),
            ),
        ),
        *of_trained(
            similarity("-with-noise", f" with token noise {NOISE}", tau=NOISE),
            prediction(
                id="gain",
                statement=f"With token noise {NOISE} the similarity is closer to alpha than the correlation.",
                kind="comparison",
                statistic="largest distance of the correlation from alpha minus that of the similarity",
                predicted="above 0",
                estimate=gain,
                rule=above(0.0),
            ),
            tau=NOISE,
        ),
    ),
    figure=figure,
)
