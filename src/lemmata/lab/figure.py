"""The figure of a claim, as data: panels of marks, which `lemmata.show` draws and nothing here does.

A claim declares what its figure shows: measured curves with their intervals, the oracle, the published numbers. Since it
is data it can be tested, written as JSON and drawn at any venue's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Mapping, Sequence, final

import numpy as np
import pandas as pd

from lemmata.lab.stats import mean_t

__all__ = ["Bars", "Curve", "Figure", "Mark", "Panel", "Reference", "Scatter", "curves"]

Style = Literal["oracle", "prediction", "published", "threshold"]


@final
@dataclass(frozen=True)
class Curve:
    """Measured means with the interval over seeds, (P,) each; `group` is the colour's index, equal across panels."""

    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    lo: tuple[float, ...]
    hi: tuple[float, ...]
    n: int
    group: int = 0


@final
@dataclass(frozen=True)
class Reference:
    """A line that was not measured here: an oracle (dashed), a prediction (dotted), published numbers (thin), a
    threshold (grey). A published line is labelled as read off the published figure by whoever draws it."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Style
    group: int | None = None


@final
@dataclass(frozen=True)
class Scatter:
    """Points (P,), coloured by `shade` in [0, 1] where given (time, say), else by `group`."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    shade: tuple[float, ...] = ()
    group: int = 0


@final
@dataclass(frozen=True)
class Bars:
    """Heights (P,) at x, as in a histogram."""

    label: str
    x: tuple[float, ...]
    height: tuple[float, ...]
    group: int = 0


Mark = Curve | Reference | Scatter | Bars


@final
@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    x: str
    y: str
    marks: tuple[Mark, ...]
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float, float] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels side by side with one caption, which says what is shown and over how many seeds."""

    panels: tuple[Panel, ...]
    caption: str


def curves(
    frame: pd.DataFrame,
    metric: str,
    *,
    by: str | None = None,
    label: str = "{}",
    where: Mapping[str, object] | None = None,
    x: str = "x",
) -> list[Curve]:
    """One curve for each value of the column `by`: the mean over seeds of `metric` against `x`, with a t interval.

    `where` keeps the rows whose columns have these values. `label` is formatted with the value of `by`.
    """
    rows = frame[frame["metric"] == metric]
    for column, value in (where or {}).items():
        rows = rows[rows[column] == value]
    parts = [(None, rows)] if by is None else list(rows.groupby(by, sort=True))
    return [_curve(part, label.format(value), group, x) for group, (value, part) in enumerate(parts)]


def _curve(rows: pd.DataFrame, label: str, group: int, x: str) -> Curve:
    xs, estimates = [], []
    for at, cell in rows.groupby(x, sort=True):
        xs.append(float(np.asarray(at)))
        estimates.append(mean_t(cell.groupby("seed")["value"].mean().to_numpy()))
    columns: list[Sequence[float]] = [[getattr(e, part) for e in estimates] for part in ("value", "lo", "hi")]
    mean, lo, hi = (tuple(column) for column in columns)
    return Curve(label, tuple(xs), mean, lo, hi, rows["seed"].nunique(), group)
