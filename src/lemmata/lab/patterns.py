"""Sets of patterns: orthonormal ones, a pair with a given correlation, mixtures with a given coefficient sum.

All are float64 inside and float32 at the door, rows are patterns, and the largest residual of Gram minus its target is
below 1e-6 in float32.
"""

from __future__ import annotations

import math

import numpy as np

from lemmata.lab.errors import InputError

__all__ = ["check_mixtures", "correlated", "correlated_pair", "largest_sum", "mixtures", "orthonormal"]


def orthonormal(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """`count` orthonormal rows in R^dim, uniformly distributed (Haar).

    Raises:
        InputError: more patterns than dimensions.

    >>> rows = orthonormal(np.random.default_rng(0), 3, 5)
    >>> bool(np.abs(rows @ rows.T - np.eye(3)).max() < 1e-6)
    True
    """
    if not 0 < count <= dim:
        raise InputError(f"between 1 and {dim} orthonormal patterns in R^{dim}", str(count), "raise the dimension")
    q, r = np.linalg.qr(rng.standard_normal((dim, count)))
    # The sign of R's diagonal is a convention of the solver; fixing it makes the distribution uniform.
    return (q * np.sign(np.diag(r))).T.astype(np.float32)


def correlated_pair(rng: np.random.Generator, dim: int, correlation: float) -> np.ndarray:
    """Two unit rows in R^dim with the given inner product.

    Raises:
        InputError: a correlation outside [-1, 1], or fewer than two dimensions.

    >>> a, b = correlated_pair(np.random.default_rng(0), 8, -0.3)
    >>> round(float(a @ b), 6)
    -0.3
    """
    if not -1 <= correlation <= 1:
        raise InputError("a correlation in [-1, 1]", f"{correlation}", "choose one in [-1, 1]")
    first, second = orthonormal(rng, 2, dim).astype(np.float64)
    other = correlation * first + math.sqrt(1 - correlation**2) * second
    return np.stack([first, other]).astype(np.float32)


def largest_sum(count: int, patterns: int) -> float:
    """The largest |S_1| that `count` orthonormal mixtures of `patterns` orthonormal patterns can have.

    With u = sum_i mu_i / sqrt(M), a mixture of coefficient sum S_1 has inner product S_1 / sqrt(M) with u, and `count`
    orthonormal vectors can have that product in common only while count * S_1^2 / M <= 1.

    >>> round(largest_sum(3, 6), 3)
    1.414
    """
    return math.sqrt(patterns / count)


def check_mixtures(count: int, patterns: int, coefficient_sum: float) -> None:
    """Refuse `count` orthonormal mixtures of `patterns` patterns that do not exist.

    Raises:
        InputError: more mixtures than patterns, or a coefficient sum out of reach; the message names the largest.

    >>> check_mixtures(3, 6, 1.3)
    """
    if not 0 < count <= patterns:
        expected = f"between 1 and {patterns} orthonormal mixtures of {patterns} patterns"
        raise InputError(expected, str(count), "ask for fewer")
    top = largest_sum(count, patterns)
    # With as many mixtures as patterns, what they add to u needs one dimension more than is left, except at the edge.
    at_edge = math.isclose(abs(coefficient_sum), top, rel_tol=1e-12)
    if not at_edge and (not abs(coefficient_sum) <= top or count == patterns):
        room = f"|S_1| = {top:g}" if count == patterns else f"|S_1| <= {top:g}"
        expected = f"a coefficient sum that {count} orthonormal mixtures of {patterns} patterns can have ({room})"
        raise InputError(expected, f"S_1 = {coefficient_sum:g}", f"choose {room}, or fewer mixtures")


def mixtures(rng: np.random.Generator, count: int, patterns: int, coefficient_sum: float) -> np.ndarray:
    """Coefficients (count, patterns) of orthonormal mixtures mu'_j = sum_i c_ji mu_i with sum_i c_ji = S_1 for each j.

    mu'_j = (S_1 / sqrt(M)) u + w_j with w_j orthogonal to u and Gram(w) = I - (S_1^2 / M) 11^T; otherwise uniform.

    Raises:
        InputError: no such mixtures exist; the message names the largest possible |S_1|.

    >>> c = mixtures(np.random.default_rng(0), 3, 6, 1.3)
    >>> bool(np.abs(c.sum(1) - 1.3).max() < 1e-6 and np.abs(c @ c.T - np.eye(3)).max() < 1e-6)
    True
    """
    check_mixtures(count, patterns, coefficient_sum)
    m, s = patterns, coefficient_sum
    gram_w = np.eye(count) - (s * s / m) * np.ones((count, count))
    values, vectors = np.linalg.eigh(gram_w)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    u = np.full(m, 1 / math.sqrt(m))
    # A uniform frame of the complement of u carries the rows of the root, one column an eigenvalue.
    frame, r = np.linalg.qr(np.column_stack([u, rng.standard_normal((m, m - 1))]))
    frame *= np.sign(np.diag(r))
    rank = min(count, m - 1)
    w = root[:, count - rank :] @ frame[:, 1 : rank + 1].T
    return (s / math.sqrt(m) * u + w).astype(np.float32)


def correlated(rows: np.ndarray, correlation: float) -> np.ndarray:
    """Unit rows in the span of orthonormal ones, every two of them with the same inner product c.

    The rows times the symmetric root of (1 - c) I + c 11^T, which is a I + b 11^T with a = sqrt(1 - c) and
    a + b M = sqrt(1 + (M - 1) c).

    Raises:
        InputError: a correlation outside [0, 1).

    >>> pair = correlated(np.eye(2), 0.6)
    >>> (pair @ pair.T).astype(float).round(6).tolist()
    [[1.0, 0.6], [0.6, 1.0]]
    """
    if not 0 <= correlation < 1:
        raise InputError("a common correlation in [0, 1)", f"{correlation:g}", "choose one in [0, 1)")
    count = len(rows)
    own = math.sqrt(1 - correlation)
    common = (math.sqrt(1 + (count - 1) * correlation) - own) / count
    return (own * rows + common * rows.sum(0)).astype(np.float32)
