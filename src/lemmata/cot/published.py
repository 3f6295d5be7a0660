"""Numbers read off the published figures of the chain-of-thought paper (arXiv 2410.02167), to about 5 %.

Drawn thin beside what was measured and labelled as read off. Two predictions ask whether our level is theirs.
"""

from __future__ import annotations

from lemmata.lab.figure import Reference

__all__ = ["CONDITION_1", "COT", "DYNAMICS", "ICL", "LAYERS", "POSITION_END", "TENS", "line"]

TENS = tuple(float(x) for x in range(10, 101, 10))
Points = tuple[float, ...]

# CoT error against the number of examples, by alpha'. The last point at alpha' = 1 is only known to be below 0.001.
COT: dict[float, Points] = {
    0.4: (0.39, 0.24, 0.16, 0.14, 0.11, 0.078, 0.063, 0.047, 0.039, 0.028),
    0.6: (0.30, 0.14, 0.074, 0.048, 0.037, 0.024, 0.014, 0.0091, 0.0050, 0.0033),
    0.8: (0.17, 0.082, 0.051, 0.025, 0.017, 0.011, 0.0069, 0.0047, 0.0023, 0.0018),
    1.0: (0.14, 0.061, 0.027, 0.017, 0.0099, 0.0055, 0.0035, 0.0023, 0.0015),
}

# ICL error against the number of examples, by alpha'.
ICL: dict[float, Points] = {
    0.4: (0.40, 0.22, 0.14, 0.096, 0.071, 0.053, 0.033, 0.027, 0.026, 0.019),
    0.6: (0.30, 0.12, 0.084, 0.052, 0.044, 0.025, 0.018, 0.013, 0.0078, 0.0059),
    0.8: (0.23, 0.074, 0.054, 0.033, 0.021, 0.014, 0.0091, 0.0068, 0.0055, 0.0039),
    1.0: (0.16, 0.057, 0.034, 0.020, 0.012, 0.0080, 0.0058, 0.0033, 0.0028, 0.0016),
}

# Error against the number of examples, CoT and ICL with and without Condition 1.
CONDITION_1: dict[str, Points] = {
    "CoT": (0.15, 0.082, 0.062, 0.042, 0.038, 0.034, 0.023, 0.019, 0.017, 0.014),
    "ICL with": (0.36, 0.23, 0.18, 0.12, 0.11, 0.10, 0.084, 0.066, 0.059, 0.052),
    "ICL without": (0.57, 0.55, 0.54, 0.57, 0.61, 0.60, 0.61, 0.62, 0.63, 0.69),
}

# Attention of one layer against the iteration, by pattern and step.
DYNAMICS: dict[tuple[str, str], tuple[Points, Points]] = {
    ("same", "same"): ((0, 100, 200, 300, 1000), (0.14, 0.55, 0.77, 0.88, 0.94)),
    ("different", "same"): ((0, 50, 90, 200, 300, 1000), (0.21, 0.41, 0.41, 0.20, 0.10, 0.05)),
    ("same", "different"): ((0, 100), (0.27, 0.02)),
    ("different", "different"): ((0, 100), (0.39, 0.02)),
}

# The iteration of the dotted line that ends the position stage.
POSITION_END = 85.0

# Attention of head 2 in three layers on the same step, by pattern and layer, before and after training.
LAYERS: dict[str, dict[int, tuple[float, float]]] = {
    "same": {1: (0.35, 0.79), 2: (0.35, 0.78), 3: (0.35, 0.70)},
    "different": {1: (0.15, 0.19), 2: (0.15, 0.22), 3: (0.15, 0.30)},
}


def line(label: str, x: Points, y: Points, group: int | None = None) -> Reference:
    """A published curve as a mark of a figure; `x` may be longer than what is known of y."""
    return Reference(label, x[: len(y)], y, "published", group)
