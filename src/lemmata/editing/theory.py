"""What the paper on task vectors predicts, as plain functions (Li et al., ICLR 2025, arXiv 2504.10957).

    symbol       meaning
    Delta_t      task vector of task t: what fine-tuning on it added to the common weights Psi^(0)
    lambda_t     its coefficient in the edited weights Psi^(0) + sum_t lambda_t Delta_t
    alpha        correlation mu_1^T mu_2 of two tasks: aligned above 0, irrelevant at 0, contradictory below
    gamma_t      coefficient of mu_t in the direction mu' of a task that nothing was fine-tuned on
    beta         what a task vector does to other tasks, a small constant; the paper leaves its size open
    c            margin of the out-of-domain condition, in (0, 1)
    eps          error of each fine-tuning on its own task
    M, m         irrelevant patterns; neurons

Theorems are sufficient conditions up to constants, which are arguments here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from lemmata.lab.errors import InputError

__all__ = [
    "NEGATION",
    "ROW_NORM",
    "Interval",
    "changes_correlation",
    "expected_correlation",
    "function_similarity",
    "multi_task",
    "out_of_domain",
    "products",
    "rank_1_bound",
    "row_bounds",
    "similarity_of",
    "unlearning",
]

# Exponents: the unlearning window's lower end in |alpha|, the norm of a large row of Delta V in m.
NEGATION = -2.0
ROW_NORM = -0.5


@final
class Interval(NamedTuple):
    """The numbers from lo to hi, both included; none at all where lo is above hi."""

    lo: float
    hi: float

    def __contains__(self, value: object) -> bool:
        """Whether a number lies in it."""
        return isinstance(value, Real) and self.lo <= float(value) <= self.hi

    @property
    def empty(self) -> bool:
        """Whether it holds no number."""
        return self.lo > self.hi


NOTHING = Interval(math.inf, -math.inf)


def _check_alpha(alpha: float) -> None:
    if not -1 <= alpha <= 1:
        raise InputError("a correlation alpha in [-1, 1]", f"{alpha:g}", "pass mu_1^T mu_2 of unit vectors")


def _check_beta(beta: float) -> None:
    if not 0 <= beta < math.inf:
        raise InputError("beta of at least 0", f"{beta:g}", "leave it at 0")


def multi_task(alpha: float, beta: float = 0.0) -> Interval:
    """The lambda for which Psi^(0) + Delta_1 + lambda Delta_2 does both tasks: from 1 - alpha + beta on.

    Empty for contradictory tasks, which no lambda joins. The loss on task 1 grows with |lambda| beta, so that the least
    lambda is the one to take.

    Raises:
        InputError: a correlation outside [-1, 1], or a beta below 0.

    Source: Theorem 1, arXiv 2504.10957.

    >>> multi_task(0.6, beta=0.1), multi_task(-0.2).empty
    (Interval(lo=0.5, hi=inf), True)
    """
    _check_alpha(alpha)
    _check_beta(beta)
    return NOTHING if alpha < 0 else Interval(1 - alpha + beta, math.inf)


def unlearning(alpha: float, constant: float = 1.0) -> Interval:
    """The lambda for which Psi^(0) + Delta_1 + lambda Delta_2 forgets task 2 and keeps task 1: [-constant/alpha^2, 0].

    Empty for aligned tasks, whose forgetting costs task 1; without a lower end for irrelevant ones.

    Raises:
        InputError: a correlation outside [-1, 1], or a constant that is not above 0.

    Source: Theorem 2, arXiv 2504.10957, which leaves the constant open.

    >>> unlearning(-0.5), unlearning(0.0).lo, unlearning(0.5).empty
    (Interval(lo=-4.0, hi=0.0), -inf, True)
    """
    _check_alpha(alpha)
    if not 0 < constant < math.inf:
        raise InputError("a finite constant above 0", f"{constant:g}", "leave it at 1")
    if alpha > 0:
        return NOTHING
    square = alpha * alpha
    return Interval(-constant / square if square else -math.inf, 0.0)


def out_of_domain(
    lambda_LT: ArrayLike, gamma_T: Sequence[float], *, threshold: float = 1.0, beta: float = 0.0
) -> np.ndarray:
    """Which coefficient vectors lie in the polytope in which an unseen task is solved, (...,) of truth values.

    sum_t lambda_t gamma_t >= threshold, sum_t lambda_t gamma_t^2 >= threshold, and |lambda_t| beta <= threshold - 1
    for each t where beta is above 0. The tasks' directions are orthogonal. The theorem's threshold is 1 + c with c in
    (0, 1); the polytope that the paper plots has about 0.2, and no bound on |lambda_t| at that.

    Raises:
        InputError: not one gamma for each lambda of a vector, a beta below 0, or one above 0 where the threshold is not
            1 + c.

    Source: Theorem 3, arXiv 2504.10957.

    >>> out_of_domain([[2.0, -1.0], [1.0, 0.0]], [0.7, -0.5], threshold=0.6).tolist()
    [True, False]
    """
    lambdas, gammas = np.asarray(lambda_LT, float), np.asarray(gamma_T, float)
    if gammas.ndim != 1 or lambdas.shape[-1:] != gammas.shape:
        got = f"shapes {lambdas.shape} and {gammas.shape}"
        raise InputError("one gamma for each lambda", got, "pass lambda (..., T) and gamma (T,)")
    _check_beta(beta)
    if beta > 0 and not 1 < threshold < 2:
        got = f"beta = {beta:g} at threshold {threshold:g}"
        raise InputError("a threshold 1 + c, c in (0, 1), where beta is above 0", got, "leave beta at 0")
    leading, attending = lambdas @ gammas, lambdas @ gammas**2
    inside = (leading >= threshold) & (attending >= threshold)
    return inside if beta == 0 else inside & (np.abs(lambdas).max(-1) * beta <= threshold - 1)


def rank_1_bound(M: int, eps: float) -> float:
    """How far Delta W may be from rank 1 in Frobenius norm: M eps + 1/log M, up to a constant. Delta V: eps.

    Raises:
        InputError: fewer than two patterns, or eps below 0.

    Source: Corollary 1, arXiv 2504.10957.

    >>> round(rank_1_bound(20, 0.01), 3)
    0.534
    """
    if M < 2 or not 0 <= eps < math.inf:
        raise InputError("M of at least 2 and eps of at least 0", f"M = {M}, eps = {eps:g}", "name the data's own")
    return M * eps + 1 / math.log(M)


def row_bounds(m: int, eps: float) -> tuple[float, float]:
    """The norm that a constant share of the rows of Delta V has at least, and that the others have at most.

    m^-1/2 and m^-1/2 eps, up to constants.

    Raises:
        InputError: no neurons, or eps below 0.

    Source: Corollary 2, arXiv 2504.10957.

    >>> row_bounds(100, 0.01)
    (0.1, 0.001)
    """
    if m < 1 or not 0 <= eps < math.inf:
        raise InputError("m of at least 1 and eps of at least 0", f"m = {m}, eps = {eps:g}", "name the network's own")
    return m**ROW_NORM, m**ROW_NORM * eps


# Estimators of alpha from what two fine-tunings do to the outputs f(X).


def changes_correlation(change_1: ArrayLike, change_2: ArrayLike) -> float:
    """The correlation of two fine-tunings' changes of the outputs, E u_1 u_2 / sqrt(E u_1^2 E u_2^2).

    u_i = f(X; Psi*_i) - f(X; Psi^(0)) for each input X, one number or one vector of scores each: (N,) or (N, C). The
    changes are not centred: no change is what an unrelated task vector makes. 0 where a fine-tuning changed nothing.

    Raises:
        InputError: no inputs, changes of different shapes, or a change that is not finite.

    Source: the similarity of functions that the paper estimates alpha by, arXiv 2504.10957.

    >>> round(changes_correlation([1.0, -0.5, 0.5, -1.0], [0.5, -1.0, 1.0, -0.5]), 3)
    0.8
    """
    product_N, square_1_N, square_2_N = products(change_1, change_2)
    scale = math.sqrt(float(square_1_N.sum() * square_2_N.sum()))
    # Rounding may take it a digit beyond 1.
    return float(np.clip(product_N.sum() / scale, -1, 1)) if scale else 0.0


def function_similarity(change_1: ArrayLike, change_2: ArrayLike) -> float:
    """An estimate of alpha from the outputs on a pooled sample of both tasks that nobody has labelled.

    With u_i as in `changes_correlation`, scaled to a mean square of 1 each: sum <u_1, u_2> / sum max(|u_1|^2, |u_2|^2).
    On an input of task 1 the two changes are 1 and alpha, on one of task 2 alpha and 1, so that the ratio is alpha on
    either; the correlation of the same changes is 2 alpha / (1 + alpha^2) instead. Valid where a change grows in
    proportion to how far an input lies along the task's direction, and the sample has about as much of each task.

    Raises:
        InputError: as `changes_correlation`.

    Source: made here, from Theorem 1's model, arXiv 2504.10957.

    >>> round(function_similarity([1.0, -0.5, 0.5, -1.0], [0.5, -1.0, 1.0, -0.5]), 3)
    0.5
    """
    return float(similarity_of(*products(change_1, change_2)))


def expected_correlation(alpha: float) -> float:
    """What `changes_correlation` is on as much of each of two tasks with correlation alpha: 2 alpha / (1 + alpha^2).

    Raises:
        InputError: a correlation outside [-1, 1].

    Source: made here; see `function_similarity`.

    >>> expected_correlation(0.5)
    0.8
    """
    _check_alpha(alpha)
    return 2 * alpha / (1 + alpha**2)


def similarity_of(product_XN: np.ndarray, square_1_XN: np.ndarray, square_2_XN: np.ndarray) -> np.ndarray:
    """`function_similarity` of samples whose `products` are given, (...), such as many resamples of one.

    >>> product_N, square_N = np.array([0.5, 0.5]), np.array([1.0, 1.0])
    >>> float(similarity_of(product_N, square_N, square_N))
    0.5
    """
    mean_1, mean_2 = square_1_XN.mean(-1, keepdims=True), square_2_XN.mean(-1, keepdims=True)
    there = (mean_1 > 0) & (mean_2 > 0)
    # A fine-tuning that changed nothing is similar to none.
    mean_1, mean_2 = np.where(there, mean_1, 1.0), np.where(there, mean_2, 1.0)
    larger = np.maximum(square_1_XN / mean_1, square_2_XN / mean_2).sum(-1)
    product = (product_XN / np.sqrt(mean_1 * mean_2)).sum(-1)
    # Rounding may take it a digit beyond 1.
    return np.where(there[..., 0], np.clip(product / np.where(larger > 0, larger, 1.0), -1, 1), 0.0)


def products(change_1: ArrayLike, change_2: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What estimates of alpha need of each input: <u_1, u_2>, |u_1|^2 and |u_2|^2, (N,) each.

    Raises:
        InputError: as `changes_correlation`.

    >>> [part.tolist() for part in products([[1.0, 2.0]], [[3.0, -1.0]])]
    [[1.0], [5.0], [10.0]]
    """
    u_1, u_2 = np.asarray(change_1, float), np.asarray(change_2, float)
    if u_1.shape != u_2.shape or u_1.ndim not in (1, 2) or u_1.size == 0:
        got = f"shapes {u_1.shape} and {u_2.shape}"
        raise InputError("changes of the same outputs, (N,) or (N, C)", got, "run both models on the same inputs")
    if not (np.isfinite(u_1).all() and np.isfinite(u_2).all()):
        raise InputError("finite changes of the outputs", "nan or inf", "leave out inputs that a model fails on")
    u_1, u_2 = u_1.reshape(len(u_1), -1), u_2.reshape(len(u_2), -1)
    return (u_1 * u_2).sum(1), (u_1**2).sum(1), (u_2**2).sum(1)
