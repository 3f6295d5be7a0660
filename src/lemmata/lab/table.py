"""The measurements behind a verdict as one tidy table: means over seeds with their intervals.

A row is one condition, metric and x. Its condition columns are the constants and coordinates that
vary within an experiment; what does not vary is told once, in `Table.constants`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import stdtrit

from lemmata.lab.errors import RegistryError
from lemmata.lab.trainee import Value

__all__ = ["Table"]

LEVEL = 0.95
SHOWN_IN_NOTEBOOK = 40
BOOKKEEPING = ("cell", "seed", "status", "seconds")
MEASURED = ("metric", "x")
AGGREGATES = ("mean", "lo", "hi", "n")


@final
@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Tidy measurements: `experiment`, condition columns, `metric`, `x`, `mean`, `lo`, `hi`, `n`.

    `lo` and `hi` bound the 95 % Student t interval of the mean over `n` seeds, as
    `lemmata.lab.stats.mean_t` gives it: open (infinite) for one seed, and for a seed without a
    finite value, which also leaves no mean. `constants` holds, by experiment, what does not vary.

    >>> rows = {"cell": ["a", "b"], "seed": [0, 1], "status": "ok", "seconds": 1.0, "alpha": 0.8}
    >>> frame = pd.DataFrame({**rows, "metric": "error", "x": 20.0, "value": [0.1, 0.3]})
    >>> table = Table.of({"lengths": frame})
    >>> table.to_json()[0]["mean"], table.constants
    (0.2, {'lengths': {'alpha': 0.8}})
    """

    frame: pd.DataFrame
    constants: Mapping[str, Mapping[str, Value]]

    @classmethod
    def of(cls, frames: Mapping[str, pd.DataFrame]) -> Table:
        """Aggregate the rows that the store gives, by experiment.

        Raises:
            RegistryError: a constant or coordinate has the name of a column of the table itself.
        """
        parts, constants = [], {}
        for name, frame in frames.items():
            varying, fixed = _conditions(frame)
            part = _over_seeds(frame, varying)
            part.insert(0, "experiment", name)
            parts.append(part)
            constants[name] = fixed
        conditions = dict.fromkeys(c for p in parts for c in p.columns if c not in _OWN)
        columns = ["experiment", *conditions, *MEASURED, *AGGREGATES]
        if not parts:
            return cls(pd.DataFrame(columns=columns), constants)
        together = pd.concat(parts if len(parts) == 1 else map(_with_gaps, parts), ignore_index=True)
        return cls(together[columns], constants)

    def to_pandas(self) -> pd.DataFrame:
        """A data frame of its own, one row a condition, metric and x."""
        return self.frame.copy()

    def to_arrow(self) -> pa.Table:
        """The same as an Arrow table; a condition that an experiment lacks is null."""
        return pa.Table.from_pandas(self.frame, preserve_index=False)

    def to_csv(self) -> str:
        """The same as comma-separated values with a header line; an open end reads inf."""
        return self.frame.to_csv(index=False, lineterminator="\n")

    def to_json(self) -> list[dict[str, Value | None]]:
        """One dictionary a row; what JSON cannot say (no number, an open end) is None."""
        return [{str(name): _json(value) for name, value in row.items()} for row in self.frame.to_dict("records")]

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"Table of {len(self)} rows\n{self.frame.head(SHOWN_IN_NOTEBOOK).to_string()}"

    def _repr_html_(self) -> str:
        return self.frame.to_html(
            index=False, max_rows=SHOWN_IN_NOTEBOOK, na_rep="", float_format="{:.4g}".format, border=0
        )


_OWN = {"experiment", *MEASURED, *AGGREGATES}


def _conditions(frame: pd.DataFrame) -> tuple[list[str], dict[str, Value]]:
    """The constants and coordinates that vary, and the values of those that do not."""
    names = [c for c in frame.columns if c not in (*BOOKKEEPING, *MEASURED, "value")]
    taken = sorted({"experiment", *AGGREGATES} & set(names))
    if taken:
        fix = "rename the constant or coordinate"
        raise RegistryError("constants not named as a column of the table", ", ".join(taken), fix)
    varying = [name for name in names if frame[name].nunique(dropna=False) > 1]
    fixed = {name: _json(frame[name].iloc[0]) for name in names if name not in varying and len(frame)}
    return varying, {name: value for name, value in fixed.items() if value is not None}


def _over_seeds(frame: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """Mean and interval of each group, in the order of the groups' first rows.

    One pass of sums by group: a table may have tens of thousands of them.
    """
    by = [*conditions, *MEASURED]
    group = _numbered(frame, by)
    seed = _numbered(pd.DataFrame({"group": group, "seed": frame["seed"].to_numpy()}), ["group", "seed"])
    # A seed counts once, however often it was measured at this x.
    first_of_seed = _first_rows(seed)
    value_S = _mean(frame["value"].to_numpy(float), seed)
    group_S = group[first_of_seed]

    n = np.bincount(group_S)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _mean(value_S, group_S)
        squares = np.bincount(group_S, (value_S - mean[group_S]) ** 2)
        half = stdtrit(n - 1, (1 + LEVEL) / 2) * np.sqrt(squares / (n - 1) / n)
    finite, bounded = np.isfinite(mean), np.isfinite(mean) & (n > 1)
    rows = frame.iloc[_first_rows(group)][by].reset_index(drop=True)
    return rows.assign(
        mean=np.where(finite, mean, np.nan),
        lo=np.where(bounded, mean - half, -np.inf),
        hi=np.where(bounded, mean + half, np.inf),
        n=n,
    )


def _with_gaps(part: pd.DataFrame) -> pd.DataFrame:
    """The same in types that keep whole numbers whole beside an experiment that lacks the column."""
    nullable = {"i": "Int64", "b": "boolean"}
    conditions = [name for name in part.columns if name not in _OWN]
    kinds = {name: part[name].dtype.kind for name in conditions}
    return part.astype({name: nullable[kind] for name, kind in kinds.items() if kind in nullable})


def _numbered(frame: pd.DataFrame, by: list[str]) -> NDArray[np.intp]:
    """The number of each row's group, groups counted in the order of their first rows."""
    numbers = frame.groupby(by, sort=False, dropna=False, observed=True).ngroup()
    return np.asarray(numbers, np.intp)


def _first_rows(group: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.asarray(np.unique(group, return_index=True)[1], np.intp)


def _mean(values: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """The mean of each group; nan where one of its values is, since a failure is no missing value."""
    return np.bincount(group, values) / np.bincount(group)


def _json(value: object) -> Value | None:
    """A plain Python value; None for no value and for an infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return None
    return value if isinstance(value, (bool, int, float)) else str(value)
