"""How each kind of mark looks, and what the legend says of it.

- measured: solid line, filled markers, a band for the interval (for a single point, a bar)
- oracle: dashed
- prediction: dotted
- published: thin solid line, open markers
- threshold: thin grey line across the panel
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from lemmata.lab.figure import Bars, Curve, Grid, Mark, Reference, Scatter
from lemmata.show.style import INK, MARKERS, MUTED, PAPER, group_style

__all__ = ["Look", "legend_entries", "looks"]

Line = Literal["-", "none"] | tuple[float, tuple[float, ...]]

READ_OFF = "(read off the published figure)"
ONE_FOR_ALL = {
    "oracle": "oracle of the same colour",
    "prediction": "prediction of the same colour",
    "published": f"published, same colour {READ_OFF}",
}
# Several lines of one style and colour differ in their strokes and gaps, in line widths.
DASHES: tuple[Line, ...] = ((0, (4, 1.8)), (0, (9, 2.5)), (0, (2, 1)))
DOTS: tuple[Line, ...] = ((0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)), (0, (5, 1.5, 1, 1.5, 1, 1.5)))


@final
@dataclass(frozen=True)
class Look:
    """What tells one mark from another; marks that look and read alike share a legend entry."""

    colour: str
    line: Line = "-"
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


def looks(marks: Sequence[Mark]) -> list[Look]:
    """How the marks of a panel look, by kind, style and group.

    >>> lines = [Reference(label, (1, 2), (1, 2), "prediction") for label in ("slides", "poster")]
    >>> one, other = looks(lines)
    >>> one.line == other.line
    False
    """
    seen: Counter[tuple[str, int | None]] = Counter()
    found = []
    for mark in marks:
        if isinstance(mark, Reference):
            found.append(_reference_look(mark, seen[mark.style, mark.group]))
            seen[mark.style, mark.group] += 1
        else:
            found.append(_measured_look(mark))
    return found


def _measured_look(mark: Curve | Scatter | Bars | Grid) -> Look:
    if isinstance(mark, Grid):
        return Look(MUTED, area=True)
    colour, marker = group_style(mark.group)
    if isinstance(mark, Curve):
        return Look(colour, marker=marker)
    if isinstance(mark, Scatter):
        return Look(MUTED if mark.shade else colour, line="none", marker=marker)
    return Look(colour, area=True)


def _reference_look(mark: Reference, nth: int) -> Look:
    """The look of a reference, the nth of its style and group."""
    colour, marker = (INK, MARKERS[nth % len(MARKERS)]) if mark.group is None else group_style(mark.group)
    if mark.style == "oracle":
        return Look(colour, line=DASHES[nth % len(DASHES)], width=1.1, measured=False)
    if mark.style == "prediction":
        return Look(colour, line=DOTS[nth % len(DOTS)], width=1.4, measured=False)
    if mark.style == "published":
        colour = MUTED if mark.group is None else colour
        return Look(colour, width=0.6, marker=marker, filled=False, measured=False)
    return Look(MUTED, width=0.8, measured=False)


def legend_entries(marks: Sequence[Mark]) -> list[tuple[str, Look]]:
    """Label and look of each entry, once.

    References that only repeat the colours of measured curves (the oracle of each, say) have one
    entry together. A heat map explains itself at its colour bar.
    """
    groups = {mark.group for mark in marks if isinstance(mark, Curve)}
    entries: dict[tuple[str, Look], None] = {}
    repeated: dict[str, list[tuple[Reference, Look]]] = {}
    for mark, look in zip(marks, looks(marks), strict=True):
        if not mark.x or isinstance(mark, Grid):
            continue
        if isinstance(mark, Reference) and mark.style in ONE_FOR_ALL and mark.group in groups:
            repeated.setdefault(mark.style, []).append((mark, look))
        elif mark.label:
            entries[_label(mark), look] = None
    for style, same in repeated.items():
        mark, look = same[0]
        if len({mark.group for mark, _ in same}) > 1:
            shared = replace(look, colour=MUTED, marker=look.marker and "o")
            entries[ONE_FOR_ALL[style], shared] = None
        else:
            entries |= {(_label(mark), look): None for mark, look in same if mark.label}
    return list(entries)


def _label(mark: Mark) -> str:
    published = isinstance(mark, Reference) and mark.style == "published"
    return f"{mark.label} {READ_OFF}" if published else mark.label
