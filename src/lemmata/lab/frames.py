"""Reading the tidy rows of an experiment: the columns of its constants and coordinates, seed, metric, x, value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from lemmata.lab.errors import DataError

__all__ = ["by_seed", "extreme_by_seed", "failing", "grid_by_seed", "pick"]

Where = Mapping[str, object]


def pick(frame: pd.DataFrame, metric: str, where: Where | None = None) -> pd.DataFrame:
    """The rows of a metric whose columns have these values; a list stands for any of its values.

    Raises:
        DataError: there are none, as when a changed constant has emptied a sweep.

    >>> rows = pd.DataFrame({"metric": ["error"] * 3, "x": [4, 8, 8], "seed": [0, 0, 1], "value": [0.3, 0.1, 0.2]})
    >>> len(pick(rows, "error", {"x": 8}))
    2
    """
    keep = frame["metric"] == metric
    for column, value in (where or {}).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        keep &= frame[column].isin(values) if column in frame else False
    if not keep.any():
        conditions = ", ".join(f"{column} = {value}" for column, value in (where or {}).items())
        fix = "judge the registered constants, or change one that no sweep of this claim varies"
        raise DataError(f"measurements of {metric} at {conditions or 'any condition'}", "none", fix)
    return frame[keep]


def by_seed(frame: pd.DataFrame, metric: str, where: Where | None = None) -> np.ndarray:
    """One number a seed, (S,) in the order of the seeds: the mean of what `pick` finds for it.

    >>> rows = pd.DataFrame({"metric": ["error"] * 3, "x": [4, 8, 8], "seed": [0, 0, 1], "value": [0.3, 0.1, 0.2]})
    >>> by_seed(rows, "error", {"x": 8}).tolist()
    [0.1, 0.2]
    """
    return pick(frame, metric, where).groupby("seed", sort=True)["value"].mean().to_numpy()


def extreme_by_seed(rows: pd.DataFrame, which: Literal["max", "min"]) -> np.ndarray:
    """The largest or the least of each seed's values, (S,) in the order of the seeds.

    nan where one of them is: a diverged member is no better than the others.

    >>> rows = pd.DataFrame({"seed": [0, 0, 1, 1], "value": [0.3, 0.1, 0.2, float("nan")]})
    >>> extreme_by_seed(rows, "max").tolist()
    [0.3, nan]
    """
    return rows.groupby("seed", sort=True)["value"].agg(lambda v: getattr(v, which)(skipna=False)).to_numpy()


def failing(rows: pd.DataFrame, words: str, *, at_least: float = -np.inf, at_most: float = np.inf) -> tuple[str, ...]:
    """How many of the rows have a value out of bounds, or none, in words; nothing where all are well.

    What a premise says of a `lemmata.lab.claim.provided` prediction.

    >>> rows = pd.DataFrame({"value": [0.9, 0.4, float("nan")]})
    >>> failing(rows, "networks have not learned their task", at_least=0.75)
    ('2 of 3 networks have not learned their task',)
    """
    failed = int((~rows["value"].between(at_least, at_most)).sum())
    return (f"{failed} of {len(rows)} {words}",) if failed else ()


def grid_by_seed(
    frame: pd.DataFrame, metric: str, axis: str, where: Where | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column, (P,), and a number for each seed and value, (S, P): what an exponent is fitted to.

    >>> rows = pd.DataFrame({"metric": ["error"] * 2, "x": [4, 8], "seed": [0, 0], "value": [0.3, 0.1]})
    >>> grid_by_seed(rows, "error", "x")
    (array([4, 8]), array([[0.3, 0.1]]))
    """
    rows = pick(frame, metric, where)
    table = rows.pivot_table(index="seed", columns=axis, values="value", aggfunc="mean", dropna=False)
    return table.columns.to_numpy(), table.to_numpy()
