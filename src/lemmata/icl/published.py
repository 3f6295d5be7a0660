"""Numbers read off the published figures of the ICL paper (arXiv 2402.15607), to about 5 %.

Drawn thin beside what was measured and labelled as read off; no verdict uses them.
"""

from __future__ import annotations

from lemmata.lab.figure import Reference

__all__ = ["ATTENTION", "BASELINES", "LAYERS", "LENGTHS", "PRUNING", "ROW_NORMS", "SUMS", "W_ALIGNED", "W_NORM", "line"]

_EVEN = (4, 6, 8, 10, 12, 14, 16, 18, 20)

# Out-of-domain error against l, by S_1 (GPT-2).
SUMS: dict[float, tuple[tuple[float, ...], tuple[float, ...]]] = {
    1.3: (_EVEN, (0.046, 0.015, 0.0098, 0.0052, 0.0048, 0.0045, 0.0035, 0.0025, 0.0020)),
    1.1: (_EVEN, (0.048, 0.018, 0.0098, 0.0067, 0.0058, 0.0055, 0.0045, 0.0035, 0.0035)),
    0.9: (_EVEN, (0.053, 0.019, 0.011, 0.0098, 0.014, 0.012, 0.013, 0.014, 0.014)),
    0.7: (_EVEN, (0.067, 0.033, 0.027, 0.019, 0.025, 0.025, 0.027, 0.022, 0.025)),
    0.5: (_EVEN, (0.079, 0.039, 0.038, 0.032, 0.033, 0.039, 0.041, 0.041, 0.047)),
}

# In- and out-of-domain error against l, by alpha' (GPT-2).
LENGTHS: dict[tuple[str, float], tuple[tuple[float, ...], tuple[float, ...]]] = {
    ("in", 1.0): ((4, 6, 8, 10, 14, 20), (0.11, 0.038, 0.025, 0.021, 0.023, 0.020)),
    ("out", 1.0): ((2, 4, 6, 8, 10, 14, 16, 20), (0.25, 0.091, 0.022, 0.019, 0.015, 0.015, 0.0097, 0.010)),
    ("in", 0.9): ((4, 6, 10, 14, 20), (0.15, 0.10, 0.058, 0.061, 0.054)),
    ("out", 0.9): ((4, 8, 10, 16, 20), (0.12, 0.07, 0.058, 0.050, 0.041)),
    ("in", 0.8): ((4, 6, 10, 20), (0.23, 0.15, 0.12, 0.075)),
    ("out", 0.8): ((2, 4, 6, 12, 20), (0.31, 0.18, 0.12, 0.08, 0.068)),
}

# Error against the share of neurons pruned.
_SHARES = (0.005, 0.045, 0.09, 0.15, 0.20, 0.25, 0.29, 0.34, 0.40)
PRUNING: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "magnitude": (_SHARES, (0.0070, 0.0052, 0.0058, 0.0063, 0.0086, 0.011, 0.017, 0.023, 0.030)),
    "random": (_SHARES, (0.007, 0.0083, 0.011, 0.015, 0.018, 0.026, 0.029, 0.038, 0.045)),
}

# Row norms of W_O, sorted, against the share of neurons.
ROW_NORMS = ((0.0, 0.15, 0.17, 0.20, 1.0), (0.14, 0.18, 0.38, 0.48, 0.52))

# Error against l at alpha' = 0.8, by learner (one layer).
_FROM_6 = (6, 8, 10, 12, 14, 16, 18, 20)
BASELINES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "icl": (_FROM_6, (0.036, 0.015, 0.010, 0.0085, 0.0030, 0.0025, 0.0015, 0.001)),
    "logistic": (_FROM_6, (0.034, 0.0125, 0.010, 0.005, 0.0035, 0.0025, 0.002, 0.0015)),
    "svm-gauss": (_FROM_6, (0.13, 0.074, 0.058, 0.055, 0.033, 0.015, 0.0066, 0.0056)),
    "svm-linear": (_FROM_6, (0.05, 0.020, 0.018, 0.015, 0.013, 0.0125, 0.015, 0.012)),
    "1-nn": (_FROM_6, (0.06, 0.020, 0.017, 0.015, 0.006, 0.004, 0.003, 0.0028)),
    "3-nn": (_FROM_6, (0.18, 0.06, 0.03, 0.012, 0.011, 0.005, 0.003, 0.002)),
}

# Attention mass on the query's pattern, and the growth of W_Q, against epochs (a unit of time that is not given).
ATTENTION = ((0, 20, 40, 60, 80, 100, 120, 140), (0.43, 0.48, 0.55, 0.75, 0.89, 0.96, 0.99, 1.0))
W_NORM = ((0, 40, 80, 120, 160, 200, 400), (0.42, 0.62, 0.93, 1.27, 1.55, 1.64, 1.75))
W_ALIGNED = ((0, 40, 80, 120, 160, 200, 400), (0.40, 0.57, 0.82, 1.1, 1.27, 1.36, 1.46))

# Attention mass on the query's pattern in three layers, before and after training.
LAYERS: dict[int, tuple[float, float]] = {1: (0.52, 0.85), 2: (0.43, 0.77), 3: (0.43, 0.88)}


def line(label: str, points: tuple[tuple[float, ...], tuple[float, ...]], group: int | None = None) -> Reference:
    """A published curve as a mark of a figure."""
    return Reference(label, points[0], points[1], "published", group)
