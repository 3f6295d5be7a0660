"""Numbers read off the published figures on shallow vision transformers (arXiv 2302.06015), to about 1 % of the axis.

Drawn thin beside what was measured and labelled as read off; no verdict uses them but those that say so.
"""

from __future__ import annotations

from collections.abc import Sequence

from lemmata.lab.figure import Reference

__all__ = ["BOUNDARY", "MASS", "REMOVED", "STEPS", "THINNED", "line"]

# Figures (i) and (ii): where success begins, N against alpha_*^-2 and, with uniform attention, against alpha_*^-4.
BOUNDARY = {"trained": ((4.0, 13.5), (40.0, 420.0)), "uniform": ((115.0, 195.0), (230.0, 830.0))}

# Figure (iii): attention on label-relevant tokens against the iterations.
STEPS = tuple(range(0, 101, 10))
MASS = (0.54, 0.66, 0.78, 0.85, 0.89, 0.90, 0.91, 0.91, 0.91, 0.91, 0.91)

# Figure (iv): test loss against the tokens removed, by what is removed.
REMOVED = tuple(range(0, 21, 2))
THINNED = {
    "random": (0.077, 0.070, 0.068, 0.075, 0.084, 0.075, 0.076, 0.076, 0.075, 0.073, 0.074),
    "irrelevant": (0.076, 0.060, 0.056, 0.050, 0.045, 0.040, 0.037, 0.029, 0.024, 0.018, 0.006),
    "noisy": (0.078, 0.075, 0.072, 0.070, 0.067, 0.063, 0.058, 0.056, 0.052, 0.050, 0.045),
}


def line(label: str, x: Sequence[float], y: Sequence[float], group: int = 0) -> Reference:
    """A published curve as a mark of a figure."""
    return Reference(label, tuple(map(float, x)), tuple(y), "published", group)
