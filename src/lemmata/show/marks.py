"""How each kind of mark is drawn, what of the axes it needs, and how it looks in the legend.

- measured: solid line, filled markers, a band for the interval (for a single point, a bar)
- oracle: dashed
- prediction: dotted
- published: thin solid line, open markers
- threshold: thin grey line across the panel
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from lemmata.lab.figure import Bars, Curve, Mark, Reference, Scatter
from lemmata.show.scale import Scale
from lemmata.show.style import INK, MUTED, PAPER, SHADES, group_style

__all__ = ["Look", "draw", "extent_x", "extent_y", "legend_entries"]

READ_OFF = "(read off the published figure)"
ONE_FOR_ALL = {
    "oracle": "oracle of the same colour",
    "prediction": "prediction of the same colour",
    "published": f"published, same colour {READ_OFF}",
}
# With more points than this a scatter is stored as a picture, even in a vector file.
MANY_POINTS = 2000


@final
@dataclass(frozen=True)
class Look:
    """What tells one mark from another; marks that look and read alike share a legend entry."""

    colour: str
    line: Literal["-", "--", ":", "none"] = "-"
    width: float = 1.3
    marker: str = ""
    filled: bool = True
    area: bool = False
    measured: bool = True

    def trace(self, x: ArrayLike, y: ArrayLike) -> Line2D:
        """A line through these points, or their markers."""
        return Line2D(
            np.asarray(x, float),
            np.asarray(y, float),
            color=self.colour,
            linestyle=self.line,
            linewidth=self.width,
            marker=self.marker or "none",
            markerfacecolor=self.colour if self.filled else PAPER,
            markeredgewidth=0.8,
        )

    def sample(self) -> Artist:
        """What stands for it in a legend."""
        return Patch(facecolor=self.colour, alpha=0.75) if self.area else self.trace([], [])


def look(mark: Mark) -> Look:
    """How a mark looks, by its kind, style and group."""
    if isinstance(mark, Reference):
        return _reference_look(mark)
    colour, marker = group_style(mark.group)
    if isinstance(mark, Curve):
        return Look(colour, marker=marker)
    if isinstance(mark, Scatter):
        return Look(MUTED if mark.shade else colour, line="none", marker=marker)
    return Look(colour, area=True)


def _reference_look(mark: Reference) -> Look:
    colour, marker = (INK, "o") if mark.group is None else group_style(mark.group)
    if mark.style == "oracle":
        return Look(colour, line="--", width=1.1, measured=False)
    if mark.style == "prediction":
        return Look(colour, line=":", width=1.5, measured=False)
    if mark.style == "published":
        colour = MUTED if mark.group is None else colour
        return Look(colour, width=0.6, marker=marker, filled=False, measured=False)
    return Look(MUTED, width=0.8, measured=False)


def legend_entries(marks: Sequence[Mark]) -> list[tuple[str, Look]]:
    """Label and look of each entry, once.

    References that only repeat the colours of measured curves (the oracle of each, say) have one
    entry together.
    """
    groups = {mark.group for mark in marks if isinstance(mark, Curve)}
    entries: dict[tuple[str, Look], None] = {}
    repeated: dict[str, list[Reference]] = {}
    for mark in (mark for mark in marks if mark.x):
        if isinstance(mark, Reference) and mark.style in ONE_FOR_ALL and mark.group in groups:
            repeated.setdefault(mark.style, []).append(mark)
        elif mark.label:
            entries[_label(mark), look(mark)] = None
    for style, same in repeated.items():
        if len({mark.label for mark in same}) > 1:
            first = look(same[0])
            shared = replace(first, colour=MUTED, marker=first.marker and "o")
            entries[ONE_FOR_ALL[style], shared] = None
        elif same[0].label:
            entries[_label(same[0]), look(same[0])] = None
    return list(entries)


def _label(mark: Mark) -> str:
    published = isinstance(mark, Reference) and mark.style == "published"
    return f"{mark.label} {READ_OFF}" if published else mark.label


def extent_x(mark: Mark) -> NDArray[np.float64]:
    """The values that the x axis must show for this mark."""
    if isinstance(mark, Bars):
        half = bar_width(mark) / 2
        return np.concatenate([np.asarray(mark.x) - half, np.asarray(mark.x) + half])
    if isinstance(mark, Reference) and mark.style == "threshold" and len(set(mark.y)) == 1:
        return np.array([])
    return np.asarray(mark.x, float)


def extent_y(mark: Mark, *, log: bool) -> NDArray[np.float64]:
    """The values that the y axis must show for this mark.

    An interval counts up to a quarter of the curve's own range or twice the usual interval; an open
    or enormous end runs over the edge and does not squash everything else.
    """
    if isinstance(mark, Bars):
        return np.array([*mark.height, *([] if log else [0.0])])
    if isinstance(mark, Scatter):
        return np.asarray(mark.y, float)
    if isinstance(mark, Reference):
        vertical = mark.style == "threshold" and len(set(mark.x)) == 1
        return np.array([]) if vertical else np.asarray(mark.y, float)
    return _curve_extent(mark, log=log)


def _curve_extent(mark: Curve, *, log: bool) -> NDArray[np.float64]:
    mean, lo, hi = (np.asarray(v, float) for v in (mark.mean, mark.lo, mark.hi))
    with np.errstate(divide="ignore", invalid="ignore"):
        t_mean, t_lo, t_hi = (np.log(v) if log else v for v in (mean, lo, hi))
        half = (t_hi - t_mean)[np.isfinite(t_mean) & np.isfinite(t_hi)]
        if not len(half):
            return np.concatenate([mean, hi[np.isfinite(hi)]])
        middle = t_mean[np.isfinite(t_mean)]
        reach = max(float(np.ptp(middle)) / 4, 2 * float(np.median(half)))
        ends = np.concatenate([np.maximum(t_lo, t_mean - reach), np.minimum(t_hi, t_mean + reach)])
    ends = ends[np.isfinite(ends) & np.isfinite([*t_lo, *t_hi])]
    return np.concatenate([mean, np.exp(ends) if log else ends])


def draw(ax: Axes, mark: Mark, x: Scale, y: Scale, *, bars: Sequence[Bars] = ()) -> None:
    """Draw one mark on axes of these scales; `bars` are all bars of the panel, to stand aside."""
    if isinstance(mark, Curve):
        _draw_curve(ax, mark, x, y)
    elif isinstance(mark, Reference):
        _draw_reference(ax, mark, x, y)
    elif isinstance(mark, Scatter):
        _draw_scatter(ax, mark, x, y)
    else:
        _draw_bars(ax, mark, x, y, bars)


def _draw_curve(ax: Axes, mark: Curve, x: Scale, y: Scale) -> None:
    style = look(mark)
    at, mean = x.place(mark.x), np.asarray(mark.mean, float)
    lo, hi = y.place(mark.lo), y.place(mark.hi)
    bounded = np.isfinite(mark.lo) | np.isfinite(mark.hi)
    if len(at) == 1 and bounded[0]:
        ax.vlines(at, lo, hi, color=style.colour, lw=style.width)
    else:
        ax.fill_between(at, lo, hi, where=bounded, color=style.colour, alpha=0.16, lw=0)
    there = np.isfinite(mean)
    line = style.trace(at, np.where(there, y.place(mean), np.nan))
    above = ~y.at_zero(mean) & there
    line.set_markevery([int(i) for i in np.flatnonzero(above)])
    line.set_zorder(3)
    ax.add_line(line)
    _draw_zeros(ax, style, at[y.at_zero(mean)], y)
    if not there.all():
        failed = np.full((~there).sum(), 0.98)
        ax.plot(at[~there], failed, "x", color=style.colour, transform=ax.get_xaxis_transform())


def _draw_zeros(ax: Axes, style: Look, at: NDArray[np.float64], y: Scale) -> None:
    """Open triangles at the tick that reads 0."""
    if len(at) and y.zero is not None:
        triangles = Look(style.colour, line="none", marker="v", filled=False)
        line = triangles.trace(at, np.full(len(at), y.zero))
        line.set_zorder(4)
        ax.add_line(line)


def _draw_reference(ax: Axes, mark: Reference, x: Scale, y: Scale) -> None:
    style = look(mark)
    if mark.style == "threshold" and len(set(mark.y)) == 1:
        ax.axhline(mark.y[0], color=style.colour, lw=style.width, zorder=1)
    elif mark.style == "threshold" and len(set(mark.x)) == 1:
        ax.axvline(mark.x[0], color=style.colour, lw=style.width, zorder=1)
    else:
        line = style.trace(x.place(mark.x), y.place(mark.y))
        line.set_zorder(2.5)
        ax.add_line(line)


def _draw_scatter(ax: Axes, mark: Scatter, x: Scale, y: Scale) -> None:
    style = look(mark)
    ax.scatter(
        x.place(mark.x),
        y.place(mark.y),
        s=9,
        marker=style.marker,
        c=mark.shade or style.colour,
        cmap=SHADES if mark.shade else None,
        vmin=0 if mark.shade else None,
        vmax=1 if mark.shade else None,
        linewidths=0,
        alpha=0.75,
        rasterized=len(mark.x) > MANY_POINTS,
    )


def _draw_bars(ax: Axes, mark: Bars, x: Scale, y: Scale, bars: Sequence[Bars]) -> None:
    """Bars at the same x stand side by side, others are drawn over each other, to be seen through."""
    beside = [other for other in bars if other.x == mark.x]
    width = bar_width(mark) / len(beside)
    shift = (beside.index(mark) - (len(beside) - 1) / 2) * width
    bottom = y.lo if y.log else 0.0
    ax.bar(
        np.asarray(mark.x) + shift,
        y.place(mark.height) - bottom,
        width=width * 0.92,
        bottom=bottom,
        color=look(mark).colour,
        alpha=0.75,
        linewidth=0,
    )


def bar_width(mark: Bars) -> float:
    """The least distance of two bars; 1 for a single one."""
    return float(np.diff(np.unique(mark.x)).min()) if len(set(mark.x)) > 1 else 1.0
