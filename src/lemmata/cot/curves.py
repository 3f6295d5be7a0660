"""Statistics of error curves that several claims read: whether a sweep's curves are in order, and their level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lemmata.cot.published import TENS
from lemmata.cot.theory import cot_oracle, icl_oracle
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Reference
from lemmata.lab.stats import Estimate, geometric_t, mean_t

__all__ = ["least_difference", "level", "oracle_curves"]

# Lengths of the published curves, and those at which a network of 1024 prompts still errs a few times.
LENGTHS = TENS
SEEN = tuple(x for x in TENS if x <= 60)


def least_difference(rows: pd.DataFrame, axis: str, centre: Mapping[str, float]) -> Estimate:
    """The least difference between neighbouring curves of a sweep, each the mean over l = 10 .. 100.

    The error is expected to fall as the swept constant rises, so the curve of the lower value comes first. `centre`
    are the values of the other constants.

    Raises:
        DataError: fewer than two curves.
    """
    for other, value in centre.items():
        if other != axis:
            rows = rows[np.isclose(rows[other], value)]
    table = rows[rows["x"].isin(LENGTHS)].groupby(["seed", axis])["value"].mean().unstack(axis)
    if len(table.columns) < 2:
        raise DataError(f"curves at several {axis}", f"{len(table.columns)}", f"leave {axis} to the claim's own sweep")
    return mean_t((table.to_numpy()[:, :-1] - table.to_numpy()[:, 1:]).min(1))


def level(rows: pd.DataFrame, published: Mapping[float, tuple[float, ...]], prompts: int) -> Estimate:
    """The error over the published one: geometric mean over the published alpha' and l = 10 .. 60.

    No error in all prompts counts as half of one.

    Raises:
        DataError: no curve at a published alpha'.
    """
    axes = ["alpha_test", "x"]
    table = rows[rows["x"].isin(SEEN)].groupby(["seed", *axes])["value"].mean().unstack(axes)
    known = [(alpha, x) for alpha, x in table.columns if alpha in published]
    if not known:
        raise DataError("a curve at a published alpha'", "none", "leave alpha_test to the claim's own sweep")
    theirs_P = np.array([published[float(alpha)][TENS.index(float(x))] for alpha, x in known])
    ours_SP = np.maximum(table[known].to_numpy(), 0.5 / prompts)
    return geometric_t(np.exp(np.log(ours_SP / theirs_P).mean(1)))


def oracle_curves(steps: bool, axis: str, values: Sequence[float], centre: Mapping[str, float]) -> list[Reference]:
    """The oracle's error against the number of examples for each value of a sweep, wrong steps in one of three."""
    references = []
    for group, value in enumerate(values):
        at = {**centre, axis: float(value)}
        alpha, tau, rho = at["alpha_test"], at["tau"], at["rho"]
        y = tuple(
            cot_oracle(int(l), alpha, tau, rho).value if steps else icl_oracle(int(l), alpha, tau, rho) for l in LENGTHS
        )
        references.append(Reference("oracle", LENGTHS, y, "oracle", group))
    return references
