"""The figure of a claim, as data: panels of marks, which `lemmata.show` draws and nothing here does.

A claim declares what its figure shows: measured curves with their intervals, the oracle, the published numbers. Since
it is data it can be tested, written as JSON and drawn at any venue's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas as pd

from lemmata.lab.errors import DataError
from lemmata.lab.frames import pick
from lemmata.lab.stats import mean_t

__all__ = [
    "Bars",
    "Curve",
    "Figure",
    "Grid",
    "Mark",
    "Panel",
    "Reference",
    "Scatter",
    "curves",
    "drawable",
    "power_law",
    "threshold",
]

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
    """A line that was not measured here, drawn as its style says.

    An oracle is dashed, a prediction dotted, published numbers thin, a threshold grey. A published line is labelled
    as read off the published figure by whoever draws it.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Style
    group: int | None = None


@final
@dataclass(frozen=True)
class Scatter:
    """Points (P,), coloured by `shade` in [0, 1] where given (time, say), else by `group`.

    `shade_label` says at the colour bar what a shade means ("iteration, 0 to 400").
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    shade: tuple[float, ...] = ()
    group: int = 0
    shade_label: str = ""


@final
@dataclass(frozen=True)
class Bars:
    """Heights (P,) at x, as in a histogram."""

    label: str
    x: tuple[float, ...]
    height: tuple[float, ...]
    group: int = 0


@final
@dataclass(frozen=True)
class Grid:
    """A heat map: z[j][i] is the mean over seeds at (x[i], y[j]); nan where there is none.

    `label` says at the colour bar what z is. Colours span `z_range`, or all of z.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    z: tuple[tuple[float, ...], ...]
    z_range: tuple[float, float] | None = None


Mark = Curve | Reference | Scatter | Bars | Grid


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
    """Panels side by side with one caption, which says what is shown.

    What the intervals are and over how many seeds is added to it from the marks (`show.caption`).
    """

    panels: tuple[Panel, ...]
    caption: str


def drawable(*panels: Callable[[], Panel]) -> tuple[Panel, ...]:
    """The panels whose rows are there: a changed constant can leave a figure with some of them only.

    Raises:
        DataError: there is not one; the message is the first panel's.

    >>> def empty() -> Panel:
    ...     raise DataError("rows", "none", "measure them")
    >>> [panel.title for panel in drawable(empty, lambda: Panel(title="measured", x="x", y="y", marks=()))]
    ['measured']
    """
    drawn: list[Panel] = []
    missing: list[DataError] = []
    for panel in panels:
        try:
            drawn.append(panel())
        except DataError as error:
            missing.append(error)
    if not drawn and missing:
        raise missing[0]
    return tuple(drawn)


def curves(
    frame: pd.DataFrame,
    metric: str,
    *,
    by: str | None = None,
    label: str = "{}",
    where: Mapping[str, object] | None = None,
    x: str = "x",
    first_group: int = 0,
) -> list[Curve]:
    """One curve for each value of the column `by`: the mean over seeds of `metric` against `x`, with a t interval.

    `where` picks rows as `lemmata.lab.frames.pick` does. `label` is formatted with the value of `by`. Groups, and so
    colours, count from `first_group` on.

    Raises:
        DataError: there are no such rows.
    """
    rows = pick(frame, metric, where)
    parts = [(None, rows)] if by is None else list(rows.groupby(by, sort=True))
    return [_curve(part, label.format(value), group, x) for group, (value, part) in enumerate(parts, first_group)]


def _curve(rows: pd.DataFrame, label: str, group: int, x: str) -> Curve:
    xs, estimates = [], []
    for at, cell in rows.groupby(x, sort=True):
        xs.append(float(np.asarray(at)))
        estimates.append(mean_t(cell.groupby("seed")["value"].mean().to_numpy()))
    columns: list[Sequence[float]] = [[getattr(e, part) for e in estimates] for part in ("value", "lo", "hi")]
    mean, lo, hi = (tuple(column) for column in columns)
    return Curve(label, tuple(xs), mean, lo, hi, rows["seed"].nunique(), group)


def power_law(label: str, curve: Curve, exponent: float, style: Style) -> Reference:
    """The line y ~ x^exponent through the geometric middle of a measured curve.

    >>> line = power_law("-1", Curve("", (1.0, 4.0), (4.0, 4.0), (4.0, 4.0), (4.0, 4.0), 5), -1.0, "prediction")
    >>> [round(y, 6) for y in line.y]
    [8.0, 2.0]
    """
    x, y = np.array(curve.x), np.array(curve.mean)
    seen = np.isfinite(y) & (y > 0)
    if not seen.any():
        return Reference(label, (), (), style)
    log_x = np.log(x)
    log_y = np.log(y[seen]).mean() + exponent * (log_x - log_x[seen].mean())
    return Reference(label, tuple(x.tolist()), tuple(np.exp(log_y).tolist()), style)


def threshold(label: str, *, x: float | None = None, y: float | None = None) -> Reference:
    """A grey line across the panel, upright at `x` or level at `y`.

    >>> threshold("eps", y=0.01).y
    (0.01, 0.01)
    """
    if x is not None:
        return Reference(label, (x, x), (0.0, 1.0), "threshold")
    level = 0.0 if y is None else y
    return Reference(label, (0.0, 1.0), (level, level), "threshold")
