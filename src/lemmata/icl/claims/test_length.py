"""icl.test-length: the error against the number of examples, beside an oracle without fitted parameters (Theorem 1)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lemmata.icl.experiments import ALPHAS, EPS, LENGTHS, ONE_LAYER
from lemmata.icl.theory import length_needed, oracle, oracle_curve
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, Reference, curves, threshold
from lemmata.lab.frames import pick
from lemmata.lab.needed import needed
from lemmata.lab.rule import at_most, between, within
from lemmata.lab.stats import Estimate, error_rate_t, exponent, geometric_t, mean_t

CURVE_ALPHAS = (0.6, 0.8, 1.0)
CURVE_LENGTHS = tuple(l for l in LENGTHS if 8 <= l <= 20)
PROMPTS = 4096


def in_domain(frame: pd.DataFrame) -> pd.DataFrame:
    """Errors on in-domain prompts: the rows without an S_1."""
    rows = pick(frame, "error")
    return rows[rows["S_1"].isna()]


def against_oracle(frame: pd.DataFrame) -> Estimate:
    """Errors summed over three alpha' and l = 8 .. 20, over the oracle's sum."""
    rows = pick(in_domain(frame), "error", {"alpha_test": CURVE_ALPHAS, "x": CURVE_LENGTHS})
    total = sum(oracle(l, alpha) for alpha in CURVE_ALPHAS for l in CURVE_LENGTHS)
    return mean_t(rows.groupby("seed")["value"].sum().to_numpy() / total)


def needed_lengths(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The alpha' (P,), and each seed's length needed for error eps, (S, P), interpolated as the oracle's is."""
    table = needed(in_domain(frame), "alpha_test", EPS, least=0.5 / PROMPTS)
    return table.columns.to_numpy(float), table.to_numpy(float)


def length_against_oracle(frame: pd.DataFrame) -> Estimate:
    """The needed length over the oracle's, averaged over alpha' in the logarithm."""
    alphas, needed_SP = needed_lengths(frame)
    ratio_SP = needed_SP / np.array([length_needed(EPS, alpha) for alpha in alphas])
    return geometric_t(np.exp(np.log(ratio_SP).mean(1)))


def length_exponent(frame: pd.DataFrame) -> Estimate:
    """The exponent of the needed length in alpha'."""
    return exponent(*needed_lengths(frame))


def error_when_enough(frame: pd.DataFrame) -> Estimate:
    """The largest error over alpha' at the first measured length of at least 2 ln(1/eps) / alpha'."""
    rows = in_domain(frame)
    worst = []
    for alpha in ALPHAS:
        enough = [l for l in LENGTHS if l >= 2 * math.log(1 / EPS) / alpha]
        worst.append(pick(rows, "error", {"alpha_test": alpha, "x": enough[0]}).set_index("seed")["value"])
    return error_rate_t(pd.concat(worst, axis=1).max(axis=1).to_numpy(), PROMPTS)


def figure(frames: Frames) -> Figure:
    """The error curves with the oracle, and the needed length against alpha'."""
    frame = in_domain(frames[ONE_LAYER.name])
    shown = pick(frame, "error", {"alpha_test": (0.3, 0.6, 1.0)})
    marks = curves(shown, "error", by="alpha_test", label="alpha' = {}")
    oracles = [oracle_curve(alpha, 40, group=group) for group, alpha in enumerate(sorted(shown["alpha_test"].unique()))]
    alphas, needed_SP = needed_lengths(frame)
    long = pd.DataFrame(needed_SP, columns=alphas).melt(ignore_index=False, var_name="x").assign(metric="needed")
    grid = np.linspace(0.3, 1.0, 29).tolist()
    exact = Reference("oracle", tuple(grid), tuple(length_needed(EPS, a) for a in grid), "oracle")
    stated = Reference("1/alpha'", tuple(grid), tuple(length_needed(EPS, 1.0) / a for a in grid), "prediction")
    measured = curves(long.assign(seed=long.index), "needed", label="measured")
    return Figure(
        panels=(
            Panel(
                title="error",
                x="examples l",
                y="error",
                marks=(*marks, *oracles, threshold("eps = 0.01", y=EPS)),
                y_log=True,
                y_range=(1e-4, 0.7),
            ),
            Panel(
                title="length needed for error 0.01",
                x="alpha'",
                y="examples l",
                marks=(*measured, exact, stated),
                x_log=True,
                y_log=True,
            ),
        ),
        caption="Left: 0-1 error against the number of examples, with the oracle, which has no fitted parameter. "
        "Right: examples needed for error 0.01, with the oracle's and with 1/alpha' drawn through the oracle's "
        "at alpha' = 1.",
    )


CLAIM = Claim(
    id="icl.test-length",
    title="The error curve and the number of examples needed",
    statement="Test prompts of l_ts >= 1/alpha' examples are enough; the error is that of attending to the "
    "query's pattern.",
    source="Theorem 1 (ii) and Proposition 1",
    cites=("li2024icl",),
    predictions=(
        Prediction(
            id="curve",
            statement="From l = 8 on the error is the oracle's, at alpha' of 0.6, 0.8 and 1.",
            kind="mechanism",
            source="Proposition 1; the oracle is derived from it",
            of=ONE_LAYER,
            statistic="error over l = 8 .. 20 and three alpha', divided by the oracle's",
            predicted="1",
            estimate=against_oracle,
            rule=within(1.0, 0.1),
        ),
        Prediction(
            id="length",
            statement="The length needed for error 0.01 is the oracle's, at alpha' from 0.3 to 1.",
            kind="mechanism",
            source="Proposition 1; the exact curve replaces 1/alpha', which it only approaches as alpha' falls",
            of=ONE_LAYER,
            statistic="needed length divided by the oracle's, geometric mean over alpha'",
            predicted="1",
            estimate=length_against_oracle,
            rule=between(0.9, 1.1),
        ),
        Prediction(
            id="exponent",
            statement="The length needed for error 0.01 grows as 1/alpha'.",
            kind="tight",
            source="Theorem 1 (ii), read as an equality",
            of=ONE_LAYER,
            statistic="exponent of the needed length in alpha'",
            predicted="-1",
            estimate=length_exponent,
            rule=within(-1.0, 0.15),
        ),
        Prediction(
            id="enough",
            statement="With 2 ln(1/eps) / alpha' examples the error is at most eps = 0.01 at every alpha'.",
            kind="holds",
            source="Theorem 1 (ii), with the constant of the oracle's bound exp(-alpha' l / 2)",
            of=ONE_LAYER,
            statistic="largest 0-1 error over alpha' at that length",
            predicted="at most 0.01",
            estimate=error_when_enough,
            rule=at_most(EPS),
        ),
    ),
    figure=figure,
)
