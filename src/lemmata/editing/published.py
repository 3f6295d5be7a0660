"""The published plots of the unseen task's region, read off them to about 1 % of the axis (arXiv 2504.10957)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["REGION", "REGION_GAMMA", "REGION_MOST", "UNIT_GAMMA", "region"]

# Figure D: the coefficients that the paper estimates for its unseen task, where the drawn region begins in each of the
# two sums, and the largest lambda_1 in it.
REGION_GAMMA = (0.792, -0.637)
REGION = (0.20, 0.21)
REGION_MOST = 2.0
# The squares of the estimates sum to 1.03; these are those of a unit vector.
UNIT_GAMMA = (0.779, -0.627)


def region(
    gamma: tuple[float, float],
    at: tuple[float, float],
    x: Sequence[float],
    y: Sequence[float],
    *,
    most: float = np.inf,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The border of the pairs whose two sums are at least `at`, inside the plot: its points' x and y.

    With gamma_1 > 0 the pairs lie to the right of both lines, gamma_1 x + gamma_2 y = at[0] and the same with squares
    = at[1]. With `most` they lie to the left of x = most too.

    >>> lambda_1, lambda_2 = region((0.5, -0.5), (0.5, 0.5), (0.0, 3.0), (-1.0, 1.0))
    >>> [round(value, 2) for value in min(zip(lambda_1, lambda_2))]
    [1.5, 0.5]
    """
    (gamma_1, gamma_2), (low, high), right = gamma, (min(y), max(y)), min(max(x), most)
    # Each line as x = where + slope y; the border is the one farther to the right, and bends where they cross.
    where_2 = np.array([at[0] / gamma_1, at[1] / gamma_1**2])
    slope_2 = np.array([-gamma_2 / gamma_1, -((gamma_2 / gamma_1) ** 2)])
    with np.errstate(divide="ignore", invalid="ignore"):  # lines that are parallel to each other, or to x = right
        bends = [-np.subtract(*where_2) / np.subtract(*slope_2), *((right - where_2) / slope_2), low, high]
    level_P = np.array(sorted(b for b in bends if low <= b <= high))
    edge_P = (where_2 + level_P[:, None] * slope_2).max(1)
    seen_P = (edge_P >= min(x)) & (edge_P <= right + 1e-9)
    edge, level = edge_P[seen_P].tolist(), level_P[seen_P].tolist()
    if np.isfinite(most) and edge:
        edge, level = [most, *edge, most, most], [level[0], *level, level[-1], level[0]]
    return tuple(edge), tuple(level)
