"""Given step matrices: what wrong steps do to a task.

Matrix A_k, S x S and row-stochastic, corrupts step k: an example in state i goes on to state j with probability
A_k[i, j], and the correct step is the largest entry of the row, f_k(i). Letters: S states (the paper's M'), K steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lemmata.lab.errors import InputError

__all__ = ["EQUAL", "Floats", "Ints", "Transitions", "labelled", "stochastic", "transitions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Numbers that differ by less, relatively, are equal: the room that rounding needs, and no more.
EQUAL = 1e-12
# How far the sum of a row may be from 1, as it is where the entries were rounded.
ROUNDED = 1e-6


@final
@dataclass(frozen=True, eq=False)
class Transitions:
    """The step matrices of a task, and the constants in which the theorems speak of them.

    steps: A_1 .. A_K. product: B = A_1 A_2 ... A_K, so B[i, j] is the share of the examples from i that end in j.
    path: the correct states z_0 .. z_K from every start, (S, K+1).
    tau: how likely the whole correct path is. tau_o: the largest entry of a row of B. Both of the worst start.
    rho: the primacy of the correct step, 1 - (largest wrong entry) / (correct entry), in the worst row of all steps.
    rho_o: the same of B against the true label z_K, hence negative where another end is more likely.
    condition_1: whether the true label of every start is the only largest entry of its row of B.
    """

    steps: tuple[Floats, ...]
    product: Floats
    path: Ints
    tau: float
    tau_o: float
    rho: float
    rho_o: float
    condition_1: bool


def transitions(matrices: Sequence[ArrayLike]) -> Transitions:
    """The step matrices A_1 .. A_K, each (S, S), with their constants.

    Rows whose sum is 1 up to rounding are divided by it. B at the true label is at least tau > 0, so rho_o is finite.

    Raises:
        InputError: no matrix, not square or not all of one size, fewer than 2 states, a row that is no distribution, or
            a row without a single largest entry: its correct step would be undefined.

    Source: Section 3 of arXiv 2410.02167. Its worked example fails Condition 1 from the first start:

    >>> t = transitions([[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.8, 0.2]]])
    >>> t.product.round(2).tolist(), t.path.tolist()
    ([[0.56, 0.44], [0.64, 0.36]], [[0, 0, 1], [1, 1, 0]])
    >>> round(t.tau, 2), round(t.tau_o, 2), round(t.rho, 2), round(t.rho_o, 2), t.condition_1
    (0.36, 0.56, 0.33, -0.27, False)
    """
    if not len(matrices):
        raise InputError("one matrix a step", "none", "pass a list [A_1, ..., A_K]")
    steps = tuple(stochastic(matrix, f"A_{k}") for k, matrix in enumerate(matrices, start=1))
    sizes = sorted({len(A_SS) for A_SS in steps})
    if len(sizes) > 1:
        raise InputError("matrices of one size", f"sizes {sizes}", "use the same states in every step")
    for k, A_SS in enumerate(steps, start=1):
        _check_single_largest(A_SS, f"A_{k}")

    product_SS = np.eye(sizes[0])
    path = [np.arange(sizes[0])]
    right = np.ones(sizes[0])
    for A_SS in steps:
        product_SS = product_SS @ A_SS
        path.append(A_SS.argmax(1)[path[-1]])
        right *= A_SS[path[-2], path[-1]]

    rho_o = _primacy(product_SS, path[-1])
    return Transitions(
        steps=steps,
        product=product_SS,
        path=np.stack(path, axis=1),
        tau=float(right.min()),
        tau_o=float(product_SS.max(1).min()),
        rho=min(_primacy(A_SS, A_SS.argmax(1)) for A_SS in steps),
        rho_o=rho_o,
        condition_1=rho_o > EQUAL,
    )


def stochastic(matrix: ArrayLike, name: str) -> Floats:
    """The matrix, (S, S), as floats whose rows sum to 1; `name` is what a refusal calls it.

    Raises:
        InputError: not square, fewer than 2 states, or a row that is no distribution.

    >>> stochastic([[0.6, 0.4], [0.333333, 0.666667]], "A_1").sum(1).tolist()
    [1.0, 1.0]
    """
    try:
        A_SS = np.array(matrix, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name}: rows of numbers, all as long", "something else", "pass a square array") from None
    if A_SS.ndim != 2 or A_SS.shape[0] != A_SS.shape[1] or len(A_SS) < 2:
        fix = "one row and one column for each of at least 2 states"
        raise InputError(f"{name}: a square matrix", f"shape {A_SS.shape}", fix)
    for i, row_S in enumerate(A_SS):
        if not (np.isfinite(row_S).all() and (row_S >= 0).all()):
            fix = "an entry is the probability to go from the row's state to the column's"
            raise InputError(f"{name}: probabilities", f"row {i} holds {row_S.min():g}", fix)
        if abs(row_S.sum() - 1) > ROUNDED:
            raise InputError(f"{name}: rows that sum to 1", f"row {i}: {row_S.sum():g}", "divide each row by its sum")
    return A_SS / A_SS.sum(1, keepdims=True)


def labelled(product: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """B, (S, S), with the true label of every start, (S,).

    Raises:
        InputError: rows of B that are no distribution, or labels that are not one state for each start.

    >>> labelled([[0.56, 0.44], [0.64, 0.36]], [1, 0])[1].tolist()
    [1, 0]
    """
    B_SS, label_S = stochastic(product, "B"), np.asarray(labels)
    S = len(B_SS)
    if label_S.shape != (S,) or label_S.dtype.kind not in "iu" or not ((label_S >= 0) & (label_S < S)).all():
        expected = f"{S} labels, each a state from 0 to {S - 1}"
        raise InputError(expected, str(label_S.tolist()), "pass the true outcome of every start")
    return B_SS, label_S


def _check_single_largest(A_SS: Floats, name: str) -> None:
    second_S, first_S = np.sort(A_SS, axis=1)[:, -2:].T
    tied = np.flatnonzero(second_S >= first_S * (1 - EQUAL))
    if len(tied):
        expected = f"{name}: a single largest entry in every row, the correct step"
        raise InputError(expected, f"row {tied[0]}: two of {first_S[tied[0]]:g}", "make the correct step the likeliest")


def _primacy(A_SS: Floats, right_S: Ints) -> float:
    """1 - (largest wrong entry) / (right entry), of the worst row."""
    every = np.arange(len(A_SS))
    wrong_SS = A_SS.copy()
    wrong_SS[every, right_S] = 0
    return float((1 - wrong_SS.max(1) / A_SS[every, right_S]).min())
