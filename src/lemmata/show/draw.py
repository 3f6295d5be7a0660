"""Draw the declarative figure of a claim with Matplotlib.

Nothing here touches pyplot or the user's own settings, and the same figure gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.gridspec import SubplotSpec
from numpy.typing import NDArray

from lemmata.lab import figure as declared
from lemmata.lab.check import Result
from lemmata.show.looks import Look, legend_entries
from lemmata.show.marks import draw, extent_x, extent_y, grid_range
from lemmata.show.notation import typeset
from lemmata.show.scale import Scale
from lemmata.show.style import INK, SHADES, Venue, rc, venue_style

__all__ = ["caption", "figure"]

MOST_IN_A_ROW = 3
POINTS_PER_INCH = 72

Entries = list[tuple[str, Look]]


def figure(source: Result | declared.Figure, *, venue: str | None = None) -> Canvas:
    """Draw a result, or a figure as data, at the width and in the fonts of a venue.

    `venue` is "icml", "neurips" or "iclr"; without it the figure is made for the screen. The
    caption is not part of the picture: see `caption`.

    Raises:
        OutputError: no such venue.

    >>> line = declared.Curve("measured", (2, 4), (0.4, 0.1), (0.3, 0.05), (0.5, 0.2), n=5)
    >>> panel = declared.Panel(title="", x="length", y="error", marks=(line,), y_log=True)
    >>> drawn = figure(declared.Figure(panels=(panel,), caption="Error."), venue="icml")
    >>> [float(axes.get_ylim()[0].round(2)) for axes in drawn.axes[:1]]
    [0.04]
    """
    data = source if isinstance(source, declared.Figure) else source.figure
    style = venue_style(venue)
    with matplotlib.rc_context(rc(style)):
        return _draw_figure(data, style)


def caption(data: declared.Figure) -> str:
    """The caption with what the drawing adds to it.

    That is what the intervals are and over how many seeds, and what the special signs mean.

    >>> line = declared.Curve("measured", (2, 4), (0.4, 0.1), (0.3, 0.05), (0.5, 0.2), n=5)
    >>> panel = declared.Panel(title="", x="length", y="error", marks=(line,))
    >>> caption(declared.Figure(panels=(panel,), caption="Error against length"))
    'Error against length. Shaded: 95 % intervals over n = 5 seeds.'
    """
    curves = [m for p in data.panels for m in p.marks if isinstance(m, declared.Curve)]
    said = [data.caption.rstrip(". ")] if data.caption else []
    seeds = sorted({curve.n for curve in curves})
    if seeds and seeds[-1] > 1:
        n = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        said.append(f"Shaded: 95 % intervals over n = {n} seeds")
    elif seeds:
        said.append("One seed, and so no interval")
    if any(p.y_log and _has_zeros(p) for p in data.panels):
        said.append("Open triangles below the break of the axis: exactly zero was measured")
    if any(not np.isfinite(curve.mean).all() for curve in curves):
        said.append("× at the upper edge: a network diverged, so that there is no mean")
    return " ".join(f"{sentence}." for sentence in said)


def _has_zeros(panel: declared.Panel) -> bool:
    means = [m.mean for m in panel.marks if isinstance(m, declared.Curve)]
    return any(value <= 0 for mean in means for value in mean)


def _draw_figure(data: declared.Figure, style: Venue) -> Canvas:
    count = len(data.panels)
    columns = count if count <= MOST_IN_A_ROW else 2 if count == 4 else MOST_IN_A_ROW
    rows = -(-count // columns)
    width = style.column if columns == 1 else style.text
    panel_width = width / columns
    panel_height = min(0.55 * panel_width + 0.95, 3.2)

    canvas = Canvas(figsize=(width, rows * panel_height), layout="constrained")
    FigureCanvasAgg(canvas)
    # Below each row of panels are two rows for legends, which grow out of a height of nothing.
    grid = canvas.add_gridspec(3 * rows, columns, height_ratios=[1, 1e-4, 1e-4] * rows)
    for i, panel in enumerate(data.panels):
        row, column = divmod(i, columns)
        _draw_panel(canvas.add_subplot(grid[3 * row, column]), panel, panel_width, style)
    entries = [legend_entries(panel.marks) for panel in data.panels]
    common = max(entries, key=len)
    heights = np.zeros(3 * rows)
    if all(set(own) <= set(common) for own in entries):
        heights[-2:] = _legends(canvas, [grid[-2, :], grid[-1, :]], common, width, style)
    else:
        for i, own in enumerate(entries):
            row, column = divmod(i, columns)
            cells = [grid[3 * row + 1, column], grid[3 * row + 2, column]]
            higher = _legends(canvas, cells, own, panel_width, style)
            heights[3 * row + 1 : 3 * row + 3] = np.fmax(heights[3 * row + 1 : 3 * row + 3], higher)
    canvas.set_size_inches(width, rows * panel_height + heights.sum())
    return canvas


def _draw_panel(ax: Axes, panel: declared.Panel, width: float, style: Venue) -> None:
    tried = np.unique([v for m in panel.marks if isinstance(m, declared.Curve) for v in m.x])
    x, y = _scales(panel, tried)
    draw(ax, panel.marks, x, y)
    x.apply(ax, "x", whole=bool(len(tried)) and bool((tried % 1 == 0).all()))
    y.apply(ax, "y", whole=False)
    ax.grid(axis="y", color=INK, alpha=0.1, lw=0.5)
    ax.set_xlabel(_wrapped(panel.x, width - 0.6, style), linespacing=1.0)
    ax.set_ylabel(_wrapped(panel.y, 0.6 * width, style), linespacing=1.0)
    if panel.title:
        ax.set_title(_wrapped(panel.title, width - 0.4, style), linespacing=1.0)
    _shade_bar(ax, panel)


def _scales(panel: declared.Panel, tried: NDArray[np.float64]) -> tuple[Scale, Scale]:
    nothing = np.array([])
    xs = np.concatenate([nothing, *(extent_x(mark, log=panel.x_log) for mark in panel.marks)])
    ys = np.concatenate([nothing, *(extent_y(mark, log=panel.y_log) for mark in panel.marks)])
    limits = panel.y_range
    if limits is None and not panel.y_log and any(isinstance(m, declared.Bars) for m in panel.marks):
        limits = (0.0, 1.05 * float(ys.max())) if ys.min() >= 0 else None
    elif limits is not None:
        limits = _with_means(limits, panel)
    return (
        Scale.of(xs, log=panel.x_log, prefer=tried),
        Scale.of(ys, log=panel.y_log, limits=limits),
    )


def _with_means(limits: tuple[float, float], panel: declared.Panel) -> tuple[float, float]:
    """Limits that a claim asks for, wide enough for every measured mean."""
    means = np.array([v for m in panel.marks if isinstance(m, declared.Curve) for v in m.mean])
    means = means[np.isfinite(means) & ((means > 0) | (not panel.y_log))]
    if not len(means):
        return limits
    lo, hi = float(means.min()), float(means.max())
    pad = 0.8 if panel.y_log else 1.0
    return min(limits[0], lo * pad), max(limits[1], hi / pad)


def _shade_bar(ax: Axes, panel: declared.Panel) -> None:
    """What the colours of a heat map mean, or the shades of a scatter, from 0 to 1."""
    for mark in panel.marks:
        if isinstance(mark, declared.Grid):
            _colour_bar(ax, mark.label, grid_range(mark), ticks=None)
            return
        if isinstance(mark, declared.Scatter) and mark.shade:
            _colour_bar(ax, mark.shade_label or "shade, from 0 to 1", (0.0, 1.0), ticks=[])
            return


def _colour_bar(ax: Axes, label: str, span: tuple[float, float], ticks: Sequence[float] | None) -> None:
    if ax.figure is not None:
        colours = ScalarMappable(Normalize(*span), SHADES)
        bar = ax.figure.colorbar(colours, ax=ax, ticks=ticks, fraction=0.05, pad=0.02, aspect=28)
        bar.outline.set_visible(False)
        bar.set_label(typeset(label))


def _legends(canvas: Canvas, cells: Sequence[SubplotSpec], entries: Entries, width: float, style: Venue) -> list[float]:
    """What was measured, and below it what it is compared with; returns the height of each."""
    measured = [(label, look) for label, look in entries if look.measured]
    compared = [(label, look) for label, look in entries if not look.measured]
    return [
        _legend(canvas.add_subplot(cell), part, width, style) if part else 0.0
        for cell, part in zip(cells, (measured, compared), strict=True)
    ]


def _legend(ax: Axes, entries: Entries, width: float, style: Venue) -> float:
    """A legend that hangs from the axes in as many columns as fit; returns its height in inches."""
    ax.axis("off")
    labels = [_wrapped(label, width - 0.7, style) for label, _ in entries]
    samples = [look.sample() for _, look in entries]
    canvas = ax.get_figure(root=True)
    assert canvas is not None and isinstance(canvas.canvas, FigureCanvasAgg)
    renderer, box = canvas.canvas.get_renderer(), None
    for columns in range(len(entries), 0, -1):
        legend = ax.legend(samples, labels, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, 1))
        for text in legend.get_texts():
            text.set_linespacing(1.0)
        box = legend.get_window_extent(renderer)
        if box.width <= (width - 0.1) * canvas.dpi:
            break
    return float(box.height / canvas.dpi) + 0.06 if box is not None else 0.0


def _wrapped(text: str, width: float, style: Venue) -> str:
    """Typeset text in lines of at most so many inches, about; mathematics is not taken apart."""
    most = max(int(width * POINTS_PER_INCH / (style.letter * style.body)), 12)
    lines: list[list[str]] = [[]]
    for word in re.findall(r"(?:\$[^$]*\$|[^\s$])+", typeset(text)):
        if lines[-1] and sum(_letters(w) + 1 for w in lines[-1]) + _letters(word) > most:
            lines.append([])
        lines[-1].append(word)
    return "\n".join(" ".join(line) for line in lines)


def _letters(word: str) -> int:
    """How many letters are seen of a word with mathematics."""
    return len(re.sub(r"\\mathrm|[\\{}_^$]", "", word))
