"""Sizes that are needed: from curves that fall with a size to the size at which they arrive at a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lemmata.lab.errors import DataError
from lemmata.lab.frames import grid_by_seed
from lemmata.lab.stats import crossing

__all__ = ["needed", "needed_between", "passed_between"]


def needed_between(
    rows: pd.DataFrame, size: str, by: str, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of `by` (P,), and the ends of the interval in which each seed's needed size lies, (S, P) each.

    `size` is the column of the sizes; a curve arrives where it stays at or below the threshold (`stats.crossing`).

    Raises:
        DataError: fewer than two sizes.

    >>> rows = pd.DataFrame({"seed": [0] * 3, "alpha": [0.4] * 3, "l_tr": [2, 4, 8], "value": [0.3, 0.1, 0.0]})
    >>> needed_between(rows, "l_tr", "alpha", 0.05)
    (array([0.4]), array([[4.]]), array([[8.]]))
    """
    table = _curves(rows, [by], size)
    if len(table.columns) < 2:
        raise DataError(f"sizes {size} to compare", "one", f"leave {size} to the claim's own sweep")
    ends = {
        key: crossing(table.columns.to_numpy(float), row.to_numpy(float), threshold) for key, row in table.iterrows()
    }
    by_value = pd.Series(ends).unstack()
    lo_SP, hi_SP = (by_value.map(lambda pair, end=end: pair[end]).to_numpy(float) for end in (0, 1))
    return by_value.columns.to_numpy(float), lo_SP, hi_SP


def passed_between(
    frame: pd.DataFrame, by: str, where: Mapping[str, object] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of `by` (P,), and the ends of the interval in which each seed's first passage lies, (S, P) each.

    Rows are those of `lemmata.lab.measures.FirstPassage`. What had passed at the start took no more than a step.

    >>> at = {"seed": [0, 0], "alpha": [0.4, 0.4], "metric": ["steps_lo", "steps_hi"]}
    >>> passed_between(pd.DataFrame({**at, "value": [20.0, 24.0]}), "alpha")
    (array([0.4]), array([[20.]]), array([[24.]]))
    """
    x_P, lo_SP = grid_by_seed(frame, "steps_lo", by, where)
    return x_P, lo_SP, np.maximum(grid_by_seed(frame, "steps_hi", by, where)[1], 1)


def needed(rows: pd.DataFrame, by: str | Sequence[str], threshold: float, *, least: float) -> pd.DataFrame:
    """The first size x at which each seed's curve is at the threshold: a row a seed, a column a value of `by`.

    Interpolated in log y between two sizes (with logarithms for x, where sizes grow by factors); y below `least`, such
    as half an error in all prompts, counts as `least`, so that the logarithm exists. Infinite where the curve never
    arrives, is there from its first size on, or has a point that is not a number: a diverged member has not arrived.

    >>> rows = pd.DataFrame({"seed": [0] * 3, "alpha": [0.4] * 3, "x": [2, 4, 8], "value": [0.3, 0.1, 0.001]})
    >>> needed(rows, "alpha", 0.01, least=1e-4)
    alpha  0.4
    seed
    0      6.0
    """
    by = [by] if isinstance(by, str) else list(by)
    table = _curves(rows, by, "x")
    sizes = table.columns.to_numpy(float)

    def first(y: np.ndarray) -> float:
        if np.isnan(y).any():
            return np.inf
        log_y = np.log(np.maximum(y, least))
        below = np.flatnonzero(log_y <= np.log(threshold))
        if len(below) == 0 or below[0] == 0:
            return np.inf
        i = below[0]
        return float(np.interp(-np.log(threshold), -log_y[[i - 1, i]], sizes[[i - 1, i]]))

    return table.apply(lambda row: first(row.to_numpy(float)), axis=1).unstack(by)


def _curves(rows: pd.DataFrame, by: Sequence[str], size: str) -> pd.DataFrame:
    """A row a seed and value of `by`, a column a size; a pivot table would leave out what diverged."""
    return rows.groupby(["seed", *by, size])["value"].mean().unstack(size)
