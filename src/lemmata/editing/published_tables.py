"""Numbers of the published experiments on coloured MNIST (Li et al., ICLR 2025, arXiv 2504.10957), a ViT-Small/16.

Tables A and B are the authors' own; what is said of figures C and D is read off them to about 1 % of the axis.
"""

from __future__ import annotations

from typing import NamedTuple, final

__all__ = ["GAMMA", "REGION", "TABLE_A", "Best", "line_of_region"]


@final
class Best(NamedTuple):
    """The best edit of a kind: its lambda, accuracies on T1 and T2, and what fine-tuning alone is ahead of them."""

    lam: float
    T1: float
    T2: float
    T1_behind: float
    T2_behind: float


# Table A: T2, then whether it was added or unlearned.
TABLE_A: dict[tuple[str, str], Best] = {
    ("irrelevant", "adds"): Best(1.4, 0.9183, 0.8840, 0.0306, 0.0565),
    ("irrelevant", "unlearns"): Best(-0.6, 0.9502, 0.5034, 0.0056, 0.4524),
    ("aligned", "adds"): Best(0.2, 0.9562, 0.9246, 0.0, 0.0323),
    ("aligned", "unlearns"): Best(0.0, 0.9520, 0.9051, 0.0042, 0.0518),
    ("contradictory", "adds"): Best(0.6, 0.7954, 0.6252, 0.1670, 0.3372),
    ("contradictory", "unlearns"): Best(-1.0, 0.9421, 0.0497, 0.0061, 0.8985),
}

# Figure D: the estimated coefficients of T' in T1 and T2, and where the drawn region begins,
# lambda_1 gamma_1 + lambda_2 gamma_2 >= REGION.
GAMMA = (0.792, -0.637)
REGION = 0.20


def line_of_region(x: tuple[float, float], y: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The edge of the region drawn in figure D between these ends of the axes: its two x and its two y.

    >>> [round(v, 2) for v in line_of_region((-2.0, 3.0), (-2.0, 2.0))[0]]
    [-1.36, 1.86]
    """
    first, second = GAMMA
    at = [(REGION - second * level) / first for level in y]
    ends = tuple(min(max(v, x[0]), x[1]) for v in at)
    return (ends[0], ends[1]), ((REGION - first * ends[0]) / second, (REGION - first * ends[1]) / second)
