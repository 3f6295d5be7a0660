"""Which edit is best, and how good it is: the statistics of tables A and B, a number a seed.

An edit is chosen on the seed's validation images and scored on its test images, of which no two are the same.

    adding       the lambda > 0 at which the accuracies on T1 and T2 have the largest sum
    unlearning   of the lambda <= 0 that leave T1 within KEPT of its fine-tuned accuracy, that of the lowest on T2
    reaching     the (lambda_1, lambda_2) of the highest accuracy on T'

Equal edits are decided by the smaller coefficients. Coefficients are points of a grid, and accuracies counts of
images: an interval also has half a step of what its numbers lie on. A seed whose network diverged has no finite number.

Shapes: S seeds, P edits.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lemmata.lab.claim import Prediction, provided
from lemmata.lab.estimate import student
from lemmata.lab.frames import by_seed, failing, grid_by_seed, pick
from lemmata.lab.stats import Estimate

__all__ = [
    "KEPT",
    "Chosen",
    "Reached",
    "added",
    "at_pair",
    "behind",
    "of_fine_tuned",
    "over_seeds",
    "reached",
    "unlearned",
]

Array = NDArray[np.floating]

# Unlearning T2 may cost T1 this much accuracy.
KEPT = 0.015
# Half-way between chance and no mistake: a network below has not learned its task.
LEARNED = 0.75


@final
class Chosen(NamedTuple):
    """The edit of each seed, lambda_S, and its accuracies on test images."""

    lambda_S: Array
    T1_S: Array
    T2_S: Array


@final
class Reached(NamedTuple):
    """The pair of each seed, lambda_S2, and its accuracy on T' on test images."""

    lambda_S2: Array
    accuracy_S: Array


def of_fine_tuned(*predictions: Prediction) -> tuple[Prediction, ...]:
    """The same predictions, open where a fine-tuning did not learn its own task.

    Networks at chance lose nothing when they are added, and have nothing to unlearn.
    """
    return provided(_unlearned, *predictions)


def _unlearned(frame: pd.DataFrame) -> tuple[str, ...]:
    words = f"fine-tunings have an accuracy below {LEARNED} on their own task"
    return failing(pick(frame, "fine_tuned", {"part": "test"}), words, at_least=LEARNED)


def over_seeds(values_S: Array, step: float) -> Estimate:
    """The mean with Student's t interval, and half a step of the grid that the numbers lie on.

    >>> e = over_seeds(np.array([0.2, 0.2, 0.2]), 0.2)
    >>> round(e.lo, 3), round(e.hi, 3)
    (0.1, 0.3)
    """
    method = "Student t over seeds, with half a step of the grid"
    return student(np.asarray(values_S, float), 0.95, method=method, shared_shift=step / 2)


def added(frame: pd.DataFrame, pair: str) -> Chosen:
    """The best edit that adds T2 to T1."""
    lambda_P, T1_SP, T2_SP = _table_a(frame, pair, "validation")
    return _chosen(frame, pair, lambda_P, np.where(lambda_P > 0, T1_SP + T2_SP, -np.inf))


def unlearned(frame: pd.DataFrame, pair: str) -> Chosen:
    """The best edit that takes T2 from T1."""
    lambda_P, T1_SP, T2_SP = _table_a(frame, pair, "validation")
    first_S = by_seed(frame, "fine_tuned", {"task": "first", "part": "validation"})
    # A sum in floating point may fall short of its bound by rounding alone.
    allowed_SP = (lambda_P <= 0) & (first_S[:, None] - T1_SP <= KEPT + 1e-9)
    return _chosen(frame, pair, lambda_P, np.where(allowed_SP, -T2_SP, -np.inf))


def behind(frame: pd.DataFrame, pair: str) -> Array:
    """How far the best edit that adds T2 is behind fine-tuning on one task, on the task where that is more, (S,)."""
    best = added(frame, pair)
    T1_S, T2_S = (by_seed(frame, "fine_tuned", {"task": task, "part": "test"}) for task in ("first", pair))
    return np.maximum(T1_S - best.T1_S, T2_S - best.T2_S)


def reached(frame: pd.DataFrame, *, lowest: bool = False) -> Reached:
    """The pair of the highest accuracy on T', or of the lowest."""
    tables = {part: _table_b(frame, part) for part in ("validation", "test")}
    pair_P2, seen_SP = tables["validation"]
    at_S, none_S = _best(-seen_SP if lowest else seen_SP, np.hypot(*pair_P2.T))
    test_SP = tables["test"][1]
    return Reached(
        np.where(none_S[:, None], np.nan, pair_P2[at_S]), np.where(none_S, np.nan, test_SP[np.arange(len(at_S)), at_S])
    )


def at_pair(frame: pd.DataFrame, first: float, second: float) -> Array:
    """Accuracy on T' at one pair, on test images, (S,)."""
    return by_seed(frame, "outside", {"x": first, "lambda_2": second, "part": "test"})


def _table_a(frame: pd.DataFrame, pair: str, part: str) -> tuple[Array, Array, Array]:
    both = [grid_by_seed(frame, "accuracy", "x", {"pair": pair, "part": part, "task": task}) for task in ("T1", "T2")]
    return both[0][0], both[0][1], both[1][1]


def _table_b(frame: pd.DataFrame, part: str) -> tuple[Array, Array]:
    """The pairs (P, 2) and the accuracies on T', (S, P)."""
    rows = pick(frame, "outside", {"part": part})
    table = rows.pivot_table(index="seed", columns=["x", "lambda_2"], values="value", aggfunc="mean", dropna=False)
    return np.array(table.columns.to_list(), dtype=float), table.to_numpy()


def _chosen(frame: pd.DataFrame, pair: str, lambda_P: Array, score_SP: Array) -> Chosen:
    at_S, none_S = _best(score_SP, np.abs(lambda_P))
    _, T1_SP, T2_SP = _table_a(frame, pair, "test")
    seed_S = np.arange(len(at_S))
    found = (lambda_P[at_S], T1_SP[seed_S, at_S], T2_SP[seed_S, at_S])
    return Chosen(*(np.where(none_S, np.nan, values_S) for values_S in found))


def _best(score_SP: Array, size_P: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Each seed's best edit, the smallest of equals, and whether it has none."""
    order_P = np.argsort(size_P, kind="stable")
    score_SP = np.where(np.isnan(score_SP), -np.inf, score_SP)
    # Sums of the same counts in another order are the same.
    return order_P[score_SP[:, order_P].round(9).argmax(1)], np.all(np.isneginf(score_SP), axis=1)
