"""Numbers read off the published figures on task vectors (arXiv 2504.10957), to about 1 % of the axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["REGION_GAMMA", "REGION_THRESHOLD", "region"]

# The coefficients that the paper estimates for its unseen task, (0.792, -0.637), scaled down to a unit vector's since
# their squares sum to 1.03; and the threshold of the region that it plots with them.
REGION_GAMMA = (0.779, -0.626)
REGION_THRESHOLD = 0.2


def region(
    gamma: tuple[float, float], at: float, x: Sequence[float], y: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The border inside the plot of the pairs whose two sums are both at least `at`: its points' x and y.

    With gamma_1 > 0 the pairs lie to the right of both lines, gamma_1 x + gamma_2 y = at and the same with squares.

    >>> lambda_1, lambda_2 = region((0.5, -0.5), 0.5, (0.0, 3.0), (-1.0, 1.0))
    >>> [round(value, 2) for value in min(zip(lambda_1, lambda_2))]
    [1.5, 0.5]
    """
    gamma_1, gamma_2 = gamma
    heights = np.linspace(min(y), max(y), 401)
    first = (at - gamma_2 * heights) / gamma_1
    second = (at - gamma_2**2 * heights) / gamma_1**2
    border = np.maximum(first, second)
    seen = (border >= min(x)) & (border <= max(x))
    return tuple(border[seen].tolist()), tuple(heights[seen].tolist())
