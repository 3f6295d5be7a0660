"""Numbers read off figure 8 of the paper on graph transformers (arXiv 2406.01977), to about 1 % of the axis.

Drawn thin beside what was measured and labelled as read off; no verdict uses them but those that say so.
"""

from __future__ import annotations

__all__ = ["ACCURACY", "BIAS"]

# PubMed: b_z at the distances 1 to 12, and the accuracy in per cent with neighbours at one distance only.
BIAS = (0.149, 0.116, 0.048, -0.028, -0.057, -0.070, -0.067, 0.003, 0.044, 0.048, 0.052, 0.052)
ACCURACY = {1: 89.17, 3: 89.00, 5: 88.13, 7: 87.85, 9: 88.06, 11: 88.09, 12: 88.08}
