"""How each kind of mark is drawn, and what of the axes it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lemmata.lab.figure import Bars, Curve, Grid, Mark, Reference, Scatter
from lemmata.show.looks import Look, looks
from lemmata.show.scale import Scale
from lemmata.show.style import PAPER, SHADES

__all__ = ["draw", "extent_x", "extent_y", "grid_range"]

# With more points than this a scatter is stored as a picture, even in a vector file.
MANY_POINTS = 2000
# With more points than this a curve has markers at some of them only.
MANY_MARKERS = 16
# With more curves than this the bands are fainter, to be seen through each other.
MANY_CURVES = 3


def extent_x(mark: Mark, *, log: bool) -> NDArray[np.float64]:
    """The values that the x axis must show for this mark."""
    if isinstance(mark, Grid):
        return _edges(mark.x, log=log)
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
    if isinstance(mark, Grid):
        return _edges(mark.y, log=log)
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


def draw(ax: Axes, marks: Sequence[Mark], x: Scale, y: Scale) -> None:
    """Draw the marks of a panel on axes of these scales."""
    bars = [mark for mark in marks if isinstance(mark, Bars)]
    on_grid = any(isinstance(mark, Grid) for mark in marks)
    touching = sum(bool(y.at_zero(m.mean).any()) for m in marks if isinstance(m, Curve))
    many = sum(isinstance(mark, Curve) for mark in marks) > MANY_CURVES
    for mark, look in zip(marks, looks(marks), strict=True):
        if isinstance(mark, Curve):
            _draw_curve(ax, mark, look, x, y, alpha=0.1 if many else 0.16)
            touching -= bool(y.at_zero(mark.mean).any())
            _draw_zeros(ax, mark, look, x, y, size=1 + 0.5 * touching)
        elif isinstance(mark, Reference):
            _draw_reference(ax, mark, look, x, y, outlined=on_grid)
        elif isinstance(mark, Scatter):
            _draw_scatter(ax, mark, look, x, y)
        elif isinstance(mark, Grid):
            _draw_grid(ax, mark, x, y)
        else:
            _draw_bars(ax, mark, look, y, [other for other in bars if other.x == mark.x])


def _draw_curve(ax: Axes, mark: Curve, look: Look, x: Scale, y: Scale, *, alpha: float) -> None:
    at, mean = x.place(mark.x), np.asarray(mark.mean, float)
    lo, hi = y.place(mark.lo), y.place(mark.hi)
    bounded = np.isfinite(mark.lo) | np.isfinite(mark.hi)
    if len(at) == 1 and bounded[0]:
        band = ax.vlines(at, lo, hi, color=look.colour, lw=look.width)
    else:
        band = ax.fill_between(at, lo, hi, where=bounded, color=look.colour, alpha=alpha, lw=0)
    there = np.isfinite(mean)
    line = look.trace(at, np.where(there, y.place(mean), np.nan))
    marked = np.flatnonzero(there & ~y.at_zero(mean))
    line.set_markevery(marked[:: -(-len(marked) // MANY_MARKERS) or 1].tolist())
    line.set_zorder(3)
    ax.add_line(line)
    for artist in (band, line):
        y.clip_at_break(ax, artist)
    if not there.all():
        failed = np.full((~there).sum(), 0.98)
        ax.plot(at[~there], failed, "x", color=look.colour, transform=ax.get_xaxis_transform())


def _draw_zeros(ax: Axes, mark: Curve, look: Look, x: Scale, y: Scale, *, size: float) -> None:
    """Open triangles at the tick that reads 0, one around the other where several curves meet."""
    at_zero = y.at_zero(mark.mean)
    if y.zero is not None and at_zero.any():
        triangles = Look(look.colour, line="none", marker="v", filled=False)
        line = triangles.trace(x.place(mark.x)[at_zero], np.full(at_zero.sum(), y.zero))
        line.set_markersize(size * line.get_markersize())
        line.set_markerfacecolor("none")
        line.set_zorder(4)
        ax.add_line(line)


def _draw_reference(ax: Axes, mark: Reference, look: Look, x: Scale, y: Scale, *, outlined: bool) -> None:
    if mark.style == "threshold" and len(set(mark.y)) == 1:
        ax.axhline(mark.y[0], color=look.colour, lw=look.width, zorder=1)
    elif mark.style == "threshold" and len(set(mark.x)) == 1:
        ax.axvline(mark.x[0], color=look.colour, lw=look.width, zorder=1)
    else:
        line = look.trace(x.place(mark.x), y.place(mark.y))
        line.set_zorder(2.5)
        if outlined:
            under = replace(look, colour=PAPER, line="-", width=2.2 * look.width, marker="").trace(*line.get_data())
            under.set_zorder(2.4)
            ax.add_line(under)
        ax.add_line(line)
        y.clip_at_break(ax, line)


def _draw_scatter(ax: Axes, mark: Scatter, look: Look, x: Scale, y: Scale) -> None:
    ax.scatter(
        x.place(mark.x),
        y.place(mark.y),
        s=9,
        marker=look.marker,
        c=mark.shade or look.colour,
        cmap=SHADES if mark.shade else None,
        vmin=0 if mark.shade else None,
        vmax=1 if mark.shade else None,
        linewidths=0,
        alpha=0.75,
        rasterized=len(mark.x) > MANY_POINTS,
    )


def _draw_grid(ax: Axes, mark: Grid, x: Scale, y: Scale) -> None:
    lo, hi = grid_range(mark)
    edges = _edges(mark.x, log=x.log), _edges(mark.y, log=y.log)
    mesh = ax.pcolormesh(*edges, np.asarray(mark.z, float), cmap=SHADES, vmin=lo, vmax=hi)
    mesh.set_rasterized(True)


def grid_range(mark: Grid) -> tuple[float, float]:
    """What the colours of a heat map span."""
    if mark.z_range is not None:
        return mark.z_range
    z = np.asarray(mark.z, float)
    seen = z[np.isfinite(z)]
    return (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)


def _edges(centre: Sequence[float], *, log: bool) -> NDArray[np.float64]:
    """Where the fields of a heat map end: halfway between their centres, and as far beyond the outer ones."""
    at = np.asarray(centre, float)
    if log and (at > 0).all():
        return np.exp(_edges(np.log(at).tolist(), log=False))
    if len(at) < 2:
        return np.concatenate([at - 0.5, at + 0.5])
    middle = (at[:-1] + at[1:]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])


def _draw_bars(ax: Axes, mark: Bars, look: Look, y: Scale, beside: Sequence[Bars]) -> None:
    """Bars at the same x stand beside each other, others in front of each other, seen through."""
    width = bar_width(mark) / len(beside)
    shift = (beside.index(mark) - (len(beside) - 1) / 2) * width
    bottom = y.lo if y.log else 0.0
    ax.bar(
        np.asarray(mark.x) + shift,
        y.place(mark.height) - bottom,
        width=width * 0.92,
        bottom=bottom,
        color=look.colour,
        alpha=0.75,
        linewidth=0,
    )


def bar_width(mark: Bars) -> float:
    """The least distance of two bars; 1 for a single one."""
    return float(np.diff(np.unique(mark.x)).min()) if len(set(mark.x)) > 1 else 1.0
