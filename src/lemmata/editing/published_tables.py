"""Numbers of the published experiments on coloured MNIST (Li et al., ICLR 2025, arXiv 2504.10957), a ViT-Small/16.

The authors' own table A. What is read off figures is in `lemmata.editing.published`.
"""

from __future__ import annotations

from typing import NamedTuple, final

__all__ = ["TABLE_A", "Best"]


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
