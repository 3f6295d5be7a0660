"""Draw the declarative figure of a claim with Matplotlib.

Nothing here touches pyplot or the user's own settings, and the same figure gives the same bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.legend import Legend

from lemmata.lab import figure as declared
from lemmata.lab.claim import Result
from lemmata.show.marks import Look, draw, extent_x, extent_y, legend_entries
from lemmata.show.scale import Scale
from lemmata.show.style import SHADES, Venue, rc, venue_style

__all__ = ["caption", "figure"]

MOST_IN_A_ROW = 3
POINTS_PER_INCH = 72
# The width of a letter of the fonts in use, in letter sizes, on average.
LETTER = 0.52

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
    """The caption with what the drawing adds to it: what the intervals are, over how many seeds,
    and what its special signs mean.

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
    panel_height = min(0.8 * panel_width, 0.52 * panel_width + 0.95, 3.2)

    canvas = Canvas(figsize=(width, rows * panel_height), layout="constrained")
    FigureCanvasAgg(canvas)
    # Each row of panels has a row of legends below it, which grows out of a height of nothing.
    grid = canvas.add_gridspec(2 * rows, columns, height_ratios=[1, 1e-4] * rows)
    entries = [legend_entries(panel.marks) for panel in data.panels]
    shared = all(other == entries[0] for other in entries)
    below = [0.0] * rows
    for i, panel in enumerate(data.panels):
        row, column = divmod(i, columns)
        ax = canvas.add_subplot(grid[2 * row, column])
        _draw_panel(ax, panel, panel_width, style)
        if entries[i] and not shared:
            place = canvas.add_subplot(grid[2 * row + 1, column])
            below[row] = max(below[row], _legend(place, entries[i], panel_width, style))
    if entries and entries[0] and shared:
        below[-1] = _legend(canvas.add_subplot(grid[-1, :]), entries[0], width, style)
    canvas.set_size_inches(width, rows * panel_height + sum(below))
    return canvas


def _draw_panel(ax: Axes, panel: declared.Panel, width: float, style: Venue) -> None:
    curves = [m for m in panel.marks if isinstance(m, declared.Curve)]
    tried = np.unique([v for curve in curves for v in curve.x])
    xs = np.concatenate([extent_x(m) for m in panel.marks] or [np.array([])])
    ys = np.concatenate([extent_y(m, log=panel.y_log) for m in panel.marks] or [np.array([])])
    x = Scale.of(xs, log=panel.x_log, prefer=tried)
    y = Scale.of(ys, log=panel.y_log, limits=panel.y_range)
    bars = [m for m in panel.marks if isinstance(m, declared.Bars)]
    for mark in panel.marks:
        draw(ax, mark, x, y, bars=bars)
    x.apply(ax, "x", whole=bool(len(tried)) and bool((tried % 1 == 0).all()))
    y.apply(ax, "y", whole=False)
    ax.grid(axis="y", color=ax.spines["left"].get_edgecolor(), alpha=0.1, lw=0.5)
    ax.set_xlabel(_wrapped(panel.x, width - 0.6, style.body))
    ax.set_ylabel(_wrapped(panel.y, 0.62 * width, style.body))
    if panel.title:
        ax.set_title(_wrapped(panel.title, width - 0.5, style.body))
    _shade_bar(ax, panel)


def _shade_bar(ax: Axes, panel: declared.Panel) -> None:
    """What the shades of a scatter mean, from 0 to 1."""
    shaded = [m for m in panel.marks if isinstance(m, declared.Scatter) and m.shade]
    if shaded and ax.figure is not None:
        bar = ax.figure.colorbar(
            ScalarMappable(Normalize(0, 1), SHADES), ax=ax, ticks=[], fraction=0.05, pad=0.02, aspect=28
        )
        bar.outline.set_visible(False)
        bar.set_label(shaded[0].shade_label or "shade, from 0 to 1")


def _legend(ax: Axes, entries: Entries, width: float, style: Venue) -> float:
    """A legend below the axes in as many columns as fit; returns the inches that it is high."""
    ax.axis("off")
    labels = [_wrapped(label, width - 0.7, style.small) for label, _ in entries]
    handles = [look.sample() for _, look in entries]
    figure = ax.get_figure(root=True)
    assert figure is not None and isinstance(figure.canvas, FigureCanvasAgg)
    renderer = figure.canvas.get_renderer()
    for columns in range(len(entries), 0, -1):
        legend = ax.legend(
            handles, labels, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, 1), alignment="left"
        )
        box = legend.get_window_extent(renderer)
        if box.width / figure.dpi <= width - 0.1:
            break
    return float(box.height / figure.dpi) + 0.08


def _wrapped(text: str, width: float, size: float) -> str:
    """Text in lines of at most so many inches, about; mathematics is not taken apart."""
    letters = max(int(width * POINTS_PER_INCH / (LETTER * size)), 12)
    if "$" in text or len(text) <= letters:
        return text
    return "\n".join(textwrap.wrap(text, letters, break_long_words=False))
