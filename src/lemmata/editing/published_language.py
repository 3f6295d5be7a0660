"""Table E of the paper on task vectors (arXiv 2504.10957): Rouge-L after unlearning a book by negation.

Phi-3-small with LoRA, fine-tuned on Harry Potter 1, the edited book; its sibling is Harry Potter 2, the unrelated book
Pride and Prejudice. The table prints a loss of 52.29 % for the sibling; its own numbers give 41.9 %, as here.
"""

from __future__ import annotations

from lemmata.lab.figure import Reference

__all__ = ["LAMBDAS", "ROUGE", "line", "lost"]

LAMBDAS = (0.0, -0.2, -0.4, -0.6, -0.8, -1.0)

# Rouge-L by the role of the book, at each of LAMBDAS.
ROUGE = {
    "edited": (0.2573, 0.1989, 0.1933, 0.1888, 0.1572, 0.1142),
    "sibling": (0.2688, 0.2113, 0.1993, 0.1938, 0.1622, 0.1563),
    "unrelated": (0.1942, 0.1825, 0.1644, 0.1687, 0.1592, 0.1541),
}


def lost(role: str) -> float:
    """The share of its Rouge-L that a book has lost at lambda = -1.

    >>> [round(lost(role), 4) for role in ROUGE]
    [0.5562, 0.4185, 0.2065]
    """
    first, *_, last = ROUGE[role]
    return 1 - last / first


def line(role: str, group: int) -> Reference:
    """The published numbers of one book as a mark of a figure."""
    return Reference(f"{role}, published", LAMBDAS, ROUGE[role], "published", group)
