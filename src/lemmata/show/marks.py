"""How each kind of mark is drawn, and how it looks in the legend.

    measured     solid line, filled markers, a band (for a single point, a bar) for the interval
    oracle       dashed
    prediction   dotted
    published    thin solid line, open markers
    threshold    thin grey line across the panel
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from lemmata.lab.figure import Bars, Curve, Mark, Panel, Reference, Scatter, Style
from lemmata.show.scale import Scale
from lemmata.show.style import INK, MUTED, PAPER, SHADES, group_style

__all__ = ["Look", "draw_mark", "extent_x", "extent_y", "legend_of", "shades"]

READ_OFF = "(read off the published figure)"
# Above this many points a scatter becomes a picture inside a vector file, which would be huge.
MANY_POINTS = 2000


@final
@dataclass(frozen=True)
class Look:
    """What tells one mark from another; equal looks share an entry of the legend."""

    colour: str
    line: str = "-"
    width: float = 1.3
    marker: str = ""
    filled: bool = True
    area: bool = False

    def line2d(self) -> dict[str, object]:
        """The same in Matplotlib's words for a line."""
        return {
            "color": self.colour,
            "linestyle": self.line,
            "linewidth": self.width,
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else PAPER,
            "markeredgewidth": 0.8,
        }

    def handle(self) -> Artist:
        """What stands for it in a legend."""
        if self.area:
            return Patch(facecolor=self.colour, alpha=0.75)
        return Line2D([], [], **self.line2d())  # type: ignore[arg-type]


def look(mark: Mark) -> Look:
    """How a mark looks, by its kind, style and group."""
    if isinstance(mark, Reference):
        return _reference_look(mark.style, mark.group)
    colour, marker = group_style(mark.group)
    if isinstance(mark, Curve):
        return Look(colour, marker=marker)
    if isinstance(mark, Scatter):
        return Look(MUTED if mark.shade else colour, line="", marker=marker)
    return Look(colour, area=True)
